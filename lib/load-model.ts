/** The steps from resolved options to networks that run: engine, device, model folder, weights. */

import { bundledModel, namesBundled } from './bundled.js';
import { asking, type CallSite } from './call-site.js';
import type { LeftOut } from './checkpoint/left-out.js';
import type { Manifest } from './checkpoint/manifest.js';
import { openModel } from './checkpoint/open.js';
import { isLoadable, loadedQuantization, storedQuantization } from './checkpoint/stored-quantization.js';
import { describeModel, wordsOf } from './describe-model.js';
import { slowerThanSpeech } from './device/diffusion-speed.js';
import { positionsOf, rowsOf } from './device/memory.js';
import { sizesOfManifest } from './device/model-sizes.js';
import { type MemoryPlan, type PlannedDevice, planMemory } from './device/plan.js';
import { type DeviceFacts, type DevicePolicy, resolveDevicePolicy } from './device/policy.js';
import { fromNative, MetaVoiceError } from './errors.js';
import { findModel } from './locate-model.js';
import type { Door, Engine, NativeModel } from './native/contract.js';
import { plannedDevice } from './plan.js';
import type { ResolvedLoadOptions } from './resolve-options.js';
import { type Libtorch, loadDoor, loadEngine, type Refusal } from './runtime/load.js';
import { sizeWords } from './size-words.js';

export interface LoadedModel {
  readonly native: NativeModel;
  readonly engine: Pick<Engine, 'sampleDistribution'>;
  readonly manifest: Manifest;
  /** Optional parts that could not be read; the manifest has none of them. */
  readonly leftOut: LeftOut;
  /** The model folder; of published files, their converted form in the cache. */
  readonly folder: string;
  /** The folder or the hub id as the user named it, for messages. */
  readonly source: string;
  readonly policy: DevicePolicy;
  /** What was planned for, with the decoder that `'auto'` takes. */
  readonly plan: MemoryPlan;
  /**
   * The memory with the diffusion decoder, which is loaded when it first speaks, in what is free now beside what the model
   * holds; null where the model has none.
   */
  readonly diffusionPlan: ((quality: MemoryPlan['quality']) => MemoryPlan) | null;
  /** Resident bytes of the process before the model was loaded. */
  readonly residentBefore: number;
  readonly libtorch: { readonly version: string; readonly directory: string; readonly source: string };
}

/**
 * Opens the engine, decides device and dtype, finds the model (and if need be fetches and converts it), loads it.
 *
 * @throws MetaVoiceError ERR_RUNTIME_NOT_FOUND, ERR_CUDA_UNAVAILABLE, ERR_DTYPE_UNSUPPORTED, ERR_MODEL_NOT_FOUND,
 * ERR_DOWNLOAD, ERR_CHECKPOINT, ERR_OUT_OF_MEMORY; the signal's own reason.
 */
export async function loadModel(options: ResolvedLoadOptions, site: CallSite): Promise<LoadedModel> {
  const { signal, logger, onProgress, batchSize, maxQueue, deterministic } = options;
  signal?.throwIfAborted();
  const model = namesBundled(options.model) ? bundledModel() : options.model;

  onProgress?.({ phase: 'load', part: 'runtime' });
  const { engine, libtorch, refused } = await loadEngine(
    options.libtorch ? { libtorch: options.libtorch } : {},
  );
  signal?.throwIfAborted();

  const door = loadDoor();
  const facts = deviceFacts(door, engine, libtorch, refused);
  const asked = { ...options, quantization: options.quantization ?? 'none' };
  const chosen = resolveDevicePolicy(facts, asked);
  const { device, dtype, reason } = chosen;
  if (chosen.fellBack) logger.warn?.({ device, dtype, reason }, `computing on the CPU: ${reason}`);
  else logger.info?.({ device, dtype, reason }, `computing on ${device} in ${dtype}: ${reason}`);

  const { folder, manifest, leftOut } = await openModel(await findModel(model, options), {
    dtype,
    quantization: asked.quantization,
    ...(signal && { signal }),
    ...(onProgress && {
      onProgress: ({ bytes, totalBytes }) => onProgress({ phase: 'convert', bytes, totalBytes }),
    }),
  });
  signal?.throwIfAborted();
  const quantization = loadedQuantization(storedQuantization(manifest), options.quantization, model);
  const policy = resolveDevicePolicy(facts, { ...asked, quantization });

  const target = plannedDevice(policy, facts);
  const planned = planFor(model, manifest, policy, options);
  const plain = requireRoom(planned(target, 'encodec'));
  const diffusing = manifest.diffusion ? planned(target, 'diffusion') : null;
  const plan = diffusing?.fits && slowerThanSpeech(policy) === null ? diffusing : plain;
  const residentBefore = process.memoryUsage.rss();
  onProgress?.({ phase: 'load', part: 'model' });
  const sizes = sizesOfManifest(manifest);
  const cache = { cacheRows: rowsOf(sizes), cachePositions: positionsOf(sizes, options) };
  const run = { device, dtype, quantization, batchSize, maxQueue, ...cache, deterministic };
  const description = describeModel(folder, manifest, run);
  const native = await asking(site, () => engine.loadModel(description));
  if (signal?.aborted) {
    await native.dispose();
    throw signal.reason;
  }
  const { refusedEnhancer } = native.facts;
  if (refusedEnhancer) {
    leftOut.set('enhancer', fromNative(refusedEnhancer) as Error);
    delete manifest.enhancer;
  }
  for (const [part, { message }] of leftOut)
    logger.warn?.(
      { part, model: folder, reason: message },
      `the model is loaded without its ${wordsOf(part)}: ${message}`,
    );
  const found = { version: libtorch.version, directory: libtorch.directory, source: libtorch.source };
  return {
    native,
    engine,
    manifest,
    leftOut,
    folder,
    source: model,
    policy,
    plan,
    diffusionPlan:
      diffusing &&
      ((quality) => {
        const held = native.diffusionLoaded() ? diffusing : plain;
        return planned(withFree(target, door, held.total), 'diffusion', quality);
      }),
    residentBefore,
    libtorch: found,
  };
}

/** What the policy decides from, once the engine is open. */
export function deviceFacts(
  door: Door,
  engine: Engine,
  libtorch: Libtorch,
  refused: readonly Refusal[],
): DeviceFacts {
  const cuda = door.cudaFacts();
  // libtorch wakes CUDA up when it is asked, so it is asked only where there is something to find.
  const seen = cuda && libtorch.cuda ? engine.cuda() : { available: false, architectures: [] };
  const refusal = refused.find(({ source }) => source === 'CUDA')?.reason;
  return {
    cpu: door.cpuFacts(),
    cuda,
    libtorch: { version: libtorch.version, cuda: libtorch.cuda, refusal, ...seen },
  };
}

/** The plan of a model with one of its decoders. */
function planFor(
  model: string,
  manifest: Manifest,
  { dtype, quantization }: DevicePolicy,
  { batchSize, maxSeconds }: ResolvedLoadOptions,
): (device: PlannedDevice, decoder: MemoryPlan['decoder'], quality?: MemoryPlan['quality']) => MemoryPlan {
  return (device, decoder, quality = 'stream') =>
    planMemory(
      sizesOfManifest(manifest),
      device,
      { dtype, quantization, decoder, batchSize, maxSeconds, quality },
      {
        model,
        runtimeOpen: true,
        allows: ({ quantization: other }) => isLoadable(storedQuantization(manifest), other),
      },
    );
}

/** A device with what is free of it now, and what is held already; as it was where nobody tells what is free. */
function withFree(device: PlannedDevice, door: Door, held: number): PlannedDevice {
  if (device.computeCapability === null) return { ...device, available: door.cpuFacts().freeMemory + held };
  const gpu = door.cudaFacts()?.devices.find(({ index }) => `cuda:${index}` === device.id);
  return gpu?.freeMemory == null ? device : { ...device, available: gpu.freeMemory + held };
}

/** A plan that fits; ERR_OUT_OF_MEMORY, with the numbers and what would fit, for one that does not. */
function requireRoom(plan: MemoryPlan): MemoryPlan {
  if (plan.fits) return plan;
  const parts = Object.entries(plan.parts)
    .filter(([, bytes]) => bytes > 0)
    .map(([part, bytes]) => `${part} ${sizeWords(bytes)}`)
    .join(', ');
  throw new MetaVoiceError(
    'ERR_OUT_OF_MEMORY',
    `expected ${plan.model} to fit ${plan.device} but ${plan.advice} (${parts}); or use another device`,
    { details: { plan } },
  );
}

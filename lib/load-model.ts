/** The steps from resolved options to networks that run: engine, device, model folder, weights. */

import { bundledModel, namesBundled } from './bundled.js';
import { asking, type CallSite } from './call-site.js';
import type { Manifest } from './checkpoint/manifest.js';
import { openModel } from './checkpoint/open.js';
import { describeModel } from './describe-model.js';
import { positionsOf, rowsOf } from './device/memory.js';
import { sizesOfManifest } from './device/model-sizes.js';
import { type MemoryPlan, planMemory } from './device/plan.js';
import { type DeviceFacts, type DevicePolicy, resolveDevicePolicy } from './device/policy.js';
import { MetaVoiceError } from './errors.js';
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
  /** The model folder; of published files, their converted form in the cache. */
  readonly folder: string;
  /** The folder or the hub id as the user named it, for messages. */
  readonly source: string;
  readonly policy: DevicePolicy;
  /** What was planned for. */
  readonly plan: MemoryPlan;
  /** The same with the diffusion decoder, which is loaded when it first speaks; null where the model has none. */
  readonly diffusionPlan: MemoryPlan | null;
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

  const facts = deviceFacts(loadDoor(), engine, libtorch, refused);
  const policy = resolveDevicePolicy(facts, options);
  const { device, dtype, reason } = policy;
  if (policy.fellBack) logger.warn?.({ device, dtype, reason }, `computing on the CPU: ${reason}`);
  else logger.info?.({ device, dtype, reason }, `computing on ${device} in ${dtype}: ${reason}`);

  const { folder, manifest } = await openModel(await findModel(model, options), {
    dtype,
    ...(signal && { signal }),
    ...(onProgress && {
      onProgress: ({ bytes, totalBytes }) => onProgress({ phase: 'convert', bytes, totalBytes }),
    }),
  });
  signal?.throwIfAborted();

  const planned = planFor(model, manifest, policy, facts, options);
  const plan = requireRoom(planned('encodec'));
  const diffusionPlan = manifest.diffusion ? planned('diffusion') : null;
  const residentBefore = process.memoryUsage.rss();
  onProgress?.({ phase: 'load', part: 'model' });
  const sizes = sizesOfManifest(manifest);
  const cache = { cacheRows: rowsOf(sizes), cachePositions: positionsOf(sizes, options) };
  const run = { device, dtype, batchSize, maxQueue, ...cache, deterministic };
  const description = describeModel(folder, manifest, run);
  const native = await asking(site, () => engine.loadModel(description));
  if (signal?.aborted) {
    await native.dispose();
    throw signal.reason;
  }
  const found = { version: libtorch.version, directory: libtorch.directory, source: libtorch.source };
  return {
    native,
    engine,
    manifest,
    folder,
    source: model,
    policy,
    plan,
    diffusionPlan,
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
  policy: DevicePolicy,
  facts: DeviceFacts,
  { batchSize, maxSeconds }: ResolvedLoadOptions,
): (decoder: MemoryPlan['decoder']) => MemoryPlan {
  const { dtype, quantization } = policy;
  const device = plannedDevice(policy, facts);
  return (decoder) =>
    planMemory(
      sizesOfManifest(manifest),
      device,
      { dtype, quantization, decoder, batchSize, maxSeconds },
      {
        model,
        runtimeOpen: true,
        allows: (alternative) => alternative.quantization === 'none',
      },
    );
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

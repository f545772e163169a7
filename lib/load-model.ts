/** The steps from resolved options to networks that run: engine, device, model folder, weights. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { asking, type CallSite } from './call-site.js';
import { type Manifest, manifestFile } from './checkpoint/manifest.js';
import { openModel } from './checkpoint/open.js';
import { describeModel } from './describe-model.js';
import { type DeviceFacts, type DevicePolicy, resolveDevicePolicy } from './device/policy.js';
import { MetaVoiceError } from './errors.js';
import type { Door, Engine, NativeModel } from './native/contract.js';
import type { ResolvedLoadOptions } from './resolve-options.js';
import { loadDoor, loadEngine, outsideArchive } from './runtime/load.js';

export interface LoadedModel {
  readonly native: NativeModel;
  readonly engine: Pick<Engine, 'sampleDistribution'>;
  readonly manifest: Manifest;
  /** The model folder; of published files, their converted form in the cache. */
  readonly folder: string;
  /** The folder as the user named it, for messages. */
  readonly source: string;
  readonly policy: DevicePolicy;
  readonly libtorch: { readonly version: string; readonly directory: string; readonly source: string };
}

/**
 * Opens the engine, decides device and dtype, finds (and if need be converts) the model, loads it.
 *
 * @throws MetaVoiceError ERR_RUNTIME_NOT_FOUND, ERR_CUDA_UNAVAILABLE, ERR_DTYPE_UNSUPPORTED, ERR_MODEL_NOT_FOUND,
 * ERR_CHECKPOINT, ERR_OUT_OF_MEMORY; the signal's own reason.
 */
export async function loadModel(options: ResolvedLoadOptions, site: CallSite): Promise<LoadedModel> {
  const { signal, logger, onProgress, batchSize, deterministic } = options;
  signal?.throwIfAborted();
  const model = options.model === 'bundled' ? bundledModel() : options.model;

  onProgress?.({ phase: 'load', part: 'runtime' });
  const { engine, libtorch } = await loadEngine(options.libtorch ? { libtorch: options.libtorch } : {});
  signal?.throwIfAborted();

  const policy = resolveDevicePolicy(deviceFacts(loadDoor(), engine, libtorch.cuda), options);
  const { device, dtype, reason } = policy;
  if (policy.fellBack) logger.warn?.({ device, dtype, reason }, `computing on the CPU: ${reason}`);
  else logger.info?.({ device, dtype, reason }, `computing on ${device} in ${dtype}: ${reason}`);

  const { folder, manifest } = await openModel(model, {
    dtype,
    ...(signal && { signal }),
    ...(onProgress && {
      onProgress: ({ bytes, totalBytes }) => onProgress({ phase: 'convert', bytes, totalBytes }),
    }),
  });
  signal?.throwIfAborted();

  onProgress?.({ phase: 'load', part: 'model' });
  const description = describeModel(folder, manifest, { device, dtype, batchSize, deterministic });
  const native = await asking(site, () => engine.loadModel(description));
  if (signal?.aborted) {
    await native.dispose();
    throw signal.reason;
  }
  const found = { version: libtorch.version, directory: libtorch.directory, source: libtorch.source };
  return { native, engine, manifest, folder, source: model, policy, libtorch: found };
}

/** What the policy decides from, once the engine is open. */
export function deviceFacts(door: Door, engine: Engine, cudaBuild: boolean): DeviceFacts {
  const cuda = door.cudaFacts();
  // libtorch wakes CUDA up when it is asked, so it is asked only where there is something to find.
  const seen = cuda && cudaBuild ? engine.cuda() : { available: false, architectures: [] };
  return {
    cpu: door.cpuFacts(),
    cuda,
    libtorch: { version: engine.libtorchVersion, cuda: cudaBuild, ...seen },
  };
}

function bundledModel(): string {
  // Weights are mapped, which cannot be done inside Electron's archive.
  const folder = outsideArchive(fileURLToPath(new URL('../voices/bundled', import.meta.url)));
  if (existsSync(join(folder, manifestFile))) return folder;
  throw new MetaVoiceError(
    'ERR_MODEL_NOT_FOUND',
    `expected a bundled model at ${folder} but this version ships none; name a folder with the published files in the option \`model\` or in METAVOICE_MODEL`,
    { details: { model: 'bundled', folder } },
  );
}

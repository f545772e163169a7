import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { setImmediate as rest } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { fromNative, MetaVoiceError } from '../errors.js';
import type { CudaFacts, Door, Engine } from '../native/contract.js';
import { chooseCudaVariant, refuseCuda } from './cuda-builds.js';
import { installManaged, type Progress } from './install.js';
import {
  baseVersion,
  explainRefusals,
  type Libtorch,
  libraryFile,
  type Refusal,
  resolveLibtorch,
} from './libtorch.js';

export type { Libtorch, Progress, Refusal };

export interface LoadedEngine {
  engine: Engine;
  libtorch: Libtorch;
  /** Places that were looked at and not taken, and CUDA libraries that could not be opened, with the reasons. */
  refused: Refusal[];
}

const require = createRequire(import.meta.url);
const packageRoot = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** The loader of the system knows nothing of Electron's archives; what it opens lies unpacked beside them. */
export const outsideArchive = (path: string): string =>
  path.replace(/([/\\]app\.asar)(?=[/\\])/, '$1.unpacked');

// ------------------------------------------------------------------------------------------ the door

let door: { door: Door; file: string } | undefined;

/**
 * The torch-free part of the addon: `METAVOICE_ADDON` when set, else what was built here, else the prebuilt binary.
 * Cheap, and cached. Throws `ERR_RUNTIME_NOT_FOUND`.
 */
export function loadDoor(): Door {
  return openDoor().door;
}

/** Path of the addon that `loadDoor` opens; the engine and the kernels lie beside it. Throws `ERR_RUNTIME_NOT_FOUND`. */
export function addonFile(): string {
  return openDoor().file;
}

function openDoor(): { door: Door; file: string } {
  if (door) return door;
  let file: string | undefined;
  try {
    file = findAddon();
    door = { door: require(file) as Door, file };
    return door;
  } catch (error) {
    if (MetaVoiceError.isInstance(error)) throw error;
    throw addonNotFound(file, error);
  }
}

function findAddon(): string {
  const ordered = process.env.METAVOICE_ADDON;
  if (ordered) {
    const file = isAbsolute(ordered) ? ordered : resolve(ordered);
    if (existsSync(file)) return file;
    throw new MetaVoiceError(
      'ERR_RUNTIME_NOT_FOUND',
      `METAVOICE_ADDON is \`${ordered}\`, and there is no such file: set it to the path of a metavoice.node, or unset it`,
      { details: { addon: file } },
    );
  }
  const { path } = require('node-gyp-build') as { path(directory: string): string };
  return outsideArchive(path(packageRoot));
}

function addonNotFound(file: string | undefined, cause: unknown): MetaVoiceError {
  const musl = process.platform === 'linux' && isMusl();
  const platform = `${process.platform}-${process.arch}${musl ? ' (musl)' : ''}`;
  const places = file
    ? [file]
    : [
        join(packageRoot, 'build', 'Release'),
        join(packageRoot, 'prebuilds', `${process.platform}-${process.arch}`),
      ].map(outsideArchive);
  const advice = musl
    ? 'libtorch exists for glibc only: use a glibc system, such as an image based on Debian'
    : `build it with \`node ${join(packageRoot, 'scripts', 'build.mjs')}\` (needs CMake and a C++20 compiler)`;
  const words = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause);
  return new MetaVoiceError(
    'ERR_RUNTIME_NOT_FOUND',
    `the addon of metavoice could not be opened for ${platform}, Node ${process.versions.node}. Looked in ${places.join(' and ')}: ${words}. To mend it, ${advice}.`,
    { cause, details: { platform, places, musl } },
  );
}

const isMusl = (): boolean => existsSync('/etc/alpine-release') || glibcVersion() === null;

/** Version of the glibc that Node runs on: `2.36`. Null where there is none (musl), `unknown` where Node does not say. */
export function glibcVersion(): string | null {
  try {
    // Otherwise the report asks the name service about every open socket.
    (process.report as { excludeNetwork?: boolean }).excludeNetwork = true;
    const { header } = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
    return header?.glibcVersionRuntime ?? null;
  } catch {
    return 'unknown';
  }
}

// ------------------------------------------------------------------------------------------ the engine

let loading: { option: string | undefined; result: Promise<LoadedEngine> } | undefined;

/**
 * Finds libtorch, opens it and then the engine, once for the process. `options.libtorch` is the folder of a libtorch;
 * a process that has opened one can't change to another.
 *
 * Rejects with `ERR_RUNTIME_NOT_FOUND`, which lists every place that was looked at and why it would not do.
 */
export function loadEngine(options: { libtorch?: string } = {}): Promise<LoadedEngine> {
  const option = options.libtorch === undefined ? undefined : resolve(options.libtorch);
  if (!loading) return startLoading(option);
  const { result, option: before } = loading;
  if (option === undefined || option === before) return result;
  return result.then((loaded) => {
    if ([option, join(option, 'torch'), join(option, 'libtorch')].includes(loaded.libtorch.directory))
      return loaded;
    throw new MetaVoiceError(
      'ERR_RUNTIME_NOT_FOUND',
      `libtorch ${option} cannot be opened: this process already uses ${loaded.libtorch.directory}. Give the same folder everywhere, or use another process.`,
      { details: { asked: option, inUse: loaded.libtorch.directory } },
    );
  });
}

function startLoading(option: string | undefined): Promise<LoadedEngine> {
  const result = findAndOpen(option);
  const entry = { option, result };
  loading = entry;
  // What failed may be mended (`metavoice setup`), so the next call looks again.
  result.catch(() => {
    if (loading === entry) loading = undefined;
  });
  return result;
}

async function findAndOpen(option: string | undefined): Promise<LoadedEngine> {
  const { door, file } = openDoor();
  // Finding and opening the addon takes some milliseconds the first time; others get their turn before it goes on.
  await rest();
  const engineFile = join(
    dirname(file),
    process.platform === 'darwin' ? 'libmetavoice.dylib' : 'libmetavoice.so',
  );
  if (!existsSync(engineFile))
    throw new MetaVoiceError(
      'ERR_RUNTIME_NOT_FOUND',
      `the engine of metavoice is not where it belongs: expected ${engineFile}. Reinstall the package, or build it with \`node ${join(packageRoot, 'scripts', 'build.mjs')}\`.`,
      { details: { engine: engineFile } },
    );

  const facts = door.cudaFacts();
  const { variant } = chooseCudaVariant(facts);
  const { found, refused } = await resolveLibtorch({
    ...(option === undefined ? {} : { option }),
    required: door.libtorchVersion,
    cudaVariant: variant,
    refuseCuda: ({ version }) => refuseCuda(version, facts),
  });
  if (!found) throw libtorchNotFound(door.libtorchVersion, refused);

  try {
    await openLibtorch(door, found, facts, refused);
    const engine = door.openEngine([], engineFile);
    if (baseVersion(engine.libtorchVersion) !== door.libtorchVersion)
      throw new MetaVoiceError(
        'ERR_RUNTIME_NOT_FOUND',
        `${found.directory} calls itself ${found.version} but runs as ${engine.libtorchVersion}; this build of metavoice needs ${door.libtorchVersion}`,
      );
    return { engine, libtorch: found, refused };
  } catch (error) {
    throw fromNative(error);
  }
}

/** CUDA's libraries go in before anything of ATen runs: asked earlier, it stays off for the whole process. */
async function openLibtorch(
  door: Door,
  libtorch: Libtorch,
  facts: CudaFacts | null,
  refused: Refusal[],
): Promise<void> {
  const file = (name: string): string => join(outsideArchive(libtorch.directory), 'lib', libraryFile(name));
  await door.openLibraries([file('c10'), file('torch_cpu')]);
  if (!libtorch.cuda) return;
  const reason = refuseCuda(libtorch.version, facts);
  if (reason !== null) {
    refused.push({ source: 'CUDA', directory: file('torch_cuda'), reason });
    return;
  }
  try {
    await door.openLibraries([file('c10_cuda'), file('torch_cuda')]);
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    refused.push({ source: 'CUDA', directory: file('torch_cuda'), reason: words });
  }
}

function libtorchNotFound(version: string, refused: Refusal[]): MetaVoiceError {
  return new MetaVoiceError(
    'ERR_RUNTIME_NOT_FOUND',
    `libtorch ${version} was not found. Looked at:\n${explainRefusals(refused)}\nRun \`npx metavoice setup\` to fetch it (about 200 MB, \`--cuda\` for NVIDIA GPUs), or set METAVOICE_LIBTORCH to the folder of a libtorch ${version}.`,
    { details: { version, refused } },
  );
}

// ------------------------------------------------------------------------------------------ setup

export interface SetupOptions {
  /** True chooses the CUDA build from driver and devices; a name (`cu126`, `cu130`) is taken as it is. */
  cuda?: boolean | 'cu126' | 'cu130';
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

/**
 * Fetches the libtorch that this build needs into the user's cache, with pip; at once when it is there already.
 *
 * Rejects with `ERR_CUDA_UNAVAILABLE` when no CUDA build serves this machine, `ERR_RUNTIME_NOT_FOUND` when it can't be
 * fetched, and the signal's own reason.
 */
export async function setupRuntime(options: SetupOptions = {}): Promise<Libtorch & { reason: string }> {
  const { cuda = false, onProgress, signal } = options;
  const door = loadDoor();
  const choice =
    typeof cuda === 'string'
      ? { variant: cuda, reason: 'as asked for' }
      : cuda
        ? chooseCudaVariant(door.cudaFacts())
        : { variant: null, reason: 'the CPU build, unless CUDA is asked for' };
  if (cuda && choice.variant === null)
    throw new MetaVoiceError(
      'ERR_CUDA_UNAVAILABLE',
      `no CUDA build of libtorch serves this machine: ${choice.reason}`,
      { details: { cuda: door.cudaFacts() } },
    );
  try {
    const libtorch = await installManaged({
      version: door.libtorchVersion,
      cuda: choice.variant,
      ...(onProgress ? { onProgress } : {}),
      ...(signal ? { signal } : {}),
    });
    return { ...libtorch, reason: choice.reason };
  } catch (error) {
    throw fromNative(error);
  }
}

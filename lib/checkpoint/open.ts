import { readdir, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MetaVoiceError } from '../errors.js';
import { expectedType, isPlainObject, isString } from '../is.js';
import type { Dtype } from '../native/contract.js';
import { cacheDirectory } from '../runtime/paths.js';
import { planFolder, planPaths, writeWhole } from './convert.js';
import { type Manifest, manifestFile } from './manifest.js';
import { checkModelFolder } from './model-folder.js';
import type { ModelPlan } from './plan-model.js';
import { modelNotFound, type PublishedPaths, publishedNames } from './sources.js';
import type { WriteOptions } from './write-model.js';

export interface OpenOptions extends WriteOptions {
  /** For files that are converted; a model folder is used with the dtype that it has. */
  dtype: Dtype;
  /** Where conversions are kept; `METAVOICE_CACHE` or the platform's cache by default. */
  cacheDirectory?: string | undefined;
}

export interface OpenedModel {
  /** Absolute path of the model folder. */
  folder: string;
  manifest: Manifest;
}

/** Unfinished conversions of processes that died are removed when they are so old (ms). */
const stale = 24 * 3600 * 1000;

/**
 * The model folder behind a path: the folder itself when it has `metavoice.json` (checked: files, sizes, headers), else
 * the conversion of the published files in it, or of those at given places, made on first use and kept in the cache. Any
 * number of processes may do so at once.
 *
 * Rejects with ERR_MODEL_NOT_FOUND (every place looked at), ERR_CHECKPOINT, the errors of the file system, or the
 * signal's own reason.
 */
export async function openModel(model: string | PublishedPaths, options: OpenOptions): Promise<OpenedModel> {
  const { dtype, signal } = options;
  signal?.throwIfAborted();
  if (isPlainObject(model)) return openConverted(await planPaths(model, dtype), options);
  if (!isString(model)) throw expectedType('a path', 'model', model);
  const folder = resolve(model);
  await requireFolder(model, folder);
  if (await exists(join(folder, manifestFile))) return { folder, manifest: await checkModelFolder(folder) };
  return openConverted(await planFolder(folder, dtype), options);
}

async function openConverted(plan: ModelPlan, options: OpenOptions): Promise<OpenedModel> {
  const cache = join(options.cacheDirectory ?? cacheDirectory(), 'models');
  const kept = resolve(cache, plan.provenance.digest.slice(0, 32));
  const before = await reuse(kept);
  if (before) return { folder: kept, manifest: before };
  await removeStale(cache);
  await writeWhole(plan, kept, { ...options, lateIsFine: true });
  return { folder: kept, manifest: await checkModelFolder(kept) };
}

const exists = async (path: string): Promise<boolean> => (await stat(path).catch(() => null)) !== null;

async function requireFolder(model: string, folder: string): Promise<void> {
  const facts = await stat(folder).catch(() => null);
  if (facts?.isDirectory()) return;
  throw modelNotFound(
    model,
    [manifestFile, ...publishedNames].map((name) => join(folder, name)),
    facts ? 'it is a file, not a folder' : 'there is no such folder',
  );
}

/** A kept conversion that is sound; one that is not is removed, so that it is made again. */
async function reuse(kept: string): Promise<Manifest | null> {
  if (!(await exists(kept))) return null;
  try {
    return await checkModelFolder(kept);
  } catch (error) {
    if (!MetaVoiceError.isInstance(error)) throw error;
    await rm(kept, { recursive: true, force: true });
    return null;
  }
}

async function removeStale(cache: string): Promise<void> {
  const names = await readdir(cache).catch(() => []);
  for (const name of names.filter((entry) => entry.endsWith('.partial'))) {
    const path = join(cache, name);
    const facts = await stat(path).catch(() => null);
    if (facts && Date.now() - facts.mtimeMs > stale) await rm(path, { recursive: true, force: true });
  }
}

import { readdir, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MetaVoiceError } from '../errors.js';
import { expectedType, isPlainObject, isString } from '../is.js';
import type { Dtype, Quantization } from '../native/contract.js';
import { cacheDirectory } from '../runtime/paths.js';
import { planFolder, planPaths, writeWhole } from './convert.js';
import { type LeftOut, optionalParts } from './left-out.js';
import { type Manifest, manifestFile } from './manifest.js';
import { checkModelFolder } from './model-folder.js';
import { sourceOf } from './part.js';
import { type ModelPlan, quantizedPlan } from './plan-model.js';
import { modelNotFound, type PublishedPaths, publishedNames } from './sources.js';
import type { WriteOptions } from './write-model.js';

export interface OpenOptions extends WriteOptions {
  /** For files that are converted; a model folder is used with the dtype that it has. */
  dtype: Dtype;
  /** What the conversion of files holds the first stage as; whole by default. A model folder is not touched by it. */
  quantization?: Quantization | undefined;
  /** Where conversions are kept; `METAVOICE_CACHE` or the platform's cache by default. */
  cacheDirectory?: string | undefined;
}

export interface OpenedModel {
  /** Absolute path of the model folder. */
  folder: string;
  manifest: Manifest;
  /** Optional parts whose files were refused; the manifest has none of them. */
  leftOut: LeftOut;
}

/** Unfinished conversions of processes that died are removed when they are so old (ms). */
const stale = 24 * 3600 * 1000;

/**
 * The model folder behind a path: the folder itself when it has `metavoice.json` (checked: files, sizes, headers), else
 * the conversion of the published files in it, or of those at given places, made on first use and kept in the cache. Any
 * number of processes may do so at once. An optional part that is refused is left out.
 *
 * Rejects with ERR_MODEL_NOT_FOUND (every place looked at), ERR_CHECKPOINT, the errors of the file system, or the
 * signal's own reason.
 */
export async function openModel(model: string | PublishedPaths, options: OpenOptions): Promise<OpenedModel> {
  const { dtype, signal } = options;
  signal?.throwIfAborted();
  const leftOut: LeftOut = new Map();
  if (isPlainObject(model))
    return openConverted(await planPaths(model, dtype, undefined, leftOut), leftOut, options);
  if (!isString(model)) throw expectedType('a path', 'model', model);
  const folder = resolve(model);
  await requireFolder(model, folder);
  if (await exists(join(folder, manifestFile)))
    return { folder, manifest: await checkModelFolder(folder, leftOut), leftOut };
  return openConverted(await planFolder(folder, dtype, undefined, leftOut), leftOut, options);
}

async function openConverted(whole: ModelPlan, leftOut: LeftOut, options: OpenOptions): Promise<OpenedModel> {
  const plan = quantizedPlan(whole, options.quantization ?? 'none');
  const cache = join(options.cacheDirectory ?? cacheDirectory(), 'models');
  const kept = resolve(cache, plan.provenance.digest.slice(0, 32));
  if (!(await isKept(kept, plan))) {
    await removeStale(cache);
    await writeWhole(plan, kept, { ...options, lateIsFine: true, leavesOut: true });
  }
  return { folder: kept, manifest: await checkModelFolder(kept, leftOut), leftOut };
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

/** Whether there is a conversion that is sound; one that is not is removed, so that it is made again. */
async function isKept(kept: string, plan: ModelPlan): Promise<boolean> {
  if (!(await exists(kept))) return false;
  try {
    if (!(await isMended(await checkModelFolder(kept), plan))) return true;
  } catch (error) {
    if (!MetaVoiceError.isInstance(error)) throw error;
  }
  await rm(kept, { recursive: true, force: true });
  return false;
}

/** Whether a file was written anew since its part was left out of a conversion: what names the content may be the same. */
async function isMended({ provenance }: Manifest, plan: ModelPlan): Promise<boolean> {
  for (const name of optionalParts) {
    const [refused, part] = [provenance.leftOut?.[name], plan[name]];
    if (refused && part && (await stat(sourceOf(part))).mtimeMs !== refused.modified) return true;
  }
  return false;
}

async function removeStale(cache: string): Promise<void> {
  const names = await readdir(cache).catch(() => []);
  for (const name of names.filter((entry) => entry.endsWith('.partial'))) {
    const path = join(cache, name);
    const facts = await stat(path).catch(() => null);
    if (facts && Date.now() - facts.mtimeMs > stale) await rm(path, { recursive: true, force: true });
  }
}

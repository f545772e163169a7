import { randomBytes } from 'node:crypto';
import type { Stats } from 'node:fs';
import { mkdir, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { MetaVoiceError } from '../errors.js';
import { expectedRange, expectedType, isPlainObject, isString } from '../is.js';
import type { Dtype, Quantization } from '../native/contract.js';
import { namesIn, statOf } from './file-asks.js';
import { parseLayers } from './keep-layers.js';
import { type LeftOut, requireAny } from './left-out.js';
import { type Manifest, manifestFile } from './manifest.js';
import { partNames } from './part.js';
import { planModelFolder } from './plan-folder.js';
import { type ModelPlan, planningModel, quantizedPlan } from './plan-model.js';
import { ask, type Reading, readAsync, readSync } from './reading.js';
import {
  findingPublished,
  modelNotFound,
  type PublishedPaths,
  publishedNames,
  readingPublished,
} from './sources.js';
import { type ConvertProgress, flushFolder, type WriteOptions, writeModel } from './write-model.js';

export type { ConvertProgress };

export interface ConvertOptions extends WriteOptions {
  /** What the numbers of the language models and of diffusion are stored as; the other parts are always float32. */
  dtype: Dtype;
  /** Layers of the first stage to keep, such as `0-11,18-23`; all by default. */
  keepLayers?: string | undefined;
  /** What the matrices of the first stage's layers are stored as; 'none', whole, by default. */
  quantization?: Quantization | undefined;
}

/**
 * Turns a folder of published files (`first_stage.pt`, `second_stage.pt`, `speaker_encoder.pt`, EnCodec's
 * `encodec_24khz*.th` or a safetensors file of it, `mbd_comp_8.pt`, DeepFilterNet3's folder, zip or safetensors file; absent ones
 * become null parts, of the last two nothing), or the files at given places, into a
 * model folder that is mapped, not read: `metavoice.json` and safetensors files. To be quantised, the source may also be a
 * model folder with whole weights. `destination` must not exist, or be empty; it appears whole or not at all.
 *
 * Rejects with TypeError or RangeError for the arguments, ERR_MODEL_NOT_FOUND when nothing is there, ERR_CHECKPOINT
 * (file, tensor, expected and found in `details`) for files that are damaged, unsafe or of another model, ERR_UNSUPPORTED
 * for a model folder that is quantised already, the errors of
 * the file system, and the signal's own reason.
 */
export async function convertModel(
  source: string | PublishedPaths,
  destination: string,
  options: ConvertOptions,
): Promise<Manifest> {
  requireArguments(source, destination, options);
  const { dtype, keepLayers, quantization = 'none', signal } = options;
  signal?.throwIfAborted();
  const target = resolve(destination);
  await requireVacant(target);
  const plan = await (isString(source)
    ? planSource(resolve(source), options)
    : planPaths(source, dtype, keepLayers));
  if (quantization !== 'none' && !plan.firstStage)
    throw new MetaVoiceError(
      'ERR_MODEL_NOT_FOUND',
      '`quantization` is of the first stage, which is not there; add first_stage.pt or leave the option out',
    );
  return writeWhole(quantizedPlan(plan, quantization), target, options);
}

/** A model folder may be written anew only where that changes something. */
async function planSource(
  folder: string,
  { dtype, keepLayers, quantization = 'none' }: ConvertOptions,
): Promise<ModelPlan> {
  const anew = quantization !== 'none' && keepLayers === undefined;
  return anew && (await stat(join(folder, manifestFile)).catch(() => null))
    ? planModelFolder(folder, dtype)
    : planFolder(folder, dtype, keepLayers);
}

function requireArguments(
  source: string | PublishedPaths,
  destination: string,
  { dtype, keepLayers, quantization }: ConvertOptions,
): void {
  if (!isString(source) && !isPlainObject(source)) throw expectedType('a path', 'source', source);
  if (!isString(destination) || destination === '') throw expectedType('a path', 'destination', destination);
  if (!isString(dtype)) throw expectedType('float32, float16 or bfloat16', 'dtype', dtype);
  if (!['float32', 'float16', 'bfloat16'].includes(dtype))
    throw expectedRange('float32, float16 or bfloat16', 'dtype', dtype);
  if (keepLayers !== undefined) parseLayers(keepLayers);
  const kind = quantization === undefined ? 'none' : quantization;
  if (!isString(kind)) throw expectedType('none, int8 or int4', 'quantization', kind);
  if (!['none', 'int8', 'int4'].includes(kind))
    throw expectedRange('none, int8 or int4', 'quantization', kind);
}

async function requireVacant(folder: string): Promise<void> {
  const entries = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    if (error.code === 'ENOTDIR') return [''];
    throw error;
  });
  if (entries.length > 0)
    throw expectedRange('a folder that does not exist yet or is empty', 'destination', folder);
}

/**
 * What a folder of published files would become. Rejects with ERR_MODEL_NOT_FOUND when there are none.
 *
 * @param leftOut takes note of optional parts that are refused; null: they refuse the folder
 */
export const planFolder = (
  folder: string,
  dtype: Dtype,
  keepLayers?: string,
  leftOut: LeftOut | null = null,
): Promise<ModelPlan> => readAsync(planningFolder(folder, dtype, keepLayers, leftOut));

/** `planFolder`, at once; throws the same errors. */
export const planFolderSync = (
  folder: string,
  dtype: Dtype,
  keepLayers?: string,
  leftOut: LeftOut | null = null,
): ModelPlan => readSync(planningFolder(folder, dtype, keepLayers, leftOut));

function* planningFolder(
  folder: string,
  dtype: Dtype,
  keepLayers: string | undefined,
  leftOut: LeftOut | null,
): Reading<ModelPlan> {
  const places = publishedNames.map((name) => join(folder, name));
  const facts = yield* factsOf(folder);
  if (!facts) throw modelNotFound(folder, places, 'there is no such folder');
  if (!facts.isDirectory()) throw modelNotFound(folder, places, 'it is a file, not a folder');
  const files = yield* findingPublished(folder, leftOut);
  requireAny(Object.values(files), leftOut);
  if (partNames.every((name) => !files[name])) {
    const entries = yield* ask(namesIn(folder));
    if (entries.includes(manifestFile))
      throw new MetaVoiceError(
        'ERR_MODEL_NOT_FOUND',
        `${folder} is a model folder already (it has ${manifestFile}); use it as it is, convert from the published files, or give \`quantization\` to quantise it`,
        { details: { model: folder } },
      );
    throw modelNotFound(folder, places, 'the folder has none of the files');
  }
  return yield* planningModel(files, dtype, keepLayers, leftOut);
}

/** What files at given places would become, such as those of several repositories of the hub. `leftOut` as for `planFolder`. */
export const planPaths = (
  paths: PublishedPaths,
  dtype: Dtype,
  keepLayers?: string,
  leftOut: LeftOut | null = null,
): Promise<ModelPlan> => readAsync(planningPaths(paths, dtype, keepLayers, leftOut));

/** `planPaths`, at once; throws the same errors. */
export const planPathsSync = (
  paths: PublishedPaths,
  dtype: Dtype,
  keepLayers?: string,
  leftOut: LeftOut | null = null,
): ModelPlan => readSync(planningPaths(paths, dtype, keepLayers, leftOut));

function* planningPaths(
  paths: PublishedPaths,
  dtype: Dtype,
  keepLayers: string | undefined,
  leftOut: LeftOut | null,
): Reading<ModelPlan> {
  return yield* planningModel(yield* readingPublished(paths), dtype, keepLayers, leftOut);
}

function* factsOf(path: string): Reading<Stats | null> {
  try {
    return yield* ask(statOf(path));
  } catch {
    return null;
  }
}

/**
 * Writes a model into a new folder beside the target and renames it there at the end; nothing stays behind when that
 * fails. With `lateIsFine`, a target that appeared meanwhile is left as it is.
 */
export async function writeWhole(
  plan: ModelPlan,
  target: string,
  options: WriteOptions & { lateIsFine?: boolean },
): Promise<Manifest> {
  await mkdir(dirname(target), { recursive: true });
  const partial = `${target}.${process.pid}-${randomBytes(4).toString('hex')}.partial`;
  await mkdir(partial);
  try {
    const manifest = await writeModel(plan, partial, options);
    options.signal?.throwIfAborted();
    await moveInto(partial, target, options.lateIsFine ?? false);
    return manifest;
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

async function moveInto(partial: string, target: string, lateIsFine: boolean): Promise<void> {
  // An empty folder in the place gives way; one with anything in it stays.
  await rmdir(target).catch(() => {});
  try {
    await rename(partial, target);
  } catch (error) {
    const taken = ['ENOTEMPTY', 'EEXIST', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '');
    if (taken && lateIsFine && (await stat(join(target, manifestFile)).catch(() => null))) return;
    throw error;
  }
  await flushFolder(dirname(target));
}

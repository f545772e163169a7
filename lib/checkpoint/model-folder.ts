import { join } from 'node:path';
import { MetaVoiceError } from '../errors.js';
import { readingFile } from './byte-reader.js';
import { compareTensors } from './compare.js';
import { isStatistic } from './diffusion.js';
import { enhancerTensors } from './enhancer.js';
import { statOf } from './file-asks.js';
import { type LeftOut, optionalParts, requireAny, unlessRefused } from './left-out.js';
import { type Manifest, type PartManifest, readingManifest } from './manifest.js';
import {
  codecTensors,
  diffusionTensors,
  type Expected,
  speakerEncoderTensors,
  transformerTensors,
} from './names.js';
import { partNames, shapesOf } from './part.js';
import { all, ask, type Reading, readAsync, readSync } from './reading.js';
import { refuseCheckpoint } from './refuse.js';
import { readingSafetensors } from './safetensors.js';

type ExpectedOf = (found: ReadonlyMap<string, readonly number[]>) => Expected;

/**
 * Reads and checks a model folder: the manifest, the files it names, their sizes and headers. The numbers are not read.
 * Rejects with ERR_MODEL_NOT_FOUND (no manifest, a file missing) or ERR_CHECKPOINT.
 *
 * @param leftOut takes note of optional parts that are refused, which the manifest then has not; null: they refuse the folder
 */
export const checkModelFolder = (folder: string, leftOut: LeftOut | null = null): Promise<Manifest> =>
  readAsync(checkingModelFolder(folder, leftOut));

/** `checkModelFolder`, at once; throws the same errors. */
export const checkModelFolderSync = (folder: string, leftOut: LeftOut | null = null): Manifest =>
  readSync(checkingModelFolder(folder, leftOut));

function* checkingModelFolder(folder: string, leftOut: LeftOut | null): Reading<Manifest> {
  const manifest = yield* readingManifest(folder);
  const { firstStage, secondStage, speakerEncoder, codec, diffusion, enhancer } = manifest;
  const checks: (() => Reading<unknown>)[] = [];
  for (const stage of [firstStage, secondStage])
    if (stage) checks.push(() => checkPart(folder, stage, stage.dtype, () => transformerTensors(stage)));
  if (speakerEncoder)
    checks.push(() =>
      checkPart(folder, speakerEncoder, 'float32', () => speakerEncoderTensors(speakerEncoder)),
    );
  if (codec) checks.push(() => checkPart(folder, codec, 'float32', (found) => codecTensors(codec, found)));
  if (enhancer)
    checks.push(() =>
      unlessRefused('enhancer', leftOut, () =>
        checkPart(folder, enhancer, 'float32', (found) => enhancerTensors(enhancer, found)),
      ),
    );
  if (diffusion) {
    const dtype = (name: string) => (isStatistic(name) ? 'float32' : diffusion.dtype);
    checks.push(() =>
      unlessRefused('diffusion', leftOut, () =>
        checkPart(folder, diffusion, dtype, (found) => diffusionTensors(diffusion, found)),
      ),
    );
  }
  yield* all<unknown[]>(checks);
  return without(manifest, leftOut);
}

/** A manifest without what is left out, now or when the folder was made. */
function without(manifest: Manifest, leftOut: LeftOut | null): Manifest {
  if (!leftOut) return manifest;
  for (const part of optionalParts) {
    const before = manifest.provenance.leftOut?.[part];
    if (before) leftOut.set(part, new MetaVoiceError('ERR_CHECKPOINT', before.reason));
    if (leftOut.has(part)) delete manifest[part];
  }
  requireAny(
    partNames.map((name) => manifest[name]),
    leftOut,
  );
  return manifest;
}

function* checkPart(
  folder: string,
  part: PartManifest,
  dtype: string | ((name: string) => string),
  expectedOf: ExpectedOf,
): Reading<void> {
  const file = join(folder, part.file);
  const bytes = yield* sizeOf(file, folder, part);
  if (bytes !== part.bytes)
    throw refuseCheckpoint(
      file,
      `has ${bytes} bytes but the manifest says ${part.bytes}; it is truncated or of another model`,
      { expected: part.bytes, found: bytes },
    );
  const { tensors } = yield* readingFile(file, readingSafetensors);
  const shapes = shapesOf(tensors);
  const wanted = expectedOf(shapes);
  compareTensors(file, wanted, shapes);
  for (const [name, tensor] of tensors) {
    const expected = wanted.get(name)?.dtype ?? (typeof dtype === 'string' ? dtype : dtype(name));
    if (tensor.dtype !== expected)
      throw refuseCheckpoint(file, `tensor ${name} holds ${tensor.dtype} but the manifest says ${expected}`, {
        tensor: name,
        expected,
        found: tensor.dtype,
      });
  }
}

function* sizeOf(file: string, folder: string, part: PartManifest): Reading<number> {
  try {
    return (yield* ask(statOf(file))).size;
  } catch (cause) {
    throw new MetaVoiceError(
      'ERR_MODEL_NOT_FOUND',
      `the manifest names ${part.file} but it is not in ${folder}; copy it there or convert the model again`,
      { cause, details: { file, folder } },
    );
  }
}

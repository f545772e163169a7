import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MetaVoiceError } from '../errors.js';
import { compareTensors } from './compare.js';
import { type Manifest, type PartManifest, readManifest } from './manifest.js';
import { codecTensors, type Expected, speakerEncoderTensors, transformerTensors } from './names.js';
import { shapesOf } from './part.js';
import { refuseCheckpoint } from './refuse.js';
import { readSafetensors } from './safetensors.js';

type ExpectedOf = (found: ReadonlyMap<string, readonly number[]>) => Expected;

/**
 * Reads and checks a model folder: the manifest, the files it names, their sizes and headers. The numbers are not read.
 * Rejects with ERR_MODEL_NOT_FOUND (no manifest, a file missing) or ERR_CHECKPOINT.
 */
export async function checkModelFolder(folder: string): Promise<Manifest> {
  const manifest = await readManifest(folder);
  const { firstStage, secondStage, speakerEncoder, codec } = manifest;
  const checks: Promise<void>[] = [];
  for (const stage of [firstStage, secondStage])
    if (stage) checks.push(checkPart(folder, stage, stage.dtype, () => transformerTensors(stage)));
  if (speakerEncoder)
    checks.push(checkPart(folder, speakerEncoder, 'float32', () => speakerEncoderTensors(speakerEncoder)));
  if (codec) checks.push(checkPart(folder, codec, 'float32', (found) => codecTensors(codec, found)));
  await Promise.all(checks);
  return manifest;
}

async function checkPart(
  folder: string,
  part: PartManifest,
  dtype: string,
  expected: ExpectedOf,
): Promise<void> {
  const file = join(folder, part.file);
  const facts = await stat(file).catch((cause: unknown) => {
    throw new MetaVoiceError(
      'ERR_MODEL_NOT_FOUND',
      `the manifest names ${part.file} but it is not in ${folder}; copy it there or convert the model again`,
      { cause, details: { file, folder } },
    );
  });
  if (facts.size !== part.bytes)
    throw refuseCheckpoint(
      file,
      `has ${facts.size} bytes but the manifest says ${part.bytes}; it is truncated or of another model`,
      { expected: part.bytes, found: facts.size },
    );
  const { tensors } = await readSafetensors(file);
  const shapes = shapesOf(tensors);
  compareTensors(file, expected(shapes), shapes);
  for (const [name, tensor] of tensors)
    if (tensor.dtype !== dtype)
      throw refuseCheckpoint(file, `tensor ${name} holds ${tensor.dtype} but the manifest says ${dtype}`, {
        tensor: name,
        expected: dtype,
        found: tensor.dtype,
      });
}

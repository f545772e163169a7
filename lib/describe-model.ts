/** From what a model folder says of itself to what the engine is told. */

import { join } from 'node:path';
import type { LeftOut, OptionalPart } from './checkpoint/left-out.js';
import type {
  DiffusionManifest,
  EnhancerManifest,
  Manifest,
  TransformerManifest,
} from './checkpoint/manifest.js';
import type { PartName } from './checkpoint/part.js';
import { MetaVoiceError } from './errors.js';
import type {
  DiffusionDescription,
  EnhancerDescription,
  ModelDescription,
  TransformerDescription,
} from './native/contract.js';

const parts: Record<PartName, { words: string; file: string }> = {
  firstStage: { words: 'first stage', file: 'first_stage.pt' },
  secondStage: { words: 'second stage', file: 'second_stage.pt' },
  speakerEncoder: { words: 'speaker encoder', file: 'speaker_encoder.pt' },
  codec: { words: 'EnCodec codec', file: 'encodec_24khz*.th' },
  diffusion: { words: 'diffusion decoder', file: 'mbd_comp_8.pt' },
  enhancer: { words: 'DeepFilterNet3 enhancer', file: 'DeepFilterNet3' },
};

/**
 * The part, or ERR_MODEL_NOT_FOUND with its name and the published file it comes from; ERR_CHECKPOINT, with the cause, for
 * one that was left out.
 */
export function requirePart<P extends PartName>(
  manifest: Manifest,
  part: P,
  folder: string,
  leftOut?: LeftOut,
): NonNullable<Manifest[P]> {
  const found = manifest[part];
  if (found) return found as NonNullable<Manifest[P]>;
  const { words, file } = parts[part];
  if (leftOut?.has(part as OptionalPart)) throw leftOutPart(part as OptionalPart, folder, leftOut);
  throw new MetaVoiceError(
    'ERR_MODEL_NOT_FOUND',
    `expected the ${words} in the model ${folder} but it has none; put \`${file}\` beside the other published files and convert or load them again`,
    { details: { part, file, folder } },
  );
}

/** ERR_CHECKPOINT for the use of a part that could not be read. */
export function leftOutPart(part: OptionalPart, folder: string, leftOut: LeftOut): MetaVoiceError {
  const cause = leftOut.get(part);
  return new MetaVoiceError(
    'ERR_CHECKPOINT',
    `expected the ${parts[part].words} in the model ${folder} but it is left out, as it can't be read: ${cause?.message}; mend or replace its file and load the model again`,
    { cause, details: { part, folder } },
  );
}

/** In words for messages. */
export const wordsOf = (part: PartName): string => parts[part].words;

/** The description that the engine loads. Parts that the manifest lacks are null. */
export function describeModel(
  folder: string,
  manifest: Manifest,
  run: Pick<
    ModelDescription,
    | 'device'
    | 'dtype'
    | 'quantization'
    | 'batchSize'
    | 'maxQueue'
    | 'cacheRows'
    | 'cachePositions'
    | 'deterministic'
  >,
): ModelDescription {
  const { firstStage, secondStage, speakerEncoder, codec, diffusion, enhancer } = manifest;
  return {
    ...run,
    firstStage: firstStage && {
      ...describeTransformer(folder, firstStage),
      codebookSize: firstStageCodebook(folder, manifest, firstStage),
      endOfAudio: firstStage.tokenizer.offset - 1,
      endOfText: endOfText(folder, firstStage),
    },
    secondStage: secondStage && {
      ...describeTransformer(folder, secondStage),
      codebookSize: secondStageCodebook(folder, manifest, secondStage),
    },
    speakerEncoder: speakerEncoder && { file: join(folder, speakerEncoder.file) },
    codec: codec && {
      file: join(folder, codec.file),
      sampleRate: codec.sampleRate,
      ratios: codec.ratios,
      codebooks: codec.codebooks,
    },
    diffusion: diffusion ? describeDiffusion(folder, diffusion) : null,
    enhancer: enhancer ? describeEnhancer(folder, enhancer) : null,
  };
}

function describeEnhancer(folder: string, enhancer: EnhancerManifest): EnhancerDescription {
  const { bytes: _, channels: __, hidden: ___, ...sizes } = enhancer;
  return { ...sizes, file: join(folder, enhancer.file) };
}

function describeTransformer(folder: string, stage: TransformerManifest): TransformerDescription {
  const { heads, norm, normEpsilon, activation } = stage;
  return { file: join(folder, stage.file), heads, norm, normEpsilon, activation };
}

const describeDiffusion = (
  folder: string,
  { file, sampleRate, bands }: DiffusionManifest,
): DiffusionDescription => ({
  file: join(folder, file),
  sampleRate,
  bands: bands.map(({ stride, normGroups, schedule, processor }) => ({
    stride,
    normGroups,
    schedule,
    processor,
  })),
});

/** Ids of the first stage: two codebooks, end of audio, then text from the tokenizer's offset on. */
export function firstStageCodebook(folder: string, manifest: Manifest, stage: TransformerManifest): number {
  return agree(folder, manifest, stage, (stage.tokenizer.offset - 1) / 2);
}

/** Ids of the second stage's second table: one codebook and the padding. */
export function secondStageCodebook(folder: string, manifest: Manifest, stage: TransformerManifest): number {
  return agree(folder, manifest, stage, (stage.vocabularies[1] ?? 0) - 1);
}

function agree(folder: string, manifest: Manifest, stage: TransformerManifest, size: number): number {
  const expected = manifest.codec?.codebookSize ?? size;
  if (Number.isInteger(size) && size > 0 && size === expected) return size;
  throw new MetaVoiceError(
    'ERR_CHECKPOINT',
    `expected codebooks of ${expected} codes in ${join(folder, stage.file)} but its vocabulary makes ${size}; the parts of this model do not belong together`,
    { details: { file: stage.file, expected, found: size } },
  );
}

function endOfText(folder: string, { tokenizer, file }: TransformerManifest): number {
  const id = tokenizer.special['<|endoftext|>'];
  if (id !== undefined) return tokenizer.offset + id;
  throw new MetaVoiceError(
    'ERR_CHECKPOINT',
    `expected the token <|endoftext|> in the tokenizer of ${join(folder, file)} but there is none`,
    { details: { file } },
  );
}

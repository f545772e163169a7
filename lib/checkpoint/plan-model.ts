import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { MetaVoiceError } from '../errors.js';
import type { Dtype, Quantization } from '../native/contract.js';
import { readingFile } from './byte-reader.js';
import { planCodecFromTorch, planningCodecFromSafetensors } from './codec.js';
import { planDiffusion } from './diffusion.js';
import { planEnhancer } from './enhancer.js';
import { readingEnhancer } from './enhancer-file.js';
import { type LeftOut, requireAny, unlessRefused } from './left-out.js';
import type {
  CodecManifest,
  DiffusionManifest,
  EnhancerManifest,
  FirstStageManifest,
  Manifest,
  PartManifest,
  SpeakerEncoderManifest,
  TransformerManifest,
} from './manifest.js';
import type { PlannedPart } from './part.js';
import { all, type Reading, readAsync } from './reading.js';
import { refuseCheckpoint } from './refuse.js';
import type { PublishedFiles } from './sources.js';
import { planSpeakerEncoder } from './speaker-encoder.js';
import { TorchFile } from './torch-file.js';
import { planTransformer } from './transformer.js';

/** Changes when the same files would give another folder; part of the key of the cache. */
const converter = 'metavoice-convert-1';

export interface ModelPlan {
  firstStage: PlannedPart<FirstStageManifest> | null;
  secondStage: PlannedPart<TransformerManifest> | null;
  speakerEncoder: PlannedPart<SpeakerEncoderManifest> | null;
  codec: PlannedPart<CodecManifest> | null;
  diffusion: PlannedPart<DiffusionManifest> | null;
  enhancer: PlannedPart<EnhancerManifest> | null;
  /** What a model folder brings along. */
  speakers?: Manifest['speakers'];
  sampling?: Manifest['sampling'];
  provenance: Manifest['provenance'];
}

/** The same model with the first stage quantised, and a digest of its own. Without a first stage there is nothing to do. */
export function quantizedPlan(plan: ModelPlan, quantization: Quantization): ModelPlan {
  const { firstStage, provenance } = plan;
  if (quantization === 'none' || !firstStage) return plan;
  const digest = createHash('sha256')
    .update(JSON.stringify([provenance.digest, quantization]))
    .digest('hex');
  return {
    ...plan,
    firstStage: { ...firstStage, manifest: { ...firstStage.manifest, quantization }, quantization },
    provenance: { ...provenance, digest },
  };
}

/** Something read, and what tells it from other content. */
interface Fingerprinted<T> {
  part: T;
  file: string;
  bytes: number;
  fingerprint: string;
}

/**
 * Reads the structure of published files, not their numbers, and decides what goes into a model folder. Rejects with
 * ERR_CHECKPOINT; a RangeError for `keepLayers` that the model has not got.
 *
 * @param leftOut takes note of optional parts that are refused; null: they refuse the model
 */
export const planModel = (
  files: PublishedFiles,
  dtype: Dtype,
  keepLayers?: string,
  leftOut: LeftOut | null = null,
): Promise<ModelPlan> => readAsync(planningModel(files, dtype, keepLayers, leftOut));

/** Fails like `planModel`. */
export function* planningModel(
  files: PublishedFiles,
  dtype: Dtype,
  keepLayers?: string,
  leftOut: LeftOut | null = null,
): Reading<ModelPlan> {
  if (keepLayers !== undefined && !files.firstStage)
    throw new MetaVoiceError('ERR_MODEL_NOT_FOUND', '`keepLayers` needs first_stage.pt, which is not there');
  const [firstStage, secondStage, speakerEncoder, codec, found, enhancer] = yield* all([
    () => fromTorch(files.firstStage, (file) => planTransformer(file, 'first', dtype, keepLayers)),
    () => fromTorch(files.secondStage, (file) => planTransformer(file, 'second', dtype)),
    () => fromTorch(files.speakerEncoder, planSpeakerEncoder),
    () => planCodecFile(files.codec),
    () =>
      unlessRefused('diffusion', leftOut, () =>
        fromTorch(files.diffusion, (file) => planDiffusion(file, dtype)),
      ),
    () => unlessRefused('enhancer', leftOut, () => planEnhancerFile(files.enhancer)),
  ]);
  const diffusion = yield* unlessRefused('diffusion', leftOut, () => fittingDiffusion(found, codec, files));
  // A part that came later changes no digest where it is absent.
  const later = [diffusion, enhancer].filter((item) => item !== null);
  const present = [firstStage, secondStage, speakerEncoder, codec, ...later];
  requireAny(present, leftOut);
  const plan: ModelPlan = {
    firstStage: firstStage?.part ?? null,
    secondStage: secondStage?.part ?? null,
    speakerEncoder: speakerEncoder?.part ?? null,
    codec: codec?.part ?? null,
    diffusion: diffusion?.part ?? null,
    enhancer: enhancer?.part ?? null,
    provenance: {
      sources: present.flatMap((item) => (item ? [{ file: basename(item.file), bytes: item.bytes }] : [])),
      digest: digestOf(dtype, keepLayers, present),
      ...(keepLayers !== undefined && { layers: keepLayers }),
      converter,
    },
  };
  requireAgreement(plan, files);
  useSpokenCodebooks(plan);
  return plan;
}

function* fromTorch<T>(path: string | null, read: (file: TorchFile) => T): Reading<Fingerprinted<T> | null> {
  if (path === null) return null;
  const file = yield* readingFile(path, TorchFile.reading);
  return { part: read(file), file: path, bytes: file.size, fingerprint: file.fingerprint };
}

function* planCodecFile(
  codec: PublishedFiles['codec'],
): Reading<Fingerprinted<PlannedPart<CodecManifest>> | null> {
  if (!codec?.header) return yield* fromTorch(codec?.file ?? null, planCodecFromTorch);
  const { file, header } = codec;
  const part = yield* planningCodecFromSafetensors(file, header);
  const shape = createHash('sha256').update(header.text).digest('hex');
  return {
    part,
    file,
    bytes: header.size,
    fingerprint: `${header.size}:${header.modified}:${shape}:${part.manifest.sampleRate}`,
  };
}

function* planEnhancerFile(
  path: string | null,
): Reading<Fingerprinted<PlannedPart<EnhancerManifest>> | null> {
  if (path === null) return null;
  const found = yield* readingEnhancer(path);
  const { file, bytes, fingerprint } = found;
  return { part: planEnhancer(found), file, bytes, fingerprint };
}

function digestOf(
  dtype: Dtype,
  keepLayers: string | undefined,
  found: readonly (Fingerprinted<unknown> | null)[],
): string {
  const facts = [converter, dtype, keepLayers ?? null, ...found.map((item) => item?.fingerprint ?? null)];
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex');
}

/** The parts must fit each other: codes and embeddings pass between them. */
function requireAgreement(plan: ModelPlan, files: PublishedFiles): void {
  const first = plan.firstStage?.manifest;
  const second = plan.secondStage?.manifest;
  const encoder = plan.speakerEncoder?.manifest;
  const codec = plan.codec?.manifest;
  const codes = first && (first.tokenizer.offset - 1) / 2;
  if (codes && second)
    agree(files.secondStage, 'the codebook size', codes, second.tokenizer.offset - 1, 'the first stage');
  const stageCodes = codes ?? (second && second.tokenizer.offset - 1);
  const codecFile = files.codec?.file ?? null;
  if (stageCodes && codec)
    agree(codecFile, 'the codebook size', stageCodes, codec.codebookSize, 'the language models');
  if (second && codec) {
    const needed = second.vocabularies.length + second.outputs.length;
    if (codec.storedCodebooks < needed)
      agree(codecFile, 'the number of codebooks', needed, codec.storedCodebooks, 'the second stage');
  }
  const embedding = encoder?.embedding;
  for (const [stage, name] of [
    [first, 'the first stage'],
    [second, 'the second stage'],
  ] as const)
    if (embedding && stage && stage.speakerEmbedding > 0)
      agree(files.speakerEncoder, 'the embedding size', stage.speakerEmbedding, embedding, name);
}

/** Diffusion decodes the latent of the codec. */
// biome-ignore lint/correctness/useYield: everything was read before.
function* fittingDiffusion(
  diffusion: Fingerprinted<PlannedPart<DiffusionManifest>> | null,
  codec: Fingerprinted<PlannedPart<CodecManifest>> | null,
  files: PublishedFiles,
): Reading<typeof diffusion> {
  if (!diffusion || !codec) return diffusion;
  const { latent, sampleRate } = diffusion.part.manifest;
  const expected = codec.part.manifest;
  agree(files.diffusion, 'the width of the latent', expected.dimension, latent, 'the codec');
  agree(files.diffusion, 'the sample rate', expected.sampleRate, sampleRate, 'the codec');
  return diffusion;
}

function agree(file: string | null, what: string, expected: number, found: number, by: string): void {
  if (expected === found || file === null) return;
  throw refuseCheckpoint(
    file,
    `has ${what} ${found}, expected ${expected} as in ${by}; are they of one model?`,
    { expected, found },
  );
}

/** The codec speaks as many codebooks as the language models predict; without them, those of 6 kbit/s. */
function useSpokenCodebooks({ secondStage, codec }: ModelPlan): void {
  if (!secondStage || !codec) return;
  const { vocabularies, outputs } = secondStage.manifest;
  codec.manifest = { ...codec.manifest, codebooks: vocabularies.length + outputs.length };
}

/** The entry of a part in the manifest, its file known. */
export const entryOf = <M extends PartManifest>(part: PlannedPart<M>, file: PartManifest): M =>
  ({ ...file, ...part.manifest }) as M;

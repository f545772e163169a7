/** What a plan must know of a model: sizes, from headers alone. */

import type {
  CodecManifest,
  DiffusionBand,
  DiffusionManifest,
  Manifest,
  PartManifest,
  TransformerManifest,
} from '../checkpoint/manifest.js';
import type { PlannedPart } from '../checkpoint/part.js';
import type { ModelPlan } from '../checkpoint/plan-model.js';
import { product } from '../checkpoint/torch-file.js';

export type StageSizes = Pick<
  TransformerManifest,
  | 'layers'
  | 'heads'
  | 'width'
  | 'feedForward'
  | 'positions'
  | 'vocabularies'
  | 'outputs'
  | 'tied'
  | 'speakerEmbedding'
  | 'activation'
>;

/** The diffusion networks together, and the form of each. */
export interface DiffusionSizes {
  parameters: number;
  /** Of the sound, in Hz. */
  sampleRate: number;
  bands: readonly BandSizes[];
}

export type BandSizes = Pick<DiffusionBand, 'channels' | 'kernel' | 'stride' | 'residualBlocks' | 'steps'>;

/** Absent parts are null and cost nothing. Parameters are single numbers, whatever their dtype. */
export interface ModelSizes {
  firstStage: StageSizes | null;
  secondStage: StageSizes | null;
  speakerEncoder: { parameters: number } | null;
  codec: { parameters: number; frameRate: number } | null;
  diffusion: DiffusionSizes | null;
  enhancer?: { parameters: number } | null;
  /** Rows of guidance of an utterance; 2 unless the model's makers advise guidance towards the text, too. */
  guidanceRows?: number;
}

/** MetaVoice-1B as published: what `sizesOfManifest` gives for its files. */
export const publishedSizes: ModelSizes = {
  firstStage: {
    layers: 24,
    heads: 16,
    width: 2048,
    feedForward: 5632,
    positions: 2048,
    vocabularies: [2562],
    outputs: [2562],
    tied: true,
    speakerEmbedding: 256,
    activation: 'swiglu',
  },
  secondStage: {
    layers: 6,
    heads: 6,
    width: 384,
    feedForward: 1536,
    positions: 1024,
    vocabularies: [1538, 1025],
    outputs: [1025, 1025, 1025, 1025, 1025, 1025],
    tied: false,
    speakerEmbedding: 256,
    activation: 'gelu',
  },
  speakerEncoder: { parameters: 1_423_616 },
  // Encoder, decoder and 32 codebooks of 1,024 × 128.
  codec: { parameters: 19_046_114, frameRate: 75 },
  diffusion: {
    parameters: 1_145_740_032,
    sampleRate: 24_000,
    bands: Array.from({ length: 4 }, () => ({
      channels: [48, 192, 768, 3072],
      kernel: 8,
      stride: 4,
      residualBlocks: 2,
      steps: 1000,
    })),
  },
};

export const sizesOfManifest = ({
  firstStage,
  secondStage,
  speakerEncoder,
  codec,
  diffusion,
  enhancer,
  sampling,
}: Manifest): ModelSizes => ({
  firstStage,
  secondStage,
  speakerEncoder: speakerEncoder && { parameters: floatsIn(speakerEncoder) },
  codec: codec && { parameters: floatsIn(codec), frameRate: frameRateOf(codec) },
  diffusion: diffusion ? { ...diffusion, parameters: numbersOf(diffusion) } : null,
  enhancer: enhancer ? { parameters: floatsIn(enhancer) } : null,
  ...(typeof sampling?.guidance === 'object' && (sampling.guidance.prompt ?? 1) > 1 && { guidanceRows: 3 }),
});

/** Of published files, before they are converted. */
export const sizesOfPlan = ({
  firstStage,
  secondStage,
  speakerEncoder,
  codec,
  diffusion,
  enhancer,
}: ModelPlan): ModelSizes => ({
  firstStage: firstStage?.manifest ?? null,
  secondStage: secondStage?.manifest ?? null,
  speakerEncoder: speakerEncoder && { parameters: numbersIn(speakerEncoder) },
  codec: codec && { parameters: numbersIn(codec), frameRate: frameRateOf(codec.manifest) },
  diffusion: diffusion && { ...diffusion.manifest, parameters: numbersIn(diffusion) },
  enhancer: enhancer && { parameters: numbersIn(enhancer) },
});

/** Stored in float32; headers are a few kilobytes. */
const floatsIn = ({ bytes }: PartManifest): number => Math.floor(bytes / 4);

const numbersOf = ({ bytes, dtype }: DiffusionManifest): number =>
  Math.floor(bytes / (dtype === 'float32' ? 4 : 2));

const numbersIn = ({ tensors }: PlannedPart<PartManifest>): number =>
  tensors.reduce((sum, { source }) => sum + product(source.shape), 0);

const frameRateOf = ({ sampleRate, ratios }: Pick<CodecManifest, 'sampleRate' | 'ratios'>): number =>
  sampleRate / product(ratios);

/**
 * `metavoice.json`: what the networks of a model folder are. The numbers are in safetensors files beside it.
 * Every size was read from the checkpoint when the folder was made.
 */

import { join } from 'node:path';
import { MetaVoiceError } from '../errors.js';
import type { Dtype, Quantization } from '../native/contract.js';
import type { AdvisedSampling } from '../options.js';
import { readingText } from './byte-reader.js';
import { checkManifest } from './manifest-check.js';
import { type Reading, readAsync } from './reading.js';
import { refuseCheckpoint } from './refuse.js';

export const manifestFile = 'metavoice.json';

/** The five values from which tiktoken rebuilds an encoding. */
export interface TokenizerData {
  name: string;
  /** The regular expression that splits the text, as stored in the checkpoint. */
  pattern: string;
  /** Byte strings in base64, by rank: 0 … n−1. */
  ranks: string[];
  /** Special token → id, before the offset. */
  special: Record<string, number>;
  /** Added to every id. */
  offset: number;
}

export interface PartManifest {
  /** File name in the folder. */
  file: string;
  /** Bytes of the file. */
  bytes: number;
}

export interface TransformerManifest extends PartManifest {
  dtype: Dtype;
  layers: number;
  heads: number;
  width: number;
  feedForward: number;
  /** Rows of the position table: the window. */
  positions: number;
  /** Rows of each token table. */
  vocabularies: number[];
  /** Rows of each output head. */
  outputs: number[];
  /** The output layer is the token table (stored once). */
  tied: boolean;
  /** Width of the speaker embedding; 0 where the stage takes none. */
  speakerEmbedding: number;
  norm: 'rmsnorm' | 'layernorm';
  normEpsilon: number;
  activation: 'swiglu' | 'gelu';
  tokenizer: TokenizerData;
}

export interface FirstStageManifest extends TransformerManifest {
  /** What the matrices in the layers are stored as; absent: whole, in the dtype. */
  quantization?: Quantization;
}

export interface SpeakerEncoderManifest extends PartManifest {
  layers: number;
  hidden: number;
  mels: number;
  embedding: number;
}

export interface CodecManifest extends PartManifest {
  sampleRate: number;
  /** Upsampling ratios of the decoder, in its order. */
  ratios: number[];
  /** Width of the latent. */
  dimension: number;
  codebookSize: number;
  /** Codebooks in the file, and in use (6 kbit/s). */
  storedCodebooks: number;
  codebooks: number;
  /** Whether an encoder is in the file. */
  encoder: boolean;
}

/** One U-Net of multi-band diffusion, and how it is sampled. */
export interface DiffusionBand {
  /** Behind each level: [48, 192, 768, 3072]. */
  channels: number[];
  kernel: number;
  stride: number;
  residualBlocks: number;
  /** Groups of every GroupNorm. */
  normGroups: number;
  /** Noise levels that it was trained on: rows of its step embeddings. */
  steps: number;
  /** β(t) = (β₀^(1/e) … β₁^(1/e))^e; null `clip`: samples are not clamped. */
  schedule: { betaStart: number; betaEnd: number; exponent: number; noiseScale: number; clip: number | null };
  /** Sets the levels of its sub-bands after the last step, by statistics in the file; null where it has none. */
  processor: { bands: number; power: number } | null;
}

export interface DiffusionManifest extends PartManifest {
  dtype: Dtype;
  sampleRate: number;
  /** Width of the codec's latent. */
  latent: number;
  bands: DiffusionBand[];
}

/** DeepFilterNet3 and the features that it reads. */
export interface EnhancerManifest extends PartManifest {
  sampleRate: number;
  /** Samples of a frame, two hops. */
  window: number;
  /** Bands on the ERB scale. */
  bands: number;
  /** Lower bins, which are filtered. */
  deepBins: number;
  /** Taps of a filter, and how many of them lie behind the frame. */
  order: number;
  lookAhead: number;
  /** Bins that a band has at least. */
  leastBandBins: number;
  /** Time constant of the features' running means, in seconds. */
  meanSeconds: number;
  /** Channels of the convolutions, and width of the recurrent layers. */
  channels: number;
  hidden: number;
}

export interface SpeakerManifest {
  /** Not empty, and no other speaker's. */
  name: string;
  /** The embedding, float32 little-endian in base64. */
  embedding: string;
}

export interface RefusedPart {
  /** In words. */
  reason: string;
  /** When its file was last written then, in milliseconds. */
  modified: number;
}

export interface Manifest {
  format: 'metavoice-model';
  version: 1;
  firstStage: FirstStageManifest | null;
  secondStage: TransformerManifest | null;
  speakerEncoder: SpeakerEncoderManifest | null;
  codec: CodecManifest | null;
  /** Another decoder of codes; absent where there is none. */
  diffusion?: DiffusionManifest;
  /** Absent where there is none. */
  enhancer?: EnhancerManifest;
  speakers: SpeakerManifest[];
  /** How its makers advise to draw; what is absent is left to the defaults. `convert` knows no advice. */
  sampling?: AdvisedSampling;
  /** Where the numbers come from: file names, bytes, and the digest that keys the cache. */
  provenance: {
    sources: { file: string; bytes: number }[];
    digest: string;
    layers?: string;
    /** Optional parts that were refused when the folder was made on loading. */
    leftOut?: { diffusion?: RefusedPart; enhancer?: RefusedPart };
    converter: string;
  };
}

/**
 * The manifest of a model folder, every field checked. Rejects with ERR_MODEL_NOT_FOUND when there is none and
 * ERR_CHECKPOINT when it is not sound.
 */
export const readManifest = (folder: string): Promise<Manifest> => readAsync(readingManifest(folder));

/** Fails like `readManifest`. */
export function* readingManifest(folder: string): Reading<Manifest> {
  const file = join(folder, manifestFile);
  let text: string;
  try {
    text = yield* readingText(file);
  } catch (cause) {
    if (MetaVoiceError.isInstance(cause)) throw cause;
    throw new MetaVoiceError('ERR_MODEL_NOT_FOUND', `expected the manifest of a model at ${file}`, {
      cause,
      details: { file, folder },
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw refuseCheckpoint(file, `is not JSON (${(cause as Error).message}); convert the model again`);
  }
  return checkManifest(file, value);
}

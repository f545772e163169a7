/** What a model is, as the engine is told. */

export type Dtype = 'float32' | 'float16' | 'bfloat16';

export type Quantization = 'none' | 'int8' | 'int4';

export interface TransformerDescription {
  /** Absolute path of a safetensors file with our names (docs/checkpoints.md). */
  file: string;
  heads: number;
  norm: 'rmsnorm' | 'layernorm';
  normEpsilon: number;
  activation: 'swiglu' | 'gelu';
}

export interface FirstStageDescription extends TransformerDescription {
  /** Codes per codebook; ids 0 … 2·codebookSize−1 are audio, then comes endOfAudio. */
  codebookSize: number;
  endOfAudio: number;
  endOfText: number;
}

export interface SecondStageDescription extends TransformerDescription {
  /** Also the id of the padding column. */
  codebookSize: number;
}

export interface CodecDescription {
  file: string;
  sampleRate: number;
  /** Upsampling ratios of the decoder, in its order: [8, 5, 4, 2]. Their product is the hop. */
  ratios: number[];
  /** Codebooks in use, 8. */
  codebooks: number;
}

export interface DiffusionDescription {
  file: string;
  sampleRate: number;
  /** One for each U-Net of the file, as in its manifest. */
  bands: {
    stride: number;
    normGroups: number;
    schedule: {
      betaStart: number;
      betaEnd: number;
      exponent: number;
      noiseScale: number;
      clip: number | null;
    };
    processor: { bands: number; power: number } | null;
  }[];
}

export interface EnhancerDescription {
  file: string;
  sampleRate: number;
  /** Samples of a frame, two hops. */
  window: number;
  bands: number;
  /** Lower bins, which are filtered over `order` frames, `lookAhead` of them ahead. */
  deepBins: number;
  order: number;
  lookAhead: number;
  /** Bins that a band has at least. */
  leastBandBins: number;
  /** Time constant of the features' running means, in seconds. */
  meanSeconds: number;
}

export interface ModelDescription {
  /** `cpu` or `cuda:N`. */
  device: string;
  /** Of the two language models and of diffusion; speaker encoder, codec and enhancer are always float32. */
  dtype: Dtype;
  /** Of the matrices in the first stage's layers, which its file holds so, or whole. */
  quantization: Quantization;
  firstStage: FirstStageDescription | null;
  secondStage: SecondStageDescription | null;
  speakerEncoder: { file: string } | null;
  codec: CodecDescription | null;
  diffusion: DiffusionDescription | null;
  enhancer: EnhancerDescription | null;
  /** Utterances of the greatest length that the key-value pool holds; up to four times as many short ones share it. */
  batchSize: number;
  /** Utterances that may wait for a place; start() refuses more with ERR_QUEUE_FULL, but never one of a later segment. */
  maxQueue: number;
  /** Rows of guidance of an utterance that the pool is planned for, 2 or 3. */
  cacheRows: number;
  /** Positions of the longest utterance that the pool is planned for; 0: those of the window. */
  cachePositions: number;
  deterministic: boolean;
}

/** One segment being spoken. */

export interface NativeSampling {
  temperature: number;
  /** 1 is off. */
  topP: number;
  /** 0 is off. */
  topK: number;
  guidance: { speaker: number; prompt: number };
  constrain: boolean;
}

export interface UtteranceRequest {
  /** Text ids of the first stage, end of text included. */
  firstStageIds: Int32Array;
  /** Text ids of the second stage, end of text included. */
  secondStageIds: Int32Array;
  /**
   * Codes [2, frames] of the first two codebooks that were spoken before, of the beginning of these texts: the speech goes
   * on behind them. Empty: it begins.
   */
  context: Uint16Array;
  /** [speaker embedding] */
  speaker: Float32Array;
  /** Non-negative safe integer. */
  seed: number;
  /** Index of the segment in the request, and how often it was tried before. */
  segment: number;
  attempt: number;
  sampling: NativeSampling;
  /** Ends of the chunks in frames, growing; past the last one, chunks repeat its length. Each first end ≥ 1. */
  chunkEnds: Int32Array;
  /** Frames that must exist past a chunk before the second stage runs on it. */
  lookAhead: number;
  /** One second-stage pass over the whole utterance, in the reference's form; then one chunk. */
  whole: boolean;
  /** Evaluations of the diffusion decoder; 0: the codec's own decoder speaks. */
  diffusionSteps: number;
  /** LKFS that the whole is brought to by one gain; null: as the decoder gives it. Only with `whole`; in chunks a leveller does it. */
  loudness: number | null;
  /** At most so many frames; the model's own windows limit it too. */
  maximumFrames: number;
  /** Finished chunks that may wait for the reader before the utterance rests. */
  waitingChunks: number;
  /** Frames that it will hardly exceed: the key-value pool sets pages aside for so many. 0: as many as it may have. */
  likelyFrames: number;
}

export interface NativeChunk {
  /** [frames · hop] at the codec's rate. */
  samples: Float32Array;
  /** The same before the loudness, where one was asked for; else null. */
  decoded: Float32Array | null;
  /** [codebooks, frames] */
  codes: Uint16Array;
  frames: number;
  /** Position of the chunk in the utterance. */
  firstFrame: number;
  /** Set on the last chunk only. */
  endReason: 'end' | 'limit' | null;
  /** Milliseconds spent so far in this utterance, and first-stage steps taken. */
  timings: { prefill: number; firstStage: number; secondStage: number; decoder: number; steps: number };
  /** First-stage steps, and second-stage passes and windows of diffusion so far, that overflowed and were done again in float32. */
  health: { redoneSteps: number; redoneWindows: number };
}

export interface NativeUtterance {
  /** The next chunk; null after the last one. One call at a time. After cancel() it resolves with null. */
  next(): Promise<NativeChunk | null>;
  /** Stops native work within one launch and frees the cache. Idempotent; safe at any time. */
  cancel(): void;
}

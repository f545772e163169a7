/** The Engine, `libmetavoice`: a model that is loaded, and everything that it computes. */

import type { ModelDescription } from './description.js';
import type { NativeUtterance, UtteranceRequest } from './utterance.js';

export interface Engine {
  /** Version the running libtorch reports. */
  readonly libtorchVersion: string;
  /** Threads used by one operation on the CPU. */
  readonly threads: number;
  /** Whether libtorch sees CUDA devices in this process, and the architectures it has code for (`sm_75` …). */
  cuda(): { available: boolean; architectures: string[] };
  loadModel(description: ModelDescription): Promise<NativeModel>;
  /**
   * Probabilities before the draw, of one row of logits: temperature, then top-k, then top-p.
   * `topP` 1 and `topK` 0 switch these off.
   */
  sampleDistribution(
    logits: Float32Array,
    settings: { temperature: number; topP: number; topK: number },
  ): Float32Array;
}

/** What the engine of a model is doing, and has done since it was loaded. */
export interface NativeStatistics {
  /** Utterances that have a place; of these, those whose reader has enough; those that wait for a place. */
  active: number;
  resting: number;
  queued: number;
  /** Whose keys and values lie on the host, as their reader rests and others needed the pages. */
  parked: number;
  /** Pages of the key-value pool (32 positions of one row of guidance each), and the bytes of one. */
  pages: number;
  usedPages: number;
  pageBytes: number;
  peakActive: number;
  peakQueued: number;
  peakUsedPages: number;
  /** Utterances, by how they went; `refused` never began. */
  ended: number;
  cancelled: number;
  failed: number;
  refused: number;
  /** Decode steps, one for all that took it together; and the same counted for each of them. */
  batchSteps: number;
  steps: number;
  audioSeconds: number;
  /** Over the last ten seconds. */
  batchStepsPerSecond: number;
  audioSecondsPerSecond: number;
}

/** The running loudness of a speech, whose segments are pushed in their order; pieces of any length come to the same bits. */
export interface NativeLeveller {
  /** As many samples, at the codec's rate. The first ones are listened to before they go out. */
  push(samples: Float32Array): Promise<Float32Array>;
}

/** Work that takes long. */
export interface RunningWork<T> {
  /** After cancel() it rejects with ABORT_ERR, unless the end was nearer than the next step. */
  readonly done: Promise<T>;
  cancel(): void;
}

/** A speech on its way through the enhancer; pieces of any length come to the same bits. One call after another. */
export interface NativeEnhancer {
  /** What is known by now, at the enhancer's rate. */
  push(samples: Float32Array): Promise<Float32Array>;
  /** The rest; nothing may follow. */
  finish(): Promise<Float32Array>;
  /** Milliseconds of computing so far. */
  spent(): number;
  /** Stops a push within a second of its samples; it, and those that follow, reject with ABORT_ERR. Idempotent. */
  cancel(): void;
}

/** A long recording, copied to native memory piece by piece; missing pieces are 0. */
export interface NativeSamples {
  write(offset: number, piece: Float32Array): void;
}

export interface NativeModel {
  /** Facts read from the files: sizes that are null belong to absent parts. */
  readonly facts: {
    sampleRate: number | null;
    hop: number | null;
    codebooks: number | null;
    /** Frames that the codec's first piece needs, unless it is the whole: 7 in the published one. */
    firstFrames: number | null;
    /** Frames that windowed diffusion must know behind a chunk: 15 at 75 Hz; null without that decoder. */
    diffusionContext: number | null;
    /** Positions of the first stage's window and columns of the second stage's. */
    firstStageWindow: number | null;
    secondStageWindow: number | null;
    speakerEmbedding: number | null;
    /** Bytes of weights, mapped or resident. */
    weightBytes: number;
    /** ERR_CHECKPOINT of an enhancer whose weights are not sound: the model was loaded without. Else null. */
    refusedEnhancer: Error | null;
  };
  start(request: UtteranceRequest): NativeUtterance;
  statistics(): NativeStatistics;
  /** Whether the diffusion decoder, which is loaded when it is first asked for, holds its memory. */
  diffusionLoaded(): boolean;
  /** Room for so many samples. */
  reserve(length: number): NativeSamples;
  /** Resampling to 16 kHz, trim, mel, partials, mean. `trim` is [start, end) in 16 kHz samples. ERR_REFERENCE_AUDIO when nothing is left. */
  embedSpeaker(
    samples: Float32Array | NativeSamples,
    sampleRate: number,
  ): Promise<{ embedding: Float32Array; trim: [number, number]; samples16k: number }>;
  /** [2, T, vocabulary]: row 0 with the speaker, row 1 without. The first `prompt` ids in one pass, the others step by step. */
  firstStageLogits(ids: Int32Array, speaker: Float32Array, prompt: number): Promise<Float32Array>;
  /** Unmasked arg-max through the cache; includes and stops at end of audio. */
  firstStageGreedy(
    ids: Int32Array,
    speaker: Float32Array,
    guidance: number,
    steps: number,
  ): Promise<Int32Array>;
  /** `codes` is [2, frames]; the audio columns of one whole pass, [predicted, frames, codebookSize + 1]. */
  secondStageLogits(ids: Int32Array, codes: Uint16Array, speaker: Float32Array): Promise<Float32Array>;
  /** [codebooks, frames] */
  encode(
    samples: Float32Array | NativeSamples,
    sampleRate: number,
  ): Promise<{ codes: Uint16Array; frames: number }>;
  /** Whole when `pieces` is null, else in pieces of so many frames with carried state. */
  decode(codes: Uint16Array, pieces: Int32Array | null): Promise<Float32Array>;
  /**
   * Whole diffusion; with `chunkEnds`, windows that follow chunks ending at these frames. `noise` [bands, steps, frames ·
   * hop] is given instead of drawn from the seed; only for the whole.
   */
  diffuse(
    codes: Uint16Array,
    seed: number,
    noise: Float32Array | NativeSamples | null,
    steps: number,
    chunkEnds: Int32Array | null,
  ): RunningWork<Float32Array>;
  /** Brings a speech to a loudness in LKFS; `opening` samples come first, unless it is shorter. */
  leveller(loudness: number, opening: number): NativeLeveller;
  /** For a speech at a rate. ERR_MODEL_NOT_FOUND at the first push where the model has none. */
  enhancer(sampleRate: number): NativeEnhancer;
  /** Any usual rate to the enhancer's own (else ERR_UNSUPPORTED), and the same seconds at that rate. */
  enhance(
    samples: Float32Array | NativeSamples,
    sampleRate: number,
  ): RunningWork<{ samples: Float32Array; sampleRate: number }>;
  /**
   * The enhancer's network: a spectrum [frames, bins, 2] and its features [frames, bands], [frames, deep bins, 2] to a
   * spectrum and the gains of the bands [frames, bands].
   */
  enhanceSpectrum(
    spec: Float32Array,
    featErb: Float32Array,
    featSpec: Float32Array,
  ): RunningWork<{ enhanced: Float32Array; mask: Float32Array }>;
  /** Bytes per second that the engine's threads, or the model's GPU, read from memory: the yardstick of the benchmarks. */
  readBandwidth(): Promise<number>;
  /**
   * How long the decode steps of one utterance take at these positions, for the benchmarks: `seconds` [positions, steps] of the
   * whole of a step, as speech takes it or by libtorch's kernels alone; the bytes of weights that it reads, and of keys and
   * values for each position before it.
   */
  stepTimes(
    positions: Int32Array,
    steps: number,
    libtorchOnly: boolean,
  ): Promise<{ seconds: Float64Array; weightBytes: number; positionBytes: number }>;
  /** The most bytes that libtorch held of the GPU at a time in this process; null on the CPU. */
  peakDeviceBytes(): Promise<number | null>;
  /** Stops the engine's threads after what they are at, long work before its end; pending calls reject with ERR_DISPOSED. Idempotent. */
  dispose(): Promise<void>;
}

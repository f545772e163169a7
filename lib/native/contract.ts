/**
 * The whole native surface, as TypeScript sees it.
 *
 * Two binaries: `metavoice.node` is the Door, free of torch; `libmetavoice` is the Engine, opened by the Door after
 * libtorch. Arrays are row-major and copied at the border. Promises reject with an Error that has a `code` of
 * `lib/errors.ts` (and perhaps `details`); `fromNative` there gives it the class.
 */

export type Dtype = 'float32' | 'float16' | 'bfloat16';

/** ------------------------------------------------------------------------------------------ the Door */

export interface CpuFacts {
  /** Brand string of the processor, e.g. `AMD EPYC 9B45`. */
  name: string;
  /** Logical cores this process may use, by affinity and control group. */
  cores: number;
  /** The same, with the threads of one core counted once. */
  physicalCores: number;
  /** Total and available memory in bytes, within the limit of the control group. */
  totalMemory: number;
  freeMemory: number;
  /** What a container or a service manager sets: processors (2.5) and bytes; null where nothing does. */
  limits: { cpus: number | null; memory: number | null };
  /** Lower-case names: `avx2`, `avx512f`, `avx512_bf16`, `avx512_vnni`, `amx_bf16`, `bf16` (Arm)… */
  features: string[];
}

export interface CudaDeviceFacts {
  /** As CUDA counts in this process: CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER are applied. */
  index: number;
  name: string;
  /** Compute capability, e.g. `7.5`. */
  computeCapability: string;
  totalMemory: number;
  /** Bytes free now, or null where asking would make a context. */
  freeMemory: number | null;
  multiprocessors: number;
  /** A slice of a GPU (MIG); memory and multiprocessors are the slice's. */
  mig: boolean;
  /** Its memory is the machine's (Jetson, GB10). */
  integrated: boolean;
}

export interface CudaFacts {
  /** Version of the driver, e.g. `550.54.15`; null without NVML. */
  driver: string | null;
  /** Highest CUDA version the driver serves, e.g. `12.4`; null without a libcuda that answers. */
  driverCuda: string | null;
  /** What the driver answered instead of starting, e.g. 803, `CUDA_ERROR_SYSTEM_DRIVER_MISMATCH`; null when it started. */
  failure: { code: number; name: string } | null;
  /** CUDA_VISIBLE_DEVICES, or null where it is not set. */
  visibleDevices: string | null;
  devices: CudaDeviceFacts[];
  /** The GPUs that NVML lists, whether CUDA offers them to this process or not; `mig`: only slices of it compute. */
  listed: { name: string; mig: boolean }[];
}

/** One tensor (or a run of numbers) to be cast from one file into another. */
export interface CopyPiece {
  /** Name for error messages. */
  name: string;
  source: string;
  /** Byte offset of the tensor's first element in `source`. */
  sourceOffset: number;
  sourceDtype: 'float64' | Dtype;
  /** Byte offset in the destination. */
  destinationOffset: number;
  destinationDtype: Dtype;
  shape: number[];
  /** Strides in elements; null when the tensor is contiguous. */
  strides: number[] | null;
  /** CRC-32 that the source bytes must have (contiguous tensors only); not checked when absent. */
  crc32?: number;
}

export interface CopyJob {
  /** Existing file, opened for writing at the offsets; it grows as needed. */
  destination: string;
  pieces: CopyPiece[];
}

export interface RunningCopy {
  /** Resolves when everything is written and flushed; rejects with ERR_CHECKPOINT or an errno error; after cancel() with ABORT_ERR. */
  readonly done: Promise<void>;
  cancel(): void;
}

export interface Door {
  /** Version of libtorch the engine was built against, without the local part: `2.13.0`. */
  readonly libtorchVersion: string;
  cpuFacts(): CpuFacts;
  /** Null when there is no NVIDIA driver, neither libcuda nor NVML. Makes no context. */
  cudaFacts(): CudaFacts | null;
  /** Casts tensors from file to file on a thread of its own, in small buffers. `onProgress` gets bytes written so far. */
  copyTensors(job: CopyJob, onProgress?: (bytes: number) => void): RunningCopy;
  /** Opens the libraries by absolute path, in order and globally visible, beside the event loop. Rejects with ERR_RUNTIME_NOT_FOUND. */
  openLibraries(libraries: string[]): Promise<void>;
  /** Opens the libraries by absolute path, in order and globally visible, then the engine. Throws ERR_RUNTIME_NOT_FOUND with the loader's words. */
  openEngine(libraries: string[], engine: string): Engine;
}

/** ------------------------------------------------------------------------------------------ the Engine */

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
  /** [2, T, vocabulary]: row 0 with the speaker, row 1 without. */
  firstStageLogits(ids: Int32Array, speaker: Float32Array): Promise<Float32Array>;
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
  /** Bytes per second that the engine's threads read from this machine's memory: the yardstick of the benchmarks. */
  readBandwidth(): Promise<number>;
  /** The most bytes that libtorch held of the GPU at a time in this process; null on the CPU. */
  peakDeviceBytes(): Promise<number | null>;
  /** Stops the engine's threads after what they are at, long work before its end; pending calls reject with ERR_DISPOSED. Idempotent. */
  dispose(): Promise<void>;
}

/** Every option of the public API: what it does, its default, range and unit. `resolve-options.ts` applies and checks them. */

import type { Dtype, Quantization } from './native/contract.js';
import { type AdvisedSampling, type SamplingOptions, samplingLimits } from './sampling-options.js';
import type { Voice } from './voice/voice.js';

export type { AdvisedSampling, Dtype, Quantization, SamplingOptions };
export { samplingLimits };

/** `'auto'`, `'cpu'`, `'cuda'` (the GPU with the most free memory) or `'cuda:N'`. */
export type DeviceOption = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`;

/** A logger in the form of pino: `(fields, message)`. `console` fits, too. */
export interface Logger {
  debug?(fields: object, message: string): void;
  info?(fields: object, message: string): void;
  warn?(fields: object, message: string): void;
}

/** How far a request is; which fields are set depends on `phase`. */
export type Progress =
  /** Files are fetched from the hub: bytes of all of them together, and the one in hand as `org/name/path`. */
  | { phase: 'download'; file: string; bytes: number; totalBytes: number }
  /** Published files are being converted into a model folder. */
  | { phase: 'convert'; bytes: number; totalBytes: number }
  /** libtorch is opened, then the model's weights are. */
  | { phase: 'load'; part: 'runtime' | 'model' }
  /**
   * A chunk is ready: seconds of audio so far, the segment of the text being spoken, and how many there are; of a text in
   * pieces, how many were read so far.
   */
  | { phase: 'speak'; seconds: number; segment: number; segments: number };

export type OnProgress = (progress: Progress) => void;

/** Options of `MetaVoice.load`. An option wins over its environment variable, that over the default. */
export interface LoadOptions {
  /**
   * A model folder (of published files, or made by `metavoice convert`), a hub id (`org/name`, or `org/name@revision`),
   * or `'bundled'`. A folder that is there wins over a hub id; the files of one are looked for in the Hugging Face cache.
   * @default environment `METAVOICE_MODEL`, else `'bundled'`
   * @example 'models/metavoice-1B'
   */
  model?: string;
  /**
   * Fetch the files of a hub id that the Hugging Face cache has not got. Without it nothing is ever downloaded: what is
   * missing is ERR_MODEL_NOT_FOUND.
   * @default false
   */
  download?: boolean;
  /**
   * Where the networks run. `'auto'` takes a usable GPU, else the CPU; a device named here is never replaced by another.
   * @default environment `METAVOICE_DEVICE`, else `'auto'`
   * @example 'cuda:1'
   */
  device?: DeviceOption;
  /**
   * Numbers of the two language models; the speaker encoder and the codec are always float32.
   * @default environment `METAVOICE_DTYPE`, else `'auto'`: what the device runs best
   */
  dtype?: 'auto' | Dtype;
  /**
   * What the matrices of the first stage are held as: `'none'` is whole, `'int8'` about half and `'int4'` about a quarter of
   * 16 bit. A model folder that is stored whole is quantised while it is loaded; published files are once, into the
   * cache. One that `metavoice convert` quantised can't be had otherwise.
   * @default as the model is stored
   */
  quantization?: Quantization;
  /**
   * Utterances of the greatest length that memory for keys and values is planned for. All that fit are spoken side by
   * side, in one batch; short ones share the memory of long ones, up to four for each. Integer, 1 to 256.
   * @default 1
   */
  batchSize?: number;
  /**
   * Requests that may wait for their turn; one more is refused with ERR_QUEUE_FULL and the wait to be expected. Later
   * segments of what is being spoken are never refused. Integer, 0 to 65,536.
   * @default 128
   */
  maxQueue?: number;
  /**
   * Longest speech of one request, in seconds. Greater than 0.
   * @default what the windows of the model hold for each segment
   */
  maxSeconds?: number;
  /**
   * Prefer reproducible kernels over faster ones.
   * @default false
   */
  deterministic?: boolean;
  /**
   * Folder of libtorch (the one with `lib/` in it).
   * @default the environment, Python's torch, or the copy that `metavoice setup` fetched
   */
  libtorch?: string;
  /**
   * Gets what is worth knowing, such as why `auto` chose the CPU.
   * @default silent
   */
  logger?: Logger;
  /** Stops loading; the promise rejects with the signal's own reason. */
  signal?: AbortSignal;
  /** Called while published files are converted, and while loading. Throwing in it fails the call. */
  onProgress?: OnProgress;
}

/**
 * Whose voice speaks: a `Voice`, the path of a recording, the same as `{ file }`, samples in [-1, 1] with their rate
 * in Hz, or a speaker that ships with the model.
 */
export type VoiceSource =
  | Voice
  | string
  | { file: string }
  | { samples: Float32Array; sampleRate: number }
  | { speaker: string };

/** Seconds of `pauseSeconds`. */
export const longestPause = 10;

/**
 * What is spoken: a text, or one that comes in pieces, such as the tokens of a language model. A surrogate pair may be
 * parted between two pieces.
 */
export type TextSource = string | AsyncIterable<string> | Iterable<string>;

/** Seconds of `flushSeconds`. */
export const longestFlush = 3600;

/** Of `diffusionSteps`, whatever the model. */
export const mostDiffusionSteps = 1000;

/** Sample rates that a request may ask for, in Hz. */
export const sampleRates = [8000, 16_000, 22_050, 24_000, 44_100, 48_000] as const;

export type SampleRate = (typeof sampleRates)[number];

/** LKFS of `loudness`: softer is not heard by the measure, louder can't be. */
export const loudnessRange = { least: -70, most: 0 } as const;

/** What is done about what the check of a speech finds. */
export type CheckMode = 'off' | 'report' | 'respeak';

/** Options of `synthesize` and `stream`. */
export interface SpeakOptions {
  /**
   * Whose voice speaks.
   * @default the first speaker that ships with the model
   * @example 'reference.mp3'
   */
  voice?: VoiceSource;
  /**
   * The same seed with the same text, voice and options gives the same bytes. Integer, 0 to 2^53 − 1.
   * @default random; the one taken is in `Speech.seed`
   */
  seed?: number;
  sampling?: SamplingOptions;
  /**
   * What turns codes into sound: `'encodec'`, small and fast, or, where the model has it, `'diffusion'`: finer, over a faint
   * noise floor, 5.3 TFLOP a second of sound. `'auto'` takes diffusion where the GPU computes it faster than speech and has room for it; which one
   * spoke, and why, is in the `Speech`.
   * @default 'auto'
   */
  decoder?: 'auto' | 'encodec' | 'diffusion';
  /**
   * Evaluations of the diffusion decoder's networks. Fewer are faster in proportion, and rougher: 20 is the published count.
   * Integer, 1 to as many steps as they were trained on (1,000).
   * @default 20, or as many as they were trained on where that is less
   */
  diffusionSteps?: number;
  /**
   * Takes noise out of the speech, with DeepFilterNet3, which gives it at 48 kHz. Some 40 ms of each chunk come with the next
   * one. `true` is refused (ERR_MODEL_NOT_FOUND) where the model has no enhancer.
   * @default 'auto': where the model has one
   */
  enhance?: 'auto' | boolean;
  /**
   * `'stream'` speaks in chunks as they become ready. `'whole'` computes each segment of the text at once, so that the
   * first sound comes at the end of it.
   * @default 'stream'
   */
  quality?: 'stream' | 'whole';
  /**
   * How loud the speech is, by ITU-R BS.1770-4: a level in LKFS from −70 to 0 (−14 is what streaming services play, −23 what
   * broadcasters do), or `'off'`: as the decoder gives it. Peaks are rounded by tanh, so nothing clips. With `quality: 'whole'` each
   * segment gets the one gain that its whole length asks for; with `'stream'` one gain for all segments follows what was heard so
   * far, by at most 6 dB up or 12 dB down in a second.
   * @default 'off' with the EnCodec decoder, which speaks as loud as what the model was taught with; -14 with diffusion
   * @example -16
   */
  loudness?: number | 'off';
  /**
   * Of the speech that is handed out, in Hz. Pitch and duration do not change; what lies above half of the rate is
   * left out, and a higher rate than the model's adds nothing to hear.
   * @default the enhancer's where the speech is enhanced, else the model's own: nothing is converted
   * @example 8000
   */
  sampleRate?: SampleRate;
  /**
   * Lengths of the chunks, in seconds of audio: each is twice as long as the one before, from `first` up to `largest`.
   * The first must hold 7 frames (0.081 s at 75 frames per second). Part of what the bytes depend on.
   * @default { first: 0.25, largest: 2 }
   */
  chunkSeconds?: { first?: number; largest?: number };
  /**
   * Silence between the segments of a long text, by what ends one: a paragraph, a sentence, or a clause of a sentence
   * that was too long. In seconds, 0 to 10 each. The model's own rests within a segment are its own.
   * @default { sentence: 0.3, clause: 0.1, paragraph: 0.7 }
   */
  pauseSeconds?: { sentence?: number; clause?: number; paragraph?: number };
  /**
   * How the segments of a long text follow each other: `'independent'` speaks each for itself, the next ones ahead of
   * their turn. `'continue'` lets each go on from the sound of the one before, as far as the windows hold both: one after
   * another, in the same breath, and with its errors.
   * @default 'independent'
   */
  continuity?: 'independent' | 'continue';
  /**
   * Of a text that comes in pieces: when the source gives nothing for so long, what is there is spoken, although the
   * sentence may go on. In seconds, 0 to 3,600. Tokens are some 0.01 to 0.3 s apart, also on a busy server; a longer silence
   * than between two paragraphs sounds as if something were wrong.
   * @default 0.7
   */
  flushSeconds?: number;
  /**
   * The speech is listened to: another voice, a length that does not fit the text, the end not found, holes, clicks.
   * `'report'` tells it in `check` of the stream and of the `Speech`; nothing waits for it. `'respeak'` also speaks a segment
   * with findings once more and hands out the better attempt: segments after the first are held until they are judged, so
   * load the model with a `batchSize` of 2 or more, that they are spoken ahead. `'off'` saves the work, a few percent.
   * @default 'report'
   */
  check?: CheckMode;
  /**
   * Speech is cut at this length, pauses counted, with `endReason: 'limit'`. In seconds, greater than 0.
   * @default `maxSeconds` of the model
   */
  maxSeconds?: number;
  /** Stops within one launch; the promise or the stream rejects with the signal's own reason. */
  signal?: AbortSignal;
  /** Called for each chunk that is ready. Throwing in it fails the call. */
  onProgress?: OnProgress;
}

export type ResolvedPauses = Readonly<Required<NonNullable<SpeakOptions['pauseSeconds']>>>;

/** Options of the one-call `synthesize`: those of loading and of speaking. */
export type SynthesizeOptions = LoadOptions & SpeakOptions;

export const defaults = {
  load: {
    model: 'bundled',
    download: false,
    device: 'auto',
    dtype: 'auto',
    batchSize: 1,
    maxQueue: 128,
    deterministic: false,
  },
  speak: {
    decoder: 'auto',
    diffusionSteps: 20,
    enhance: 'auto',
    quality: 'stream',
    continuity: 'independent',
    flushSeconds: 0.7,
    check: 'report',
  },
  sampling: { temperature: 1, topP: 0.95, constrain: true },
  guidance: { speaker: 3, prompt: 1 },
  /** By decoder. */
  loudness: { encodec: 'off', diffusion: -14 },
  chunkSeconds: { first: 0.25, largest: 2 },
  pauseSeconds: { sentence: 0.3, clause: 0.1, paragraph: 0.7 },
} as const;

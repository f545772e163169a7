/** A whole speech: what the chunks of a stream come to. */

import { encodeWav } from '../audio/wav.js';
import { MetaVoiceError } from '../errors.js';
import { writeAtomically } from '../files.js';
import { expectedType, isString } from '../is.js';
import type { CheckMode } from '../options.js';
import { type ByteFormat, type ByteOptions, headerBytes, resolveFormat, sampleBytes } from './bytes.js';
import type { CheckReport } from './check-report.js';
import type { AudioChunk, SpeechHealth, Tally } from './chunks.js';
import { type Codes, joinCodes } from './codes.js';
import { joinSamples } from './joins.js';
import type { DecoderChoice, EnhancerChoice } from './plan.js';

/** Where the time of a request went, in milliseconds. */
export interface SpeechTimings {
  /** Loading the shared model; only for the one-call `synthesize`. */
  load?: number;
  /** The text through the first stage. */
  prefill: number;
  firstStage: number;
  secondStage: number;
  decoder: number;
  /** Beside the others: while one chunk is enhanced the next one is being said. 0 where speech is not enhanced. */
  enhancer: number;
  /**
   * To the first sound in JavaScript, and to the end: what the call of `stream()` or `synthesize()` took, and the time since
   * the first pull. The time between the two does not count, as nothing is computed then. A chunk sounds that has a sample
   * of at least 0.001 (−60 dB of full scale); without any, `firstAudio` is `total`.
   */
  firstAudio: number;
  total: number;
  /** Steps of the first stage, two per frame. */
  steps: number;
  /** `total` over the duration of the speech: below 1 is faster than it plays. */
  realTimeFactor: number;
}

interface SpeechParts {
  samples: Float32Array;
  sampleRate: number;
  loudness: number | 'off';
  seed: number;
  endReason: 'end' | 'limit';
  timings: SpeechTimings;
  codes: Codes;
  health: SpeechHealth;
  check: CheckReport;
  decoder: DecoderChoice;
  enhancement: EnhancerChoice;
}

let createSpeech: (parts: SpeechParts) => Speech;

/** Finished speech. */
export class Speech {
  /** Mono, nominally within [-1, 1]. */
  readonly samples: Float32Array;
  /** Hz: what was asked for, else the model's own. */
  readonly sampleRate: number;
  readonly durationSeconds: number;
  /** LKFS that it was brought to; `'off'`: it is as loud as the decoder gave it. */
  readonly loudness: number | 'off';
  /** Speaks the same bytes again, with the same text, voice and options. */
  readonly seed: number;
  /** `'end'`: the model finished by itself. `'limit'`: a window or `maxSeconds` cut it. */
  readonly endReason: 'end' | 'limit';
  readonly timings: Readonly<SpeechTimings>;
  readonly codes: Codes;
  /** What overflowed in 16 bit and was done again in float32. */
  readonly health: Readonly<SpeechHealth>;
  /** What was found when it was listened to. */
  readonly check: Readonly<CheckReport>;
  /** What turned the codes into sound, and why that. */
  readonly decoder: 'encodec' | 'diffusion';
  readonly decoderReason: string;
  /** Whether it went through the enhancer, and why. */
  readonly enhanced: boolean;
  readonly enhancedReason: string;

  private constructor(parts: SpeechParts) {
    this.samples = parts.samples;
    this.sampleRate = parts.sampleRate;
    this.durationSeconds = parts.samples.length / parts.sampleRate;
    this.loudness = parts.loudness;
    this.seed = parts.seed;
    this.endReason = parts.endReason;
    this.timings = parts.timings;
    this.codes = parts.codes;
    this.health = parts.health;
    this.check = parts.check;
    this.decoder = parts.decoder.decoder;
    this.decoderReason = parts.decoder.reason;
    this.enhanced = parts.enhancement.enhanced;
    this.enhancedReason = parts.enhancement.reason;
  }

  static {
    createSpeech = (parts) => new Speech(parts);
  }

  /** A WAV file: mono, 16 bit. */
  toWav(): Uint8Array {
    return encodeWav(this.samples, this.sampleRate);
  }

  /** All of it as bytes: a WAV file, or bare samples. */
  toBytes(options?: ByteOptions): Uint8Array {
    const { format } = resolveFormat(options, ['format']);
    return format === 'wav' ? this.toWav() : sampleBytes(this.samples, format);
  }

  /**
   * Writes a file of `toBytes`. It appears whole or not at all.
   *
   * @throws the file system's own error.
   */
  async save(path: string, options?: ByteOptions): Promise<void> {
    if (!isString(path) || path === '') throw expectedType('a path', 'path', path);
    const { format } = resolveFormat(options, ['format']);
    await writeAtomically(path, (file) => this.#write(format, (bytes) => file.writeFile(bytes)));
  }

  /** In pieces of a few seconds, so that a long speech does not hold the event loop. */
  async #write(format: ByteFormat, write: (bytes: Uint8Array) => Promise<void>): Promise<void> {
    const piece = 1 << 17;
    await write(headerBytes(format, this.sampleRate, this.samples.length));
    for (let at = 0; at < this.samples.length; at += piece)
      await write(sampleBytes(this.samples.subarray(at, at + piece), format));
  }
}

/** Reads a stream to its end. `extra.load` is the time that loading took. */
export async function collect(
  source: AsyncIterable<AudioChunk>,
  request: {
    seed: number;
    sampleRate: number;
    decoder: DecoderChoice;
    enhancement: EnhancerChoice;
    loudness: number | 'off';
    check: CheckMode;
    tally: Readonly<Tally>;
    halted: AbortSignal;
  },
  extra: { load?: number } = {},
): Promise<Speech> {
  const all: AudioChunk[] = [];
  for await (const chunk of source) all.push(chunk);
  const { seed, sampleRate, loudness, decoder, enhancement, check, tally, halted } = request;
  const endReason = all.at(-1)?.endReason;
  if (!endReason) halted.throwIfAborted();
  if (!endReason)
    throw new MetaVoiceError('ERR_INTERNAL', 'expected speech but the stream ended without any');
  const samples = joinSamples(all.map((chunk) => chunk.samples));
  const total = tally.total ?? 0;
  return createSpeech({
    samples,
    sampleRate,
    loudness,
    seed,
    decoder,
    enhancement,
    endReason,
    codes: joinCodes(all.map((chunk) => chunk.codes)),
    health: { ...tally.health },
    check: tally.checks.report(check),
    timings: {
      ...extra,
      prefill: tally.prefill,
      firstStage: tally.firstStage,
      secondStage: tally.secondStage,
      decoder: tally.decoder,
      enhancer: tally.enhancer,
      firstAudio: tally.firstAudio ?? total,
      total,
      steps: tally.steps,
      realTimeFactor: total / 1000 / (samples.length / sampleRate),
    },
  });
}

/** The one generator: everything that hands out speech, whole or in pieces, is a view over it. */

import { asking, type CallSite, fromEngine } from '../call-site.js';
import { MetaVoiceError } from '../errors.js';
import type { NativeChunk, NativeUtterance } from '../native/contract.js';
import type { OnProgress } from '../options.js';
import { fadeIn, fadeOut, withSilence } from './joins.js';

/** Codes of the codec. */
export interface Codes {
  /** One array of `frames` codes per codebook. */
  codebooks: Uint16Array[];
  frames: number;
}

export interface AudioChunk {
  /** Mono, nominally within [-1, 1]. The last chunk of a segment ends with the pause before the next one. */
  samples: Float32Array;
  /** Hz */
  sampleRate: number;
  /** 0, 1, 2, … */
  index: number;
  /** Which segment of the text is spoken. */
  segment: number;
  /** Where that segment lies in the text as it was given, in UTF-16 units. The places of all segments cover it exactly once. */
  textOffset: number;
  textLength: number;
  /** Where the chunk begins in the speech, and how long it is. */
  startSeconds: number;
  durationSeconds: number;
  /** When it arrived in JavaScript, on the clock of `timings.firstAudio`: milliseconds since the request began. */
  readyMilliseconds: number;
  /** The first frame of codes, counted from the start of the speech; pauses have none. */
  firstFrame: number;
  codes: Codes;
  /** No chunk follows. */
  last: boolean;
  /** On the last chunk: whether the model came to its end, or was cut by a limit. Else null. */
  endReason: 'end' | 'limit' | null;
}

/**
 * Numeric health: what overflowed in 16 bit and was done again in float32, with the same weights. It is sound, but slow;
 * where it happens often, dtype `'float32'` or `'bfloat16'` is the better choice. All zero on most models.
 */
export interface SpeechHealth {
  /** Steps of the first stage. */
  redoneSteps: number;
  /** Passes of the second stage. */
  redoneWindows: number;
}

/** What happened so far in a request; the generator writes it. */
export interface Tally {
  /** Milliseconds in the stages, and steps of the first stage. */
  prefill: number;
  firstStage: number;
  secondStage: number;
  decoder: number;
  steps: number;
  health: SpeechHealth;
  /** Milliseconds from the request to the first sound and to the end; null before. */
  firstAudio: number | null;
  total: number | null;
}

/** A request that was judged and waits to be pulled. */
export interface SpeechPlan {
  readonly seed: number;
  readonly sampleRate: number;
  /** Samples per frame. */
  readonly hop: number;
  /** Milliseconds that judging the request took. */
  readonly judged: number;
  /** Segments of the text. */
  readonly segments: number;
  /** The place of a segment in the text. */
  spanOf(segment: number): { readonly offset: number; readonly length: number };
  /** Samples of silence between a segment and the next one. */
  pauseAfter(segment: number): number;
  /** The most frames of the whole request, pauses counted; Infinity where only the windows limit it. */
  readonly maximumFrames: number;
  readonly signal: AbortSignal | null;
  readonly onProgress: OnProgress | null;
  readonly site: CallSite;
  /** Called with the first chunk that something was done again for. */
  onRedone(): void;
  /** Throws ERR_DISPOSED once the model is. */
  requireOpen(): void;
  /** The embedding of the voice; computed now if it is a recording. */
  speaker(signal: AbortSignal): Promise<Float32Array>;
  start(segment: number, speaker: Float32Array, maximumFrames: number): NativeUtterance;
}

export const emptyTally = (): Tally => ({
  prefill: 0,
  firstStage: 0,
  secondStage: 0,
  decoder: 0,
  steps: 0,
  health: { redoneSteps: 0, redoneWindows: 0 },
  firstAudio: null,
  total: null,
});

/**
 * Speaks the segments one after another. Nothing starts before the first pull, and nothing runs after the generator is
 * left: by its end, an error, `return()`, the user's signal (which rejects with its own reason), or `halt` (which ends
 * quietly, even while a pull waits).
 */
export async function* chunks(
  plan: SpeechPlan,
  tally: Tally,
  halt: AbortController,
): AsyncGenerator<AudioChunk, void, undefined> {
  // What lies between the call and the first pull is the reader's: nothing is computed then.
  const began = performance.now() - plan.judged;
  const run = new Run(plan, tally, () => performance.now() - began);
  const { signal } = plan;
  const onAbort = () => halt.abort(signal?.reason);
  const onHalt = () => run.cancel();
  try {
    signal?.throwIfAborted();
    plan.requireOpen();
    signal?.addEventListener('abort', onAbort, { once: true });
    halt.signal.addEventListener('abort', onHalt, { once: true });
    const speaker = await asking(plan.site, () => plan.speaker(halt.signal));
    for (let segment = 0; segment < plan.segments && !run.finished; segment++) {
      run.begin(segment, speaker, halt.signal);
      for (let chunk = await run.next(halt.signal); chunk; chunk = await run.next(halt.signal)) {
        if (tally.firstAudio === null && isAudible(chunk.samples)) tally.firstAudio = chunk.readyMilliseconds;
        if (chunk.last) tally.total = chunk.readyMilliseconds;
        yield chunk;
      }
    }
  } catch (error) {
    // Leaving early is no failure; the user's abort is, and keeps its own reason.
    if (signal?.aborted) throw signal.reason;
    if (!halt.signal.aborted) throw error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
    halt.signal.removeEventListener('abort', onHalt);
    run.cancel();
  }
}

/** 60 dB below full scale: speech played as loud as a person talks is then softer than a quiet room. */
const audible = 0.001;

const isAudible = (samples: Float32Array): boolean => samples.some((value) => Math.abs(value) >= audible);

/** The state of one request: which segment speaks, and how far the speech is. */
class Run {
  readonly #plan: SpeechPlan;
  readonly #tally: Tally;
  readonly #clock: () => number;
  #utterance: NativeUtterance | null = null;
  #segment = 0;
  #index = 0;
  #frames = 0;
  #samples = 0;
  #cut = false;
  #segmentDone = false;
  #health: SpeechHealth = { redoneSteps: 0, redoneWindows: 0 };
  finished = false;

  /** @param clock milliseconds since the request began */
  constructor(plan: SpeechPlan, tally: Tally, clock: () => number) {
    this.#plan = plan;
    this.#tally = tally;
    this.#clock = clock;
  }

  begin(segment: number, speaker: Float32Array, halted: AbortSignal): void {
    halted.throwIfAborted();
    this.#plan.requireOpen();
    this.#segment = segment;
    this.#segmentDone = false;
    this.#health = { redoneSteps: 0, redoneWindows: 0 };
    try {
      this.#utterance = this.#plan.start(segment, speaker, this.#roomFrames());
    } catch (error) {
      throw fromEngine(error, this.#plan.site);
    }
  }

  /** The next chunk of the segment, or null when the segment has ended. */
  async next(halted: AbortSignal): Promise<AudioChunk | null> {
    if (this.#segmentDone) return null;
    this.#plan.requireOpen();
    const utterance = this.#utterance!;
    const native = await asking(this.#plan.site, () => utterance.next());
    const ready = this.#clock();
    halted.throwIfAborted();
    if (native) return this.#accept(native, ready);
    this.#plan.requireOpen();
    throw new MetaVoiceError('ERR_INTERNAL', 'expected a last chunk but the utterance ended without one');
  }

  cancel(): void {
    this.#utterance?.cancel();
  }

  #accept(native: NativeChunk, readyMilliseconds: number): AudioChunk {
    const { sampleRate, segments, onProgress, spanOf } = this.#plan;
    const { offset: textOffset, length: textLength } = spanOf(this.#segment);
    const firstFrame = this.#frames;
    const startSeconds = this.#samples / sampleRate;
    this.#frames += native.frames;
    this.#countHealth(native.health);
    if (native.endReason) this.#endSegment(native);
    const samples = this.#joined(native);
    this.#samples += samples.length;
    this.finished = this.#segmentDone && (this.#segment === segments - 1 || this.#roomFrames() < 1);
    if (this.finished && this.#segment < segments - 1) this.#cut = true;
    onProgress?.({
      phase: 'speak',
      seconds: this.#samples / sampleRate,
      segment: this.#segment,
      segments,
    });
    return {
      samples,
      sampleRate,
      index: this.#index++,
      segment: this.#segment,
      textOffset,
      textLength,
      startSeconds,
      durationSeconds: samples.length / sampleRate,
      readyMilliseconds,
      firstFrame,
      codes: splitCodes(native.codes, native.frames),
      last: this.finished,
      endReason: this.finished ? (this.#cut ? 'limit' : 'end') : null,
    };
  }

  /** What `maxSeconds` leaves, in samples and in whole frames. */
  #roomSamples(): number {
    return this.#plan.maximumFrames * this.#plan.hop - this.#samples;
  }

  #roomFrames(): number {
    return Math.floor(this.#roomSamples() / this.#plan.hop);
  }

  /** The samples of a chunk as they are handed out: where segments meet, faded and followed by the pause. */
  #joined({ samples, firstFrame, endReason }: NativeChunk): Float32Array {
    const { sampleRate, hop, segments, pauseAfter } = this.#plan;
    if (this.#segment > 0 && firstFrame === 0) fadeIn(samples, sampleRate);
    const room = this.#roomSamples() - samples.length;
    // Where nothing more can follow, nothing is changed.
    if (!endReason || this.#segment === segments - 1 || room < hop) return samples;
    fadeOut(samples, sampleRate);
    return withSilence(samples, Math.min(pauseAfter(this.#segment), room));
  }

  /** Native counts are of the segment so far. */
  #countHealth(now: SpeechHealth): void {
    const { health } = this.#tally;
    const before = health.redoneSteps + health.redoneWindows;
    health.redoneSteps += now.redoneSteps - this.#health.redoneSteps;
    health.redoneWindows += now.redoneWindows - this.#health.redoneWindows;
    this.#health = now;
    if (before === 0 && health.redoneSteps + health.redoneWindows > 0) this.#plan.onRedone();
  }

  #endSegment({ endReason, timings }: NativeChunk): void {
    this.#segmentDone = true;
    this.#cut ||= endReason === 'limit';
    this.#tally.prefill += timings.prefill;
    this.#tally.firstStage += timings.firstStage;
    this.#tally.secondStage += timings.secondStage;
    this.#tally.decoder += timings.decoder;
    this.#tally.steps += timings.steps;
  }
}

/** [codebooks, frames] → one array per codebook. */
export function splitCodes(codes: Uint16Array, frames: number): Codes {
  const count = frames > 0 ? codes.length / frames : 0;
  const codebooks = Array.from({ length: count }, (_, k) => codes.slice(k * frames, (k + 1) * frames));
  return { codebooks, frames };
}

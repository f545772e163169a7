/** The one generator: everything that hands out speech, whole or in pieces, is a view over it. */

import { asking } from '../call-site.js';
import { CheckLog } from './check-report.js';
import type { Codes } from './codes.js';
import { type SpeechOutcome, Told } from './diagnostics.js';
import type { SpeechPlan } from './plan.js';
import { Run } from './run.js';

export interface AudioChunk {
  /**
   * Mono, nominally within [-1, 1]. The last chunk of a segment ends with the pause before the next one; where that is not
   * known yet, as a text in pieces paused there, the pause comes as a chunk without codes, and so does the end, with no more than an enhancer or a change
   * of the rate still held back.
   */
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
  /** Passes of the second stage, and windows of diffusion. */
  redoneWindows: number;
}

/** What happened so far in a request; the generator writes it. */
export interface Tally {
  /** Milliseconds in the stages, and steps of the first stage. */
  prefill: number;
  firstStage: number;
  secondStage: number;
  decoder: number;
  enhancer: number;
  steps: number;
  health: SpeechHealth;
  checks: CheckLog;
  /** Milliseconds from the request to the first sound and to the end; null before. */
  firstAudio: number | null;
  total: number | null;
}

export const emptyTally = (): Tally => ({
  prefill: 0,
  firstStage: 0,
  secondStage: 0,
  decoder: 0,
  enhancer: 0,
  steps: 0,
  health: { redoneSteps: 0, redoneWindows: 0 },
  checks: new CheckLog(),
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
  const clock = () => performance.now() - began;
  const run = new Run(plan, tally, clock);
  const told = new Told(plan.seed, clock);
  let outcome: SpeechOutcome = 'left';
  let failure: unknown;
  const { signal } = plan;
  const onAbort = () => halt.abort(signal?.reason);
  const onHalt = () => run.cancel();
  const forget = plan.cancelOnDispose(run);
  try {
    signal?.throwIfAborted();
    plan.requireOpen();
    halt.signal.throwIfAborted();
    signal?.addEventListener('abort', onAbort, { once: true });
    halt.signal.addEventListener('abort', onHalt, { once: true });
    run.read();
    run.begin(await asking(plan.site, () => plan.speaker(halt.signal)));
    halt.signal.throwIfAborted();
    for (let chunk = await run.next(halt.signal); chunk; chunk = await run.next(halt.signal)) {
      if (tally.firstAudio === null && isAudible(chunk.samples)) {
        tally.firstAudio = chunk.readyMilliseconds;
        told.firstAudio(tally.firstAudio);
        plan.onFirstAudio(tally.firstAudio);
      }
      told.chunk(chunk);
      if (chunk.last) tally.total = chunk.readyMilliseconds;
      run.widen();
      yield chunk;
    }
    // The reader has all of it; the end comes when nothing is being judged any more.
    await tally.checks.settled();
    halt.signal.throwIfAborted();
    outcome = 'ended';
  } catch (error) {
    // Leaving early is no failure; the user's abort is, and keeps its own reason.
    if (signal?.aborted) {
      outcome = 'aborted';
      throw signal.reason;
    }
    if (!halt.signal.aborted) {
      outcome = 'failed';
      failure = error;
      throw error;
    }
  } finally {
    signal?.removeEventListener('abort', onAbort);
    halt.signal.removeEventListener('abort', onHalt);
    forget();
    run.cancel();
    told.end(outcome, tally, failure);
  }
}

/** 60 dB below full scale: speech played as loud as a person talks is then softer than a quiet room. */
const audible = 0.001;

const isAudible = (samples: Float32Array): boolean => samples.some((value) => Math.abs(value) >= audible);

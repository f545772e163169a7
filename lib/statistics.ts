/** What a model is doing, and has done since it was loaded, for operators. */

import type { NativeStatistics } from './native/contract.js';

/** An utterance is one segment of a text being spoken. */
export interface ModelStatistics {
  /** Utterances that are being spoken. */
  readonly active: number;
  /** Of these, the ones whose reader has enough for now: they cost nothing but memory. */
  readonly resting: number;
  /** Whose reader rests while others needed their memory: they go on when they are read. */
  readonly parked: number;
  /** Utterances that wait for their turn. */
  readonly queued: number;
  /** Memory for keys and values, in pages of 32 positions of one row (an utterance has two rows, or three). */
  readonly keyValueCache: {
    readonly pages: number;
    readonly usedPages: number;
    readonly peakUsedPages: number;
    readonly pageBytes: number;
  };
  /** Decode steps over the last ten seconds; all active utterances take one together. */
  readonly stepsPerSecond: number;
  /** Speech made over the last ten seconds, of all callers. */
  readonly audioSecondsPerSecond: number;
  /**
   * Milliseconds from the beginning of a request to the first sound that its reader gets, enhanced and at the rate that was
   * asked for: `timings.firstAudio` of the last 256 that sounded; null before the first.
   */
  readonly firstAudio: { readonly p50: number; readonly p95: number } | null;
  readonly peaks: { readonly active: number; readonly queued: number };
  /** Since the model was loaded. */
  readonly totals: {
    readonly ended: number;
    readonly cancelled: number;
    readonly failed: number;
    /** With ERR_QUEUE_FULL. */
    readonly refused: number;
    readonly steps: number;
    /** Utterances that took a step together, on average; 0 before the first. */
    readonly utterancesPerStep: number;
    readonly audioSeconds: number;
  };
}

export function statisticsOf(
  native: NativeStatistics,
  firstAudio: ModelStatistics['firstAudio'],
): ModelStatistics {
  const { active, resting, parked, queued, pages, usedPages, peakUsedPages, pageBytes } = native;
  const { batchSteps, ended, cancelled, failed, refused } = native;
  return {
    active,
    resting,
    parked,
    queued,
    keyValueCache: { pages, usedPages, peakUsedPages, pageBytes },
    stepsPerSecond: native.batchStepsPerSecond,
    audioSecondsPerSecond: native.audioSecondsPerSecond,
    firstAudio,
    peaks: { active: native.peakActive, queued: native.peakQueued },
    totals: {
      ended,
      cancelled,
      failed,
      refused,
      steps: batchSteps,
      utterancesPerStep: batchSteps === 0 ? 0 : native.steps / batchSteps,
      audioSeconds: native.audioSeconds,
    },
  };
}

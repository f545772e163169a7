/** What the check of a speech found, as it is told to users. */

import { type Finding, placed, type SegmentCheck, type Unchecked } from '../check/findings.js';
import type { CheckMode } from '../options.js';

/** What the check of a speech found; the option `check` says what is done about it. */
export interface CheckReport {
  mode: CheckMode;
  /** Segments that were judged. */
  segments: number;
  /** Of them, those that were spoken twice. */
  respoken: number;
  /** What is wrong, in order of the text; empty where nothing is. */
  findings: Finding[];
  /** What could not be judged, and why: each reason once. */
  unchecked: Unchecked[];
  /** The lowest cosine of a window of the speech to the voice that was asked for; null where none was judged. */
  leastCosine: number | null;
}

/** Gathers the checks of segments, in whatever order they come. It keeps what is told, and nothing of sound segments. */
export class CheckLog {
  readonly #running = new Map<Promise<void>, () => void>();
  readonly #unchecked = new Map<string, Unchecked>();
  readonly #findings: Finding[] = [];
  #segments = 0;
  #respoken = 0;
  #leastCosine: number | null = null;

  /**
   * @param checks of the attempts at a segment; it rejects where the speech was stopped, and then nothing is told of it
   * @param startSeconds where the segment begins in the speech
   * @param cancel ends a check that is under way
   */
  add(checks: Promise<SegmentCheck[]>, startSeconds: number, cancel: () => void): void {
    const running: Promise<void> = checks
      .then(
        (attempts) => this.#count(attempts, startSeconds),
        () => {},
      )
      .finally(() => this.#running.delete(running));
    this.#running.set(running, cancel);
  }

  /** Resolves when nothing is being judged any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#running.keys());
  }

  /** Ends what is under way. */
  cancel(): void {
    for (const cancel of this.#running.values()) cancel();
  }

  /** What was found so far. */
  report(mode: CheckMode): CheckReport {
    return {
      mode,
      segments: this.#segments,
      respoken: this.#respoken,
      findings: this.#findings.map((each) => ({ ...each })).sort(inOrder),
      unchecked: Array.from(this.#unchecked.values(), (each) => ({ ...each })),
      leastCosine: this.#leastCosine,
    };
  }

  #count(attempts: readonly SegmentCheck[], startSeconds: number): void {
    // What a limit of the request cut off was not heard to its end.
    if (attempts.length === 0) return;
    this.#segments++;
    if (attempts.length > 1) this.#respoken++;
    for (const { heard, voice, findings, unchecked } of attempts) {
      this.#findings.push(...placed(findings, startSeconds));
      for (const each of unchecked) this.#unchecked.set(`${each.kind}: ${each.reason}`, each);
      if (heard && voice) this.#leastCosine = Math.min(this.#leastCosine ?? 1, voice.least);
    }
  }
}

const inOrder = (a: Finding, b: Finding): number =>
  a.segment - b.segment || a.attempt - b.attempt || a.startSeconds - b.startSeconds;

/** The segments of a request in their order, begun before their turn: while one is read, the next are spoken beside it. */

import type { SegmentCheck } from '../check/findings.js';
import type { NativeUtterance } from '../native/contract.js';
import type { PlannedSegment, PlannedText } from './plan.js';

/** A plain one is not judged. */
export type SpokenUtterance = NativeUtterance & { readonly checks?: Promise<SegmentCheck[]> };

export interface BegunSegment {
  readonly index: number;
  readonly segment: PlannedSegment;
  readonly utterance: SpokenUtterance;
}

interface Waiting {
  readonly index: number;
  readonly segment: PlannedSegment;
  utterance: SpokenUtterance | null;
  /** Why it could not begin; told when its turn comes. */
  failure: { readonly error: unknown } | null;
}

type Start = (segment: PlannedSegment, index: number, ahead: boolean) => SpokenUtterance;

/**
 * What is begun ahead never depends on what was read, so neither do the bytes. Beside the segments that are spoken, one
 * more waits as text.
 */
export class SegmentsAhead {
  readonly #text: PlannedText;
  readonly #start: Start;
  readonly #most: number;
  readonly #waiting: Waiting[] = [];
  /** Utterances at a time; 1 until `widen()`. */
  #width = 1;
  #index = 0;
  #reading: SpokenUtterance | null = null;
  #asking = false;
  #ended = false;
  #failure: { readonly error: unknown } | null = null;
  #wake: (() => void) | null = null;

  /** @param most utterances of this request at a time */
  constructor(text: PlannedText, start: Start, most: number) {
    this.#text = text;
    this.#start = start;
    this.#most = most;
  }

  /** Asks the text for its next segment, unless one waits already. */
  ask(): void {
    if (this.#asking || this.#ended || this.#failure || this.#waiting.length >= this.#width) return;
    this.#asking = true;
    this.#text.next().then(
      (segment) => this.#answered(segment),
      (error) => {
        this.#failure = { error };
        this.#answered(null);
      },
    );
  }

  /** The next segment, begun; null after the last one, and after `cancel()`. The one before counts as read. */
  async take(): Promise<BegunSegment | null> {
    this.#reading = null;
    for (;;) {
      const next = this.#waiting.shift();
      if (next) return this.#enter(next);
      if (this.#ended) return null;
      if (this.#failure) throw this.#failure.error;
      this.ask();
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
    }
  }

  /** From now on segments begin ahead: called with the first chunk, which nothing shall delay. */
  widen(): void {
    if (this.#width === this.#most) return;
    this.#width = this.#most;
    this.#advance();
  }

  /** Ends everything, begun or not. Idempotent. */
  cancel(): void {
    this.#ended = true;
    this.#text.cancel();
    this.#reading?.cancel();
    for (const { utterance } of this.#waiting.splice(0)) utterance?.cancel();
    this.#wakeReader();
  }

  #answered(segment: PlannedSegment | null): void {
    this.#asking = false;
    if (this.#ended) return;
    if (segment) {
      this.#waiting.push({ index: this.#index++, segment, utterance: null, failure: null });
      this.#advance();
    } else if (!this.#failure) this.#ended = true;
    this.#wakeReader();
  }

  #enter(next: Waiting): BegunSegment {
    if (!next.utterance) this.#begin(next, false);
    if (next.failure) throw next.failure.error;
    const { index, segment } = next;
    this.#reading = next.utterance;
    this.#advance();
    return { index, segment, utterance: next.utterance! };
  }

  /** Begins what there is a place for; the one that is read has one. */
  #advance(): void {
    for (const next of this.#waiting.slice(0, this.#width - 1)) {
      // Nothing is spoken past a segment that failed.
      if (next.failure) return;
      if (!next.utterance) this.#begin(next, true);
    }
    this.ask();
  }

  #begin(next: Waiting, ahead: boolean): void {
    try {
      next.utterance = this.#start(next.segment, next.index, ahead);
    } catch (error) {
      next.failure = { error };
    }
  }

  #wakeReader(): void {
    this.#wake?.();
    this.#wake = null;
  }
}

/** An utterance that is judged as it is spoken, and perhaps spoken once more, in the form of a plain one. */

import type { SegmentCheck } from '../check/findings.js';
import { type CheckedSegment, checkedSegment } from '../check/respeak.js';
import { fromNative } from '../errors.js';
import type { NativeChunk, NativeUtterance } from '../native/contract.js';
import type { CheckMode } from '../options.js';

export interface CheckedRequest {
  readonly mode: CheckMode;
  /** Index in the request. */
  readonly segment: number;
  start(attempt: number): NativeUtterance;
  checker(attempt: number): ReturnType<CheckedSegment<NativeChunk>['checker']>;
}

/** One segment of a request. The first attempt begins at once. */
export class CheckedUtterance implements NativeUtterance {
  readonly #request: CheckedRequest;
  readonly #halt = new AbortController();
  readonly #chunks: AsyncGenerator<NativeChunk, void, undefined>;
  #first: NativeUtterance | null;
  #utterance: NativeUtterance;
  #pulled: Promise<IteratorResult<NativeChunk, void>> | null = null;
  #checks: Promise<SegmentCheck[]> = Promise.resolve([]);

  constructor(request: CheckedRequest) {
    const { mode, segment } = request;
    this.#request = request;
    this.#first = this.#utterance = request.start(0);
    this.#chunks = checkedSegment({
      mode,
      segment,
      speak: (_, attempt) => this.#speak(attempt),
      checker: (_, attempt) => request.checker(attempt),
      report: (checks) => {
        this.#checks = checks;
      },
      signal: this.#halt.signal,
    });
    // Held speech is judged ahead of its turn; what fails is told then.
    if (mode === 'respeak' && segment > 0) this.#pull().catch(() => {});
  }

  /** The checks of its attempts, once the last chunk was given; they may be under way still. Rejects only after `cancel()`. */
  get checks(): Promise<SegmentCheck[]> {
    return this.#checks;
  }

  async next(): Promise<NativeChunk | null> {
    const pulled = this.#pull();
    this.#pulled = null;
    try {
      const { done, value } = await pulled;
      return done || this.#halt.signal.aborted ? null : value;
    } catch (error) {
      if (this.#halt.signal.aborted) return null;
      throw error;
    }
  }

  /** Stops the speech and the check of it. */
  cancel(): void {
    this.#halt.abort();
    this.#utterance.cancel();
  }

  #pull(): Promise<IteratorResult<NativeChunk, void>> {
    this.#pulled ??= this.#chunks.next();
    return this.#pulled;
  }

  async *#speak(attempt: number): AsyncGenerator<NativeChunk, void, undefined> {
    try {
      // Nobody would end what begins after the end.
      this.#halt.signal.throwIfAborted();
      const utterance = this.#first ?? this.#request.start(attempt);
      this.#first = null;
      this.#utterance = utterance;
      for (let chunk = await utterance.next(); chunk; chunk = await utterance.next()) yield chunk;
    } catch (error) {
      throw fromNative(error);
    }
  }
}

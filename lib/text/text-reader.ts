/** Reads a text that comes in pieces, as a language model writes it, into segments: no faster than they are asked for. */

import { setImmediate as rest } from 'node:timers/promises';
import { expectedType, isString } from '../is.js';
import type { SegmentStream, StreamedSegment } from './segment-stream.js';

type Source = AsyncIterable<unknown> | Iterable<unknown>;
type Pieces = AsyncIterator<unknown> | Iterator<unknown>;

/** What a wait ends with: a piece or the end of the source, its failure, or that it gave nothing for a while. */
type Arrival = { piece: IteratorResult<unknown> } | { failure: unknown } | 'pause';

/** A source that never waits must not hold the event loop. */
const piecesPerTurn = 256;

export class TextReader {
  readonly #source: Source;
  readonly #segments: SegmentStream;
  readonly #flushMilliseconds: number;
  #pieces: Pieces | null = null;
  #count = 0;
  #asking = false;
  /** The source may have more. */
  #open = true;
  #left = false;
  /** What is read before another piece is waited for: what is certain, all that is there, or the end of the text. */
  #reading: 'next' | 'flush' | 'end' = 'next';
  #sourceFailed = false;
  #arrived: Arrival | null = null;
  #wake: (() => void) | null = null;

  constructor(source: Source, segments: SegmentStream, flushSeconds: number) {
    this.#source = source;
    this.#segments = segments;
    this.#flushMilliseconds = flushSeconds * 1000;
  }

  /** The source itself threw what `next()` did. */
  get sourceFailed(): boolean {
    return this.#sourceFailed;
  }

  /**
   * The next segment; null after the last one, and after `cancel()`. One call at a time.
   *
   * @throws what the source throws; TypeError for a piece that is no string; as `SegmentStream`
   */
  async next(): Promise<StreamedSegment | null> {
    try {
      for (;;) {
        if (this.#left) return null;
        const segment = this.#segments[this.#reading]();
        if (segment) return segment;
        if (this.#reading === 'end') return null;
        this.#reading = 'next';
        // While segments of a flush were read, a piece may have come.
        if (!this.#arrived) await this.#wait();
        if (this.#arrived) this.#accept(this.#arrived);
      }
    } catch (error) {
      this.cancel();
      throw error;
    }
  }

  /** Lets the source go; a call of `next()` that waits answers. Idempotent. */
  cancel(): void {
    if (this.#open) leave(this.#pieces);
    this.#open = false;
    this.#left = true;
    this.#arrived = null;
    this.#wakeReader();
  }

  async #wait(): Promise<void> {
    const waiting = new Promise<void>((wake) => {
      this.#wake = wake;
    });
    this.#ask();
    const pause = this.#segments.speakable
      ? setTimeout(() => this.#arrive('pause'), this.#flushMilliseconds)
      : undefined;
    await waiting;
    clearTimeout(pause);
    if (this.#count % piecesPerTurn === piecesPerTurn - 1) await rest();
  }

  /** Asks the source for a piece, unless it was asked already. */
  #ask(): void {
    if (this.#asking) return;
    this.#asking = true;
    this.#next().then(
      (piece) => this.#arrive({ piece }),
      (failure) => this.#arrive({ failure }),
    );
  }

  async #next(): Promise<IteratorResult<unknown>> {
    this.#pieces ??= piecesOf(this.#source);
    return await this.#pieces.next();
  }

  #arrive(arrival: Arrival): void {
    if (!this.#open) return;
    if (arrival !== 'pause') this.#asking = false;
    this.#arrived = arrival;
    this.#wakeReader();
  }

  #accept(arrival: Arrival): void {
    this.#arrived = null;
    if (arrival === 'pause') this.#reading = 'flush';
    else if ('failure' in arrival) {
      this.#open = false;
      this.#sourceFailed = true;
      throw arrival.failure;
    } else if (arrival.piece.done) {
      this.#open = false;
      this.#reading = 'end';
    } else this.#push(arrival.piece.value);
  }

  #push(piece: unknown): void {
    if (!isString(piece)) throw expectedType('a string', `text[${this.#count}]`, piece);
    this.#count++;
    this.#segments.push(piece);
  }

  #wakeReader(): void {
    this.#wake?.();
    this.#wake = null;
  }
}

const piecesOf = (source: Source): Pieces =>
  Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();

/** Not awaited: the source may be waiting for something that never comes. */
function leave(pieces: Pieces | null): void {
  try {
    Promise.resolve(pieces?.return?.()).catch(() => {});
  } catch {
    // It is let go all the same.
  }
}

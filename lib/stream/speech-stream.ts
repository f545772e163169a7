/** What `stream()` returns: one speech, to be read once, in the form that suits. */

import type { Readable } from 'node:stream';
import { MetaVoiceError } from '../errors.js';
import { integerOf } from '../option-values.js';
import { type ByteOptions, chunkBytes, resolveFormat } from './bytes.js';
import type { CheckReport } from './check-report.js';
import { type AudioChunk, chunks, emptyTally, type SpeechHealth, type Tally } from './chunks.js';
import { collect, type Speech } from './collect.js';
import type { DecoderChoice, EnhancerChoice, SpeechPlan } from './plan.js';
import { nodeReadable } from './readable.js';
import { webStream } from './web.js';

export interface NodeReadableOptions extends ByteOptions {
  /**
   * Bytes that may wait unread before the engine rests. Integer, at least 0.
   * @default Node's own
   */
  highWaterMark?: number;
}

/** Makes a stream of a request that was judged; users call `stream()`. */
export let createSpeechStream: (plan: SpeechPlan) => SpeechStream;

/**
 * Speech that is computed as it is read: nothing starts before the first pull, and a reader that stops reading stops
 * the engine. It is an `AsyncIterable` of chunks; the other forms are views over the same iteration.
 */
export class SpeechStream implements AsyncIterable<AudioChunk> {
  readonly #plan: SpeechPlan;
  readonly #tally: Tally = emptyTally();
  readonly #halt = new AbortController();
  #taken = false;

  private constructor(plan: SpeechPlan) {
    this.#plan = plan;
  }

  static {
    createSpeechStream = (plan) => new SpeechStream(plan);
  }

  /** The seed that was given or drawn. */
  get seed(): number {
    return this.#plan.seed;
  }

  /** Hz */
  get sampleRate(): number {
    return this.#plan.sampleRate;
  }

  /** What turns the codes into sound, and why that. */
  get decoder(): DecoderChoice {
    return this.#plan.decoder;
  }

  /** Whether the speech goes through the enhancer, and why. */
  get enhancement(): EnhancerChoice {
    return this.#plan.enhancement;
  }

  /** LKFS that the speech is brought to, or `'off'`. */
  get loudness(): number | 'off' {
    return this.#plan.loudness;
  }

  /** What overflowed in 16 bit so far and was done again in float32. */
  get health(): SpeechHealth {
    return { ...this.#tally.health };
  }

  /** What was found so far by the option `check`; complete once the stream has ended. */
  get check(): CheckReport {
    return this.#tally.checks.report(this.#plan.check);
  }

  /**
   * The chunks. Leaving the loop early stops the engine. A second iteration is refused.
   *
   * @throws MetaVoiceError ERR_UNSUPPORTED when the stream is being read already.
   */
  [Symbol.asyncIterator](): AsyncGenerator<AudioChunk, void, undefined> {
    if (this.#taken) {
      throw new MetaVoiceError(
        'ERR_UNSUPPORTED',
        'expected a fresh stream but this one was read before; a stream is read once, call stream() again',
      );
    }
    this.#taken = true;
    const iterator = chunks(this.#plan, this.#tally, this.#halt);
    const { return: finish } = iterator;
    // A generator queues return() behind a pull that waits; cancelling first lets that pull answer now.
    iterator.return = (value) => {
      this.cancel();
      return finish.call(iterator, value);
    };
    return iterator;
  }

  /** Stops the engine within one launch; a reader sees the end. Idempotent. */
  cancel(): void {
    this.#halt.abort();
  }

  /** Bytes with back-pressure, for `pipe` and `pipeline`. Destroying the stream stops the engine. */
  toNodeReadable(options?: NodeReadableOptions): Readable {
    const { format, highWaterMark } = resolveFormat(options, ['format', 'highWaterMark']);
    const mark =
      highWaterMark === undefined
        ? undefined
        : integerOf(highWaterMark, 'highWaterMark', 0, Number.MAX_SAFE_INTEGER);
    return nodeReadable(chunkBytes(this[Symbol.asyncIterator](), format), () => this.cancel(), mark);
  }

  /** Bytes for `new Response(…)`. Cancelling the stream stops the engine. */
  toWebStream(options?: ByteOptions): ReadableStream<Uint8Array> {
    const { format } = resolveFormat(options, ['format']);
    return webStream(chunkBytes(this[Symbol.asyncIterator](), format), () => this.cancel());
  }

  /**
   * All of it. Rejects with an AbortError after `cancel()`.
   *
   * @param extra.load milliseconds that loading took, to be told in the timings
   */
  collect(extra: { load?: number } = {}): Promise<Speech> {
    const { seed, sampleRate, loudness, decoder, enhancement, check } = this.#plan;
    const halted = this.#halt.signal;
    const request = { seed, sampleRate, loudness, decoder, enhancement, check, tally: this.#tally, halted };
    return collect(this, request, extra);
  }
}

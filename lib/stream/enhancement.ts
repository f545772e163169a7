import type { NativeEnhancer } from '../native/contract.js';
import { joinSamples } from './joins.js';

/** A speech on its way through the enhancer, chunk after chunk; the same bits for any chunks. Without one it does nothing. */
export class Enhancement {
  readonly #make: () => NativeEnhancer | null;
  #enhancer: NativeEnhancer | null = null;

  /** @param make called with the first samples, as it may fail */
  constructor(make: () => NativeEnhancer | null) {
    this.#make = make;
  }

  /**
   * What is known by now: the enhancer looks some frames ahead, and what it waits for comes with the next chunk.
   *
   * @param last nothing follows, so nothing is left over
   */
  async convert(samples: Float32Array, last: boolean): Promise<Float32Array> {
    this.#enhancer ??= this.#make();
    const enhancer = this.#enhancer;
    if (!enhancer) return samples;
    const pieces = samples.length > 0 ? [await enhancer.push(samples)] : [];
    if (last) pieces.push(await enhancer.finish());
    return joinSamples(pieces);
  }

  /** Milliseconds of computing so far. */
  get spent(): number {
    return this.#enhancer?.spent() ?? 0;
  }

  /** Nobody waits for it any more. Idempotent. */
  cancel(): void {
    this.#enhancer?.cancel();
  }
}

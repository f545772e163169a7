import type { NativeLeveller } from '../native/contract.js';

/**
 * A speech on its way to a loudness, segment after segment in the order in which they are heard, whatever was computed first.
 * Without a leveller it stays as loud as it is.
 */
export class Levelling {
  readonly #make: () => NativeLeveller | null;
  #leveller: NativeLeveller | null = null;

  /** @param make called with the first samples, as it may fail */
  constructor(make: () => NativeLeveller | null) {
    this.#make = make;
  }

  async convert(samples: Float32Array): Promise<Float32Array> {
    this.#leveller ??= this.#make();
    return this.#leveller ? this.#leveller.push(samples) : samples;
  }
}

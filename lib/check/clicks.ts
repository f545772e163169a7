/** Steps between samples that speech does not make. */

import type { Pieces } from './samples.js';
import { clickFloor, clickGround, clickNeighbourhoodSeconds, clickRatio, clickWidth } from './thresholds.js';

export interface Click {
  startSeconds: number;
  ratio: number;
}

const blockSeconds = 0.001;
/** Samples that a third difference spans. */
const span = 4;

/**
 * The largest third difference of each millisecond. It takes speech, whose energy lies low, far down, and leaves a step as
 * it is: 1, −2, 1 times its height.
 */
export class ClickMeter {
  readonly #sampleRate: number;
  readonly #block: number;
  readonly #largest: number[] = [];
  #index = 0;
  #a = 0;
  #b = 0;
  #c = 0;

  constructor(sampleRate: number) {
    this.#sampleRate = sampleRate;
    this.#block = Math.max(span, Math.round(blockSeconds * sampleRate));
  }

  /** In order, in any pieces. */
  add(samples: Float32Array): void {
    for (let i = 0; i < samples.length; i++) {
      const sample = samples[i]!;
      const block = Math.floor(this.#index / this.#block);
      if (block === this.#largest.length) this.#largest.push(0);
      const step = Math.abs(sample - 3 * (this.#c - this.#b) - this.#a);
      if (this.#index >= span - 1 && step > this.#largest[block]!) this.#largest[block] = step;
      this.#a = this.#b;
      this.#b = this.#c;
      this.#c = sample;
      this.#index++;
    }
  }

  /**
   * Steps that stand alone: speech has its likes around each of its own.
   *
   * @param loud decibels of the loud frames
   */
  clicks(pieces: Pieces, loud: number): Click[] {
    const amplitude = 10 ** (loud / 20);
    const reach = Math.round((clickNeighbourhoodSeconds * this.#sampleRate) / this.#block);
    const found: Click[] = [];
    for (const [block, largest] of this.#largest.entries()) {
      if (largest < clickFloor * amplitude) continue;
      const around = Math.max(this.#around(block, reach), clickGround * amplitude);
      if (largest <= clickRatio * around) continue;
      const { at, beside } = this.#closely(pieces, block);
      const ratio = largest / Math.max(around, beside);
      if (ratio > clickRatio) found.push({ startSeconds: at / this.#sampleRate, ratio });
    }
    return found;
  }

  /** The largest of the blocks around, those beside left out. */
  #around(block: number, reach: number): number {
    let most = 0;
    for (let k = Math.max(0, block - reach); k <= block + reach; k++)
      if (Math.abs(k - block) > 1) most = Math.max(most, this.#largest[k] ?? 0);
    return most;
  }

  /** Where in its block the largest is, and the largest of this block and those beside that is not part of it. */
  #closely(pieces: Pieces, block: number): { at: number; beside: number } {
    const start = Math.max(0, (block - 1) * this.#block - (span - 1));
    const samples = pieces.read(start, Math.min(pieces.length, (block + 2) * this.#block));
    const step = (i: number) =>
      Math.abs(samples[i]! - 3 * (samples[i - 1]! - samples[i - 2]!) - samples[i - 3]!);
    const first = block * this.#block - start;
    let at = Math.max(span - 1, first);
    for (let i = at; i < Math.min(samples.length, first + this.#block); i++) if (step(i) > step(at)) at = i;
    let beside = 0;
    for (let i = span - 1; i < samples.length; i++)
      if (Math.abs(i - at) > clickWidth) beside = Math.max(beside, step(i));
    return { at: start + at, beside };
  }
}

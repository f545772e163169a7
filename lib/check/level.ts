/** How loud speech is, frame by frame, and where it begins and ends. */

import { frameSeconds, leastLoudDecibels, loudShare, silentDecibels } from './thresholds.js';

/** Power that is nothing, so that a logarithm exists: −120 dB. */
const nothing = 1e-12;

export interface Level {
  /** Decibels of each whole frame; full scale is 0. */
  decibels: Float32Array;
  /** Samples of a frame. */
  frame: number;
  /** Decibels of the loud frames. */
  loud: number;
  /** [start, end) in frames: from the first sound to the last; null where there is no speech. */
  extent: readonly [number, number] | null;
}

/** Takes samples in order, in any pieces. */
export class LevelMeter {
  readonly #frame: number;
  readonly #decibels: number[] = [];
  #power = 0;
  #count = 0;

  constructor(sampleRate: number) {
    this.#frame = Math.max(1, Math.round(frameSeconds * sampleRate));
  }

  add(samples: Float32Array): void {
    for (let i = 0; i < samples.length; i++) {
      const sample = samples[i]!;
      this.#power += sample * sample;
      if (++this.#count < this.#frame) continue;
      this.#decibels.push(10 * Math.log10(this.#power / this.#frame + nothing));
      this.#power = 0;
      this.#count = 0;
    }
  }

  /** Of all that was added; a last frame that is not whole is left out. */
  level(): Level {
    const decibels = Float32Array.from(this.#decibels);
    const loud = loudLevel(decibels);
    const silent = loud - silentDecibels;
    const first = decibels.findIndex((each) => each >= silent);
    const extent: Level['extent'] =
      loud < leastLoudDecibels || first < 0
        ? null
        : [first, decibels.findLastIndex((each) => each >= silent) + 1];
    return { decibels, frame: this.#frame, loud, extent };
  }
}

/** Long silences must not make quiet frames the loud ones, so these are counted among the frames that sound. */
function loudLevel(decibels: Float32Array): number {
  const sorted = decibels.slice().sort();
  const most = sorted.at(-1) ?? -Infinity;
  const first = sorted.findIndex((each) => each >= most - silentDecibels);
  const sounding = sorted.subarray(Math.max(0, first));
  return sounding[Math.floor((1 - loudShare) * (sounding.length - 1))] ?? -Infinity;
}

/** From the rate at which the model speaks to the one that the reader asked for. */

import { setImmediate as rest } from 'node:timers/promises';
import { Resampler } from '../audio/resampler.js';
import { joinSamples } from './joins.js';

/** Samples between two rests of the event loop: a few milliseconds of arithmetic on a busy machine. */
const slice = 1 << 12;

/** Of one speech, chunk after chunk; the same bits for any chunks. At equal rates it does nothing. */
export class RateChange {
  readonly #resampler: Resampler | null;

  constructor(from: number, to: number) {
    this.#resampler = from === to ? null : new Resampler(from, to);
  }

  /**
   * What can be told by now: a filter reaches a few milliseconds ahead, and what it waits for comes with the next chunk.
   *
   * @param last nothing follows, so nothing is left over
   * @throws only the signal's reason
   */
  async convert(samples: Float32Array, last: boolean, signal: AbortSignal): Promise<Float32Array> {
    const resampler = this.#resampler;
    if (!resampler) return samples;
    const pieces: Float32Array[] = [];
    for (let at = 0; at < samples.length; at += slice) {
      if (at > 0) await rest();
      signal.throwIfAborted();
      pieces.push(resampler.push(samples.subarray(at, at + slice)));
    }
    if (last) pieces.push(resampler.end());
    return joinSamples(pieces);
  }
}

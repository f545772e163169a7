/**
 * Change of the sample rate, in pieces: windowed-sinc interpolation with a Kaiser window, linear phase, as one polyphase
 * filter. Flat to 0.91 of the lower Nyquist frequency, 90 dB down from that frequency on.
 */

import { MetaVoiceError } from '../errors.js';

const passBand = 0.91;
const attenuation = 91; // decibels
const beta = 0.1102 * (attenuation - 8.7);
/** Taps of all filters of a bank: rates in use need a tenth of it, rates without a common divisor any number. */
const largestTable = 1 << 20;

/** One filter for each place that an output can have between two inputs. */
interface FilterBank {
  /** Outputs per `down` inputs, without a common divisor. */
  readonly up: number;
  readonly down: number;
  /** Inputs that a filter reaches on each side, an even number. */
  readonly half: number;
  /** [up, 2 · half]; tap i of filter p weighs the input that lies i − half + 1 − p / up behind the output. */
  readonly taps: Float64Array;
}

function sizes(from: number, to: number): Omit<FilterBank, 'taps'> & { readonly band: number } {
  let [divisor, rest] = [from, to];
  while (rest > 0) [divisor, rest] = [rest, divisor % rest];
  const up = to / divisor;
  const down = from / divisor;
  /** The lower of the Nyquist frequencies, in that of the input. */
  const band = Math.min(1, up / down);
  const width = 2.285 * Math.PI * band * (1 - passBand);
  return { up, down, half: 2 * Math.ceil((attenuation - 7.95) / width / 4), band };
}

/** @throws MetaVoiceError ERR_UNSUPPORTED for rates that have hardly a divisor in common */
export function requireConvertible(from: number, to: number): void {
  const { up, half } = sizes(from, to);
  if (from === to || up * 2 * half <= largestTable) return;
  throw new MetaVoiceError(
    'ERR_UNSUPPORTED',
    `expected a sample rate that has more in common with the model's ${from} Hz but ${to} Hz was asked for; leave \`sampleRate\` out to get the model's own`,
  );
}

/** Modified Bessel function of the first kind, order 0, by its series. */
function besselI0(x: number): number {
  let sum = 1;
  for (let k = 1, term = 1; term > sum * 1e-17; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function makeFilters(from: number, to: number): FilterBank {
  requireConvertible(from, to);
  const { up, down, half, band } = sizes(from, to);
  const cutoff = (Math.PI * band * (1 + passBand)) / 2;
  const taps = new Float64Array(up * 2 * half);
  for (let phase = 0; phase < up; phase++) {
    const filter = taps.subarray(phase * 2 * half, (phase + 1) * 2 * half);
    let sum = 0;
    for (let i = 0; i < filter.length; i++) {
      const t = i - half + 1 - phase / up;
      const window = besselI0(beta * Math.sqrt(Math.max(0, 1 - (t / half) ** 2)));
      filter[i] = window * (t === 0 ? 1 : Math.sin(cutoff * t) / (cutoff * t));
      sum += filter[i]!;
    }
    // What is constant stays what it is.
    for (let i = 0; i < filter.length; i++) filter[i]! /= sum;
  }
  return { up, down, half, taps };
}

const banks = new Map<string, FilterBank>();

/** Made once for each pair of rates. */
function filtersFor(from: number, to: number): FilterBank {
  const key = `${from}/${to}`;
  const bank = banks.get(key) ?? makeFilters(from, to);
  banks.set(key, bank);
  return bank;
}

/**
 * One signal at another rate. Outputs do not depend on the pieces in which the inputs come, bit for bit, and are aligned with them:
 * the first lies at the first. Around the signal is silence.
 */
export class Resampler {
  readonly #bank: FilterBank;
  /** The last inputs, from where the filter of the next output begins. */
  #held: Float32Array;
  /** Which filter that is. */
  #phase = 0;
  #read = 0;
  #made = 0;

  /** Rates in whole Hz; ERR_UNSUPPORTED where `requireConvertible` says so. */
  constructor(from: number, to: number) {
    this.#bank = filtersFor(from, to);
    this.#held = new Float32Array(this.#bank.half - 1);
  }

  /** The outputs that can be told now: all but those near the end of what was given. */
  push(samples: Float32Array): Float32Array {
    this.#read += samples.length;
    const output = this.#convert(samples);
    this.#made += output.length;
    return output;
  }

  /** The rest; in all round(inputs · to / from), a half rounded up. */
  end(): Float32Array {
    const { up, down, half } = this.#bank;
    const all = Math.floor((2 * this.#read * up + down) / (2 * down));
    return this.#convert(new Float32Array(half)).slice(0, all - this.#made);
  }

  #convert(samples: Float32Array): Float32Array {
    const { up, down, half, taps } = this.#bank;
    const reach = 2 * half;
    const input = new Float32Array(this.#held.length + samples.length);
    input.set(this.#held);
    input.set(samples, this.#held.length);

    const last = input.length - reach; // where the last filter may begin
    const output = new Float32Array(Math.max(0, Math.ceil(((last + 1) * up - this.#phase) / down)));
    const step = Math.floor(down / up);
    const rest = down % up;
    let place = 0;
    let phase = this.#phase;
    for (let m = 0; m < output.length; m++) {
      output[m] = product(taps, phase * reach, input, place, reach);
      place += step;
      phase += rest;
      if (phase < up) continue;
      phase -= up;
      place++;
    }
    this.#held = input.slice(place);
    this.#phase = phase;
    return output;
  }
}

/** Four sums at a time, as one would wait for itself. `count` is a multiple of four. */
function product(a: Float64Array, aStart: number, b: Float32Array, bStart: number, count: number): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  for (let i = 0; i < count; i += 4) {
    s0 += a[aStart + i]! * b[bStart + i]!;
    s1 += a[aStart + i + 1]! * b[bStart + i + 1]!;
    s2 += a[aStart + i + 2]! * b[bStart + i + 2]!;
    s3 += a[aStart + i + 3]! * b[bStart + i + 3]!;
  }
  return s0 + s1 + (s2 + s3);
}

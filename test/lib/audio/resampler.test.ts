import { describe, expect, it, test } from 'vitest';
import { Resampler } from '../../../dist/audio/resampler.js';
import { sampleRates } from '../../../dist/options.js';

/** Rates of models, and rates that are asked of them: up, down, with few and with many phases. */
const pairs = [
  ...sampleRates.flatMap((to) => [16_000, 24_000].map((from) => [from, to] as const)),
  [44_100, 8000],
  [11_025, 48_000],
  [48_000, 22_050],
] as const;
const changing = pairs.filter(([from, to]) => from !== to);

function whole(input: Float32Array, from: number, to: number): Float32Array {
  const resampler = new Resampler(from, to);
  return Float32Array.of(...resampler.push(input), ...resampler.end());
}

function inPieces(input: Float32Array, from: number, to: number, lengths: () => number): Float32Array {
  const resampler = new Resampler(from, to);
  const output: number[] = [];
  for (let at = 0; at < input.length; ) {
    const length = lengths();
    output.push(...resampler.push(input.subarray(at, at + length)));
    at += length;
  }
  return Float32Array.of(...output, ...resampler.end());
}

/** The same numbers in each run. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const noise = (length: number, seed = 1) => {
  const next = random(seed);
  return Float32Array.from({ length }, () => 2 * next() - 1);
};
const sine = (length: number, rate: number, hertz: number) =>
  Float32Array.from({ length }, (_, n) => Math.sin((2 * Math.PI * hertz * n) / rate));

/** Without what the edges of the signal reach: 66 samples of the lower rate, so at most 8.3 ms. */
function inner(samples: Float32Array, rate: number): Float32Array {
  const margin = Math.ceil(0.009 * rate);
  return samples.subarray(margin, samples.length - margin);
}

const peak = (samples: Float32Array) => samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);

/** Amplitude of what is left when the best sine of this frequency is taken away, and that of the sine. */
function fit(samples: Float32Array, rate: number, hertz: number): { amplitude: number; rest: number } {
  const step = (2 * Math.PI * hertz) / rate;
  let [ss, sc, cc, xs, xc] = [0, 0, 0, 0, 0];
  for (const [n, x] of samples.entries()) {
    const [s, c] = [Math.sin(step * n), Math.cos(step * n)];
    ss += s * s;
    sc += s * c;
    cc += c * c;
    xs += x * s;
    xc += x * c;
  }
  const a = (xs * cc - xc * sc) / (ss * cc - sc * sc);
  const b = (xc * ss - xs * sc) / (ss * cc - sc * sc);
  const rest = samples.map((x, n) => x - a * Math.sin(step * n) - b * Math.cos(step * n));
  return { amplitude: Math.hypot(a, b), rest: peak(rest) };
}

const decibels = (ratio: number) => 20 * Math.log10(ratio);

describe.each(changing)('%i to %i Hz', (from, to) => {
  it('pieces of any size equal the whole, bit for bit', () => {
    const input = noise(3001);
    const expected = whole(input, from, to);
    const next = random(2);
    expect(inPieces(input, from, to, () => 1)).toEqual(expected);
    expect(inPieces(input, from, to, () => Math.floor(next() * 700))).toEqual(expected);
  });

  it('what came before does not depend on what follows', () => {
    const input = noise(2000);
    const early = new Resampler(from, to).push(input.subarray(0, 1500));
    expect(early.length).toBeGreaterThan((1400 * to) / from - (0.009 * to + 1));
    expect(whole(input, from, to).subarray(0, early.length)).toEqual(early);
  });

  it('gives n · out / in samples, a half rounded up', () => {
    for (const length of [0, 1, 2, 3, 7, 146, 147, 148, 159, 160, 161, 997, 4001])
      expect(whole(noise(length), from, to)).toHaveLength(
        Number((2n * BigInt(length) * BigInt(to) + BigInt(from)) / (2n * BigInt(from))),
      );
  });

  it('leaves what is constant as it is', () => {
    const value = Math.fround(0.3);
    const output = inner(whole(new Float32Array(8000).fill(value), from, to), to);
    expect(output.length).toBeGreaterThan(500);
    expect([...new Set(output)]).toEqual([value]);
  });

  it('a sine of the pass band stays one, where and as loud as it was', () => {
    for (const share of [0.02, 0.3, 0.7, 0.9]) {
      const hertz = (share * Math.min(from, to)) / 2;
      const output = whole(sine(from / 5, from, hertz), from, to);
      const expected = sine(output.length, to, hertz);
      const error = inner(
        output.map((x, n) => x - expected[n]!),
        to,
      );
      // Ripple, images and aliases together.
      expect(decibels(peak(error))).toBeLessThan(-85);
    }
  });
});

describe('the filter', () => {
  const downwards = changing.filter(([from, to]) => from > to);
  test.each(downwards)(
    'from %i to %i Hz lets nothing through from the lower Nyquist frequency on',
    (from, to) => {
      for (const share of [1, 1.05, 1.3, 1.7]) {
        const hertz = Math.min((share * to) / 2, 0.49 * from);
        const output = inner(whole(sine(from / 5, from, hertz), from, to), to);
        expect(decibels(peak(output))).toBeLessThan(-88);
      }
    },
  );

  const upwards = changing.filter(([from, to]) => from < to && to - from / 2 > 0);
  test.each(upwards)('from %i to %i Hz makes no images', (from, to) => {
    const hertz = 0.45 * from;
    const { amplitude, rest } = fit(inner(whole(sine(from / 5, from, hertz), from, to), to), to, hertz);
    expect(Math.abs(decibels(amplitude))).toBeLessThan(0.001);
    expect(decibels(rest)).toBeLessThan(-88);
  });

  it('is linear in phase: an impulse becomes what is the same forwards and backwards', () => {
    const input = new Float32Array(2001);
    input[1000] = 1;
    const output = whole(input, 24_000, 48_000);
    const mirrored = output.slice(0, 4001).reverse();
    for (const [n, x] of output.subarray(0, 4001).entries()) expect(x).toBeCloseTo(mirrored[n]!, 6);
    expect(output[2000]).toBe(peak(output));
  });
});

it('rates without a common divisor are refused before a table of that size is made', () => {
  expect(() => new Resampler(24_001, 44_100)).toThrow(
    expect.objectContaining({
      code: 'ERR_UNSUPPORTED',
      message: expect.stringMatching(/24001 Hz .* 44100 Hz/),
    }),
  );
});

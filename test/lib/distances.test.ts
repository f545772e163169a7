/** What `bench/windowed.mjs` compares sounds by. */

import { expect, it } from 'vitest';
import { logSpectralDistance, signalToDifference } from '../../bench/distances.mjs';

let state = 1;
const noise = Float32Array.from({ length: 24_000 }, () => {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return state / 2 ** 33 - 0.25;
});
const times = (gain: number) => noise.map((sample) => gain * sample);

it('of a sound to itself is none, and silence is no distance', () => {
  expect(logSpectralDistance(noise, noise)).toBe(0);
  expect(signalToDifference(noise, noise)).toBe(Infinity);
  const silence = new Float32Array(24_000);
  expect(logSpectralDistance(silence, silence)).toBe(0);
  expect(logSpectralDistance(noise, silence)).toBeGreaterThan(20);
});

it('is 6.02 dB at half the amplitude, whichever is the reference', () => {
  expect(logSpectralDistance(times(0.5), noise)).toBeCloseTo(6.02, 2);
  expect(logSpectralDistance(noise, times(0.5))).toBeCloseTo(6.02, 2);
  expect(signalToDifference(times(0.5), noise)).toBeCloseTo(6.02, 2);
  expect(signalToDifference(times(0.9), noise)).toBeCloseTo(20, 5);
});

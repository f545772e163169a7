import { describe, expect, it } from 'vitest';
import { decodeMulaw, encodeMulaw, toMulaw } from '../../../dist/audio/mulaw.js';

/** ITU-T G.711, table 2a: intervals of each size, in 14 bits; together they reach 8159. */
const intervals: [count: number, size: number][] = [
  [1, 1],
  [15, 2],
  [16, 4],
  [16, 8],
  [16, 16],
  [16, 32],
  [16, 64],
  [16, 128],
  [16, 256],
];

/** Decision values x(n), and the values y(n) that are put out for what lies between them. */
const decisions = [0];
for (const [count, size] of intervals)
  for (let k = 0; k < count; k++) decisions.push(decisions.at(-1)! + size);
const outputs = decisions.slice(0, -1).map((x, n) => (n === 0 ? 0 : (x + decisions[n + 1]!) / 2));

/** The character signals of the positive values: all bits of n inverted, with the sign in front. */
const character = (n: number) => 0xff - n;

describe('μ-law', () => {
  it('has the decision values of the standard, positive and negative', () => {
    expect(decisions).toHaveLength(129);
    expect([decisions[1], decisions[16], decisions[32], decisions[112], decisions[128]]).toEqual([
      1, 31, 95, 4063, 8159,
    ]);
    for (let n = 0; n < 128; n++)
      for (const value of [4 * decisions[n]!, 4 * decisions[n + 1]! - 1]) {
        expect(encodeMulaw(value)).toBe(character(n));
        if (value > 0) expect(encodeMulaw(-value)).toBe(character(n) - 0x80);
      }
  });

  it('has the output values of the standard', () => {
    expect([outputs[1], outputs[16], outputs[127]]).toEqual([2, 33, 8031]);
    for (let n = 0; n < 128; n++) {
      expect(decodeMulaw(character(n))).toBe(4 * outputs[n]!);
      expect(decodeMulaw(character(n) - 0x80)).toBe(n === 0 ? -0 : -4 * outputs[n]!);
    }
  });

  it('codes come back as they are, but for the second zero', () => {
    for (let code = 0; code < 256; code++)
      expect(encodeMulaw(decodeMulaw(code))).toBe(code === 0x7f ? 0xff : code);
  });

  it('saturates, and is silent for what is no number', () => {
    const { NaN: none, POSITIVE_INFINITY: infinite } = Number;
    expect([...toMulaw(Float32Array.of(0, 1, -1, 2, -2, infinite, -infinite, none, -0))]).toEqual([
      0xff, 0x80, 0, 0x80, 0, 0x80, 0, 0xff, 0xff,
    ]);
  });
});

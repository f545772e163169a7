/** The arithmetic behind `npm run eval:quantization`: divergences, agreement, paired intervals, verdicts, the page. */

import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Answer, Comparison, passageIds } from '../../tools/quantization/compare.mjs';
import {
  argMax,
  divergence,
  firstDifference,
  guided,
  logSoftmax,
  rowsAt,
} from '../../tools/quantization/logits.mjs';
import { readOptions } from '../../tools/quantization/options.mjs';
import { replaceSection, sectionOf, tableOf } from '../../tools/quantization/report.mjs';
import type { Result } from '../../tools/quantization/run.mjs';
import { compareWords, judgeCost } from '../../tools/quantization/words.mjs';

describe('divergence', () => {
  it('is that of the probabilities', () => {
    const p = [0.5, 0.25, 0.25];
    const q = [0.25, 0.25, 0.5];
    const wanted = 0.5 * Math.log(2) + 0.25 * Math.log(0.5);
    expect(divergence(p.map(Math.log), q.map(Math.log))).toBeCloseTo(wanted, 12);
    // Whatever is added to all logits.
    const shifted = q.map((value) => Math.log(value) + 700);
    expect(divergence(p.map(Math.log), shifted)).toBeCloseTo(wanted, 12);
  });

  it('is none of itself, never negative, and finite for numbers of any size', () => {
    const logits = fc.array(fc.float({ min: -1e4, max: 1e4, noNaN: true }), { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(logits, logits, (one, other) => {
        expect(divergence(one, one)).toBe(0);
        expect(divergence(one, other)).toBeGreaterThanOrEqual(0);
        expect(divergence(one, other)).toBeLessThan(3e4);
      }),
    );
  });

  it('counts no entry that can never be, and is infinite where one is thought impossible that is not', () => {
    expect(divergence([0, -Infinity], [0, 0])).toBeCloseTo(Math.log(2), 12);
    expect(divergence([0, 0], [0, -Infinity])).toBe(Infinity);
  });

  it('rests on logarithms that are those of a distribution', () => {
    const logarithms = logSoftmax([1e4, 1e4 + 1, -1e4]);
    expect(logarithms.reduce((sum, value) => sum + Math.exp(value), 0)).toBeCloseTo(1, 12);
    expect(logarithms[1]! - logarithms[0]!).toBeCloseTo(1, 9);
  });
});

describe('logits', () => {
  it('lie row by row, and guidance takes away what the row without the speaker says', () => {
    const logits = Float32Array.from({ length: 12 }, (_, i) => i); // [2, 3, 2]
    expect(rowsAt(logits, 3, 1)).toEqual({ speaker: Float32Array.of(2, 3), without: Float32Array.of(8, 9) });
    expect([...guided(Float32Array.of(2, 3), Float32Array.of(8, 9), 3)]).toEqual([-10, -9]);
    expect([...guided(Float32Array.of(2, 3), Float32Array.of(8, 9), 1)]).toEqual([2, 3]);
    expect(argMax([1, 3, 3, 2])).toBe(1);
  });

  it('part where they first differ, or where one ends', () => {
    expect(firstDifference([1, 2, 3], [1, 2, 3])).toBeNull();
    expect(firstDifference([1, 2, 3], [1, 5, 3])).toBe(1);
    expect(firstDifference([1, 2], [1, 2, 3])).toBe(2);
    expect(firstDifference([], [4])).toBe(0);
  });

  it('are of a text and the codes behind it, in turns', () => {
    const codebooks = [Uint16Array.of(5, 6), Uint16Array.of(7, 8), Uint16Array.of(9, 9)];
    expect([...passageIds(Int32Array.of(40, 41), codebooks, 16)]).toEqual([40, 41, 5, 23, 6, 24]);
    expect([...passageIds(Int32Array.of(40), [], 16)]).toEqual([40]);
  });
});

describe('a comparison', () => {
  const passage = { ids: Int32Array.of(9, 8, 1, 2), prompt: 2, speaker: new Float32Array() };
  /** Each position of the row with the speaker; without it all are alike. [2, 4, 2] */
  const answer = (speaker: [number, number][], greedy: number[]): Answer => ({
    logits: Float32Array.from([...speaker.flat(), ...Array(8).fill(0)]),
    greedy: Int32Array.from(greedy),
  });
  const half = Math.log(0.5);
  const truth = answer(
    [
      [9, 0],
      [half, half],
      [1, 0],
      [0, 1],
    ],
    [1, 2, 3, 4],
  );

  it('of a thing with itself finds no difference', () => {
    const comparison = new Comparison(2);
    comparison.add(passage, truth, truth);
    expect(comparison.figures()).toEqual({
      positions: 3,
      divergence: { mean: 0, p99: 0 },
      guidedDivergence: { mean: 0, p99: 0 },
      agreement: 1,
      greedy: { runs: 1, same: 1, medianLength: 4, medianFirstDifference: 4, earliestDifference: 4 },
    });
  });

  it('looks at what follows the text alone, and finds what is different', () => {
    const comparison = new Comparison(2);
    const other = answer(
      [
        [0, 9], // in the text
        [Math.log(0.25), Math.log(0.75)],
        [0, 1], // another arg-max
        [0, 1],
      ],
      [1, 2, 4, 4],
    );
    comparison.add(passage, truth, other);
    comparison.add(passage, truth, truth);
    const { positions, divergence: found, agreement, greedy } = comparison.figures();
    expect(positions).toBe(6);
    // Equal logits of float32 have their first one as the largest.
    expect(agreement).toBe(4 / 6);
    const first = 0.5 * Math.log(0.5 / 0.25) + 0.5 * Math.log(0.5 / 0.75);
    const second = divergence([1, 0], [0, 1]);
    expect(found.mean).toBeCloseTo((first + second) / 6, 6);
    expect(found.p99).toBeGreaterThan(found.mean);
    expect(greedy).toEqual({
      ...{ runs: 2, same: 1, medianLength: 4 },
      ...{ medianFirstDifference: 3, earliestDifference: 2 },
    });
  });
});

const utterance = (id: number, errors: number, changes = {}) => ({
  ...{ id, speaker: 'a', heard: '', errors, words: 10, flite: { errors: 1, words: 10 } },
  ...{ seconds: 2, durationRatio: 1, endReason: 'end' as const, nearest: 'a' },
  ...{ similarity: 0.9, margin: 0.5, realTimeFactor: 0.2, firstAudioSeconds: 0.1 },
  ...changes,
});
const corpus = (errorsOf: (id: number) => number) =>
  Array.from({ length: 100 }, (_, id) => utterance(id, errorsOf(id)));

describe('the cost in words', () => {
  it('of nothing is nothing, beyond doubt', () => {
    const spoken = corpus((id) => id % 7);
    expect(compareWords(spoken, spoken)).toMatchObject({ cost: 0, costInterval: [0, 0], sentences: 100 });
  });

  it('has a paired interval, which is narrower than those of the two rates', () => {
    const truth = corpus((id) => id % 7);
    const other = corpus((id) => (id % 7) + (id % 10 === 0 ? 1 : 0));
    const { rate, interval, cost, costInterval } = compareWords(truth, other);
    expect(cost).toBeCloseTo(0.01, 12);
    expect(rate - cost).toBeCloseTo(0.1 * (truth.reduce((sum, { errors }) => sum + errors, 0) / 100), 12);
    const width = ([low, high]: [number, number]) => high - low;
    // One more error in ten words in a tenth of the sentences: a deviation of 0.1 · √(0.1 · 0.9), over √100 sentences.
    const expected = 2 * 1.96 * 0.1 * Math.sqrt(0.09 / 100);
    expect(Math.abs(width(costInterval) - expected)).toBeLessThan(0.25 * expected);
    expect(width(costInterval)).toBeLessThan(width(interval) / 2);
  });

  it('draws a sentence with all its seeds', () => {
    const twice = (spoken: ReturnType<typeof corpus>) => [...spoken, ...spoken];
    const truth = corpus((id) => id % 7);
    const other = corpus((id) => (id * 3) % 7);
    const once = compareWords(truth, other);
    const both = compareWords(twice(truth), twice(other));
    expect(both).toMatchObject({ utterances: 200, sentences: 100 });
    expect(both.costInterval[0]).toBeCloseTo(once.costInterval[0], 12);
    expect(both.costInterval[1]).toBeCloseTo(once.costInterval[1], 12);
  });

  it('is refused where the sentences are not the same', () => {
    expect(() => compareWords([utterance(1, 0)], [utterance(2, 0)])).toThrow('sentence 2 side by side');
    expect(() => compareWords([], [utterance(2, 0)])).toThrow('side by side');
  });

  it.each([
    ['int8', 0.01, [0, 0.01], { bound: 0.01, holds: true, settled: true }],
    ['int8', 0.011, [0.005, 0.02], { bound: 0.01, holds: false, settled: false }],
    ['int8', 0.005, [-0.01, 0.02], { bound: 0.01, holds: true, settled: false }],
    ['int4', 0.02, [0.01, 0.02], { bound: 0.02, holds: true, settled: true }],
    ['int4', 0.03, [0.021, 0.04], { bound: 0.02, holds: false, settled: true }],
    ['none', 0.5, [0.4, 0.6], null],
  ] as const)('in %s of %d is judged', (quantization, cost, [low, high], verdict) => {
    expect(judgeCost(quantization, { cost, costInterval: [low, high] })).toEqual(verdict);
  });
});

describe('the command line', () => {
  it('has the defaults that it tells of', () => {
    expect(readOptions([])).toMatchObject({
      ...{ model: 'bundled', device: 'cpu', dtype: 'auto', sentences: 40, steps: 200, seeds: 1 },
      ...{ quantizations: ['none', 'int8', 'int4'], kvCaches: ['16bit', 'int8'], words: false },
    });
    expect(readOptions(['--words'])).toMatchObject({ sentences: 200, words: true });
    expect(readOptions(['--words', '--sentences', '8', '--quantization', 'int4,int8,int4'])).toMatchObject({
      ...{ sentences: 8, quantizations: ['int4', 'int8'] },
    });
  });

  it.each([
    [['--sentences', '0'], "at least 1 for --sentences but received '0'"],
    [['--quantization', 'int2'], "expected none, int8, int4 for --quantization but received 'int2'"],
    [['--kv-cache', '8bit'], "expected 16bit, int8 for --kv-cache but received '8bit'"],
    [['--nonsense'], '--nonsense'],
  ])('refuses %j', (commandLine, message) => {
    expect(() => readOptions(commandLine)).toThrow(message);
  });
});

describe('the page', () => {
  const truth = corpus((id) => id % 3);
  const comparison = new Comparison(1);
  comparison.add(
    { ids: Int32Array.of(1), prompt: 1, speaker: new Float32Array() },
    { logits: Float32Array.of(1, 0, 1, 0), greedy: Int32Array.of(3) },
    { logits: Float32Array.of(0.9, 0, 1, 0), greedy: Int32Array.of(4) },
  );
  const words = compareWords(
    truth,
    corpus((id) => (id % 3) + (id === 7 ? 5 : 0)),
  );
  const result = {
    ...{
      date: '2026-11-27T20:00:00.000Z',
      commit: 'abc1234',
      command: 'npm run eval:quantization -- --words',
    },
    machine: { cpu: 'a CPU', cores: 2, node: 'v20' },
    ...{ libtorch: '2.13.0', model: 'bundled', sentences: 100, seed: 1, seeds: 1 },
    ...{ guidance: 1.3, steps: 200, positions: 1 },
    truth: { words: compareWords(truth, truth) },
    runs: [
      {
        ...{
          quantization: 'int8' as const,
          kvCache: 'int8' as const,
          device: 'cpu',
          dtype: 'float32' as const,
        },
        ...{ logits: comparison.figures(), words, verdict: judgeCost('int8', words) },
      },
    ],
  } satisfies Result;

  it('has its table written between the markers, again and again', async () => {
    const page = await readFile(new URL('../../docs/quantisation.md', import.meta.url), 'utf8');
    const once = replaceSection(page, sectionOf(result));
    expect(once).toContain('| int8, float32 | int8 |');
    expect(once).toContain('holds (at most 1');
    expect(once).toContain('2026-11-27 at abc1234');
    expect(replaceSection(once, sectionOf(result))).toBe(once);
    expect(() => replaceSection('a page without', 'x')).toThrow('two markers');
  });

  it('and stdout have a row for float32 and each form, all as wide', () => {
    const lines = tableOf(result).split('\n');
    expect(lines).toHaveLength(3);
    expect(lines[1]).toMatch(/^float32 +9\.9 %/);
    const unheard = tableOf({
      ...result,
      truth: { words: null },
      runs: [{ ...result.runs[0]!, words: null, verdict: null }],
    });
    expect(unheard.split('\n')).toHaveLength(2);
    expect(unheard).not.toContain('holds');
  });
});

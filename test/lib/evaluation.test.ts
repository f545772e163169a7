/** The arithmetic behind `npm run eval:voice`: words, errors, intervals, verdicts. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fillTemplate } from '../../tools/voice/evaluate/docs.mjs';
import { readOptions } from '../../tools/voice/evaluate/options.mjs';
import { readSentences } from '../../tools/voice/evaluate/sentences.mjs';
import { bootstrapInterval, cosine, median, quantile } from '../../tools/voice/evaluate/statistics.mjs';
import { codeAgreement, judgeLimits, summarize } from '../../tools/voice/evaluate/summary.mjs';
import { editDistance, wordErrorRate, wordErrors, words } from '../../tools/voice/evaluate/words.mjs';

describe('words', () => {
  it.each([
    ["It's a well-known, OLD story.", ["it's", 'a', 'well', 'known', 'old', 'story']],
    ["'Tis the dogs' bone", ['tis', 'the', 'dogs', 'bone']],
    ['the captain’s – or whose?', ['the', "captain's", 'or', 'whose']],
    ['Café no. 9', ['café', 'no', 'nine']],
    ['0, 13 and 20.', ['zero', 'thirteen', 'and', 'twenty']],
    ['42 of 300, 999', ['forty', 'two', 'of', 'three', 'hundred', 'nine', 'hundred', 'ninety', 'nine']],
    ['1,000 or 3.5 or 2nd or 007', ['1', '000', 'or', '3', '5', 'or', '2nd', 'or', '007']],
    ['  … ', []],
  ])('of %j', (text, expected) => {
    expect(words(text)).toEqual(expected);
  });
});

describe('edit distance', () => {
  const split = (text: string) => [...text];
  it.each([
    ['kitten', 'sitting', 3],
    ['', 'abc', 3],
    ['abc', '', 3],
    ['same', 'same', 0],
    ['ab', 'ba', 2],
  ])('of %j and %j', (one, other, distance) => {
    expect(editDistance(split(one), split(other))).toBe(distance);
  });

  it('is a distance, whatever the lists', () => {
    const list = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 8 });
    fc.assert(
      fc.property(list, list, list, (a, b, c) => {
        const distance = editDistance(a, b);
        expect(distance).toBe(editDistance(b, a));
        expect(distance === 0).toBe(a.join() === b.join());
        expect(distance).toBeGreaterThanOrEqual(Math.abs(a.length - b.length));
        expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length));
        expect(editDistance(a, c)).toBeLessThanOrEqual(distance + editDistance(b, c));
      }),
    );
  });
});

it('counts word errors over a corpus, not the mean of rates', () => {
  const counts = [wordErrors('One two-three, four.', 'one two three for'), wordErrors('Yes.', 'no no')];
  expect(counts).toEqual([
    { errors: 1, words: 4 },
    { errors: 2, words: 1 },
  ]);
  expect(wordErrorRate(counts)).toBe(3 / 5);
});

describe('statistics', () => {
  it('interpolates between ranks', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(quantile([1, 2, 3, 4], 0.5)).toBe(2.5);
    expect(quantile([1, 2], 0)).toBe(1);
    expect(quantile([1, 2], 1)).toBe(2);
    expect(median([])).toBeNaN();
  });

  it('draws intervals that are the same each time, hold the figure, and narrow with more items', () => {
    const items = (count: number) => Array.from({ length: count }, (_, i) => ({ errors: i % 4, words: 8 }));
    const [low, high] = bootstrapInterval(items(50), wordErrorRate);
    expect(bootstrapInterval(items(50), wordErrorRate)).toEqual([low, high]);
    // Errors are 0 to 3: standard deviation √(5/4) of 8 words, over √50 utterances.
    const expected = (1.96 * Math.sqrt(1.25)) / 8 / Math.sqrt(50);
    const rate = wordErrorRate(items(50));
    expect(Math.abs(high - rate - expected)).toBeLessThan(0.2 * expected);
    expect(Math.abs(rate - low - expected)).toBeLessThan(0.2 * expected);
    const [lowOfMore, highOfMore] = bootstrapInterval(items(800), wordErrorRate);
    expect(highOfMore - lowOfMore).toBeLessThan((high - low) / 3);
  });

  it('compares directions', () => {
    expect(cosine(Float32Array.of(3, 0), Float32Array.of(5, 0))).toBe(1);
    expect(cosine(Float32Array.of(1, 0), Float32Array.of(0, 2))).toBe(0);
    expect(cosine(Float32Array.of(1, 1), Float32Array.of(-1, -1))).toBeCloseTo(-1, 12);
  });
});

const utterance = (id: number, changes = {}) => ({
  ...{ id, speaker: id % 2 ? 'b' : 'a', heard: '', errors: 2, words: 10, flite: { errors: 1, words: 10 } },
  ...{ seconds: 2, durationRatio: 1, endReason: 'end' as const, nearest: 'a' },
  ...{ similarity: 0.9, margin: 0.5, realTimeFactor: 0.2, firstAudioSeconds: 0.1 },
  ...changes,
});
const coldStart = { firstAudioSeconds: 1, peakBytes: 300e6 };

describe('the promises', () => {
  const broken = (
    changes: object[],
    start: { firstAudioSeconds: number; peakBytes: number | null } = coldStart,
  ) => {
    const utterances = Array.from({ length: 100 }, (_, id) => utterance(id, changes[id]));
    return judgeLimits(summarize(utterances), start).flatMap((one, index) => (one.passed ? [] : [index]));
  };
  const times = (count: number, changes: object) => Array(count).fill(changes);

  it('hold, and each is broken by itself', () => {
    expect(broken([])).toEqual([]);
    expect(broken(times(40, { errors: 4 }))).toEqual([0]); // 28 %, and 1.5 × 10 % and 10 points are 25 %
    expect(broken([{ durationRatio: 1.61 }])).toEqual([1]);
    expect(broken([{ durationRatio: 0.59 }])).toEqual([1]);
    expect(broken(times(1, { endReason: 'limit' }))).toEqual([]);
    expect(broken(times(2, { endReason: 'limit' }))).toEqual([2]);
    expect(broken(times(5, { margin: -0.1 }))).toEqual([]);
    expect(broken(times(6, { margin: 0 }))).toEqual([3]);
    expect(broken(times(100, { realTimeFactor: 0.7 }))).toEqual([4]);
    expect(broken([], { firstAudioSeconds: 1.5, peakBytes: 300e6 })).toEqual([5]);
    expect(broken([], { firstAudioSeconds: 1, peakBytes: 400e6 })).toEqual([6]);
    expect(broken([], { firstAudioSeconds: 1, peakBytes: null })).toEqual([6]);
  });

  it('are not kept by silence', () => {
    const silent = {
      errors: 10,
      seconds: 0,
      durationRatio: 0,
      endReason: 'silent',
      margin: -2,
      realTimeFactor: 0,
    };
    expect(broken([silent])).toEqual([1]);
  });
});

it('finds the share of equal codes, also of speech of another length', () => {
  const codes = (...codebooks: number[][]) => ({
    codebooks: codebooks.map((one) => Uint16Array.from(one)),
    frames: codebooks[0]!.length,
  });
  const one = [codes([1, 2], [3, 4], [5, 6]), null];
  const other = [codes([1, 2, 9], [3, 4, 9], [5, 7, 9]), null];
  const { codebooks, coarse, predicted } = codeAgreement(one, other);
  expect(codebooks).toEqual([2 / 3, 2 / 3, 1 / 3]);
  expect(coarse).toBe(2 / 3);
  expect(predicted).toBe(1 / 3);
});

it('fills a template, and refuses a name that it does not know', () => {
  expect(fillTemplate('{{one}} and {{two}}', { one: 1, two: '$&' })).toBe('1 and $&');
  expect(() => fillTemplate('{{three}}', { one: 1 })).toThrow('{{three}}');
});

describe('the command line', () => {
  it('has the defaults that it tells of', () => {
    expect(readOptions([])).toMatchObject({ seed: 1, quality: 'stream', dtype: 'auto', model: 'bundled' });
    expect(readOptions(['--limit', '12', '--quality', 'whole'])).toMatchObject({
      limit: 12,
      quality: 'whole',
    });
  });

  it.each([
    [['--limit', '0'], "expected a whole number of at least 1 for --limit but received '0'"],
    [['--seed', '1.5'], "expected a whole number of at least 0 for --seed but received '1.5'"],
    [['--dtype', 'int8'], "expected auto, float32, bfloat16, float16 for --dtype but received 'int8'"],
    [['--nonsense'], '--nonsense'],
  ])('refuses %j', (commandLine, message) => {
    expect(() => readOptions(commandLine)).toThrow(message);
  });
});

it('has two hundred held-out sentences, fifty of each speaker, each with its yardstick', async () => {
  const sentences = await readSentences();
  expect(sentences.map(({ id }) => id)).toEqual(Array.from({ length: 200 }, (_, id) => id));
  for (const name of ['slt', 'rms', 'awb', 'kal'])
    expect(sentences.filter(({ speaker }) => speaker === name)).toHaveLength(50);
  expect(new Set(sentences.map(({ text }) => text)).size).toBe(200);
  for (const { text, fliteSeconds, fliteTranscript } of sentences) {
    expect(words(text).length).toBeGreaterThan(1);
    expect(fliteSeconds).toBeGreaterThan(1);
    expect(fliteTranscript).not.toBe('');
  }
  const flite = wordErrorRate(sentences.map((one) => wordErrors(one.text, one.fliteTranscript)));
  expect(flite).toBeGreaterThan(0.1);
  expect(flite).toBeLessThan(0.25);
});

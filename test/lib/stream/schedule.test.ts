import { describe, expect, it, test } from 'vitest';
import { chunkEnds, fitChunks, longestChunk } from '../../../dist/stream/schedule.js';

const standard = { first: 0.25, largest: 2 };

describe('chunkEnds', () => {
  it('refuses a first chunk of fewer than 7 frames', () => {
    expect(() => chunkEnds(75, { first: 0.08, largest: 2 }, 100, 7)).toThrow(
      /expected at least 0\.081 \(7 frames at 75 per second\) for `chunkSeconds.first` but received 0\.08/,
    );
    expect(chunkEnds(75, { first: 0.081, largest: 2 }, 1, 7)[0]).toBe(7);
  });

  it('doubles up to the largest', () => {
    expect([...chunkEnds(75, standard, 600, 7)]).toEqual([19, 57, 132, 282, 432, 582, 732]);
  });

  it('keeps whole seconds on whole frames however often they are added', () => {
    const ends = chunkEnds(75, { first: 0.1, largest: 0.1 }, 75_000, 7);
    for (let k = 0; k < ends.length; k++) expect(ends[k]).toBe(Math.ceil(((k + 1) * 15) / 2));
  });

  test.each([
    [50, standard, 100, [13, 38, 88, 188]],
    [75, { first: 1, largest: 1 }, 200, [75, 150, 225]],
    [75, { first: 0.5, largest: 0.7 }, 150, [38, 90, 143, 195]],
    [12.5, { first: 1, largest: 8 }, 100, [13, 38, 88, 188]],
  ])('at %d Hz with %j up to %d', (rate, seconds, most, expected) => {
    expect([...chunkEnds(rate, seconds, most, 7)]).toEqual(expected);
  });

  it('grows even where chunks are shorter than a frame', () => {
    const ends = chunkEnds(10, { first: 0.7, largest: 0.01 }, 20, 7);
    expect([...ends]).toEqual([...ends].sort((a, b) => a - b));
    expect(new Set(ends).size).toBe(ends.length);
  });

  it('knows its longest chunk', () => {
    expect(longestChunk(chunkEnds(75, standard, 600, 7))).toBe(150);
    expect(longestChunk(chunkEnds(75, standard, 30, 7))).toBe(38);
  });
});

describe('fitChunks', () => {
  it('leaves what fits', () => {
    expect(fitChunks(standard, 75, 1024)).toBe(standard);
  });

  it('refuses chunks that leave the text no room', () => {
    expect(() => fitChunks({ first: 0.25, largest: 12 }, 75, 1024)).toThrow(
      /at most 10\.01 .* for `chunkSeconds.largest`/,
    );
    expect(() => fitChunks({ first: 12, largest: 12 }, 75, 1024)).toThrow(
      /at most 10\.01 .* for `chunkSeconds.first` but received 12/,
    );
  });

  it('shrinks the default for a narrow window', () => {
    expect(fitChunks(standard, 75, 128)).toEqual({ first: 0.25, largest: 79 / 75 });
  });
});

/** Segments of a text that is still being written: the text alone says where they are. */

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { normalizeText } from '../../../dist/text/normalize.js';
import { segmentText } from '../../../dist/text/segment.js';
import { SegmentStream, type StreamedSegment, type StreamLimits } from '../../../dist/text/segment-stream.js';
import { expectedSeconds } from '../../../dist/text/spoken-length.js';
import { fixture } from '../fixtures.js';

/** A window of so many seconds, and so many tokens: here a token is a letter. */
const window = (seconds = 12, tokens = 10_000): StreamLimits => ({
  tokens,
  seconds: () => seconds * 1.25,
  leastTokens: (text) => text.length + 1,
  countTokens: (text) => text.length + 1,
  judge: (text, offset) => void normalizeText(text, offset),
});

interface Outcome {
  segments: StreamedSegment[];
  error: string | null;
}

/** What comes of the pieces; `null` is a pause of the source. */
function outcome(pieces: Iterable<string | null>, limits = window()): Outcome {
  const stream = new SegmentStream(limits);
  const segments: StreamedSegment[] = [];
  const drain = (step: 'next' | 'flush' | 'end') => {
    for (let segment = stream[step](); segment; segment = stream[step]()) segments.push(segment);
  };
  try {
    for (const piece of pieces) {
      if (piece !== null) stream.push(piece);
      drain(piece === null ? 'flush' : 'next');
    }
    drain('end');
    return { segments, error: null };
  } catch (error) {
    return { segments, error: String(error) };
  }
}

const texts = (pieces: Iterable<string | null>, limits = window()) => {
  const { segments, error } = outcome(pieces, limits);
  expect(error).toBe(null);
  return segments.map(({ text }) => text);
};

/** Every UTF-16 unit for itself: pairs are cut in half. */
const units = (text: string) => Array.from({ length: text.length }, (_, i) => text[i]!);

/** How many letters were read when the first segment was there. */
function lettersToFirst(text: string): number {
  const stream = new SegmentStream(window());
  for (let i = 0; i < text.length; i++) {
    stream.push(text[i]!);
    if (stream.next()) return i + 1;
  }
  return Infinity;
}

const alice = readFileSync(fixture('alice.txt'), 'utf8');
const long = 'This is a sentence of some length that takes more than three seconds to be spoken by a voice.';

describe('the first segment', () => {
  test.each([
    [
      'the first clause that is long enough',
      'The answer to that question is short, and you will like it.',
      'The answer to that question is short,',
    ],
    [
      'not a shorter one',
      'Well, the answer is as short as it can be, and you will like it.',
      'Well, the answer is as short as it can be,',
    ],
    [
      'a sentence that is long enough',
      'The answer to that question is no. You will like it.',
      'The answer to that question is no.',
    ],
    [
      'a short sentence with the next clause',
      'Sure! Here is what you asked me for, in a few words.',
      'Sure! Here is what you asked me for,',
    ],
    ['a paragraph, however short', 'Hello!\n\nHere is what you asked me for.', 'Hello!'],
    ['a heading', '# Title\nHere is what you asked me for, in a few words.', '# Title'],
    [
      'what lies before a late conjunction',
      'He had gone a long way to see what had become of his very old house because nobody lived there',
      'He had gone a long way to see what had become of his very old house',
    ],
    [
      'no part of a number',
      'There are about twenty 1,000 dollar bills in it, I said to him.',
      'There are about twenty 1,000 dollar bills in it,',
    ],
    [
      'no part of a date',
      'It had been signed on the day of June 29, 2007 by all of them.',
      'It had been signed on the day of June 29, 2007 by all of them.',
    ],
    [
      'no part of a name',
      'It had been signed there by Mr. Smith and by all of them.',
      'It had been signed there by Mr. Smith and by all of them.',
    ],
  ])('is %s', (_, text, first) => {
    expect(texts(units(text))[0]).toBe(first);
  });

  it('is told one word after it', () => {
    const text = 'The answer to that question is short, and you will like it.';
    expect(lettersToFirst(text)).toBe(text.indexOf(' you') + 1);
    const sentences = 'The answer to that question is no. You will like it.';
    expect(lettersToFirst(sentences)).toBe(sentences.indexOf(' will') + 1);
  });
});

describe('later segments', () => {
  it('are sentences, short ones joined with what follows', () => {
    const text = `${long} Yes. ${long} No. Perhaps not. That is what he said. ${long}`;
    expect(texts(units(text))).toEqual([
      long,
      `Yes. ${long}`,
      'No. Perhaps not. That is what he said.',
      long,
    ]);
  });

  it('are not joined beyond an ordinary length, or over the end of a paragraph', () => {
    const middle = 'That was not so long at all, was it.';
    const longer = `${long.slice(0, -1)} that nobody knows.`;
    expect(texts(units(`${long} ${middle} ${longer} ${longer}`))).toEqual([long, middle, longer, longer]);
    expect(texts(units(`${long} Yes.\n\nNo. ${long}`))).toEqual([long, 'Yes.', `No. ${long}`]);
  });

  it('have the pauses between them that their ends say', () => {
    const text = `The answer to that is short, and this goes on to its end.\n\n${long} ${long}\n- An item of a list that is long enough to stand alone. \n- Another one.`;
    const { segments } = outcome(units(text));
    expect(segments.map(({ pause, last }) => [pause, last])).toEqual([
      ['clause', false],
      ['paragraph', false],
      ['sentence', false],
      ['sentence', false],
      ['sentence', false],
      ['none', true],
    ]);
    for (const [k, { before }] of segments.entries()) expect(before).toBe(segments[k - 1]?.pause ?? 'none');
  });

  it('are parts of a sentence that does not fit, as it grows', () => {
    const clause = 'he said all that he had ever wanted to say about it';
    const endless = `Then ${clause}, and ${clause}; ${`${clause}, and `.repeat(20)}no more.`;
    const parts = texts(units(endless), window(8));
    expect(parts.length).toBeGreaterThan(10);
    for (const part of parts) expect(expectedSeconds(part)).toBeLessThanOrEqual(8);
    expect(parts.join(' ')).toBe(endless);
    expect(texts(['word '.repeat(500)], window(5)).every((part) => expectedSeconds(part) <= 5)).toBe(true);
  });

  it('join a tiny sentence with the first part of a long one', () => {
    const clause = 'he said all that he had ever wanted to say about it';
    const found = texts(units(`${long} Oh! ${`${clause}, and `.repeat(5)}no more.`), window(8));
    expect(found[1]).toMatch(/^Oh! he said/);
  });
});

describe('where segments are parted', () => {
  const word = fc.constantFrom(
    'a',
    'the',
    'Hello',
    'Mr.',
    'e.g.',
    'U.S.',
    '3.14',
    '1,000',
    'yes.',
    'No!',
    '“Well?”',
    '(perhaps)',
    'and',
    'because',
    'then,',
    'so;',
    '—',
    '--',
    '-',
    '1.',
    '*',
    '#',
    'CHAPTER',
    'Two',
    '...',
    '…',
    'p.m.',
    'http://a.b/c',
    'sentence',
    'a'.repeat(40),
    'x—y',
    'été',
  );
  const gap = fc.constantFrom(' ', ' ', ' ', ' ', '  ', '\n', '\n\n', '\r\n', ' \n\t', '\n---\n');
  const text = fc
    .array(fc.tuple(word, gap), { minLength: 1, maxLength: 120 })
    .map((pairs) => pairs.flat().join(''));
  /** A text, and places to cut it at. */
  const cut = (from: fc.Arbitrary<string>) =>
    fc.tuple(from, fc.array(fc.nat({ max: 2000 }), { maxLength: 60 })).map(([whole, places]) => {
      const sorted = [...new Set(places.map((place) => place % (whole.length + 1)))].sort((a, b) => a - b);
      return {
        whole,
        pieces: [0, ...sorted].map((place, k) => whole.slice(place, sorted[k] ?? whole.length)),
      };
    });

  test('depends on the text alone, not on its pieces', () => {
    fc.assert(
      fc.property(
        cut(text),
        fc.constantFrom(5, 12),
        fc.constantFrom(60, 10_000),
        ({ whole, pieces }, seconds, tokens) => {
          expect(pieces.join('')).toBe(whole);
          const limits = window(seconds, tokens);
          const expected = outcome([whole], limits);
          expect(outcome(pieces, limits)).toEqual(expected);
          expect(outcome(units(whole), limits)).toEqual(expected);
        },
      ),
      { numRuns: 150 },
    );
  });

  test('and so do refusals, pairs cut in half included', () => {
    const strange = fc.constantFrom('😀', 'привет', '\ud83d', '\ude00', '日本');
    const mixed = fc
      .tuple(text, fc.array(strange, { minLength: 1, maxLength: 3 }), text)
      .map(([one, letters, two]) => `${one}${letters.join(' and ')}${two}`);
    fc.assert(
      fc.property(cut(mixed), ({ whole, pieces }) => {
        const expected = outcome([whole]);
        expect(expected.error).toMatch(/^MetaVoiceError: expected a text in the letters below U\+0100/);
        expect(outcome(pieces)).toEqual(expected);
        expect(outcome(units(whole))).toEqual(expected);
        const place = Number(/at index (\d+)/.exec(expected.error!)![1]);
        expect(whole.codePointAt(place)).toBeGreaterThan(0xff);
      }),
      { numRuns: 100 },
    );
  });

  test('in two thousand words is mostly where the whole text has it, too', () => {
    const { segments, error } = outcome(units(alice));
    expect(error).toBe(null);
    expect(outcome([alice]).segments).toEqual(segments);
    const whole = new Set(segmentText(alice, window()).map(({ offset }) => offset));
    const same = segments.filter(({ offset }) => whole.has(offset)).length;
    expect(same / segments.length).toBeGreaterThan(0.75);
  });

  test('covers the text exactly once, flushed or not', () => {
    fc.assert(
      fc.property(cut(text), fc.array(fc.boolean(), { minLength: 1 }), ({ whole, pieces }, pauses) => {
        const paused = pieces.flatMap((piece, k) => (pauses[k % pauses.length] ? [piece, null] : [piece]));
        const { segments } = outcome(paused);
        let end = 0;
        for (const { offset, length } of segments) {
          expect(offset).toBe(end);
          expect(length).toBeGreaterThan(0);
          end += length;
        }
        // After a flush, what has no words is left for the end of the speech.
        expect(whole.slice(end)).not.toMatch(/[\p{L}\p{N}]/u);
        if (segments.at(-1)?.last) expect(end).toBe(whole.length);
        // Nothing that can be said is lost or said twice.
        const words = (spoken: string) => spoken.replace(/[^\p{L}\p{N}]/gu, '');
        expect(words(segments.map((segment) => segment.text).join(''))).toBe(words(normalizeText(whole)));
      }),
      { numRuns: 150 },
    );
  });
});

describe('a flush', () => {
  it('gives what is there, and tells that nobody knows what follows', () => {
    const { segments } = outcome(['Let me look that up', null, ' for you.', null, '\n\nIt is a long way.']);
    expect(segments.map(({ text, before, pause, last }) => [text, before, pause, last])).toEqual([
      ['Let me look that up', 'none', null, null],
      ['for you.', 'none', null, null],
      ['It is a long way.', 'paragraph', 'none', true],
    ]);
  });

  test.each([
    ['Hello.', ' You.', 'sentence'],
    ['Hello,', ' you.', 'clause'],
    ['Hello', ' you.', 'none'],
    ['“Hello?”', ' You.', 'sentence'],
    ['Hello.\n', 'You.', 'sentence'],
    ['Hello.\n', '\nYou.', 'paragraph'],
    ['Hello.', '\n\nYou.', 'paragraph'],
  ])('between %j and %j pauses like a %s', (one, two, before) => {
    const { segments } = outcome([one, null, two]);
    expect(segments.map((segment) => segment.text)).toEqual([one.trim().replace(/[“”]/g, '"'), two.trim()]);
    expect(segments[1]!.before).toBe(before);
  });

  it('lets the next clause come early again', () => {
    const { segments } = outcome([
      `${long} `,
      `${long} And`,
      null,
      ' then it all began again, as ever it had, and',
      ' on',
    ]);
    expect(segments.map((segment) => segment.text)).toEqual([
      long,
      long,
      'And',
      'then it all began again, as ever it had,',
      'and on',
    ]);
  });

  it('waits for a word, and for the other half of a pair', () => {
    expect(outcome(['  "', null, '-- ', null, 'Hello'])).toMatchObject({
      segments: [{ text: '"-- Hello', offset: 0 }],
    });
    expect(outcome(['Hello \ud83d', null, '\ude00'])).toEqual({
      segments: [],
      error: expect.stringMatching(/U\+1F600.* at index 6/),
    });
  });

  it('of a long rest parts it as the end of the text does', () => {
    const text = `${long} Then he said this`;
    expect(texts([text, null, '.'])).toEqual([long, 'Then he said this']);
  });
});

describe('the end', () => {
  it('of a text without words is spoken if it has marks, and refused if it has nothing', () => {
    expect(texts(['?!', ' ...'])).toEqual(['?! ...']);
    for (const pieces of [[], [''], [' ', '\n', '***']])
      expect(outcome(pieces)).toEqual({
        segments: [],
        error: expect.stringMatching(/expected a text to speak/),
      });
  });

  it('after a flush may have nothing to speak, but no wrong letter', () => {
    expect(texts(['Hello.', null, ' \n ', '!'])).toEqual(['Hello.']);
    expect(outcome(['Hello.', null, ' 😀 ']).error).toMatch(/U\+1F600.* at index 7/);
    expect(outcome(['Hello there, my good friend. ', '😀\n\nThis is it.']).error).toMatch(/at index 29/);
  });
});

describe('without an end', () => {
  it('a word is refused when it fits no window any more', () => {
    const stream = new SegmentStream(window(12, 2000));
    const grow = () => {
      for (let i = 0; i < 100; i++) {
        stream.push('a'.repeat(100));
        stream.next();
      }
    };
    expect(grow).toThrow(expect.objectContaining({ code: 'ERR_TEXT_TOO_LONG' }));
    expect(stream.length).toBeLessThan(3000);
  });

  it('white space costs nothing', () => {
    const stream = new SegmentStream(window());
    stream.push('Hello.');
    const times = Array.from({ length: 16 }, () => {
      const began = performance.now();
      for (let i = 0; i < 600; i++) {
        stream.push(' '.repeat(20));
        expect(stream.next()).toBe(null);
      }
      return performance.now() - began;
    });
    // Where each piece read all of it again, the last ones would take some fifteen times as long as the first.
    expect(Math.min(...times.slice(-3))).toBeLessThan(6 * Math.max(...times.slice(0, 3)));
  });
});

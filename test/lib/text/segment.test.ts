import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TransformerManifest } from '../../../dist/checkpoint/manifest.js';
import { planText, type SpokenSegment } from '../../../dist/plan-text.js';
import { normalizeText } from '../../../dist/text/normalize.js';
import { type Pause, type SegmentLimits, segmentText } from '../../../dist/text/segment.js';
import { expectedSeconds } from '../../../dist/text/spoken-length.js';
import { fakeManifest } from '../fake-metavoice.js';

/** A window of so many seconds, and so many tokens: here a token is a letter. */
const window = (seconds: number, tokens = 10_000): SegmentLimits => ({
  tokens,
  seconds: () => seconds * 1.25,
  leastTokens: () => 1,
  countTokens: (text) => text.length + 1,
});
const texts = (text: string, limits = window(12)) => segmentText(text, limits).map((segment) => segment.text);

describe('what stays one segment', () => {
  test.each([
    [
      'a sentence of ordinary length',
      'He said that he would come, and then he did not come; nobody knew why he had not.',
    ],
    ['two short sentences', 'Hello there. How are you today?'],
    ['a sentence on several lines', 'He said\n that he\r\n\twould  come.'],
    ['typographic marks', '“Well”—he said… ‘no’.'],
    ['emphasis', '*Hello* there, **you**.'],
    ['marks alone', '?! ... ;'],
    ['a word that is longer than any window in time', 'a'.repeat(500)],
  ])('%s', (_, text) => {
    expect(segmentText(text, window(12))).toEqual([
      { text: normalizeText(text), offset: 0, length: text.length, pause: 'none' },
    ]);
  });

  test('a part of four seconds, however small the window is in time', () => {
    const text = 'He said that he would come, and then he did.';
    expect(expectedSeconds(text)).toBeLessThan(4);
    expect(texts(text, window(0))).toEqual([text]);
  });
});

describe('sentences', () => {
  const long =
    'This is a sentence of some length that takes more than three seconds to be spoken by a voice.';
  test('that are long stand alone', () => {
    expect(texts(`${long} ${long}`)).toEqual([long, long]);
  });

  test('that are short are joined with a neighbour, up to the length of an ordinary segment', () => {
    expect(texts('One came. Two came. Three came.')).toEqual(['One came. Two came. Three came.']);
    expect(texts('One came here. '.repeat(20)).map((text) => text.length)).toEqual([89, 89, 89, 29]);
    expect(texts(`Then he came late. ${long}`)).toEqual([`Then he came late. ${long}`]);
    expect(texts(`${long} But this one was not so short at all.`)).toHaveLength(2);
  });

  test('of a word or two are joined as far as the window goes', () => {
    expect(texts(`${long} Yes. No.`)).toEqual([`${long} Yes. No.`]);
    expect(texts(`${long} Yes. No.`, window(6.6))).toEqual([long, 'Yes. No.']);
  });

  test('are not joined over the end of a paragraph, but the items of a list are', () => {
    expect(texts('One.\n\nTwo.')).toEqual(['One.', 'Two.']);
    expect(texts('Buy:\n- milk\n- eggs')).toEqual(['Buy: - milk - eggs']);
    expect(texts('# Title\nIt was dark.')).toEqual(['# Title', 'It was dark.']);
  });

  test('are not joined beyond the tokens of the window', () => {
    expect(texts('One came. Two came.', window(12, 19))).toEqual(['One came.', 'Two came.']);
    expect(texts('One came. Two came.', window(12, 20))).toEqual(['One came. Two came.']);
  });
});

describe('a sentence that is too long is parted', () => {
  /** Parted once: the window is a little too small. */
  const halves = (text: string) => texts(text, window(Math.max(4, expectedSeconds(text)) - 0.1));
  const filler = 'he said all that he had ever wanted to say about it';
  test.each([
    ['at a semicolon before a comma', `${filler}, as ever; ${filler}, as ever.`, `${filler}, as ever;`],
    ['at a colon', `${filler}: ${filler} as well.`, `${filler}:`],
    ['at a dash', `${filler} — ${filler} as well.`, `${filler} -`],
    ['at a dash without spaces', `${filler}—${filler} as well.`, `${filler}-`],
    ['at a double hyphen', `${filler}--${filler} as well.`, `${filler}--`],
    ['at a comma before a conjunction', `${filler}, as he did and ${filler}.`, `${filler},`],
    ['behind a closing quote', `"${filler}," ${filler} as well.`, `"${filler},"`],
    ['before a bracket', `${filler} (${filler}).`, filler],
    ['before a conjunction', `${filler} because ${filler} now.`, filler],
    ['before a relative', `${filler} which ${filler} now.`, filler],
    ['at a mark in the middle', `"${filler}!" ${filler} as well.`, `"${filler}!"`],
  ])('%s', (_, text, first) => {
    const found = halves(text);
    expect(found).toHaveLength(2);
    expect(found[0]).toBe(first);
  });

  test('between words as the last resort, but not behind an article or an abbreviation', () => {
    const found = halves(
      'a sunny garden house looks over the wide town near the big river bank from Mr. Hill',
    );
    expect(found).toHaveLength(2);
    expect(found[0]).not.toMatch(/ (?:the|a|near|from|over|Mr\.)$/);
    expect(texts('word '.repeat(100), window(5)).every((text) => expectedSeconds(text) <= 5)).toBe(true);
  });

  test.each([
    [
      'the number of what it counts',
      'he shows a notice and does it well now, and (2)',
      'offers it to everybody who had asked him for it',
    ],
    [
      'a day and its year',
      'he had signed it with a pen of gold on June 29,',
      '2007 or on some other day, as we all know by now',
    ],
    [
      'a name and what belongs to it',
      'he had asked the Free Software Foundation,',
      'Inc. for a copy of it, as we all know by now',
    ],
  ])('not between %s', (_, one, two) => {
    const found = halves(`${one} ${two}`);
    expect(found.join(' ')).toBe(`${one} ${two}`);
    expect(found).not.toContain(one);
  });

  test('near its middle, though a better mark stands at its edge', () => {
    const found = halves(`Oh: ${filler}, ${filler}.`);
    expect(found[0]).toBe(`Oh: ${filler},`);
  });

  test('never inside words, numbers, options or addresses', () => {
    const words =
      'well-known 1990–1999 3.14 --flag https://example.com/a,b;c?d=e x@y.z 1,234,567 o’clock and/or';
    const text = `${words} `.repeat(30).trim();
    const allowed = new Set(normalizeText(words).split(' '));
    for (const part of texts(text, window(4)))
      for (const word of part.split(' ')) expect(allowed).toContain(word);
  });

  test('by its tokens, where the window holds few', () => {
    const text = 'one two three four five six seven eight';
    const parts = texts(text, window(12, 12));
    expect(parts.join(' ')).toBe(text);
    for (const part of parts) expect(part.length + 1).toBeLessThanOrEqual(12);
  });

  test('unless a word alone is too long', () => {
    expect(() => texts(`Hello ${'a'.repeat(3000)} there.`, window(12, 800))).toThrow(
      expect.objectContaining({
        code: 'ERR_TEXT_TOO_LONG',
        details: { tokens: 3001, limit: 800, length: 3000 },
        message: expect.stringMatching(/^expected .* at most 800 tokens but "aaaa/),
      }),
    );
  });
});

test('the pause after a segment is that of what ends it', () => {
  const clause = 'he said all that he wanted to say about it';
  const text = `# Title\n${clause}, one says. So ${clause}; ${clause}.\n\n${'word '.repeat(20)}\n`;
  const pauses = segmentText(text, window(4)).map(({ text: said, pause }): [string, Pause] => [
    said.split(' ').at(-1)!,
    pause,
  ]);
  expect(pauses).toEqual([
    ['Title', 'paragraph'],
    ['says.', 'sentence'],
    ['it;', 'clause'],
    ['it.', 'paragraph'],
    ['word', 'none'],
    ['word', 'none'],
  ]);
});

describe('properties', () => {
  const word = fc.constantFrom(
    ...[
      'Mr.',
      'e.g.',
      'the',
      'The',
      'he',
      '5',
      'etc.',
      'and',
      'house',
      'It',
      'was',
      'x@y.z',
      'ÿ',
      '“',
      '”',
      '—',
    ],
    ...[
      'ab—cd',
      '--',
      '-',
      '*',
      '#',
      '1.',
      'end.',
      'end!',
      'end?',
      'end…',
      'end...',
      'end,',
      'end;',
      '\n',
      '\n\n',
    ],
    ...['\t', '\f', '\x85', '\xa0', '---', '===', 'ununununununununununununun'],
  );
  const text = fc.array(word, { minLength: 1, maxLength: 120 }).map((list) => list.join(' '));
  const limits = fc.record({
    seconds: fc.integer({ min: 4, max: 15 }),
    tokens: fc.integer({ min: 150, max: 900 }),
  });
  const spoken = /[\p{L}\p{N}]/u;
  const letters = (of: string) => of.replace(/[^\p{L}\p{N}]/gu, '');

  test('the places of the segments cover the text exactly once, in order, and each speaks its letters', () => {
    fc.assert(
      fc.property(text, limits, (given, { seconds, tokens }) => {
        const segments = segmentText(given, window(seconds, tokens));
        let at = 0;
        for (const { text: said, offset, length } of segments) {
          expect(offset).toBe(at);
          at += length;
          const place = given.slice(offset, offset + length);
          expect(letters(said)).toBe(letters(normalizeText(place)));
          if (spoken.test(given)) expect(said).toMatch(spoken);
        }
        expect(at).toBe(given.length);
      }),
      { numRuns: 1000 },
    );
  });

  test('no segment is beyond the window, but for single words in time', () => {
    fc.assert(
      fc.property(text, limits, (given, { seconds, tokens }) => {
        for (const { text: said } of segmentText(given, window(seconds, tokens))) {
          expect(said.length + 1).toBeLessThanOrEqual(tokens);
          // Marks hold to their words: only what has one word may be beyond.
          if (said.split(/[ —]/).filter((part) => spoken.test(part)).length > 1)
            expect(expectedSeconds(said.replaceAll('...', '…'))).toBeLessThanOrEqual(seconds + 1);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test('a word is never parted', () => {
    fc.assert(
      fc.property(text, limits, (given, { seconds, tokens }) => {
        const whole = new Set(
          given.split(/[\s*\x85]+|(?<=—)(?=\p{L})/u).flatMap((part) => normalizeText(part).split(' ')),
        );
        for (const { text: said } of segmentText(given, window(seconds, tokens)))
          for (const part of said.split(' '))
            if (spoken.test(part) && !part.includes('ab-')) expect(whole).toContain(part);
      }),
      { numRuns: 300 },
    );
  });

  test('what is segmented again stays as it is', () => {
    fc.assert(
      fc.property(text, limits, (given, { seconds, tokens }) => {
        for (const { text: said, pause } of segmentText(given, window(seconds, tokens)))
          if (pause !== 'none') expect(texts(said, window(seconds, tokens)).join(' ')).toBe(said);
      }),
      { numRuns: 300 },
    );
  });
});

describe('a plan', () => {
  const { firstStage, secondStage } = fakeManifest() as {
    firstStage: TransformerManifest;
    secondStage: TransformerManifest;
  };
  const plan = (text: string): SpokenSegment[] =>
    planText(text, firstStage, secondStage, { chunkFrames: 166, frameRate: 75 });

  test('leaves the frames of each segment room in the window of the first stage', () => {
    const text = 'It was the best of times, it was the worst of times, it was the age of wisdom. '.repeat(50);
    for (const segment of plan(text)) {
      const { firstStageIds, secondStageIds } = segment.encode();
      const frames = expectedSeconds(segment.text) * 75;
      expect(firstStage.positions - firstStageIds.length).toBeGreaterThanOrEqual(2 * frames);
      expect(secondStageIds.length).toBeLessThanOrEqual(secondStage.positions - 1 - 166);
    }
  });

  test('tells the positions of what it refuses in the whole text', () => {
    const before = 'Hello there, all of you. '.repeat(40);
    expect(() => plan(`${before}привет`)).toThrow(`at index ${before.length}`);
    expect(() => plan(`${before}<|endoftext|>`)).toThrow(`at index ${before.length}`);
  });

  test('is made of the bytes of the text at a time: ids of a segment are those of its text', () => {
    const [one, two] = plan('One.\n\nTwo.');
    expect(one!.encode()).toEqual(plan('One.')[0]!.encode());
    expect(two!.encode()).toEqual(plan('Two.')[0]!.encode());
  });
});

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { normalizeText, originalIndex, requireSpeakable } from '../../../dist/text/normalize.js';

const golden: { text: string; out?: string; error?: boolean }[] = JSON.parse(
  readFileSync(new URL('../../fixtures/llm.json', import.meta.url), 'utf8'),
).normalize;

/** Here the reference looks letters up by the wrong number: see the fixtures' notes. */
const slips = new Set(['x\u2122', '\u084a']);

function refusal(text: string): { code: string; message: string; details: Record<string, unknown> } {
  try {
    normalizeText(text);
  } catch (error) {
    return error as ReturnType<typeof refusal>;
  }
  throw new Error('expected a refusal');
}

describe('what is refused', () => {
  test('letters outside of Latin-1 are listed with code point and positions', () => {
    const error = refusal('a\u{1f600}b\ufb01\u{1f600}');
    expect(error.code).toBe('ERR_TEXT');
    expect(error.message).toContain('"\u{1f600}" (U+1F600) at index 1, 5');
    expect(error.details.letters).toEqual([
      { letter: '\u{1f600}', codePoint: 'U+1F600', positions: [1, 5] },
      { letter: '\ufb01', codePoint: 'U+FB01', positions: [4] },
    ]);
  });

  test('half of a surrogate pair and invisible letters are named by their number alone', () => {
    expect(refusal('ab\ud83d').message).toContain('found U+D83D at index 2;');
    expect(refusal('\u200b').message).toContain('found U+200B at index 0;');
  });

  test('the Mandaic letter U+084A is refused', () => {
    expect(refusal('\u084a').code).toBe('ERR_TEXT');
  });

  test('a long list of letters is cut in the message, not in the details', () => {
    const error = refusal('\u4e00\u4e01\u4e02\u4e03\u4e04\u4e05\u4e06\u4e07\u4e08\u4e09'.repeat(5));
    expect(error.message).toContain('and 2 more places');
    expect(error.message).toContain('and 2 other letters');
    expect(error.details.letters).toHaveLength(10);
  });

  test('what is no string is a TypeError', () => {
    expect(() => normalizeText(7 as never)).toThrow(
      new TypeError('expected a string for `text` but received 7 of type number'),
    );
  });

  test('a text with nothing to speak is refused for synthesis', () => {
    for (const text of ['', ' ', '\t \n', '\u00a0\u0085\x1c'])
      expect(() => requireSpeakable(text)).toThrow(expect.objectContaining({ code: 'ERR_TEXT' }));
    expect(requireSpeakable('a')).toBe('a');
  });
});

describe('normalisation', () => {
  test.each(golden.filter(({ text }) => !slips.has(text)))('agrees with the golden entry $text', (entry) => {
    if (entry.error) expect(refusal(entry.text).code).toBe('ERR_TEXT');
    else expect(normalizeText(entry.text)).toBe(entry.out);
  });

  test('the trade mark sign becomes TM', () => {
    expect(normalizeText('x\u2122')).toBe('xTM');
  });

  test('the empty string is a legal result', () => {
    expect(normalizeText('** \n')).toBe('');
  });

  test('is idempotent on random text of Latin-1', () => {
    let state = 7;
    for (let round = 0; round < 200; round++) {
      const letters = Array.from({ length: 30 }, () => {
        state = (state * 48271) % 2147483647;
        return String.fromCharCode(state % 3 === 0 ? 32 : state % 256);
      });
      const once = normalizeText(letters.join(''));
      expect(normalizeText(once)).toBe(once);
    }
  });

  test('letters are found again in the text as it was given', () => {
    for (const text of [
      '',
      'abc',
      ' abc ',
      '  a\n\n *b*  c ',
      '…a‖b™c',
      'a – “b”… \r\n c',
      '\x1c\x1fa\x85\xa0b',
    ]) {
      const normalized = normalizeText(text);
      for (const letter of normalized.match(/[a-c]/g) ?? [])
        expect(originalIndex(text, normalized.indexOf(letter)), text).toBe(text.indexOf(letter));
    }
    expect(originalIndex('a…b', 2)).toBe(1);
  });

  test('refused letters are counted from where the text begins in the whole', () => {
    expect(() => normalizeText('a😀b😀', 100)).toThrow(/at index 101, 104;/);
  });

  test('long runs of white space take linear time', () => {
    const start = performance.now();
    expect(normalizeText(`a${' '.repeat(300_000)}b`)).toBe('a b');
    expect(performance.now() - start).toBeLessThan(1000);
  });
});

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { requireFits } from '../../../dist/text/segment.js';
import { Tokenizer } from '../../../dist/text/tokenizer.js';

const read = (path: string) => JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'));
const data = read('../../fixtures/tokenizer.json');
const golden: { text: string; first: number[]; second: number[] }[] = read('../../fixtures/llm.json').tokens;
const refused: string = read('../../fixtures/llm.json').tokenizer_error;
const tiktoken: { patterns: Record<string, string>; cases: [string, string, number[]][] } =
  read('./tiktoken.json');

const first = Tokenizer.from(data);
const second = Tokenizer.from({ ...data, offset: 1025 });
const errorOf = (code: string) => expect.objectContaining({ code });

describe('what is refused', () => {
  test('a special token in the text, with its position', () => {
    expect(() => first.encode(refused)).toThrow(
      expect.objectContaining({ code: 'ERR_TEXT', details: { token: '<|endoftext|>', position: 7 } }),
    );
  });

  test('a letter whose bytes have no token', () => {
    const ranks = data.ranks.slice(0, 0xc3); // nothing above: é needs it
    const small = Tokenizer.from({ ...data, ranks });
    expect(() => small.encode('ab é')).toThrow(
      expect.objectContaining({
        code: 'ERR_TEXT',
        details: { letter: 'é', codePoint: 'U+00E9', position: 3 },
      }),
    );
  });

  test('values of a checkpoint that make no tokenizer', () => {
    const broken = [
      { ...data, pattern: '' },
      { ...data, ranks: [] },
      { ...data, ranks: ['!!'] },
      { ...data, ranks: ['YQ==', 'YQ=='] },
      { ...data, offset: -1 },
      { ...data, special: {} },
      { ...data, special: { '<|endoftext|>': 5 } },
      { ...data, special: { '<|endoftext|>': 512, other: 512 } },
    ];
    for (const values of broken) expect(() => Tokenizer.from(values)).toThrow(errorOf('ERR_CHECKPOINT'));
  });

  test.each([
    '(a',
    'a)',
    '[a',
    '*a',
    '(?x)a b',
    '(a)\\1',
    '\\p{Nonsense}',
    '(?i:\\p{Lu})',
    '(?i:\u00e9)',
    '(?<=a++)b',
    '[b-a]',
    '[a~~b]',
    '\\G',
    'a{,3}',
    '\\',
    '[[:nonsense:]]',
  ])('the pattern %s has no equivalent', (pattern) => {
    expect(() => Tokenizer.from({ ...data, pattern })).toThrow(errorOf('ERR_CHECKPOINT'));
  });

  test.each(['(?:a|a)*b', '(a+)+$', '(?i:x|ab){2,}', '(?<name>a?)+?b', '(?:(?:a)?b){3}'])(
    'the pattern %s repeats a group, with which a checkpoint could hold us for ever',
    (pattern) => {
      expect(() => Tokenizer.from({ ...data, pattern })).toThrow(/a group that is repeated/);
    },
  );

  test('a group that is repeated is taken where it gives nothing back', () => {
    const tokenizer = Tokenizer.from({ ...data, pattern: '(?:a|a)*+b|(?>a|ab)+|[\\s\\S]', offset: 0 });
    const before = performance.now();
    tokenizer.encode('a'.repeat(2000));
    expect(performance.now() - before).toBeLessThan(1000);
  });

  test('an id outside of the table', () => {
    expect(() => first.decode([2048])).toThrow(RangeError);
    expect(() => first.decode([2562])).toThrow(RangeError);
  });

  test('a text that does not fit, with tokens and limit', () => {
    expect(() => requireFits(11, 10, 'x')).toThrow(
      expect.objectContaining({ code: 'ERR_TEXT_TOO_LONG', details: { tokens: 11, limit: 10, length: 1 } }),
    );
    requireFits(10, 10, 'x');
  });
});

describe('encoding', () => {
  test.each(golden)(
    'agrees with the golden ids of both stages: $text',
    ({ text, first: one, second: two }) => {
      expect([...first.encode(text)]).toEqual(one);
      expect([...second.encode(text)]).toEqual(two);
    },
  );

  test.each(Object.entries(tiktoken.patterns))(
    'agrees with tiktoken under the pattern "%s"',
    (name, pattern) => {
      const tokenizer = Tokenizer.from({ ...data, pattern, offset: 0 });
      for (const [of, text, ids] of tiktoken.cases)
        if (of === name) expect([...tokenizer.encode(text)].slice(0, -1), text).toEqual(ids);
    },
  );

  test('the empty text is just end of text', () => {
    expect([...first.encode('')]).toEqual([2561]);
    expect([first.endOfText, first.vocabulary]).toEqual([2561, 2562]);
    expect([second.endOfText, second.vocabulary]).toEqual([1537, 1538]);
  });

  test('a text is judged letter by letter as it would be encoded', () => {
    for (const text of ['', 'hello', 'é\u0085ÿ', 'a a a'.repeat(50)]) first.requireEncodable(text);
    expect(() => first.requireEncodable('hi <|endoftext|>')).toThrow(/<\|endoftext\|> at index 3/);
    // Neither "h" nor "i" has bytes of its own here, but both together have.
    const ranks = ['hi', ' '].map((token) => Buffer.from(token).toString('base64'));
    const sparse = Tokenizer.from({ ...data, ranks, offset: 0, special: { '<|endoftext|>': 2 } });
    sparse.requireEncodable('hi');
    expect(() => sparse.requireEncodable('hi ho')).toThrow(errorOf('ERR_TEXT'));
  });

  test('white space is that of Unicode: U+0085 belongs to it, U+FEFF and U+001C do not', () => {
    const tokenizer = Tokenizer.from({ ...data, pattern: '\\s', offset: 0 });
    const kept = tokenizer.decode(tokenizer.encode('a\u0085b\ufeffc\u001cd\u00a0').slice(0, -1));
    expect(kept).toBe('\u0085\u00a0');
  });
});

describe('properties', () => {
  test('decoding gives back random text of Latin-1', () => {
    let state = 99;
    for (let round = 0; round < 300; round++) {
      const letters = Array.from({ length: round }, () => {
        state = (state * 48271) % 2147483647;
        return String.fromCharCode(state % 5 === 0 ? 32 : state % 7 === 0 ? 97 + (state % 26) : state % 256);
      });
      const text = letters.join('');
      expect(first.decode(first.encode(text))).toBe(`${text}<|endoftext|>`);
    }
  });

  test('bytes that are no UTF-8 decode to U+FFFD', () => {
    expect(first.decode([0xc3 + 2049, 0x41 + 2049])).toBe('\ufffdA');
  });

  test('ten thousand letters in one piece take a few milliseconds', () => {
    const text = Array.from({ length: 10_000 }, (_, index) =>
      String.fromCharCode(97 + ((index * 7919) % 26)),
    ).join('');
    const start = performance.now();
    first.encode(text);
    expect(performance.now() - start).toBeLessThan(200);
  });
});

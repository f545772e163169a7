import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { blanked } from '../../../dist/text/letters.js';
import { splitSentences } from '../../../dist/text/sentences.js';

const sentencesOf = (text: string): string[] =>
  splitSentences(text).map(({ start, end }) => text.slice(start, end));

/** ` | ` stands where a sentence ends; the text itself has a space there. */
const english: [about: string, examples: string[]][] = [
  [
    'plain marks',
    [
      'He came. | He saw. | He left.',
      'Is it late? | It is! | Go home.',
      'What?! | You sold it?',
      'One sentence without a mark',
      'hello there. | how are you? | i am fine.',
    ],
  ],
  [
    'titles',
    [
      'Mr. Smith met Mrs. Jones. | They spoke.',
      'Dr. No and Prof. Moriarty met Gen. Lee.',
      'The Rev. Martin Luther King spoke. | Gov. Brown listened.',
      'Sen. Warren and Rep. Lewis agreed. | So did Lt. Col. Hart.',
      'Messrs. Black and White left. | Mme. Curie stayed.',
      'Ask Capt. Ahab or Sgt. Pepper.',
      'dr. smith is in. | ask him about e.g. the weather.',
      'He said that Dr. "Bones" McCoy was late.',
    ],
  ],
  [
    'abbreviations inside',
    [
      'Bring fruit, e.g. apples. | Bring more.',
      'Bring fruit, e.g. Golden Delicious.',
      'The capital, i.e. London, is big. | We know.',
      'Smith vs. Jones was decided. | Smith lost.',
      'In Roe v. Wade the court ruled.',
      'It weighs approx. 5 pounds.',
      'See Smith et al. (2019) for more.',
      'He works at the Dept. of Energy.',
      'They live on St. Mark Street in St. Louis.',
      'It is on 5th Ave. New York people know it.',
      'Smith & Co. Ltd. Chairman Bob left.',
      'It was in Calif. Governor Brown knew.',
    ],
  ],
  [
    'abbreviations at an end',
    [
      'Bring apples, pears, etc. | We have none.',
      'He works at Acme Inc. | The firm is old.',
      'He is John Smith Jr. | His father is John Smith.',
      'We met at 5 p.m. | Everybody came.',
      'It starts at 9 a.m. | Bring a coat.',
      'They live in the U.S. | The climate is mild.',
      'She moved to Washington, D.C. | It was hot.',
      'She has a Ph.D. | That took years.',
      'He lives on Elm St. | The house is red.',
      'It was invented in the U.K. | Then came the rest.',
      'This was written by Smith et al. | They were right.',
    ],
  ],
  [
    'abbreviations that end nothing before a name',
    [
      'The U.S. Army arrived. | It rained.',
      'The U.K. Parliament met.',
      'We met at 5 p.m. Eastern time. | It was dark.',
      'We met at 5 p.m. Monday.',
      'Acme Inc. Chairman Bob Smith resigned.',
      'Martin Luther King Jr. Day is in January.',
      'The J.D. Salinger book is here.',
    ],
  ],
  [
    'numbers',
    [
      'It costs $3.50. | That is much.',
      'Pi is 3.14159. | It never ends.',
      'Version 2.0.1 is out. | Version 2.0 was bad.',
      'No. 5 is alive. | Nos. 3 and 4 are not.',
      'I said no. | Then I left.',
      'See Fig. 3 and pp. 12–15. | They are good.',
      'Read Vol. II first. | Read ch. 4 next.',
      'He paid 5 dollars. | 10 were left.',
      'It was 1999. | 2000 came next.',
      'On Jan. 5 it snowed. | On Sept. 3 it did not.',
      'The score was 3. | The other team had 4.',
      'At 10:30 it began. | At 11.45 it ended.',
      'Section 4.2. | It says so.',
      'He sat. | Mary stood in the sun. | Jane left.',
      'It runs at 3.5 GHz. | 64 of them do.',
    ],
  ],
  [
    'initials',
    [
      'J. K. Rowling wrote it. | J.R.R. Tolkien did not.',
      'George W. Bush spoke. | John F. Kennedy did, too.',
      'Franklin D. Roosevelt won.',
      'That was Malcolm X. | He was tall.',
      'We went to plan B. | Then we slept.',
      'So do I. | You know that.',
      'It was I. | Nobody else came.',
      'Isaac I. Smith came.',
      'World War I. | It lasted four years.',
    ],
  ],
  [
    'quotes and brackets',
    [
      '"Stop!" he said. | She stopped.',
      '"Where?" asked John. | "Here."',
      '“Go home.” | She went.',
      '“Is it you?” she asked. | ‘It is.’ | He smiled.',
      'He said "No." | Then he left.',
      '(He was old.) | She was not.',
      'He left (it was 5 p.m.). | Then it rained.',
      'He left (why?) and came back. | Fine.',
      'She called it "the end." | It was not.',
      '"I live in the U.S." | "Where?"',
      "He cried, 'Wait!' | Nobody did.",
      '[It is unclear.] | So be it.',
      'He read "Who? | What? | Where?" | Nobody laughed.',
    ],
  ],
  [
    'ellipses and dashes',
    [
      'Wait… | Then he left.',
      'Wait... | Then he left.',
      'Well... I think so. | Fine.',
      'He was… tired. | She was not.',
      'It was . . . odd. | It was.',
      'Hm… | “What?”',
      'Stop! – no, go on. | Good.',
      'He came — at 5 p.m. — and left. | Good.',
    ],
  ],
  [
    'addresses',
    [
      'See www.example.com. | It is good.',
      'See https://example.com/a.b?q=1&r=2. | It is good.',
      'Write to j.smith@example.co.uk. | He answers.',
      'Is it example.com? | It is.',
      'Read this. | https://example.com is good.',
      'Open file.txt and run a.out. | Done.',
      'Go to C:\\temp\\a.b. | Look.',
      'Ask @john.doe. | He knows #1.',
    ],
  ],
  [
    'lists in a line, and names with a small beginning',
    [
      '1. Open the door. | 2. Close it. | 3. Go.',
      '(a) First this. | (b) Then that.',
      'Q. What is it? | A. It is nothing.',
      'He likes it. | iPhones are good. | eBay is not.',
      'Yahoo! is old. | Is it?',
    ],
  ],
];

describe('the sentences of English', () => {
  const examples = english.flatMap(([about, lines]) => lines.map((line) => [about, line] as const));
  test('are tried on many hard examples', () => {
    expect(examples.length).toBeGreaterThan(80);
  });
  test.each(examples)('%s: %s', (_, line) => {
    expect(sentencesOf(line.replaceAll(' | ', ' '))).toEqual(line.split(' | '));
  });
});

/** The sentences of a text with lines; a paragraph is marked with ¶. */
const lined = (text: string): string[] =>
  splitSentences(text).map(
    ({ start, end, before }) => (before === 'paragraph' ? '¶' : '') + text.slice(start, end),
  );

describe('lines', () => {
  const cases: [name: string, text: string, sentences: string[]][] = [
    ['that an editor wrapped', 'He came\nlate. She\r\nleft.', ['¶He came\nlate.', 'She\r\nleft.']],
    ['that are blank', 'One\n\nTwo\r\n \t\r\nThree', ['¶One', '¶Two', '¶Three']],
    ['that end with a form feed or NEL', 'One\f\x85Two', ['¶One', '¶Two']],
    ['indented in a program', 'Hello there.\n      How are you?', ['¶Hello there.', 'How are you?']],
    ['of a heading', '# The title\nIt was dark.', ['¶# The title', '¶It was dark.']],
    ['of an underlined heading', 'The title\n=====\nIt was dark.', ['¶The title', '¶It was dark.']],
    ['of a heading in capitals', 'THE END\nIt was dark.', ['¶THE END', '¶It was dark.']],
    ['of shouting', 'IT WAS DARK AND\nIT WAS COLD', ['¶IT WAS DARK AND\nIT WAS COLD']],
    ['of a chapter', 'Chapter 12\nIt was dark.', ['¶Chapter 12', '¶It was dark.']],
    ['of a part that is prose', 'Part one of it was\nsimple.', ['¶Part one of it was\nsimple.']],
    ['of marks', 'One.\n---\nTwo.\n* * *\nThree.\n\n???', ['¶One.', '¶Two.', '¶Three.']],
    ['of bullets', 'Buy:\n- milk\n- old\n  cheese\n* eggs', ['¶Buy:', '- milk', '- old\n  cheese', 'eggs']],
    ['with numbers', 'Steps\n1. Open it.\n2. Go\n(3) Stop', ['¶Steps', '1. Open it.', '2. Go', '(3) Stop']],
    [
      'that begin with a number by chance',
      'He came on May\n5. Then he left.',
      ['¶He came on May\n5.', 'Then he left.'],
    ],
    [
      'that begin with an initial',
      'It is by\nJ. Smith and\nA. Jones.',
      ['¶It is by\nJ. Smith and\nA. Jones.'],
    ],
    ['with emphasis', '**Now.** *Then* it\n*was* late.', ['¶Now.', 'Then* it\n*was* late.']],
    ['with nothing to say before', '\n...\n\nHello.', ['¶Hello.']],
    ['with nothing to say at all', ' ?!\n\n... ', ['¶?!\n\n...']],
  ];
  test.each(cases)('%s', (_, text, sentences) => {
    expect(lined(text)).toEqual(sentences);
  });
});

describe('properties', () => {
  const words = fc.constantFrom(
    ...['Mr', 'e.g', 'U.S', 'No', 'I', 'J', 'the', 'The', 'he', '5', '3.14', 'etc', 'p.m', 'iPhone', 'x@y.z'],
    ...[
      'www.a.b',
      '(',
      '"',
      '“',
      '”',
      ')',
      '—',
      '-',
      '*',
      '#',
      '1.',
      '.',
      '!',
      '?',
      '…',
      '...',
      ',',
      ':',
      'ÿ',
    ],
    ...[' ', ' ', ' ', '  ', '\n', '\n\n', '\t', '\r\n', '\f', '\x85', '\xa0', '\x1c', '---', '==='],
  );
  const texts = fc.oneof(
    fc.array(words, { maxLength: 60 }).map((list) => list.join('')),
    fc.array(words, { maxLength: 60 }).map((list) => list.join(' ')),
    fc.string({ unit: 'grapheme', maxLength: 60 }),
  );

  test('every letter and digit lies in one sentence, in order, and none begins or ends with white space', () => {
    fc.assert(
      fc.property(texts, (text) => {
        let at = 0;
        const sentences = splitSentences(text);
        const spoken = /[\p{L}\p{N}]/u;
        for (const { start, end } of sentences) {
          expect(start).toBeGreaterThanOrEqual(at);
          expect(text.slice(at, start)).not.toMatch(spoken);
          if (spoken.test(text)) expect(text.slice(start, end)).toMatch(spoken);
          expect(text.slice(start, end)).not.toMatch(/^[ \n\r\t\f\x85\xa0]|[ \n\r\t\f\x85\xa0]$/);
          at = end;
        }
        expect(text.slice(at)).not.toMatch(spoken);
      }),
      { numRuns: 2000 },
    );
  });

  test('a sentence ends only at white space', () => {
    fc.assert(
      fc.property(texts, (text) => {
        for (const { end } of splitSentences(text).slice(0, -1))
          expect(blanked(text.slice(end, end + 1))).toBe(' ');
      }),
      { numRuns: 1000 },
    );
  });

  test('a long text is read in linear time, windows of the segmenter notwithstanding', () => {
    const sentence = 'Mr. Smith paid 3.50 dollars, e.g. for "tea." Then he left! ';
    const before = performance.now();
    const found = splitSentences(sentence.repeat(10_000));
    // A quadratic way takes minutes.
    expect(performance.now() - before).toBeLessThan(10_000);
    expect(found).toHaveLength(20_000);
  });

  test('where a window of the segmenter ends makes no difference', () => {
    const text = 'He came at 5 p.m. Then he left. It was 1999. 2000 came. ';
    for (let shift = 0; shift < 60; shift++) {
      const long = `${'x'.repeat(shift)} ${text.repeat(40)}`;
      expect(splitSentences(long)).toHaveLength(160);
    }
  });
});

/** Texts that nobody means, against the real model: each is spoken or refused, at once and for its own reason. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MetaVoice, type Voice } from '../../dist/index.js';
import { fixture } from './fixtures.js';
import { outcomeOf } from './wrong-values.js';

let tts: MetaVoice;
let voice: Voice;
beforeAll(async () => {
  tts = await MetaVoice.load({ model: fixture('model'), device: 'cpu', dtype: 'float32' });
  voice = await tts.voice(fixture('voices/bria.mp3'));
});
afterAll(() => tts.dispose());

const letters = (from: number, to: number): string =>
  Array.from({ length: to - from + 1 }, (_, i) => String.fromCharCode(from + i)).join('');

const spoken: [name: string, text: string][] = [
  ['one letter', 'a'],
  ['one mark', '!'],
  ['every letter of Latin-1', letters(0, 0xff)],
  ['control characters', `a${letters(0, 0x1f)}b${letters(0x7f, 0x9f)}`],
  ['a NUL in the middle', 'Hello\0there.'],
  ['a bell and an escape', 'Hello \x07\x1b[31mthere.'],
  ['lines, tabs and returns', 'One.\r\n\tTwo.\n\n\nThree.'],
  ['soft hyphens and no-break spaces', 'co\u00adoperate\u00a0now'],
  ['typographic quotes, dashes and dots', '“Well”—he said… ‘no’.'],
  ['one letter, two hundred times', 'a'.repeat(200)],
  ['marks alone', '?!.,;:-()'],
  ['markup', '<speak>Hello <break time="1s"/></speak>'],
  ['a template and a path', '$' + '{process.exit(1)} ../../etc/passwd %s %n'],
  ['numerals of another script in Latin-1', '¼ of ² and ³, ½ of ¹'],
  ['spaces around', '   hello   '],
  ['10 kB', 'Hello there. '.repeat(800)],
  ['1 MB', 'Hello there. '.repeat(80_000)],
  ['1 MB without a mark', 'hello there '.repeat(80_000)],
  ['1 MB of commas', 'hello, there, '.repeat(70_000)],
  ['1 MB of short lines', 'Hello.\n\n'.repeat(120_000)],
];

const refused: [name: string, text: string, code: string, message: RegExp][] = [
  ['nothing', '', 'ERR_TEXT', /nothing in it/],
  ['spaces', ' '.repeat(1000), 'ERR_TEXT', /nothing in it/],
  ['white space of every kind', '\t\n\v\f\r \x1c\x1d\x1e\x1f\x85\xa0', 'ERR_TEXT', /nothing in it/],
  ['asterisks', '***', 'ERR_TEXT', /nothing in it/],
  ['an emoji', 'Hello 😀', 'ERR_TEXT', /U\+1F600.* at index 6/],
  ['a family of emoji, joined', '👩‍👩‍👧', 'ERR_TEXT', /U\+200D at index 2, 5/],
  ['a flag', '🇨🇭', 'ERR_TEXT', /U\+1F1E8.*U\+1F1ED/],
  ['a skin tone', '👍🏽', 'ERR_TEXT', /U\+1F3FD/],
  ['the first half of a pair', 'a\ud83d', 'ERR_TEXT', /U\+D83D at index 1/],
  ['the second half of a pair', '\ude00a', 'ERR_TEXT', /U\+DE00 at index 0/],
  ['halves in the wrong order', '\ude00\ud83d', 'ERR_TEXT', /U\+DE00.*U\+D83D/],
  ['Arabic', 'مرحبا', 'ERR_TEXT', /U\+0645/],
  ['marks of writing direction', 'a\u202eb\u2066c', 'ERR_TEXT', /U\+202E at index 1; U\+2066 at index 3/],
  ['Chinese', '你好', 'ERR_TEXT', /U\+4F60/],
  ['combining marks', 'e\u0301', 'ERR_TEXT', /U\+0301/],
  ['many combining marks on one letter', `z${'\u0334'.repeat(500)}`, 'ERR_TEXT', /U\+0334.*497 more/],
  ['a zero width space', 'a\u200bb', 'ERR_TEXT', /U\+200B at index 1/],
  ['a byte order mark', '\ufeffhello', 'ERR_TEXT', /U\+FEFF at index 0/],
  ['letters of private use', '\ue000', 'ERR_TEXT', /U\+E000/],
  ['the last letter of all', '\u{10ffff}', 'ERR_TEXT', /U\+10FFFF/],
  ['the special token', 'Hello <|endoftext|> there', 'ERR_TEXT', /<\|endoftext\|> at index 6/],
  ['the special token alone', '<|endoftext|>', 'ERR_TEXT', /<\|endoftext\|> at index 0/],
  ['10 kB without a space', 'a'.repeat(10_000), 'ERR_TEXT_TOO_LONG', /at most \d+ tokens/],
  ['10 kB of marks', '?!'.repeat(5_000), 'ERR_TEXT_TOO_LONG', /at most \d+ tokens/],
  [
    '10 kB of spaces and a word',
    `${' \t'.repeat(5_000)}hi${' ­'.repeat(5_000)}`,
    'ERR_TEXT_TOO_LONG',
    /at most/,
  ],
  ['1 MB without a space', 'a'.repeat(1_000_000), 'ERR_TEXT_TOO_LONG', /at most \d+ tokens/],
  ['1 MB of emoji', '😀'.repeat(500_000), 'ERR_TEXT', /499997 more places/],
  ['50 kB of emoji', '😀'.repeat(12_500), 'ERR_TEXT', /12497 more places/],
  ['50 kB of different letters', letters(0x4e00, 0x9fff).repeat(2), 'ERR_TEXT', /other letters/],
];

describe('a text is spoken', () => {
  test.each(spoken)('%s', async (_, text) => {
    const before = performance.now();
    const stream = tts.stream(text, { voice, seed: 1, maxSeconds: 0.2 });
    // A few milliseconds, and half a second for the longest.
    expect(performance.now() - before).toBeLessThan(text.length > 1e5 ? 5000 : 500);
    const speech = await stream.collect();
    expect(speech.samples.length).toBeGreaterThan(0);
    expect(speech.samples.every(Number.isFinite)).toBe(true);
  });
});

describe('a text is refused at once', () => {
  test.each(refused)('%s', async (_, text, code, message) => {
    const before = performance.now();
    const { error } = await outcomeOf(() => tts.stream(text, { voice }));
    const took = performance.now() - before;
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
    // Neither the message nor the log that it lands in is flooded, or steered by what was in the text.
    expect((error as Error).message.length).toBeLessThan(1000);
    expect((error as Error).message).not.toMatch(/\p{C}/u);
    // About 10 ms here; a slow way through it would take seconds.
    expect(took).toBeLessThan(1000);
  });

  test('with control characters in its beginning, which stay out of the message', async () => {
    const { error } = await outcomeOf(() => tts.stream(`\x1b[31m\x07${'word'.repeat(3000)}`, { voice }));
    expect(error).toMatchObject({ code: 'ERR_TEXT_TOO_LONG' });
    expect((error as Error).message).not.toMatch(/\p{C}/u);
  });
});

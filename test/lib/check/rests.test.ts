import { expect, it, test } from 'vitest';
import { restsOf } from '../../../dist/check/rests.js';

/** Letters as seconds, so that a rest is told by the part of the text before it. */
const letters = (part: string): number => part.length;
const restedAt = (text: string): string[] => restsOf(text, letters).map((at) => text.slice(0, at));

test.each([
  ['Hello there.', []],
  ['Stop, look, and listen.', ['Stop,', 'Stop, look,']],
  ['One. Two! Three? Four…', ['One.', 'One. Two!', 'One. Two! Three?']],
  ['He said "Go!" and went.', ['He said "Go!"']],
  ['The box (a red one) is here.', ['The box (a red one)']],
  ['It was - so to say - late.', ['It was -', 'It was - so to say -']],
  ['It was—so to say—late.', ['It was—', 'It was—so to say—']],
  ['It costs 1,250.75 at 10:30 in a well-known shop.', []],
  ['There were four of them; one: a lamp.', ['There were four of them;', 'There were four of them; one:']],
  ['', []],
])('%j', (text, expected) => {
  expect(restedAt(text)).toEqual(expected);
});

it('has no more rests than any segment has', () => {
  expect(restsOf('a, '.repeat(1000), letters)).toHaveLength(200);
});

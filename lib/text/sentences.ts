/** From a text as it was written to its sentences: the segmenter of the language, mended where English fools it. */

import {
  beforeNumber,
  introducing,
  oftenEnds,
  onlyCapitalised,
  seldomEnds,
  starters,
  timeNames,
  titles,
} from './abbreviations.js';
import { type Block, textBlocks } from './blocks.js';
import { blanked, closing, opening } from './letters.js';

/** [start, end) in the text, without white space around it. */
export interface Sentence {
  readonly start: number;
  readonly end: number;
  /** What parts it from the sentence before. */
  readonly before: 'paragraph' | 'sentence';
}

/**
 * The sentences of a text, in order. They hold every letter and digit of it exactly once, unless there is none at all:
 * then the text is one sentence. Line ends count (see `textBlocks`), so the text must not be normalised before.
 */
export function splitSentences(text: string): Sentence[] {
  const plain = blanked(text);
  const blocks = textBlocks(text);
  if (blocks.length > 0) return blocks.flatMap((block) => blockSentences(plain, block));
  const end = plain.trimEnd().length;
  return [{ start: end - plain.trim().length, end, before: 'paragraph' }];
}

/** A mark that may end a sentence, what closes behind it, and spaces. */
const marks = new RegExp(`([.!?…])([${closing}]*) +`, 'g');

interface Place {
  /** Of the mark itself, behind what closes, and of what follows the spaces. */
  readonly mark: number;
  readonly end: number;
  readonly next: number;
  /** The segmenter parts here. */
  readonly parted: boolean;
}

/**
 * The sentences of one block.
 *
 * @param plain the text, blanked
 * @param capitals there were capitals in what lies before a block that is the rest of one
 */
export function blockSentences(plain: string, { start, end, before }: Block, capitals = false): Sentence[] {
  const words = plain.slice(start, end);
  const sentences: Sentence[] = [];
  const cased = capitals || /\p{Lu}/u.test(words);
  let from = 0;
  let firstWord = wordFrom(words, from);
  for (const place of placesOf(words)) {
    // Marks alone stay with the words before or, at the beginning, after them.
    if (place.mark < firstWord) continue;
    if (!endsSentence(words, from, place, cased)) continue;
    sentences.push({
      start: start + from,
      end: start + place.end,
      before: from === 0 ? before : 'sentence',
    });
    from = place.next;
    firstWord = wordFrom(words, from);
  }
  sentences.push({
    start: start + from,
    end: start + words.length,
    before: from === 0 ? before : 'sentence',
  });
  return sentences;
}

function wordFrom(words: string, from: number): number {
  const word = /[\p{L}\p{N}]/gu;
  word.lastIndex = from;
  return word.exec(words)?.index ?? words.length;
}

/** Where a sentence may end: only at a space, so that words, addresses and numbers stay whole. */
function* placesOf(words: string): Generator<Place> {
  const breaks = breaksOf(words);
  let at = 0;
  for (const match of words.matchAll(marks)) {
    const mark = match.index;
    const next = mark + match[0].length;
    while (at <= mark) at = breaks.next().value ?? Infinity;
    yield { mark, end: mark + 1 + match[2]!.length, next, parted: at <= next };
  }
}

const segmenter = new Intl.Segmenter('en', { granularity: 'sentence' });
/** The segmenter's time grows with the square of its text, so it reads by windows. */
const windowLength = 1024;

/** Where the segmenter begins a sentence. One that reaches the end of a window is read again from its beginning. */
function* breaksOf(words: string): Generator<number, undefined> {
  for (let from = 0; from < words.length; ) {
    let last = 0;
    for (const { index } of segmenter.segment(words.slice(from, from + windowLength))) {
      if (index > 0) yield from + index;
      last = index;
    }
    if (from + windowLength >= words.length) return;
    from += last > 0 ? last : windowLength;
  }
}

/** Longer than any word that the rules know, and what may stand around it. */
const reach = 40;
const following = new RegExp(`^[${opening}–—-]*((?:https?:|www\\.)|[\\p{L}\\p{N}]+)(.?)`, 'u');
const preceding = /[\p{L}\p{N}]+(?:[.&’'-][\p{L}\p{N}]+)*$/u;
/** What begins a sentence without a capital. */
const smallBeginning = /^(?:[a-z]{1,2}\p{Lu}|https?:$|www\.$)/u;
/** `1.`, `(b)`, `Q.`: the beginning of what follows. */
const listMark = /^[(]?(?:\d{1,3}|[\p{L}]|[ivx]{1,4})[.)]$/u;

function endsSentence(
  words: string,
  from: number,
  { mark, end, next, parted }: Place,
  cased: boolean,
): boolean {
  const [, after, behind] = following.exec(words.slice(next, next + reach)) ?? [];
  // Nothing but marks for a while: `Wait! . . .`
  if (after === undefined) return false;
  // `(b) Then`, `iPhone`, an address.
  const begun = (after.length === 1 && behind === ')') || smallBeginning.test(after);
  const small = /^\p{Ll}/u.test(after) && !begun;
  if (small && cased) return false;
  const sign = words[mark]!;
  const ellipsis = sign === '…' || words[mark - 1] === '.';
  if (ellipsis) return !small && after !== 'I';
  const number = /^\d/.test(after);
  if (!parted && !number && !small && !begun) return false;
  if (sign !== '.') return true;
  if (end - from <= 6 && listMark.test(words.slice(from, end))) return false;
  // What closes a quotation closes the sentence, too.
  if (/["”’»]/.test(words.slice(mark + 1, end))) return true;
  const earlier = words.slice(Math.max(from, mark - reach), mark);
  const word = preceding.exec(earlier)?.[0];
  // The points of paths and addresses are their own.
  if (word === undefined || /[\\/@][^ ]*$/.test(earlier)) return true;
  const begins = starters.has(after.toLowerCase()) && behind !== '.';
  return pointEnds(words.slice(from, mark - word.length), word, { after, begins, number, cased });
}

interface Following {
  after: string;
  /** It is a word that begins sentences; a number. */
  begins: boolean;
  number: boolean;
  /** There are capitals in the text. */
  cased: boolean;
}

/** Whether the point after a word ends the sentence, or belongs to the word. */
function pointEnds(earlier: string, word: string, { after, begins, number, cased }: Following): boolean {
  const lower = word.toLowerCase();
  const small = cased && word === lower;
  if (/^\p{Lu}$/u.test(word)) return initialEnds(earlier, word, begins);
  if (introducing.has(lower)) return false;
  if (titles.has(lower)) return small && begins;
  if (beforeNumber.has(lower) && (number || /^[IVXLC]+$/.test(after))) return false;
  if (oftenEnds.has(lower)) return !timeNames.has(after.toLowerCase());
  if (seldomEnds.has(lower) && !(small && onlyCapitalised.has(lower))) return begins;
  // `U.S.`, `D.C.`, `Ph.D.`
  if (/^(?:\p{L}{1,2}\.)+\p{L}$/u.test(word)) return begins;
  return true;
}

/** `J. K. Rowling` and `George W. Bush`, but `plan B. Then`, `Malcolm X. He` and `so do I. You`. */
function initialEnds(earlier: string, letter: string, begins: boolean): boolean {
  if (begins) return true;
  return letter === 'I' && /(?:^|[^\p{L}])\p{Ll}[\p{Ll}’']* $/u.test(earlier.slice(-reach));
}

/** The lines of a text, before they are normalised away: paragraphs, headings, items of lists. */

import { blanked, hasWords } from './letters.js';

/** A run of lines that reads on: [start, end) without white space around it. */
export interface Block {
  readonly start: number;
  readonly end: number;
  /** What parts it from the block before: the items of a list follow each other like sentences. */
  readonly before: 'paragraph' | 'sentence';
  /** An item of a list. */
  readonly item: boolean;
}

/** The block that a text begins in the middle of. */
export type Within = Pick<Block, 'item'>;

interface Line {
  readonly start: number;
  readonly end: number;
  readonly words: string;
  /** An asterisk is blank in `words`. */
  readonly starred: boolean;
}

interface Open {
  start: number;
  end: number;
  before: Block['before'];
  item: boolean;
  lastLine: string;
}

const bullet = /^[-+·] /;
const dash = /^[–—] /;
const number = /^\(?(?:\d{1,3}|[a-z]|[ivx]{2,4})[.)] |^\(?[A-Z]\) /;
const firstNumber = /^(?:\(?1[.)]|\(?[aA]\)) /;
const markedHeading = /^#{1,6} /;
const numberedHeading =
  /^(?:chapter|part|book|act|scene|section|appendix) (?:\d{1,4}|[ivxlc]{1,7}|one|two|three|four|five|six|seven|eight|nine|ten)\b.{0,60}$/i;
const longestHeading = 60;

/**
 * The blocks of a text. A blank line, a heading and a line of marks alone end a paragraph; an item of a list begins a
 * block. Other line ends are where an editor wrapped, and part nothing. Blocks without a letter or digit are left out.
 *
 * @param within the block whose rest the first line is; it begins without white space
 */
export function textBlocks(text: string, within: Within | null = null): Block[] {
  const lines = linesOf(text);
  const blocks: Block[] = [];
  let open: Open | null = null;
  let before: Block['before'] = 'paragraph';
  const close = (next: Block['before']): void => {
    if (open && hasWords(text.slice(open.start, open.end)))
      blocks.push({ start: open.start, end: open.end, before: open.before, item: open.item });
    open = null;
    before = next;
  };
  for (const [index, line] of lines.entries()) {
    if (within && index === 0) {
      open = { start: line.start, end: line.end, before, item: within.item, lastLine: line.words };
      continue;
    }
    if (!hasWords(line.words) && (line.words === '' || isRule(line.words))) {
      close('paragraph');
      continue;
    }
    const heading = isHeading(line.words, open === null, lines[index + 1]?.words ?? '');
    const item: boolean = !heading && isItem(line, open);
    if (heading) close('paragraph');
    else if (item && open) close('sentence');
    if (open) Object.assign(open, { end: line.end, lastLine: line.words });
    else open = { start: line.start, end: line.end, before, item, lastLine: line.words } satisfies Open;
    if (heading) close('paragraph');
  }
  close('paragraph');
  return blocks;
}

/** Lines without the white space around them, and their words as the rules here read them. */
function linesOf(text: string): Line[] {
  const lines: Line[] = [];
  let from = 0;
  // The last one ends with the text.
  for (const match of [...text.matchAll(/\r\n|[\n\v\f\r\x85]/g), null]) {
    const line = text.slice(from, match?.index ?? text.length);
    const plain = blanked(line);
    const words = plain.trim();
    const start = from + plain.length - plain.trimStart().length;
    lines.push({ start, end: start + words.length, words, starred: /^[ \t]*\*[ \t]/.test(line) });
    from = match ? match.index + match[0].length : text.length;
  }
  return lines;
}

/** `---`, `=====`, `* * *`: what parts, or underlines. */
const isRule = (words: string): boolean => /^[-=_~#+·–— ]+$/.test(words);

function isHeading(words: string, first: boolean, next: string): boolean {
  if (markedHeading.test(words)) return true;
  if (!first || words.length > longestHeading || next === '') return false;
  if (numberedHeading.test(words)) return /^["“‘'(]*[\p{Lu}\d]/u.test(next);
  // Capitals alone, above a line that is not.
  return /\p{Lu}.*\p{Lu}/u.test(words) && !/\p{Ll}|[.,;]$/u.test(words) && /\p{Ll}/u.test(next);
}

function isItem({ words, starred }: Line, open: Open | null): boolean {
  if (starred || bullet.test(words)) return true;
  if (!number.test(words) && !dash.test(words)) return false;
  // A wrapped line may begin like an item by chance.
  return open === null || open.item || firstNumber.test(words) || /[.:;!?]$/.test(open.lastLine);
}

import { MetaVoiceError } from '../errors.js';
import { expectedType, isString } from '../is.js';

/** Typographic letters and what is spoken in their place. */
const replacements: ReadonlyMap<number, string> = new Map([
  [0x00b4, "'"], // ACUTE ACCENT
  [0x1fef, "'"], // GREEK VARIA
  [0x1ffd, "'"], // GREEK OXIA
  [0x1ffe, "'"], // GREEK DASIA
  [0x2010, '-'], // HYPHEN
  [0x2011, '-'], // NON-BREAKING HYPHEN
  [0x2012, '-'], // FIGURE DASH
  [0x2013, '-'], // EN DASH
  [0x2014, '-'], // EM DASH
  [0x2015, '-'], // HORIZONTAL BAR
  [0x2016, '||'], // DOUBLE VERTICAL LINE
  [0x2018, "'"], // LEFT SINGLE QUOTATION MARK
  [0x2019, "'"], // RIGHT SINGLE QUOTATION MARK
  [0x201a, ','], // SINGLE LOW-9 QUOTATION MARK
  [0x201b, '`'], // SINGLE HIGH-REVERSED-9 QUOTATION MARK
  [0x201c, '"'], // LEFT DOUBLE QUOTATION MARK
  [0x201d, '"'], // RIGHT DOUBLE QUOTATION MARK
  [0x201e, ',,'], // DOUBLE LOW-9 QUOTATION MARK
  [0x201f, '"'], // DOUBLE HIGH-REVERSED-9 QUOTATION MARK
  [0x2024, '.'], // ONE DOT LEADER
  [0x2025, '..'], // TWO DOT LEADER
  [0x2026, '...'], // HORIZONTAL ELLIPSIS
  [0x2032, "'"], // PRIME
  [0x2033, '"'], // DOUBLE PRIME
  [0x2035, "'"], // REVERSED PRIME
  [0x2036, '"'], // REVERSED DOUBLE PRIME
  [0x2122, 'TM'], // TRADE MARK SIGN
]);

/** White space below U+0100 as the training data saw it: with the separators U+001C … U+001F, NEL and NBSP. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the separators are white space here
const anyWhiteSpace = /[\t-\r\x1c-\x20\x85\xa0]+/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the separators are white space here
const outerWhiteSpace = /^[\t-\r\x1c-\x20\x85\xa0]|[\t-\r\x1c-\x20\x85\xa0]$/g;

/** Each run of several becomes one space, and one is taken off either end: in this order the work stays linear. */
const evenOut = (text: string): string =>
  text.replace(anyWhiteSpace, (run) => (run.length > 1 ? ' ' : run)).replace(outerWhiteSpace, '');

/** The model knows the letters of Latin-1. */
const letterLimit = 0x100;

/** A letter that cannot be spoken; positions are indexes into the string (UTF-16 units). */
export interface UnknownLetter {
  letter: string;
  /** `U+1F600` */
  codePoint: string;
  positions: number[];
}

/**
 * The text as the model was trained to read it: typographic marks become plain ones, white space is evened out.
 * The empty string is a legal result (`requireSpeakable` refuses it).
 * @param from where this text begins in the one that refusals speak of
 * @throws {MetaVoiceError} ERR_TEXT with `details.letters` ({@link UnknownLetter}) for letters outside Latin-1.
 */
export function normalizeText(text: string, from = 0): string {
  if (!isString(text)) throw expectedType('a string', 'text', text);
  return evenOut(replaceLetters(text, from).replace(/[\t\n\r*]/g, ' '));
}

/** Where in a text the letter stands that became the one at `index` of the normalised text. */
export function originalIndex(text: string, index: number): number {
  let low = 0;
  let high = text.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    // The mark at the end keeps white space before it from being cut off.
    if (normalizeText(`${text.slice(0, middle + 1)}.`).length - 1 > index) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Refuses a normalised text in which there is nothing to speak (ERR_TEXT); gives it back otherwise. */
export function requireSpeakable(normalized: string): string {
  if (evenOut(normalized) !== '') return normalized;
  throw new MetaVoiceError(
    'ERR_TEXT',
    'expected a text to speak but found nothing in it; give at least one word',
    { details: { normalized } },
  );
}

function replaceLetters(text: string, from: number): string {
  const unknown = new Map<number, UnknownLetter>();
  let result = '';
  let position = from;
  for (const letter of text) {
    const point = letter.codePointAt(0)!;
    const replacement = replacements.get(point);
    if (replacement !== undefined) result += replacement;
    else if (point < letterLimit) result += letter;
    else noteUnknown(unknown, letter, point, position);
    position += letter.length;
  }
  if (unknown.size > 0) throw unknownLetters([...unknown.values()]);
  return result;
}

function noteUnknown(
  unknown: Map<number, UnknownLetter>,
  letter: string,
  point: number,
  position: number,
): void {
  const known = unknown.get(point);
  if (known) known.positions.push(position);
  else unknown.set(point, { letter, codePoint: codePointName(point), positions: [position] });
}

export const codePointName = (point: number): string =>
  `U+${point.toString(16).toUpperCase().padStart(4, '0')}`;

/** `"é" (U+00E9) at 3 and 7` */
export function describeLetter({ letter, codePoint, positions }: UnknownLetter): string {
  // Half of a pair, or a letter without a shape, would garble the message.
  const shape = /^\p{C}$/u.test(letter) ? '' : `"${letter}" `;
  const shown = positions.slice(0, 3).join(', ');
  const more = positions.length > 3 ? ` and ${positions.length - 3} more places` : '';
  return `${shape}${shape ? `(${codePoint})` : codePoint} at index ${shown}${more}`;
}

function unknownLetters(letters: UnknownLetter[]): MetaVoiceError {
  const shown = letters.slice(0, 8).map(describeLetter).join('; ');
  const more = letters.length > 8 ? `; and ${letters.length - 8} other letters` : '';
  return new MetaVoiceError(
    'ERR_TEXT',
    `expected a text in the letters below U+0100 (Latin-1) but found ${shown}${more}; remove them or spell them out`,
    { details: { letters } },
  );
}

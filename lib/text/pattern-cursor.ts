import { MetaVoiceError } from '../errors.js';

/** Inline flags of a pattern. */
export interface Flags {
  ignoreCase: boolean;
  dotAll: boolean;
  multiline: boolean;
}

/** A place in the pattern. */
export class Cursor {
  readonly pattern: string;
  index = 0;
  /** Atomic groups so far, for their names. */
  atoms = 0;
  /** Inside a look-behind, which JavaScript matches from right to left. */
  behind = false;

  constructor(pattern: string) {
    this.pattern = pattern;
  }

  get done(): boolean {
    return this.index >= this.pattern.length;
  }

  /** The code point here, without moving; empty at the end. */
  peek(): string {
    const point = this.pattern.codePointAt(this.index);
    return point === undefined ? '' : String.fromCodePoint(point);
  }

  next(): string {
    const letter = this.peek();
    if (letter === '') this.refuse('an early end');
    this.index += letter.length;
    return letter;
  }

  take(text: string): boolean {
    if (!this.pattern.startsWith(text, this.index)) return false;
    this.index += text.length;
    return true;
  }

  /** The match of a sticky expression here, moving past it; null without moving. */
  match(expression: RegExp): RegExpExecArray | null {
    expression.lastIndex = this.index;
    const found = expression.exec(this.pattern);
    if (found) this.index += found[0].length;
    return found;
  }

  refuse(what: string): never {
    throw refusal(this.pattern, this.index, what);
  }
}

export function refusal(pattern: string, index: number, what: string, cause?: unknown): MetaVoiceError {
  return new MetaVoiceError(
    'ERR_CHECKPOINT',
    `expected a tokenizer pattern with an equivalent in JavaScript but found ${what} at index ${index} of ${JSON.stringify(pattern)}`,
    { cause, details: { pattern, index } },
  );
}

/** Letters that fold to another one outside of ASCII: LATIN SMALL LETTER LONG S and KELVIN SIGN. */
const foldedBeyondAscii: Readonly<Record<string, string>> = { s: '\\u017f', k: '\\u212a' };

/** One letter, in all its cases where `(?i)` holds. */
export function literal(cursor: Cursor, letter: string, flags: Flags): string {
  if (!flags.ignoreCase) return escaped(letter);
  if (/^[a-z]$/i.test(letter)) {
    const lower = letter.toLowerCase();
    return `[${lower}${lower.toUpperCase()}${foldedBeyondAscii[lower] ?? ''}]`;
  }
  // Other letters have cases too, with more than two members for some: nobody's pattern has needed them.
  if (/^\p{Changes_When_Casemapped}$/u.test(letter)) cursor.refuse(`"${letter}" under (?i)`);
  return escaped(letter);
}

/** A letter as itself, inside and outside of a class. */
export const escaped = (letter: string): string => `\\u{${letter.codePointAt(0)!.toString(16)}}`;

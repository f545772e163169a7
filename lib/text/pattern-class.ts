import { type Cursor, escaped, type Flags, literal } from './pattern-cursor.js';

/** Perl's classes as Rust knows them: by Unicode, where JavaScript's are of ASCII or have other white space. */
const perlClasses: Readonly<Record<string, string>> = {
  s: '\\p{White_Space}',
  S: '\\P{White_Space}',
  d: '\\p{Nd}',
  D: '\\P{Nd}',
  w: '[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]',
  W: '[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]',
};

/** `[[:alpha:]]` and its kin, of ASCII alone; their bounds are safe inside a class. */
const posixClasses: Readonly<Record<string, string>> = {
  alnum: '0-9A-Za-z',
  alpha: 'A-Za-z',
  ascii: '\\x00-\\x7f',
  blank: '\\t\\x20',
  cntrl: '\\x00-\\x1f\\x7f',
  digit: '0-9',
  graph: '\\x21-\\x7e',
  lower: 'a-z',
  print: '\\x20-\\x7e',
  punct: '\\x21-\\x2f\\x3a-\\x40\\x5b-\\x60\\x7b-\\x7e',
  space: '\\t-\\r\\x20',
  upper: 'A-Z',
  word: '0-9A-Za-z_',
  xdigit: '0-9A-Fa-f',
};

const controlEscapes: Readonly<Record<string, string>> = {
  n: '\n',
  r: '\r',
  t: '\t',
  f: '\f',
  v: '\v',
  a: '\x07',
  e: '\x1b',
};

const wordBoundary = (word: string, outside: boolean): string =>
  outside
    ? `(?:(?<=${word})(?=${word})|(?<!${word})(?!${word}))`
    : `(?:(?<=${word})(?!${word})|(?<!${word})(?=${word}))`;

/** What stands after a backslash outside of a class. */
export function translateEscape(cursor: Cursor, flags: Flags): { source: string; repeatable: boolean } {
  const letter = cursor.peek();
  const assertion = {
    A: '(?<![\\p{Any}])',
    z: '(?![\\p{Any}])',
    b: wordBoundary(perlClasses.w!, false),
    B: wordBoundary(perlClasses.w!, true),
  }[letter];
  if (assertion !== undefined) {
    cursor.next();
    return { source: assertion, repeatable: false };
  }
  const item = escapeItem(cursor, flags);
  return { source: item.set ?? literal(cursor, item.letter, flags), repeatable: true };
}

/** A set in JavaScript's spelling, or one letter (which may begin a range). */
type Item = { set: string; letter?: undefined } | { set?: undefined; letter: string };

function escapeItem(cursor: Cursor, flags: Flags): Item {
  const letter = cursor.next();
  if (letter === 'p' || letter === 'P') return { set: property(cursor, letter, flags) };
  if (letter in perlClasses) return { set: perlClasses[letter]! };
  if (letter in controlEscapes) return { letter: controlEscapes[letter]! };
  if ('xuU'.includes(letter)) return { letter: hexEscape(cursor, letter) };
  if (!/^[!-/:-;=?-@[-`{-~ ]$/.test(letter)) cursor.refuse(`the escape "\\${letter}"`);
  return { letter };
}

function hexEscape(cursor: Cursor, kind: string): string {
  const digits =
    cursor.match(/\{([0-9a-f]{1,6})\}/iy)?.[1] ??
    cursor.match({ x: /[0-9a-f]{2}/iy, u: /[0-9a-f]{4}/iy, U: /[0-9a-f]{8}/iy }[kind]!)?.[0];
  const point = Number.parseInt(digits ?? '', 16);
  if (!(point <= 0x10ffff)) return cursor.refuse(`the escape "\\${kind}"`);
  return String.fromCodePoint(point);
}

/** Closed under case, so that `(?i)` changes nothing in them. */
const caseless = new Set(['L', 'Letter', 'N', 'Number', 'M', 'Mark', 'P', 'S', 'Z', 'Nd', 'Han']);

function property(cursor: Cursor, kind: string, flags: Flags): string {
  const found = cursor.match(/\{(\^?)([^{}]+)\}|([A-Z])/y);
  if (!found) return cursor.refuse(`"\\${kind}" without a property`);
  const name = found[2] ?? found[3]!;
  if (flags.ignoreCase && !caseless.has(name)) cursor.refuse(`"\\${kind}{${name}}" under (?i)`);
  const start = found[1] === '^' ? (kind === 'p' ? '\\P' : '\\p') : `\\${kind}`;
  // Rust gives scripts by their bare name, JavaScript does not.
  for (const spelling of [name.replace(':', '='), `Script=${name}`]) {
    const source = `${start}{${spelling}}`;
    if (isPattern(source)) return source;
  }
  return cursor.refuse(`the unknown property "${name}"`);
}

function isPattern(source: string): boolean {
  try {
    new RegExp(source, 'v');
    return true;
  } catch {
    return false;
  }
}

/** A class after its `[`: unions of items, joined from left to right by `&&` (both) and `--` (without). */
export function translateClass(cursor: Cursor, flags: Flags): string {
  const negated = cursor.take('^') ? '^' : '';
  let result = union(cursor, flags, true);
  while (!cursor.take(']')) {
    const operator = cursor.match(/&&|--/y)?.[0];
    if (operator === undefined) cursor.refuse('an operation on classes');
    result = `[${result}]${operator}[${union(cursor, flags, false)}]`;
  }
  return `[${negated}${result}]`;
}

function union(cursor: Cursor, flags: Flags, first: boolean): string {
  let result = '';
  // A bracket, and hyphens, at the very beginning are letters.
  if (first) {
    while (cursor.take('-')) result += escaped('-');
    if (result === '' && cursor.take(']')) result = escaped(']');
  }
  while (!cursor.done && !/\]|&&|--|~~/y.test(cursor.pattern.slice(cursor.index, cursor.index + 2)))
    result += classItem(cursor, flags);
  if (cursor.done) cursor.refuse('a class that is not closed');
  return result;
}

function classItem(cursor: Cursor, flags: Flags): string {
  const posix = cursor.match(/\[:(\^?)([a-z]+):\]/y);
  if (posix) return posixClass(cursor, flags, posix[1]!, posix[2]!);
  if (cursor.take('[')) return translateClass(cursor, flags);
  const low = classLetter(cursor, flags);
  if (low.set !== undefined) return low.set;
  if (!cursor.match(/-(?![\]-])/y)) return unbracketed(literal(cursor, low.letter, flags));
  const high = classLetter(cursor, flags);
  if (high.set !== undefined || high.letter.codePointAt(0)! < low.letter.codePointAt(0)!)
    return cursor.refuse('a range that is none');
  return range(cursor, low.letter, high.letter, flags);
}

const classLetter = (cursor: Cursor, flags: Flags): Item =>
  cursor.take('\\') ? escapeItem(cursor, flags) : { letter: cursor.next() };

/** `[aA]` inside a class is `aA`. */
const unbracketed = (source: string): string => (source.startsWith('[') ? source.slice(1, -1) : source);

function range(cursor: Cursor, low: string, high: string, flags: Flags): string {
  if (!flags.ignoreCase) return `${escaped(low)}-${escaped(high)}`;
  if (high.codePointAt(0)! > 0x7f) return cursor.refuse('a range beyond ASCII under (?i)');
  let result = '';
  for (let point = low.codePointAt(0)!; point <= high.codePointAt(0)!; point++)
    result += unbracketed(literal(cursor, String.fromCodePoint(point), flags));
  return result;
}

function posixClass(cursor: Cursor, flags: Flags, negation: string, name: string): string {
  const set = posixClasses[name];
  if (set === undefined) return cursor.refuse(`the unknown class "[:${name}:]"`);
  if (flags.ignoreCase && !['blank', 'cntrl', 'digit', 'punct', 'space'].includes(name))
    return cursor.refuse(`"[:${name}:]" under (?i)`);
  return `[${negation}${set}]`;
}

import { translateClass, translateEscape } from './pattern-class.js';
import { Cursor, type Flags, literal, refusal } from './pattern-cursor.js';

/**
 * The splitting pattern of a tokenizer is written for Rust's regular expressions. This translates it into one of
 * JavaScript with the same matches: Unicode white space, inline flags, possessive quantifiers and atomic groups.
 * What has no equivalent here is refused, never approximated.
 * @throws {MetaVoiceError} ERR_CHECKPOINT with `details` { pattern, index }
 */
export function translatePattern(pattern: string): RegExp {
  const cursor = new Cursor(pattern);
  const source = alternatives(cursor, { ignoreCase: false, dotAll: false, multiline: false });
  if (!cursor.done) cursor.refuse('an unmatched ")"');
  try {
    return new RegExp(source, 'gv');
  } catch (cause) {
    throw refusal(pattern, 0, 'a construct without an equivalent', cause);
  }
}

/** Flags set by `(?i)` hold to the end of the group, over its later alternatives too; hence the copy. */
function alternatives(cursor: Cursor, outer: Flags): string {
  const flags = { ...outer };
  let result = '';
  while (!cursor.done && cursor.peek() !== ')') {
    result += cursor.take('|') ? '|' : piece(cursor, flags);
  }
  return result;
}

/** One atom with its quantifier. */
function piece(cursor: Cursor, flags: Flags): string {
  const start = cursor.index;
  const atom = atomOf(cursor, flags);
  const quantifier = cursor.match(/[*+?]|\{\d+(?:,\d*)?\}/y)?.[0];
  if (quantifier === undefined) return atom.source;
  if (!atom.repeatable) {
    cursor.index = start;
    cursor.refuse('a quantifier of nothing');
  }
  const lazy = cursor.take('?');
  if (!lazy && cursor.take('+')) return atomic(cursor, `${atom.source}${quantifier}`);
  if (atom.group && quantifier !== '?') {
    cursor.index = start;
    cursor.refuse('a group that is repeated');
  }
  return `${atom.source}${quantifier}${lazy ? '?' : ''}`;
}

interface Atom {
  source: string;
  repeatable: boolean;
  /** Given back in parts: repeated, it has exponentially many ways to fail, and a hostile checkpoint would hang us. */
  group?: boolean;
}

function atomOf(cursor: Cursor, flags: Flags): Atom {
  const letter = cursor.next();
  switch (letter) {
    case '(':
      return group(cursor, flags);
    case '[':
      return { source: translateClass(cursor, flags), repeatable: true };
    case '\\':
      return translateEscape(cursor, flags);
    case '.':
      return { source: flags.dotAll ? '[\\p{Any}]' : '[^\\n]', repeatable: true };
    case '^':
      return { source: flags.multiline ? '(?<![^\\n])' : '(?<![\\p{Any}])', repeatable: false };
    case '$':
      return { source: flags.multiline ? '(?![^\\n])' : '(?![\\p{Any}])', repeatable: false };
    case '*':
    case '+':
    case '?':
    case '{':
      cursor.index -= 1;
      return cursor.refuse('a quantifier of nothing');
    default:
      return { source: literal(cursor, letter, flags), repeatable: true };
  }
}

/** A look-ahead is never entered again, so what it captured stands whole or not at all. */
function atomic(cursor: Cursor, source: string): string {
  if (cursor.behind) cursor.refuse('an atomic group inside a look-behind');
  const name = `atom${cursor.atoms++}`;
  return `(?:(?=(?<${name}>${source}))\\k<${name}>)`;
}

function group(cursor: Cursor, flags: Flags): Atom {
  if (cursor.take('?>')) return { source: atomic(cursor, body(cursor, flags)), repeatable: true };
  const look = cursor.match(/\?<?[=!]/y)?.[0];
  if (look !== undefined) return lookAround(cursor, look, flags);
  // Names and numbers of groups matter only to back references, which are refused.
  if (cursor.match(/\?P?<[^>]*>/y) || cursor.take('?:'))
    return { source: `(?:${body(cursor, flags)})`, repeatable: true, group: true };
  const change = cursor.match(/\?([imsu]*)(?:-([ims]+))?([:)])/y);
  if (change) return changeFlags(cursor, flags, change);
  if (cursor.peek() === '?') cursor.refuse('an unknown kind of group');
  return { source: `(?:${body(cursor, flags)})`, repeatable: true, group: true };
}

function lookAround(cursor: Cursor, look: string, flags: Flags): Atom {
  const outer = cursor.behind;
  cursor.behind ||= look.includes('<');
  const source = `(${look}${body(cursor, flags)})`;
  cursor.behind = outer;
  return { source, repeatable: false };
}

function changeFlags(cursor: Cursor, flags: Flags, [, on = '', off = '', end]: RegExpExecArray): Atom {
  const changed = { ...flags };
  for (const [letters, value] of [
    [on, true],
    [off, false],
  ] as const) {
    if (letters.includes('i')) changed.ignoreCase = value;
    if (letters.includes('s')) changed.dotAll = value;
    if (letters.includes('m')) changed.multiline = value;
  }
  if (end === ':') return { source: `(?:${body(cursor, changed)})`, repeatable: true, group: true };
  Object.assign(flags, changed);
  return { source: '', repeatable: false };
}

function body(cursor: Cursor, flags: Flags): string {
  const source = alternatives(cursor, flags);
  if (!cursor.take(')')) cursor.refuse('a group that is not closed');
  return source;
}

import type { TokenizerData } from '../checkpoint/manifest.js';
import { MetaVoiceError } from '../errors.js';
import { expectedType, isInteger, isString } from '../is.js';
import { mergePiece, type Ranks } from './merge.js';
import { codePointName } from './normalize.js';
import { translatePattern } from './pattern.js';

const endOfTextName = '<|endoftext|>';

type PositionOf = (index: number) => number;

/**
 * Byte-pair encoding as tiktoken does it, with the pattern and the ranks of a checkpoint. All ids have the offset of
 * their stage added, so they are rows of that stage's token table.
 */
export class Tokenizer {
  /** Ends every encoded text; offset included. */
  readonly endOfText: number;
  /** One past the highest id; offset included. */
  readonly vocabulary: number;
  readonly #offset: number;
  readonly #pattern: RegExp;
  readonly #special: [name: string, id: number][];
  readonly #ranks: Ranks;
  /** Byte string by id, before the offset. */
  readonly #bytes: Map<number, string>;

  private constructor(data: TokenizerData) {
    this.#offset = data.offset;
    this.#pattern = translatePattern(data.pattern);
    this.#special = Object.entries(data.special);
    const tokens = data.ranks.map(decodeToken);
    this.#ranks = {
      byBytes: new Map(tokens.map((bytes, rank) => [bytes, rank])),
      longest: tokens.reduce((longest, bytes) => Math.max(longest, bytes.length), 0),
    };
    if (this.#ranks.byBytes.size !== tokens.length) throw unusable('byte strings that differ', 'one twice');
    this.#bytes = new Map(tokens.map((bytes, rank) => [rank, bytes]));
    for (const [name, id] of this.#special) {
      if (this.#bytes.has(id)) throw unusable(`an id of its own for ${name}`, `${id}, which is taken`);
      this.#bytes.set(id, Buffer.from(name, 'utf8').toString('latin1'));
    }
    this.endOfText = data.special[endOfTextName]! + data.offset;
    this.vocabulary = Math.max(tokens.length - 1, ...Object.values(data.special)) + 1 + data.offset;
  }

  /**
   * A tokenizer from the values stored in a checkpoint.
   * @throws {MetaVoiceError} ERR_CHECKPOINT for values that make no tokenizer, or a pattern without an equivalent here
   */
  static from(data: TokenizerData): Tokenizer {
    check(data);
    return new Tokenizer(data);
  }

  /**
   * Ids of the text, end of text appended. The empty text gives just end of text.
   * @throws {MetaVoiceError} ERR_TEXT for a special token in the text (`details` { token, position }), or a letter whose
   * bytes have no token (`details` { letter, codePoint, position })
   */
  encode(text: string): Int32Array {
    if (!isString(text)) throw expectedType('a string', 'text', text);
    return this.#encode(text, (index) => index);
  }

  #encode(text: string, positionOf: PositionOf): Int32Array {
    this.#refuseSpecial(text, positionOf);
    const ids: number[] = [];
    for (const match of text.matchAll(this.#pattern)) {
      if (match[0] !== '' && !mergePiece(utf8(match[0]), this.#ranks, ids))
        throw this.#withoutBytes(match[0], match.index, positionOf);
    }
    const result = new Int32Array(ids.length + 1);
    for (let index = 0; index < ids.length; index++) result[index] = ids[index]! + this.#offset;
    result[ids.length] = this.endOfText;
    return result;
  }

  /**
   * Judges a text as `encode` would, letter by letter instead of token by token.
   * @param positionOf where a letter of this text stands in the one that refusals speak of
   * @throws {MetaVoiceError} as `encode`
   */
  requireEncodable(text: string, positionOf: PositionOf = (index) => index): void {
    this.#refuseSpecial(text, positionOf);
    const knows = (letter: string) => mergePiece(utf8(letter), this.#ranks, []);
    // A letter without bytes of its own may still be part of a longer token.
    if (![...new Set(text)].every(knows)) this.#encode(text, positionOf);
  }

  /**
   * The text of ids (offset included); special ones give their name, bytes that are no UTF-8 give U+FFFD.
   * @throws {RangeError} for an id that is not in the table
   */
  decode(ids: Iterable<number>): string {
    let bytes = '';
    for (const id of ids) {
      const token = this.#bytes.get(id - this.#offset);
      if (token === undefined)
        throw new RangeError(
          `expected token ids from ${this.#offset} to ${this.vocabulary - 1} but received ${id}`,
        );
      bytes += token;
    }
    return Buffer.from(bytes, 'latin1').toString('utf8');
  }

  /** A special token would be spoken as letters, or steer the model: neither was meant. */
  #refuseSpecial(text: string, positionOf: PositionOf): void {
    for (const [token] of this.#special) {
      const found = text.indexOf(token);
      if (found < 0) continue;
      const position = positionOf(found);
      throw new MetaVoiceError(
        'ERR_TEXT',
        `expected a text without the tokenizer's special tokens but found ${token} at index ${position}; remove it`,
        { details: { token, position } },
      );
    }
  }

  /** Some checkpoint may lack single bytes; names the first letter of the piece that is affected. */
  #withoutBytes(piece: string, start: number, positionOf: PositionOf): MetaVoiceError {
    let index = start;
    let unknown = piece;
    for (const letter of piece) {
      unknown = letter;
      if (!mergePiece(utf8(letter), this.#ranks, [])) break;
      index += letter.length;
    }
    const position = positionOf(index);
    const codePoint = codePointName(unknown.codePointAt(0)!);
    return new MetaVoiceError(
      'ERR_TEXT',
      `expected letters that the tokenizer has bytes for but found ${codePoint} at index ${position}; remove it or spell it out`,
      { details: { letter: unknown, codePoint, position } },
    );
  }
}

/** Byte strings are JavaScript strings of one unit per byte: they can be keys of a Map. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is its own UTF-8
const isAscii = (text: string): boolean => /^[\x00-\x7f]*$/.test(text);
const utf8 = (text: string): string => (isAscii(text) ? text : Buffer.from(text, 'utf8').toString('latin1'));

function decodeToken(token: string, rank: number): string {
  const bytes = Buffer.from(token, 'base64');
  if (bytes.length === 0 || bytes.toString('base64') !== token)
    throw unusable(`bytes in base64 for rank ${rank}`, JSON.stringify(token));
  return bytes.toString('latin1');
}

function check(data: TokenizerData): void {
  const { pattern, ranks, special, offset } = data;
  const isId = (value: unknown): boolean => isInteger(value) && (value as number) >= 0;
  if (!isString(pattern) || pattern === '') throw unusable('a pattern', JSON.stringify(pattern));
  if (!Array.isArray(ranks) || ranks.length === 0 || !ranks.every(isString))
    throw unusable('a list of byte strings', 'none');
  if (!isId(offset)) throw unusable('an offset of 0 or more', String(offset));
  const names = Object.keys(special ?? {});
  if (!names.includes(endOfTextName))
    throw unusable(`the special token ${endOfTextName}`, names.join(', ') || 'none');
  for (const name of names)
    if (name === '' || !isId(special[name])) throw unusable(`an id for "${name}"`, String(special[name]));
  if (new Set(Object.values(special)).size !== names.length)
    throw unusable('special tokens with ids of their own', JSON.stringify(special));
}

function unusable(expected: string, found: string): MetaVoiceError {
  return new MetaVoiceError(
    'ERR_CHECKPOINT',
    `expected ${expected} in the tokenizer of the checkpoint but found ${found}`,
    { details: { expected, found } },
  );
}

/**
 * Damage to bytes, as fast-check values: lists of small numbers that say what to do and where, so that what fails
 * shrinks to few and small edits.
 */
import fc from 'fast-check';

/** @typedef {[kind: number, at: number, other: number, value: number]} Edit */

/** Numbers at the edges of what a length, an offset or a count can be. */
const edges = [
  0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
];

const position = fc.nat({ max: 0xffff });

/** @returns {import('fast-check').Arbitrary<Edit>} */
const edit = () =>
  fc.tuple(fc.nat({ max: edits.length - 1 }), position, position, fc.nat({ max: 0xffffffff }));

/** Bytes of a few words that a reader looks for. @param {readonly string[]} words */
const bytesOf = (words) => words.map((word) => Buffer.from(word, 'latin1'));

/**
 * Files of a corpus, each with a few edits; also joined with parts of another.
 * @param {readonly Buffer[]} corpus
 * @param {readonly string[]} [words] what the format looks for, in latin1
 * @returns {import('fast-check').Arbitrary<Buffer>}
 */
export function mutated(corpus, words = ['\0\0\0\0', '\xff\xff\xff\xff']) {
  const tokens = bytesOf(words);
  return fc
    .tuple(fc.nat({ max: corpus.length - 1 }), fc.array(edit(), { minLength: 1, maxLength: 6 }))
    .map(([index, list]) => {
      /** @type {Buffer} */
      let bytes = Buffer.from(/** @type {Buffer} */ (corpus[index]));
      for (const [kind, at, other, value] of list)
        bytes = /** @type {Edits[number]} */ (edits[kind])(bytes, at, other, value, corpus, tokens);
      return bytes;
    });
}

/** @typedef {((bytes: Buffer, at: number, other: number, value: number, corpus: readonly Buffer[], tokens: readonly Buffer[]) => Buffer)[]} Edits */

/** Place of a number of 16 bits in some bytes. @param {Buffer} bytes @param {number} at @param {number} [room] */
const place = (bytes, at, room = 1) => (bytes.length <= room ? 0 : at % (bytes.length - room + 1));

/** @param {number} width @param {(bytes: Buffer, value: number, at: number) => unknown} write @returns {Edits[number]} */
const number = (width, write) => (bytes, at, other, value) => {
  if (bytes.length < width) return bytes;
  // Half of them from the edges, the others near what there is or anything.
  const chosen = other % 2 === 0 ? /** @type {number} */ (edges[value % edges.length]) : value;
  write(bytes, (width === 4 ? chosen : chosen % 2 ** (8 * width)) >>> 0, place(bytes, at, width));
  return bytes;
};

/** @type {Edits} */
const edits = [
  // a bit, a byte
  (bytes, at, other) => {
    if (bytes.length > 0) bytes[place(bytes, at)] = Number(bytes[place(bytes, at)]) ^ (1 << (other % 8));
    return bytes;
  },
  (bytes, at, _, value) => {
    if (bytes.length > 0) bytes[place(bytes, at)] = value;
    return bytes;
  },
  // a little more or less
  (bytes, at, other) => {
    if (bytes.length > 0) bytes[place(bytes, at)] = Number(bytes[place(bytes, at)]) + (other % 33) - 16;
    return bytes;
  },
  // lengths and offsets
  number(2, (bytes, value, at) => bytes.writeUInt16LE(value, at)),
  number(4, (bytes, value, at) => bytes.writeUInt32LE(value, at)),
  number(4, (bytes, value, at) => bytes.writeUInt32BE(value, at)),
  (bytes, at, other, value) => {
    if (bytes.length >= 8)
      bytes.writeBigUInt64LE((BigInt(other) << 48n) | BigInt(value), place(bytes, at, 8));
    return bytes;
  },
  // an end too early
  (bytes, at) => bytes.subarray(0, place(bytes, at)),
  // a range gone, twice, or in another place
  (bytes, at, other, value) => {
    const start = place(bytes, at);
    return Buffer.concat([bytes.subarray(0, start), bytes.subarray(start + 1 + ((other + value) % 64))]);
  },
  (bytes, at, other, value) => {
    const start = place(bytes, at);
    const piece = bytes.subarray(start, start + 1 + (value % 128));
    const target = place(bytes, other);
    return Buffer.concat([bytes.subarray(0, target), piece, bytes.subarray(target)]);
  },
  (bytes, at, other, value) => {
    const [first, second] = [place(bytes, at), place(bytes, other)].sort((a, b) => a - b);
    const length = Math.min(1 + (value % 64), Number(second) - Number(first), bytes.length - Number(second));
    const piece = Buffer.from(bytes.subarray(first, Number(first) + length));
    bytes.copyWithin(Number(first), Number(second), Number(second) + length);
    piece.copy(bytes, second);
    return bytes;
  },
  // a piece many times: what is cheap once may be dear
  (bytes, at, other, value) => {
    const start = place(bytes, at);
    const piece = bytes.subarray(start, start + 1 + (value % 16));
    const times = 1 + (other % 512);
    return Buffer.concat([bytes.subarray(0, start), ...new Array(times).fill(piece), bytes.subarray(start)]);
  },
  // parts of another file, at the end or in the middle
  (bytes, at, other, value, corpus) => {
    const donor = /** @type {Buffer} */ (corpus[value % corpus.length]);
    return Buffer.concat([bytes.subarray(0, place(bytes, at)), donor.subarray(place(donor, other))]);
  },
  (bytes, at, other, value, corpus) => {
    const donor = /** @type {Buffer} */ (corpus[value % corpus.length]);
    const piece = donor.subarray(place(donor, other), place(donor, other) + (value % 96));
    return Buffer.concat([bytes.subarray(0, place(bytes, at)), piece, bytes.subarray(place(bytes, at))]);
  },
  // words of the format, over what is there or between it
  (bytes, at, other, value, _, tokens) => {
    const word = /** @type {Buffer} */ (tokens[(other + value) % tokens.length]);
    if (bytes.length >= word.length) word.copy(bytes, place(bytes, at, word.length));
    return bytes;
  },
  (bytes, at, other, value, _, tokens) => {
    const word = /** @type {Buffer} */ (tokens[(other + value) % tokens.length]);
    return Buffer.concat([bytes.subarray(0, place(bytes, at)), word, bytes.subarray(place(bytes, at))]);
  },
];

/**
 * Matrices to int8 or int4, as they are stored (docs/checkpoints.md): `native/ops/quantization.cc` gives the same bytes. A
 * matrix goes through in pieces of some rows, so that its size doesn't matter.
 */

import { type FileHandle, open } from 'node:fs/promises';
import { int4Group } from './names.js';
import { refuseCheckpoint } from './refuse.js';

/** Numbers that are quantised at once: a millisecond or two, after which others have their turn. */
const atOnce = 1 << 17;

/** A scale is at least this: that of a row of zeros, too. */
const leastScale = 2 ** -23;

/** Where the two tensors of a quantised matrix begin in the file, in bytes. */
export interface QuantizedPlace {
  weight: number;
  scale: number;
}

/**
 * Quantises the matrix [rows, columns] of bfloat16 that a file holds from its first byte, into an open file. Gives the
 * bytes written, as `onRows` does of those so far. Rejects with ERR_CHECKPOINT for numbers that are not finite, and the errors of the file system.
 */
export async function quantizeFile(
  source: string,
  {
    name,
    shape: [rows, columns],
    origin,
  }: { name: string; shape: readonly [number, number]; origin: string },
  quantization: 'int8' | 'int4',
  destination: FileHandle,
  place: QuantizedPlace,
  onRows: (bytes: number) => void,
): Promise<number> {
  const some = Math.max(1, Math.floor(atOnce / columns));
  const words = new Uint16Array(Math.min(some, rows) * columns);
  const from = await open(source);
  let written = 0;
  try {
    for (let row = 0; row < rows; row += some) {
      const count = Math.min(some, rows - row);
      const piece = words.subarray(0, count * columns);
      await readWhole(from, piece, 2 * row * columns);
      const quantized = quantizeRows(piece, columns, quantization);
      if (!quantized)
        throw refuseCheckpoint(
          origin,
          `tensor ${name} holds numbers that are not finite, which can't be quantised; get the file again`,
          { tensor: name, expected: 'finite numbers' },
        );
      const { numbers, scales } = quantized;
      await writeAll(destination, numbers, place.weight + row * (numbers.length / count));
      await writeAll(destination, scales, place.scale + row * (scales.byteLength / count));
      written += numbers.byteLength + scales.byteLength;
      onRows(written);
    }
    return written;
  } finally {
    await from.close();
  }
}

async function readWhole(file: FileHandle, to: Uint16Array, position: number): Promise<void> {
  const bytes = new Uint8Array(to.buffer, to.byteOffset, to.byteLength);
  let done = 0;
  while (done < bytes.length) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, position + done);
    if (bytesRead === 0) throw new Error('a file that was just written ends early');
    done += bytesRead;
  }
}

async function writeAll(file: FileHandle, from: Uint8Array | Uint16Array, position: number): Promise<void> {
  const bytes = new Uint8Array(from.buffer, from.byteOffset, from.byteLength);
  let done = 0;
  while (done < bytes.length)
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
}

/** Rows as they are stored: numbers, and scales as bfloat16. */
export interface QuantizedRows {
  numbers: Uint8Array;
  scales: Uint16Array;
}

/**
 * Quantises rows of bfloat16 numbers. int8: a scale for each row; int4: a scale and a zero for each 128 numbers, of which
 * `columns` is a multiple, two numbers a byte, the first in its lower half. Null where a number is not finite.
 */
export function quantizeRows(
  words: Uint16Array,
  columns: number,
  quantization: 'int8' | 'int4',
): QuantizedRows | null {
  const values = widened(words);
  if (!values) return null;
  const rows = quantization === 'int8' ? toInt8(values, columns) : toInt4(values);
  // The range of a group may be too wide for its numbers' own type.
  return rows.scales.every(isNumber) ? rows : null;
}

const isNumber = (word: number): boolean => (word & 0x7f80) !== 0x7f80;

function widened(words: Uint16Array): Float32Array | null {
  const wide = new Uint32Array(words.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (!isNumber(word)) return null;
    wide[i] = word << 16;
  }
  return new Float32Array(wide.buffer);
}

function toInt8(values: Float32Array, columns: number): QuantizedRows {
  const rows = values.length / columns;
  const numbers = new Int8Array(values.length);
  const scales = new Uint16Array(rows);
  for (let row = 0; row < rows; row++) {
    const begin = row * columns;
    let largest = 0;
    for (let i = begin; i < begin + columns; i++) largest = Math.max(largest, Math.abs(values[i]!));
    const scale = Math.max(Math.fround(largest / 127.5), leastScale);
    for (let i = begin; i < begin + columns; i++)
      numbers[i] = Math.min(127, Math.max(-128, roundHalfEven(Math.fround(values[i]! / scale))));
    scales[row] = bfloat16Of(scale);
  }
  return { numbers: new Uint8Array(numbers.buffer), scales };
}

function toInt4(values: Float32Array): QuantizedRows {
  const groups = values.length / int4Group;
  const numbers = new Uint8Array(values.length / 2);
  const scales = new Uint16Array(2 * groups);
  for (let group = 0; group < groups; group++) {
    const begin = group * int4Group;
    let least = Infinity;
    let largest = -Infinity;
    for (let i = begin; i < begin + int4Group; i++) {
      least = Math.min(least, values[i]!);
      largest = Math.max(largest, values[i]!);
    }
    // The range is told in bfloat16, an operation at a time.
    const scale = rounded(Math.max(rounded(largest - least), rounded(1e-6)) / 15);
    const zero = rounded(least + rounded(8 * scale));
    const lowest = Math.fround(zero - 8 * scale);
    const number = (i: number) =>
      Math.min(15, Math.max(0, roundHalfEven(Math.fround(Math.fround(values[i]! - lowest) / scale))));
    for (let i = begin; i < begin + int4Group; i += 2) numbers[i / 2] = number(i) | (number(i + 1) << 4);
    scales[2 * group] = bfloat16Of(scale);
    scales[2 * group + 1] = bfloat16Of(zero);
  }
  return { numbers, scales };
}

/** Beyond 2^52 doubles have no fractions: adding it rounds, ties to even. */
const noFractions = 1.5 * 2 ** 52;
const roundHalfEven = (value: number): number => value + noFractions - noFractions;

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The bits of the nearest bfloat16, ties to even; of a number that is float32 or comes of one step from such. */
function bfloat16Of(value: number): number {
  float[0] = value;
  const word = bits[0]!;
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}

function rounded(value: number): number {
  bits[0] = bfloat16Of(value) << 16;
  return float[0]!;
}

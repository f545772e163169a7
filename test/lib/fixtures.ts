/** Golden data: safetensors files, and comparison with a tolerance. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = new URL('../../', import.meta.url);
export const fixture = (name: string): string => fileURLToPath(new URL(`test/fixtures/${name}`, root));

export interface Golden {
  shape: number[];
  data: Float32Array;
}

/** The tensors of a safetensors file, as float32. */
export function readTensors(name: string): Record<string, Golden> {
  const file = readFileSync(fixture(name));
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes));
  const start = 8 + headerBytes;
  const tensors: Record<string, Golden> = {};
  for (const [key, { dtype, shape, data_offsets: offsets }] of Object.entries<{
    dtype: string;
    shape: number[];
    data_offsets: [number, number];
  }>(header)) {
    if (key === '__metadata__') continue;
    const bytes = Uint8Array.from(file.subarray(start + offsets[0], start + offsets[1]));
    if (dtype === 'F32') tensors[key] = { shape, data: new Float32Array(bytes.buffer) };
    if (dtype === 'F16')
      tensors[key] = { shape, data: Float32Array.from(new Uint16Array(bytes.buffer), half) };
    if (dtype === 'I32') tensors[key] = { shape, data: Float32Array.from(new Int32Array(bytes.buffer)) };
  }
  return tensors;
}

/** A float16 number from its bits. */
function half(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -size : size;
}

export const readJson = (name: string) => JSON.parse(readFileSync(fixture(name), 'utf8'));

export const peak = (values: ArrayLike<number>): number => {
  let most = 0;
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i]!));
  return most;
};

export function argMax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

/** The largest difference, with its place: for messages. */
export function worst(actual: Float32Array, expected: Float32Array): { error: number; words: string } {
  if (actual.length !== expected.length)
    return { error: Infinity, words: `${actual.length} values instead of ${expected.length}` };
  let at = 0;
  let error = 0;
  for (let i = 0; i < actual.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    if (difference > error || Number.isNaN(difference)) {
      error = Number.isNaN(difference) ? Infinity : difference;
      at = i;
    }
  }
  return { error, words: `off by ${error} at ${at}: ${actual[at]} instead of ${expected[at]}` };
}

/** Throws with the worst element unless all are within the tolerance. */
export function expectClose(actual: Float32Array, expected: Float32Array, tolerance: number): void {
  const { error, words } = worst(actual, expected);
  if (!(error <= tolerance)) throw new Error(`${words}; allowed is ${tolerance}`);
}

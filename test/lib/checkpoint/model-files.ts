/** Folders of test checkpoints, as published or edited, and what was converted from them. */

import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { readSafetensors } from '../../../dist/checkpoint/safetensors.js';
import { TorchFile } from '../../../dist/checkpoint/torch-file.js';
import {
  bytesOf,
  type Checkpoint,
  fixture,
  loadFixture,
  type PlainTensor,
  pickle,
  type State,
  safetensors,
  save,
} from './torch-save.js';

export const published = ['first_stage.pt', 'second_stage.pt', 'speaker_encoder.pt', 'encodec_24khz.th'];

/** Puts published files into a new folder: copies, or edited ones. */
export async function makeFolder(
  folder: string,
  names: string[],
  edits: Record<string, (checkpoint: Checkpoint) => void> = {},
): Promise<string> {
  await mkdir(folder, { recursive: true });
  for (const name of names) {
    const edit = edits[name];
    if (!edit) {
      await copyFile(fixture(name), join(folder, name));
      continue;
    }
    const checkpoint = await loadFixture(name);
    edit(checkpoint);
    await writeFile(join(folder, name), save(checkpoint));
  }
  return folder;
}

/** Every tensor of a safetensors file: its bytes by name. */
export async function contents(file: string): Promise<Map<string, Buffer>> {
  const { tensors } = await readSafetensors(file);
  const bytes = await readFile(file);
  return new Map(
    [...tensors].map(([name, { offset, bytes: length }]) => [name, bytes.subarray(offset, offset + length)]),
  );
}

/** Same names, same bytes. */
export function expectSame(found: Map<string, Buffer>, expected: Map<string, Buffer>): void {
  expect([...found.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [name, bytes] of expected) expect(found.get(name)!.equals(bytes), name).toBe(true);
}

const floats = (bytes: Buffer): Float32Array =>
  new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));

/** Nearest bfloat16 numbers, ties to even. */
export function asBfloat16(bytes: Buffer): Buffer {
  const bits = new Uint32Array(floats(bytes).buffer);
  return Buffer.from(Uint16Array.from(bits, (word) => (word + 0x7fff + ((word >>> 16) & 1)) >>> 16).buffer);
}

/** Nearest float16 numbers, by search among all of them. */
export function asFloat16(bytes: Buffer): Buffer {
  return Buffer.from(Uint16Array.from(floats(bytes), halfOf).buffer);
}

function halfOf(value: number): number {
  const magnitude = Math.abs(value);
  const exponent = Math.max(-14, Math.floor(Math.log2(magnitude || 2 ** -14)));
  const unit = 2 ** (exponent - 10);
  const exact = magnitude / unit;
  let rounded = Math.round(exact);
  if (Math.abs(exact - Math.trunc(exact)) === 0.5 && rounded % 2 !== 0) rounded--;
  const subnormal = exponent === -14 && rounded < 1024;
  const half = subnormal ? rounded : (exponent + 15) * 1024 + (rounded - 1024);
  return (Object.is(Math.sign(value), -1) || Object.is(value, -0) ? 0x8000 : 0) | half;
}

export const model = ({ value }: Checkpoint): State => value.get('model') as State;
export const part = (key: string) => (value: State) => value.get(key) as State;

/** Tensors of a published file by our names; those without one are left out. */
export async function sources(
  file: string,
  state: (value: State) => State,
  rename: (name: string) => string | null,
) {
  const checkpoint = await TorchFile.read(fixture(file));
  const tensors = checkpoint.locateAll(state(checkpoint.value as State), () => {});
  return new Map(
    [...tensors].flatMap(([name, tensor]) => {
      const ours = rename(name);
      return ours === null ? [] : [[ours, bytesOf(tensor)] as const];
    }),
  );
}

/** A test checkpoint in the container of before 2020. */
export async function legacy(name: string): Promise<Buffer> {
  const { value, storages } = await loadFixture(name);
  const magic = Buffer.concat([
    Buffer.from([0x80, 2, 0x8a, 10]),
    Buffer.from('6cfc9c46f9206aa85019', 'hex'),
    Buffer.from('.'),
  ]);
  const system = pickle({ protocol_version: 1001, little_endian: true });
  const keys = Object.keys(storages);
  const blocks = keys.flatMap((key) => {
    const length = Buffer.alloc(8);
    length.writeBigInt64LE(BigInt(storages[key]!.length / 4));
    return [length, storages[key]!];
  });
  return Buffer.concat([magic, pickle(1001), system, pickle(value), pickle(keys), ...blocks]);
}

/** The test codec as Hugging Face stores it. */
export async function huggingFace(parametrizations: boolean): Promise<Buffer> {
  const file = await TorchFile.read(fixture('encodec_24khz.th'));
  const tensors: Record<string, PlainTensor> = {};
  for (const [name, tensor] of file.locateAll(file.value as State, () => {})) {
    const renamed = name
      .replace(/^(encoder|decoder)\.model\./, '$1.layers.')
      .replace(/\.(conv\.conv|convtr\.convtr)\./, '.conv.')
      .replace('quantizer.vq.layers', 'quantizer.layers')
      .replace('._codebook.', '.codebook.');
    const spelled = parametrizations
      ? renamed
          .replace('weight_g', 'parametrizations.weight.original0')
          .replace('weight_v', 'parametrizations.weight.original1')
      : renamed;
    tensors[spelled] = { dtype: 'F32', shape: tensor.shape, data: bytesOf(tensor) };
  }
  return safetensors(tensors);
}

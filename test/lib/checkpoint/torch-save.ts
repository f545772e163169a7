/** Small files of `torch.save`, sound or broken on purpose. */

import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import { dtypeBytes, PickleTensor } from '../../../dist/checkpoint/pickle-values.js';
import { type SourceTensor, TorchFile } from '../../../dist/checkpoint/torch-file.js';

export const fixture = (name: string): string =>
  fileURLToPath(new URL(`../../fixtures/model/${name}`, import.meta.url));

// ------------------------------------------------------------------------------------------ pickle

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

/** Pieces of a pickle: letters are opcodes, arrays are bytes. */
export const raw = (...pieces: (string | number[] | Uint8Array)[]): Buffer =>
  Buffer.concat(
    pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece, 'latin1') : Buffer.from(piece))),
  );
export const start = raw([0x80, 2]);
export const text = (value: string): Buffer => raw('X', uint32(Buffer.byteLength(value)), Buffer.from(value));
export const global = (module: string, name: string): Buffer => raw(`c${module}\n${name}\n`);

/** A value as protocol 2 writes it; Buffers inside are taken as ready pickle code. */
export function code(value: unknown): Buffer {
  if (Buffer.isBuffer(value)) return value;
  if (value === null) return raw('N');
  if (value === true) return raw([0x88]);
  if (value === false) return raw([0x89]);
  if (typeof value === 'string') return text(value);
  if (typeof value === 'number') return number(value);
  if (value instanceof Uint8Array)
    return raw(
      global('_codecs', 'encode'),
      text(Buffer.from(value).toString('latin1')),
      text('latin1'),
      [0x86],
      'R',
    );
  if (value instanceof PickleTensor) return tensorCode(value);
  if (Array.isArray(value)) return raw('](', ...value.map(code), 'e');
  const entries = value instanceof Map ? [...value] : Object.entries(value as object);
  return raw('}(', ...entries.flatMap(([key, item]) => [code(key), code(item)]), 'u');
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  if (Number.isInteger(value) && Math.abs(value) < 2 ** 31) {
    bytes.writeInt32LE(value);
    return raw('J', bytes.subarray(0, 4));
  }
  if (Number.isSafeInteger(value)) {
    bytes.writeBigInt64LE(BigInt(value));
    return raw([0x8a, 8], bytes);
  }
  bytes.writeDoubleBE(value);
  return raw('G', bytes);
}

const storageNames: Record<string, string> = {
  float64: 'DoubleStorage',
  float32: 'FloatStorage',
  float16: 'HalfStorage',
  bfloat16: 'BFloat16Storage',
  int64: 'LongStorage',
};

function tensorCode({ storage, offset, shape, strides }: PickleTensor): Buffer {
  const tuple = (items: unknown[]) => raw('(', ...items.map(code), 't');
  const type = global('torch', storageNames[storage.dtype]!);
  const id = raw(tuple(['storage', type, storage.key, 'cuda:0', storage.elements]), 'Q');
  const hooks = raw(global('collections', 'OrderedDict'), ')R');
  return raw(
    global('torch._utils', '_rebuild_tensor_v2'),
    tuple([id, offset, tuple([...shape]), tuple([...strides]), false, hooks]),
    'R',
  );
}

export const pickle = (value: unknown): Buffer => raw(start, code(value), '.');

// ------------------------------------------------------------------------------------------ zip

export interface Member {
  name: string;
  data: Uint8Array;
  /** What the directory says, where it lies. */
  method?: number;
  flags?: number;
  size?: number;
  offset?: number;
  crc?: number;
}

/** A zip of stored members. `wide` writes 64-bit sizes, offsets and end records. */
export function zip(members: Member[], { wide = false } = {}): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const member of members) {
    const name = Buffer.from(member.name);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(0x0808, 6);
    local.writeUInt16LE(name.length, 26);
    parts.push(local, name, Buffer.from(member.data));
    directory.push(entry(member, name, at, wide));
    at += 30 + name.length + member.data.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(wide ? 0xffff : members.length, 10);
  end.writeUInt32LE(wide ? 0xffffffff : central.length, 12);
  end.writeUInt32LE(wide ? 0xffffffff : at, 16);
  return Buffer.concat([
    ...parts,
    central,
    ...(wide ? wideEnd(members.length, central.length, at) : []),
    end,
  ]);
}

function entry(member: Member, name: Buffer, at: number, wide: boolean): Buffer {
  const size = member.size ?? member.data.length;
  const offset = member.offset ?? at;
  const head = Buffer.alloc(46);
  head.writeUInt32LE(0x02014b50, 0);
  head.writeUInt16LE(member.flags ?? 0x0808, 8);
  head.writeUInt16LE(member.method ?? 0, 10);
  head.writeUInt32LE(member.crc ?? crc32(member.data), 16);
  head.writeUInt32LE(wide ? 0xffffffff : size, 20);
  head.writeUInt32LE(wide ? 0xffffffff : size, 24);
  head.writeUInt16LE(name.length, 28);
  head.writeUInt32LE(wide ? 0xffffffff : offset, 42);
  if (!wide) return Buffer.concat([head, name]);
  const extra = Buffer.alloc(28);
  extra.writeUInt16LE(1, 0);
  extra.writeUInt16LE(24, 2);
  extra.writeBigUInt64LE(BigInt(size), 4);
  extra.writeBigUInt64LE(BigInt(size), 12);
  extra.writeBigUInt64LE(BigInt(offset), 20);
  head.writeUInt16LE(extra.length, 30);
  return Buffer.concat([head, name, extra]);
}

function wideEnd(count: number, size: number, offset: number): Buffer[] {
  const record = Buffer.alloc(56);
  record.writeUInt32LE(0x06064b50, 0);
  record.writeBigUInt64LE(44n, 4);
  record.writeBigUInt64LE(BigInt(count), 32);
  record.writeBigUInt64LE(BigInt(size), 40);
  record.writeBigUInt64LE(BigInt(offset), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(offset + size), 8);
  return [record, locator];
}

/** A file of torch.save with this pickle and these storages. */
export const torchZip = (data: Uint8Array, storages: Record<string, Uint8Array> = {}): Buffer =>
  zip([
    { name: 'any/data.pkl', data },
    ...Object.entries(storages).map(([key, bytes]) => ({ name: `any/data/${key}`, data: bytes })),
  ]);

// ------------------------------------------------------------------------------------------ fixtures, edited

export type State = Map<unknown, unknown>;

export interface Checkpoint {
  value: State;
  storages: Record<string, Uint8Array>;
}

function tensorsIn(value: unknown, found: PickleTensor[] = []): PickleTensor[] {
  if (value instanceof PickleTensor) found.push(value);
  else if (value instanceof Map) for (const item of value.values()) tensorsIn(item, found);
  return found;
}

/** A test checkpoint as values and bytes, to be edited and saved again. */
export async function loadFixture(name: string): Promise<Checkpoint> {
  const file = await TorchFile.read(fixture(name));
  const bytes = await readFile(fixture(name));
  const storages: Record<string, Uint8Array> = {};
  for (const tensor of tensorsIn(file.value)) {
    const whole = new PickleTensor(tensor.storage, 0, [tensor.storage.elements], [1]);
    const { offset } = file.locate('storage', whole);
    storages[tensor.storage.key] = bytes.subarray(
      offset,
      offset + dtypeBytes[tensor.dtype] * tensor.storage.elements,
    );
  }
  return { value: file.value as State, storages };
}

export const save = ({ value, storages }: Checkpoint): Buffer => torchZip(pickle(value), storages);

/** The bytes of a float32 tensor, row by row. */
export function bytesOf({ file, offset, shape, strides }: SourceTensor): Buffer {
  const elements = shape.reduce((product, size) => product * size, 1);
  const bytes = readFileSync(file);
  if (!strides) return bytes.subarray(offset, offset + 4 * elements);
  const gathered = Buffer.alloc(4 * elements);
  for (let element = 0; element < elements; element++) {
    let rest = element;
    let place = offset;
    for (let d = shape.length - 1; d >= 0; d--) {
      place += 4 * (rest % shape[d]!) * strides[d]!;
      rest = Math.floor(rest / shape[d]!);
    }
    bytes.copy(gathered, 4 * element, place, place + 4);
  }
  return gathered;
}

// ------------------------------------------------------------------------------------------ safetensors

export interface PlainTensor {
  dtype: string;
  shape: readonly number[];
  data: Uint8Array;
}

export function safetensors(tensors: Record<string, PlainTensor>): Buffer {
  let at = 0;
  const header = Object.fromEntries(
    Object.entries(tensors).map(([name, { dtype, shape, data }]) => {
      const range = [at, at + data.length];
      at += data.length;
      return [name, { dtype, shape, data_offsets: range }];
    }),
  );
  return withHeader(
    JSON.stringify(header),
    Object.values(tensors).map(({ data }) => data),
  );
}

export function withHeader(header: string, data: Uint8Array[]): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
  return Buffer.concat([length, Buffer.from(header), ...data]);
}

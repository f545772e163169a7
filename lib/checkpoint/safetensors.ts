import { isPlainObject, isString } from '../is.js';
import { type ByteReader, readingFile } from './byte-reader.js';
import { mostDimensions, mostEntries } from './limits.js';
import { dtypeBytes, type TensorDtype } from './pickle-values.js';
import { type Reading, readAsync } from './reading.js';
import { few, nameOfKey, refuseCheckpoint } from './refuse.js';

/** Where one tensor is. */
export interface StoredTensor {
  dtype: TensorDtype;
  shape: readonly number[];
  /** Of the first byte, in the file. */
  offset: number;
  bytes: number;
}

export interface SafetensorsHeader {
  tensors: Map<string, StoredTensor>;
  metadata: Record<string, string>;
  /** Bytes of the whole file. */
  size: number;
  /** When it was last written, in milliseconds. */
  modified: number;
  /** The header as it stands in the file. */
  text: string;
}

/** A tensor to be written. */
export interface PlannedTensor {
  name: string;
  dtype: TensorDtype;
  shape: readonly number[];
}

const largestHeader = 16 << 20;
const alignment = 64;

const dtypeNames: Readonly<Record<TensorDtype, string>> = {
  float64: 'F64',
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  bool: 'BOOL',
};
const dtypesByName = new Map(Object.entries(dtypeNames).map(([dtype, name]) => [name, dtype as TensorDtype]));

/**
 * Reads the header of a safetensors file, never the numbers. Rejects with ERR_CHECKPOINT when the header is larger
 * than 16 MiB, or when a tensor lies outside the file, on another one, or has not the bytes that its shape needs.
 */
export const readSafetensors = (path: string): Promise<SafetensorsHeader> =>
  readAsync(readingFile(path, readingSafetensors));

/** Fails with ERR_CHECKPOINT like `readSafetensors`. */
export function* readingSafetensors(reader: ByteReader): Reading<SafetensorsHeader> {
  const { path, size, modified } = reader;
  const length = Number((yield* reader.read(0, 8)).readBigUInt64LE());
  if (length < 2 || length > largestHeader || 8 + length > size)
    throw refuseCheckpoint(
      path,
      `expected a safetensors file, but its header would have ${length} bytes of a file of ${size}`,
      { expected: `2 to ${largestHeader}`, found: length },
    );
  const text = (yield* reader.read(8, length)).toString('utf8');
  return { ...parseHeader(path, text, 8 + length, size), size, modified, text };
}

function parseHeader(path: string, text: string, start: number, size: number) {
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (cause) {
    throw refuseCheckpoint(path, 'the header of the safetensors file is not JSON; the file is damaged', {
      found: String(cause),
    });
  }
  if (!isPlainObject(header))
    throw refuseCheckpoint(path, 'the header of the safetensors file is not an object');
  const { __metadata__: metadata = {}, ...entries } = header;
  if (!isPlainObject(metadata) || !Object.values(metadata).every(isString))
    throw refuseCheckpoint(path, 'the metadata of the safetensors file is not text');
  const count = Object.keys(entries).length;
  if (count > mostEntries)
    throw refuseCheckpoint(path, `has ${count} tensors, at most ${mostEntries} are read`, {
      expected: mostEntries,
      found: count,
    });
  const tensors = new Map<string, StoredTensor>();
  for (const [name, entry] of Object.entries(entries))
    tensors.set(name, parseTensor(path, name, entry, start, size));
  refuseGaps(path, tensors, start, size);
  return { tensors, metadata: metadata as Record<string, string> };
}

const isNatural = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function parseTensor(path: string, name: string, entry: unknown, start: number, size: number): StoredTensor {
  const { dtype: type, shape, data_offsets: range } = isPlainObject(entry) ? entry : {};
  const dtype = isString(type) ? dtypesByName.get(type) : undefined;
  if (!dtype)
    throw refuseCheckpoint(path, `tensor ${name} has the unknown type ${nameOfKey(type).slice(0, 20)}`, {
      tensor: name,
      found: type,
    });
  const sound =
    Array.isArray(shape) &&
    shape.length <= mostDimensions &&
    shape.every(isNatural) &&
    Array.isArray(range) &&
    range.length === 2 &&
    range.every(isNatural);
  if (!sound) throw refuseCheckpoint(path, `the entry of tensor ${name} is damaged`, { tensor: name });
  const [begin, end] = range as [number, number];
  const wanted = shape.reduce((product, dimension) => product * dimension, dtypeBytes[dtype]);
  if (end - begin !== wanted || start + end > size)
    throw refuseCheckpoint(
      path,
      `tensor ${name} of shape [${shape.join(', ')}] needs ${wanted} bytes but takes ${begin} to ${end} of ${size - start}; the file is truncated or damaged`,
      { tensor: name, expected: wanted, found: end - begin },
    );
  return { dtype, shape, offset: start + begin, bytes: wanted };
}

/** The format wants every byte to belong to exactly one tensor. */
function refuseGaps(path: string, tensors: Map<string, StoredTensor>, start: number, size: number): void {
  const sorted = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes);
  let at = start;
  for (const [name, { offset, bytes }] of sorted) {
    if (offset !== at)
      throw refuseCheckpoint(
        path,
        `tensor ${name} ${offset < at ? 'overlaps the one before it' : 'leaves a gap before it'}; the file is damaged`,
        { tensor: name, expected: at, found: offset },
      );
    at = offset + bytes;
  }
  if (at !== size)
    throw refuseCheckpoint(
      path,
      `its tensors (${few(tensors.keys(), 2)}) end at byte ${at} but the file has ${size}; it is damaged`,
      { expected: at, found: size },
    );
}

/**
 * The header for tensors, and where each one goes. Numbers begin at a multiple of 64 bytes, and so does every tensor
 * whose bytes are such a multiple: those come first, so that the file has no gaps.
 */
export function planSafetensors(
  tensors: readonly PlannedTensor[],
  metadata: Record<string, string>,
): { header: Buffer; offsets: Map<string, number>; size: number } {
  const measured = tensors.map((tensor) => ({
    ...tensor,
    bytes: tensor.shape.reduce((product, dimension) => product * dimension, dtypeBytes[tensor.dtype]),
  }));
  const sorted = [
    ...measured.filter(({ bytes }) => bytes % alignment === 0),
    ...measured
      .filter(({ bytes }) => bytes % alignment !== 0)
      .sort((a, b) => lowestBit(b.bytes) - lowestBit(a.bytes)),
  ];
  const entries: Record<string, unknown> = { __metadata__: metadata };
  const ends = new Map<string, number>();
  let at = 0;
  for (const { name, dtype, shape, bytes } of sorted) {
    entries[name] = { dtype: dtypeNames[dtype], shape, data_offsets: [at, at + bytes] };
    ends.set(name, at);
    at += bytes;
  }
  const json = JSON.stringify(entries);
  const length = Math.ceil((8 + Buffer.byteLength(json)) / alignment) * alignment;
  const header = Buffer.alloc(length, ' ');
  header.writeBigUInt64LE(BigInt(length - 8), 0);
  header.write(json, 8, 'utf8');
  return {
    header,
    offsets: new Map([...ends].map(([name, offset]) => [name, length + offset])),
    size: length + at,
  };
}

const lowestBit = (value: number): number => (value === 0 ? alignment : value & -value);

import { type ByteReader, readingFile } from './byte-reader.js';
import { largestPickle } from './limits.js';
import { unpickling } from './pickle.js';
import { dtypeBytes, PickleTensor, type TensorDtype } from './pickle-values.js';
import { type Reading, readAsync } from './reading.js';
import { nameOfKey, refuseCheckpoint } from './refuse.js';
import { readingLegacy } from './torch-legacy.js';
import { TorchZip } from './torch-zip.js';

/** A tensor in a file, ready to be copied. */
export interface SourceTensor {
  file: string;
  dtype: TensorDtype;
  /** Of the first element, in bytes. */
  offset: number;
  shape: readonly number[];
  /** In elements; null when contiguous. */
  strides: readonly number[] | null;
  /** CRC-32 of its bytes, where the container tells it. */
  crc32?: number;
  /** Equal for tensors that are the same numbers. */
  identity: string;
}

/** Tensors may share numbers, but not more often than this on the average. */
const mostRepeats = 16;

/** Where the numbers of one storage are. */
export interface StoragePlace {
  offset: number;
  bytes: number;
  crc: number;
}

/** A file of `torch.save`, its structure read and its numbers left where they are. */
export class TorchFile {
  readonly path: string;
  readonly size: number;
  /** What was saved (see `Unpickled.value`). */
  readonly value: unknown;
  /** Changes with the content: checksums of the zip, or size and time of an old container. */
  readonly fingerprint: string;
  readonly #place: (key: string) => StoragePlace | undefined;

  private constructor(
    reader: ByteReader,
    value: unknown,
    fingerprint: string,
    place: (key: string) => StoragePlace | undefined,
  ) {
    this.path = reader.path;
    this.size = reader.size;
    this.value = value;
    this.fingerprint = fingerprint;
    this.#place = place;
  }

  /** Rejects with ERR_CHECKPOINT for anything but a sound file of `torch.save`. */
  static read(path: string): Promise<TorchFile> {
    return readAsync(readingFile(path, TorchFile.reading));
  }

  /** Fails with ERR_CHECKPOINT like `read`. */
  static *reading(reader: ByteReader): Reading<TorchFile> {
    const head = yield* reader.read(0, Math.min(reader.size, 64));
    if (head.length >= 4 && head.readUInt32LE(0) === 0x04034b50) return yield* TorchFile.#readingZip(reader);
    if (head[0] === 0x80 && head[1] === 2) {
      const { value, places } = yield* readingLegacy(reader);
      return new TorchFile(reader, value, `${reader.size}:${reader.modified}`, (key) => places.get(key));
    }
    throw refuseCheckpoint(reader.path, `expected a file of torch.save${guess(head)}`);
  }

  static *#readingZip(reader: ByteReader): Reading<TorchFile> {
    const zip = yield* TorchZip.reading(reader);
    const order = zip.members.has('byteorder')
      ? (yield* zip.bytes('byteorder', 16)).toString('latin1')
      : 'little';
    if (order !== 'little')
      throw refuseCheckpoint(reader.path, `expected little-endian numbers, found ${order}`);
    const pickle = yield* zip.bytes('data.pkl', largestPickle);
    const { value } = yield* unpickling(pickle, reader.path);
    const summed = [...zip.members.values()].some(({ crc }) => crc !== 0);
    const fingerprint = `${reader.size}:${zip.directoryCrc}${summed ? '' : `:${reader.modified}`}`;
    return new TorchFile(reader, value, fingerprint, (key) => {
      const member = zip.members.get(`data/${key}`);
      return member && { offset: member.offset, bytes: member.size, crc: member.crc };
    });
  }

  /** Where the numbers of a tensor are. Throws ERR_CHECKPOINT when they are not in the file. */
  locate(name: string, tensor: PickleTensor): SourceTensor {
    const { storage, shape, strides, dtype } = tensor;
    const place = this.#place(storage.key);
    const width = dtypeBytes[dtype];
    if (!place)
      throw refuseCheckpoint(
        this.path,
        `the numbers of tensor ${name} (storage ${storage.key}) are missing`,
        {
          tensor: name,
        },
      );
    const wanted = (storage.start + storage.elements) * width;
    const sound = storage.start > 0 ? place.bytes >= wanted : place.bytes === wanted;
    if (!sound)
      throw refuseCheckpoint(
        this.path,
        `the storage of tensor ${name} should have ${wanted} bytes but has ${place.bytes}`,
        { tensor: name, expected: wanted, found: place.bytes },
      );
    const contiguous = isContiguous(shape, strides);
    const first = storage.start + tensor.offset;
    const located: SourceTensor = {
      file: this.path,
      dtype,
      offset: place.offset + first * width,
      shape,
      strides: contiguous ? null : strides,
      identity: `${storage.key}:${first}:${shape.join('x')}:${contiguous ? '' : strides.join('x')}`,
    };
    const whole = contiguous && first === 0 && product(shape) * width === place.bytes;
    if (whole && place.crc !== 0) located.crc32 = place.crc;
    return located;
  }

  /**
   * The tensors of a state dict; values that are no tensors go to `other`, which may refuse them. Throws ERR_CHECKPOINT
   * also when they repeat the numbers of the file so often that a copy would fill the disk.
   */
  locateAll(state: Map<unknown, unknown>, other: (name: string) => void): Map<string, SourceTensor> {
    const tensors = new Map<string, SourceTensor>();
    let bytes = 0;
    for (const [key, value] of state) {
      const name = nameOfKey(key);
      if (typeof key === 'string' && value instanceof PickleTensor) {
        tensors.set(name, this.locate(name, value));
        bytes += product(value.shape) * dtypeBytes[value.dtype];
      } else other(name);
    }
    if (bytes > mostRepeats * this.size)
      throw refuseCheckpoint(
        this.path,
        `its tensors are views that spread ${this.size} bytes over ${bytes}; expected tensors of their own`,
        { expected: mostRepeats * this.size, found: bytes },
      );
    return tensors;
  }
}

export const product = (shape: readonly number[]): number => shape.reduce((all, size) => all * size, 1);

function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let d = shape.length - 1; d >= 0; d--) {
    if (shape[d] === 0) return true;
    if (shape[d] !== 1 && strides[d] !== expected) return false;
    expected *= shape[d]!;
  }
  return true;
}

/** What a file that is not a checkpoint may be instead. */
function guess(head: Buffer): string {
  const text = head.toString('latin1');
  if (head.length === 0) return ', found an empty file';
  if (text.startsWith('version https://git-lfs'))
    return ', found a pointer of Git LFS; get the file itself, e.g. with `git lfs pull`';
  if (/^\s*<(!doctype|html)/i.test(text)) return ', found a web page; download the file itself';
  return `, found a file that begins with ${head.subarray(0, 8).toString('hex')}; is it truncated or something else?`;
}

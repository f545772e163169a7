import { close, closeSync, constants, fstat, fstatSync, open, openSync, read, readSync } from 'node:fs';
import { promisify } from 'node:util';
import { largestText } from './limits.js';
import { type Ask, ask, type Reading } from './reading.js';
import { refuseCheckpoint } from './refuse.js';

/** Bytes read in pieces at offsets; every piece is checked against their number. */
export interface ByteReader {
  /** Names the bytes in messages. */
  readonly path: string;
  readonly size: number;
  /** When they were last written, in milliseconds. */
  readonly modified: number;
  /** Exactly `length` bytes at `offset`. Fails with ERR_CHECKPOINT past the end. */
  read(offset: number, length: number): Reading<Buffer>;
}

/** Opens a file, reads from it, and closes it whatever happens. Fails with the errno error of the file system. */
export function* readingFile<T>(path: string, use: (reader: ByteReader) => Reading<T>): Reading<T> {
  const handle = yield* ask(opened(path));
  try {
    const facts = yield* ask(factsOf(handle));
    if (!facts.isFile()) throw refuseCheckpoint(path, 'expected a file');
    return yield* use(new FileReader(path, handle, facts.size, facts.mtimeMs));
  } finally {
    yield* ask(closed(handle));
  }
}

/** Opening a pipe would wait for somebody to write into it, for ever if need be. */
const readOnly = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/** A whole text file. Fails also with ERR_CHECKPOINT when it is larger than any of its kind. */
export const readingText = (path: string): Reading<string> =>
  readingFile(path, function* (reader) {
    if (reader.size > largestText)
      throw refuseCheckpoint(path, `has ${reader.size} bytes, at most ${largestText} are read`, {
        expected: largestText,
        found: reader.size,
      });
    return (yield* reader.read(0, reader.size)).toString('utf8');
  });

const opened = (path: string): Ask<number> => ({
  sync: () => openSync(path, readOnly),
  async: () => promisify(open)(path, readOnly),
});

const factsOf = (handle: number) => ({
  sync: () => fstatSync(handle),
  async: () => promisify(fstat)(handle),
});

const closed = (handle: number): Ask<void> => ({
  sync: () => closeSync(handle),
  async: () => promisify(close)(handle),
});

class FileReader implements ByteReader {
  readonly path: string;
  readonly size: number;
  readonly modified: number;
  readonly #handle: number;

  constructor(path: string, handle: number, size: number, modified: number) {
    this.path = path;
    this.#handle = handle;
    this.size = size;
    this.modified = modified;
  }

  *read(offset: number, length: number): Reading<Buffer> {
    requireInside(this, offset, length);
    const buffer = Buffer.allocUnsafe(length);
    let done = 0;
    while (done < length) {
      const bytes = yield* ask(this.#fill(buffer, done, offset + done));
      if (bytes === 0)
        throw refuseCheckpoint(this.path, 'the file became shorter while it was read', {
          expected: this.size,
          found: offset + done,
        });
      done += bytes;
    }
    return buffer;
  }

  /** Fills the rest of a buffer as far as the system gives; the number of bytes. */
  #fill(buffer: Buffer, from: number, position: number): Ask<number> {
    const length = buffer.length - from;
    return {
      sync: () => readSync(this.#handle, buffer, from, length, position),
      async: async () => (await promisify(read)(this.#handle, buffer, from, length, position)).bytesRead,
    };
  }
}

/** Bytes that are in memory already: a member of a zip, or a test's. Pieces of them are views. */
export class MemoryReader implements ByteReader {
  readonly path: string;
  readonly modified: number;
  readonly #bytes: Buffer;

  constructor(path: string, bytes: Uint8Array, modified = 0) {
    this.path = path;
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.modified = modified;
  }

  get size(): number {
    return this.#bytes.length;
  }

  // biome-ignore lint/correctness/useYield: a reader that has its bytes asks nobody.
  *read(offset: number, length: number): Reading<Buffer> {
    requireInside(this, offset, length);
    return this.#bytes.subarray(offset, offset + length);
  }
}

function requireInside({ path, size }: ByteReader, offset: number, length: number): void {
  if (offset >= 0 && length >= 0 && offset + length <= size) return;
  throw refuseCheckpoint(
    path,
    `the file ends at byte ${size} but bytes up to ${offset + length} are wanted; it is truncated or damaged`,
    { expected: offset + length, found: size },
  );
}

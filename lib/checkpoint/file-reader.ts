import { type FileHandle, open } from 'node:fs/promises';
import { refuseCheckpoint } from './refuse.js';

/** A file read in pieces at offsets; every piece is checked against the size of the file. */
export class FileReader {
  readonly path: string;
  /** Bytes of the file when it was opened. */
  readonly size: number;
  readonly modified: number;
  readonly #handle: FileHandle;

  private constructor(path: string, handle: FileHandle, size: number, modified: number) {
    this.path = path;
    this.#handle = handle;
    this.size = size;
    this.modified = modified;
  }

  /** Rejects with the errno error of the file system, or ERR_CHECKPOINT when it is not a file. */
  static async open(path: string): Promise<FileReader> {
    const handle = await open(path, 'r');
    try {
      const facts = await handle.stat();
      if (!facts.isFile()) throw refuseCheckpoint(path, 'expected a file');
      return new FileReader(path, handle, facts.size, facts.mtimeMs);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Exactly `length` bytes at `offset`. Rejects with ERR_CHECKPOINT past the end of the file. */
  async read(offset: number, length: number): Promise<Buffer> {
    if (offset < 0 || length < 0 || offset + length > this.size)
      throw refuseCheckpoint(
        this.path,
        `the file ends at byte ${this.size} but bytes up to ${offset + length} are wanted; it is truncated or damaged`,
        { expected: offset + length, found: this.size },
      );
    const buffer = Buffer.allocUnsafe(length);
    let done = 0;
    while (done < length) {
      const { bytesRead } = await this.#handle.read(buffer, done, length - done, offset + done);
      if (bytesRead === 0)
        throw refuseCheckpoint(this.path, 'the file became shorter while it was read', {
          expected: this.size,
          found: offset + done,
        });
      done += bytesRead;
    }
    return buffer;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

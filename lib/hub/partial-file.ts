/** A file that is being fetched: `<blob>.incomplete`, hashed as it grows, so that any earlier part of it can be used. */

import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { Content } from './describe.js';

const block = 1 << 20;

export class PartialFile {
  readonly #file: FileHandle;
  readonly #content: Content;
  #hash: Hash;
  /** Bytes that are there, and the place of the next. */
  position = 0;
  /** Whether all of it came in one transfer. */
  inOneGo = true;

  private constructor(file: FileHandle, content: Content) {
    this.#file = file;
    this.#content = content;
    this.#hash = begin(content);
  }

  /** Opens or makes the file and reads what is there; more than there may be is thrown away. */
  static async open(path: string, content: Content, throwIfAborted: () => void): Promise<PartialFile> {
    const partial = new PartialFile(await open(path, constants.O_RDWR | constants.O_CREAT), content);
    try {
      await partial.#readAgain(throwIfAborted);
      return partial;
    } catch (error) {
      await partial.close();
      throw error;
    }
  }

  async #readAgain(throwIfAborted: () => void): Promise<void> {
    const { size } = await this.#file.stat();
    if (size > this.#content.bytes) return this.restart();
    const buffer = Buffer.allocUnsafe(Math.min(block, size));
    while (this.position < size) {
      throwIfAborted();
      const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, this.position);
      if (bytesRead === 0) break;
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.position += bytesRead;
    }
    this.inOneGo = this.position === 0;
  }

  /** Whether so many more bytes have a place. */
  hasRoomFor(bytes: number): boolean {
    return this.position + bytes <= this.#content.bytes;
  }

  /** Written at its own place: whoever else appends to the file cannot shift it. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const rest = bytes.length - done;
      const { bytesWritten } = await this.#file.write(bytes, done, rest, this.position + done);
      done += bytesWritten;
    }
    this.#hash.update(bytes);
    this.position += bytes.length;
  }

  /** Throws away what is there. */
  async restart(): Promise<void> {
    await this.#file.truncate(0);
    this.#hash = begin(this.#content);
    this.position = 0;
    this.inOneGo = true;
  }

  get isWhole(): boolean {
    return this.position === this.#content.bytes;
  }

  /** The hash of the bytes so far. */
  hash(): string {
    return this.#hash.copy().digest('hex');
  }

  /** Makes sure that it is on the disk, and nothing behind its end. */
  async settle(): Promise<void> {
    await this.#file.truncate(this.#content.bytes);
    await this.#file.sync();
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

function begin({ algorithm, bytes }: Content): Hash {
  if (algorithm === 'sha256') return createHash('sha256');
  return createHash('sha1').update(`blob ${bytes}\0`);
}

/** Small zip archives with deflated members, read whole and within limits. */

import { promisify } from 'node:util';
import { crc32, inflateRaw, inflateRawSync } from 'node:zlib';
import type { ByteReader } from './byte-reader.js';
import { type Ask, ask, type Reading } from './reading.js';
import { refuseCheckpoint } from './refuse.js';

/** The published archive has 8 MB. */
const largestArchive = 64 << 20;
/** Of all members that are wanted, unpacked: several may share the same few bytes. */
const largestContents = 64 << 20;
const mostMembers = 1000;
const endSize = 22;

interface Entry {
  readonly name: string;
  readonly method: number;
  readonly crc: number;
  readonly packed: number;
  readonly size: number;
  readonly header: number;
}

/**
 * The members of an archive whose names match. Fails with ERR_CHECKPOINT for a damaged archive, and for one whose
 * contents would be larger than 64 MiB together.
 */
export function* readingPackedZip(reader: ByteReader, wanted: RegExp): Reading<Map<string, Buffer>> {
  const { path, size } = reader;
  if (size > largestArchive)
    throw refuseCheckpoint(path, `has ${size} bytes, at most ${largestArchive} are read`);
  const bytes = yield* reader.read(0, size);
  const members = new Map<string, Buffer>();
  let contents = 0;
  for (const entry of readDirectory(path, bytes).filter(({ name }) => wanted.test(name))) {
    contents += entry.size;
    if (contents > largestContents)
      throw refuseCheckpoint(
        path,
        `member ${entry.name} would make ${contents} bytes, at most ${largestContents} are unpacked`,
      );
    members.set(entry.name, yield* unpack(path, bytes, entry));
  }
  return members;
}

function readDirectory(path: string, bytes: Buffer): Entry[] {
  const end = bytes.lastIndexOf(Buffer.from([0x50, 0x4b, 5, 6]));
  if (end < 0 || end + endSize > bytes.length)
    throw refuseCheckpoint(path, 'expected a zip archive; is it truncated?');
  const count = bytes.readUInt16LE(end + 10);
  let at = bytes.readUInt32LE(end + 16);
  if (count > mostMembers)
    throw refuseCheckpoint(path, `has ${count} members, at most ${mostMembers} are read`);
  const entries: Entry[] = [];
  for (let index = 0; index < count; index++) {
    if (at + 46 > end || bytes.readUInt32LE(at) !== 0x02014b50)
      throw refuseCheckpoint(path, 'its directory is damaged');
    const nameEnd = at + 46 + bytes.readUInt16LE(at + 28);
    if (nameEnd > end) throw refuseCheckpoint(path, 'its directory is damaged');
    entries.push({
      name: bytes.toString('utf8', at + 46, nameEnd),
      method: bytes.readUInt16LE(at + 10),
      crc: bytes.readUInt32LE(at + 16),
      packed: bytes.readUInt32LE(at + 20),
      size: bytes.readUInt32LE(at + 24),
      header: bytes.readUInt32LE(at + 42),
    });
    at = nameEnd + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
  }
  return entries;
}

function* unpack(path: string, bytes: Buffer, entry: Entry): Reading<Buffer> {
  const { name, method, header, packed, size } = entry;
  if (header + 30 > bytes.length || bytes.readUInt32LE(header) !== 0x04034b50)
    throw refuseCheckpoint(path, `the header of member ${name} is not where the directory says`);
  const start = header + 30 + bytes.readUInt16LE(header + 26) + bytes.readUInt16LE(header + 28);
  if (start + packed > bytes.length) throw refuseCheckpoint(path, `member ${name} lies outside the file`);
  const data = bytes.subarray(start, start + packed);
  if (method !== 0 && method !== 8)
    throw refuseCheckpoint(path, `member ${name} is packed by method ${method}; expected deflate`);
  const content = method === 0 ? data : yield* inflate(path, data, entry);
  if (content.length !== size || crc32(content) !== entry.crc)
    throw refuseCheckpoint(path, `member ${name} does not match its size and checksum; get the file again`);
  return content;
}

function* inflate(path: string, data: Buffer, { name, size }: Entry): Reading<Buffer> {
  // The directory may lie about the size: not a byte more than it says is unpacked.
  const options = { maxOutputLength: Math.max(1, size) };
  const unpacked: Ask<Buffer> = {
    sync: () => inflateRawSync(data, options),
    async: () => promisify(inflateRaw)(data, options),
  };
  try {
    return yield* ask(unpacked);
  } catch (error) {
    throw refuseCheckpoint(
      path,
      `member ${name} does not unpack to the ${size} bytes that it should have (${(error as Error).message})`,
    );
  }
}

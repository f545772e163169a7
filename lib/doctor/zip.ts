/** Small zip archives with deflated members, read whole and within limits. */

import { readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { promisify } from 'node:util';
import { crc32, inflateRaw } from 'node:zlib';
import { MetaVoiceError } from '../errors.js';

const inflate = promisify(inflateRaw);

/** The published archive has 8 MB. */
const largestArchive = 64 << 20;
const largestMember = 64 << 20;
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
 * The members of an archive whose names match. Rejects with ERR_CHECKPOINT for a damaged archive, and for one whose
 * contents would be larger than 64 MiB each.
 */
export async function readZip(path: string, wanted: RegExp): Promise<Map<string, Buffer>> {
  const { size } = await stat(path);
  if (size > largestArchive) throw refuse(path, `has ${size} bytes, at most ${largestArchive} are read`);
  const bytes = await readFile(path);
  const members = new Map<string, Buffer>();
  for (const entry of readDirectory(path, bytes))
    if (wanted.test(entry.name)) members.set(entry.name, await unpack(path, bytes, entry));
  return members;
}

const refuse = (path: string, what: string): MetaVoiceError =>
  new MetaVoiceError('ERR_CHECKPOINT', `${basename(path)}: ${what}`, { details: { file: path } });

function readDirectory(path: string, bytes: Buffer): Entry[] {
  const end = bytes.lastIndexOf(Buffer.from([0x50, 0x4b, 5, 6]));
  if (end < 0 || end + endSize > bytes.length) throw refuse(path, 'expected a zip archive; is it truncated?');
  const count = bytes.readUInt16LE(end + 10);
  let at = bytes.readUInt32LE(end + 16);
  if (count > mostMembers) throw refuse(path, `has ${count} members, at most ${mostMembers} are read`);
  const entries: Entry[] = [];
  for (let index = 0; index < count; index++) {
    if (at + 46 > end || bytes.readUInt32LE(at) !== 0x02014b50)
      throw refuse(path, 'its directory is damaged');
    const nameEnd = at + 46 + bytes.readUInt16LE(at + 28);
    if (nameEnd > end) throw refuse(path, 'its directory is damaged');
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

async function unpack(path: string, bytes: Buffer, entry: Entry): Promise<Buffer> {
  const { name, method, header, packed, size } = entry;
  if (size > largestMember)
    throw refuse(path, `member ${name} would have ${size} bytes, at most ${largestMember} are unpacked`);
  if (header + 30 > bytes.length || bytes.readUInt32LE(header) !== 0x04034b50)
    throw refuse(path, `the header of member ${name} is not where the directory says`);
  const start = header + 30 + bytes.readUInt16LE(header + 26) + bytes.readUInt16LE(header + 28);
  if (start + packed > bytes.length) throw refuse(path, `member ${name} lies outside the file`);
  const data = bytes.subarray(start, start + packed);
  if (method !== 0 && method !== 8)
    throw refuse(path, `member ${name} is packed by method ${method}; expected deflate`);
  // The directory may lie about the size: not a byte more than it says is unpacked.
  const content =
    method === 0
      ? data
      : await inflate(data, { maxOutputLength: Math.max(1, size) }).catch((error: Error) => {
          throw refuse(
            path,
            `member ${name} does not unpack to the ${size} bytes that it should have (${error.message})`,
          );
        });
  if (content.length !== size || crc32(content) !== entry.crc)
    throw refuse(path, `member ${name} does not match its size and checksum; get the file again`);
  return content;
}

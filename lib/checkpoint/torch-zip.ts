import { crc32 } from 'node:zlib';
import type { ByteReader } from './byte-reader.js';
import { mostEntries } from './limits.js';
import { all, type Reading } from './reading.js';
import { few, refuseCheckpoint } from './refuse.js';

/** One stored member: where its bytes are. */
export interface ZipMember {
  /** Without the root folder: `data.pkl`, `data/0`. */
  name: string;
  /** Of the first byte of the data in the file. */
  offset: number;
  size: number;
  /** CRC-32 of the data; 0 where the writer did not compute it. */
  crc: number;
}

interface Entry extends ZipMember {
  header: number;
  rawName: Buffer;
}

const endSize = 22;
const longestComment = 0xffff;
const largestDirectory = 32 << 20;

/**
 * The zip that `torch.save` writes: stored members in one root folder. The directory is read once, the members never
 * as a whole unless asked for, and every offset is checked against the file and against the other members.
 */
export class TorchZip {
  /** Folder in the zip, e.g. `first_stage`. */
  readonly root: string;
  readonly members: ReadonlyMap<string, ZipMember>;
  /** CRC-32 of the central directory: changes with every name, size and checksum in it. */
  readonly directoryCrc: number;
  readonly #reader: ByteReader;

  private constructor(
    reader: ByteReader,
    root: string,
    members: ReadonlyMap<string, ZipMember>,
    directoryCrc: number,
  ) {
    this.#reader = reader;
    this.root = root;
    this.members = members;
    this.directoryCrc = directoryCrc;
  }

  /** Reads the directory. Fails with ERR_CHECKPOINT on anything that a `torch.save` file does not have. */
  static *reading(reader: ByteReader): Reading<TorchZip> {
    const directory = yield* readDirectory(reader);
    const listed = parseDirectory(reader, directory);
    const entries = yield* all<Entry[]>(listed.map((entry) => () => locate(reader, entry)));
    refuseOverlaps(reader, entries, directory.offset);
    const root = rootOf(reader, entries);
    const members = new Map<string, ZipMember>();
    for (const { name, offset, size, crc } of entries) {
      if (!name.startsWith(`${root}/`)) continue;
      const inner = name.slice(root.length + 1);
      members.set(inner, { name: inner, offset, size, crc });
    }
    return new TorchZip(reader, root, members, crc32(directory.bytes));
  }

  /** A whole small member, its checksum verified. Fails with ERR_CHECKPOINT when absent, larger than `most` or damaged. */
  *bytes(name: string, most: number): Reading<Buffer> {
    const { path } = this.#reader;
    const member = this.members.get(name);
    if (!member) throw refuseCheckpoint(path, `expected a member ${name} in the zip`);
    if (member.size > most)
      throw refuseCheckpoint(path, `member ${name} has ${member.size} bytes, at most ${most} are read`, {
        expected: most,
        found: member.size,
      });
    const bytes = yield* this.#reader.read(member.offset, member.size);
    if (member.crc !== 0 && crc32(bytes) !== member.crc)
      throw refuseCheckpoint(
        path,
        `member ${name} does not match its checksum; the file is damaged, get it again`,
        {
          expected: member.crc,
          found: crc32(bytes),
        },
      );
    return bytes;
  }
}

interface Directory {
  offset: number;
  entries: number;
  bytes: Buffer;
}

const damaged = (reader: ByteReader, what: string): Error =>
  refuseCheckpoint(reader.path, `the zip is damaged: ${what}; get the file again`);

function* readDirectory(reader: ByteReader): Reading<Directory> {
  const tailSize = Math.min(reader.size, endSize + longestComment);
  const tail = yield* reader.read(reader.size - tailSize, tailSize);
  let at = tailSize - endSize;
  while (
    at >= 0 &&
    !(tail.readUInt32LE(at) === 0x06054b50 && at + endSize + tail.readUInt16LE(at + 20) === tailSize)
  )
    at--;
  if (at < 0)
    throw refuseCheckpoint(reader.path, 'the zip has no end record; the file is truncated, get it again');
  const end = reader.size - tailSize + at;
  let entries = tail.readUInt16LE(at + 10);
  let size = tail.readUInt32LE(at + 12);
  let offset = tail.readUInt32LE(at + 16);
  let limit = end;
  if (entries === 0xffff || size === 0xffffffff || offset === 0xffffffff) {
    if (end < 20) throw damaged(reader, 'no 64-bit locator');
    const locator = yield* reader.read(end - 20, 20);
    if (locator.readUInt32LE(0) !== 0x07064b50) throw damaged(reader, 'no 64-bit locator');
    const record = uint64(locator, 8);
    if (record + 56 > end) throw damaged(reader, 'its 64-bit end record lies outside');
    const bytes = yield* reader.read(record, 56);
    if (bytes.readUInt32LE(0) !== 0x06064b50) throw damaged(reader, 'no 64-bit end record');
    entries = uint64(bytes, 32);
    size = uint64(bytes, 40);
    offset = uint64(bytes, 48);
    limit = record;
  }
  if (offset + size > limit) throw damaged(reader, 'its directory lies outside the file');
  if (entries > mostEntries || size > largestDirectory)
    throw refuseCheckpoint(reader.path, `the zip has ${entries} members, at most ${mostEntries} are read`);
  return { offset, entries, bytes: yield* reader.read(offset, size) };
}

/** A 64-bit number; past 2^53 it is infinite, and so outside of every file. */
function uint64(bytes: Buffer, at: number): number {
  const value = bytes.readBigUInt64LE(at);
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.POSITIVE_INFINITY : Number(value);
}

function parseDirectory(reader: ByteReader, { bytes, entries: count }: Directory): Entry[] {
  const entries: Entry[] = [];
  let at = 0;
  for (let index = 0; index < count; index++) {
    if (at + 46 > bytes.length || bytes.readUInt32LE(at) !== 0x02014b50)
      throw damaged(reader, `entry ${index} of its directory is broken`);
    const nameEnd = at + 46 + bytes.readUInt16LE(at + 28);
    const extraEnd = nameEnd + bytes.readUInt16LE(at + 30);
    const next = extraEnd + bytes.readUInt16LE(at + 32);
    if (next > bytes.length) throw damaged(reader, `entry ${index} of its directory is broken`);
    const rawName = bytes.subarray(at + 46, nameEnd);
    const name = rawName.toString('utf8');
    const flags = bytes.readUInt16LE(at + 8);
    const method = bytes.readUInt16LE(at + 10);
    if (flags & 1)
      throw refuseCheckpoint(reader.path, `member ${name} is encrypted; expected stored members`);
    if (method !== 0)
      throw refuseCheckpoint(
        reader.path,
        `member ${name} is compressed (method ${method}); expected stored members, as torch.save writes them`,
        { member: name, expected: 0, found: method },
      );
    const sizes = memberSizes(reader, name, bytes, at, nameEnd, extraEnd);
    const { packed, size, header } = sizes;
    if (packed !== size) throw damaged(reader, `member ${name} is stored but has two sizes`);
    if (header + 30 + size > reader.size) throw damaged(reader, `member ${name} lies outside the file`);
    if (!name.endsWith('/') || size > 0)
      entries.push({ name, rawName, header, offset: 0, size, crc: bytes.readUInt32LE(at + 16) });
    at = next;
  }
  const names = new Set(entries.map(({ name }) => name));
  if (names.size !== entries.length) throw damaged(reader, 'two members have the same name');
  return entries;
}

/** Sizes and offset of an entry, from its 64-bit extra field where the 32-bit ones are full. */
function memberSizes(
  reader: ByteReader,
  name: string,
  bytes: Buffer,
  at: number,
  extraStart: number,
  extraEnd: number,
) {
  const found = {
    size: bytes.readUInt32LE(at + 24),
    packed: bytes.readUInt32LE(at + 20),
    header: bytes.readUInt32LE(at + 42),
  };
  const wide = (['size', 'packed', 'header'] as const).filter((key) => found[key] === 0xffffffff);
  if (wide.length === 0) return found;
  for (let field = extraStart; field + 4 <= extraEnd; field += 4 + bytes.readUInt16LE(field + 2)) {
    const length = bytes.readUInt16LE(field + 2);
    if (bytes.readUInt16LE(field) !== 1) continue;
    if (length < wide.length * 8 || field + 4 + length > extraEnd) break;
    wide.forEach((key, index) => {
      found[key] = uint64(bytes, field + 4 + 8 * index);
    });
    return found;
  }
  throw damaged(reader, `member ${name} lacks its 64-bit sizes`);
}

/** The local header says where the data begins: its padding is not in the directory. */
function* locate(reader: ByteReader, entry: Entry): Reading<Entry> {
  const local = yield* reader.read(
    entry.header,
    Math.min(30 + entry.rawName.length, reader.size - entry.header),
  );
  const sound =
    local.length === 30 + entry.rawName.length &&
    local.readUInt32LE(0) === 0x04034b50 &&
    local.readUInt16LE(8) === 0 &&
    local.readUInt16LE(26) === entry.rawName.length &&
    local.subarray(30).equals(entry.rawName);
  if (!sound) throw damaged(reader, `the header of member ${entry.name} is not where the directory says`);
  const offset = entry.header + 30 + entry.rawName.length + local.readUInt16LE(28);
  if (offset + entry.size > reader.size) throw damaged(reader, `member ${entry.name} lies outside the file`);
  return { ...entry, offset };
}

function refuseOverlaps(reader: ByteReader, entries: Entry[], directory: number): void {
  const sorted = [...entries].sort((a, b) => a.header - b.header);
  sorted.forEach((entry, index) => {
    const next = sorted[index + 1];
    if (entry.offset + entry.size > (next?.header ?? directory))
      throw damaged(
        reader,
        `member ${entry.name} overlaps ${next ? `member ${next.name}` : 'the directory'}`,
      );
  });
}

function rootOf(reader: ByteReader, entries: Entry[]): string {
  const roots = entries.flatMap(({ name }) => {
    const match = /^([^/]+)\/data\.pkl$/.exec(name);
    return match ? [match[1]!] : [];
  });
  if (roots.length === 1) return roots[0]!;
  throw refuseCheckpoint(
    reader.path,
    `expected a file of torch.save, with one <root>/data.pkl, but its members are ${few(entries.map(({ name }) => name)) || 'none'}`,
  );
}

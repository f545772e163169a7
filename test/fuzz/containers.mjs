/** Files around the pickles, and others made of lying numbers, as fast-check values. */
import fc from 'fast-check';
import { dictionary, integer, pickle, raw, text } from './pickles.mjs';

const small = fc.nat({ max: 64 });
const lie = fc.oneof(
  small,
  fc.constantFrom(0xff, 0xffff, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff, 2 ** 40, 2 ** 53 - 1),
);
const maybe =
  /** @type {<T>(value: import('fast-check').Arbitrary<T>) => import('fast-check').Arbitrary<T | undefined>} */ (
    (value) => fc.option(value, { nil: undefined, freq: 7 })
  );

// ------------------------------------------------------------------------------------------ zip

/** @typedef {{ name: string, data: Uint8Array, size?: number, packed?: number, offset?: number, method?: number, flags?: number, crc?: number, pad?: number }} Member */

/**
 * A zip of stored members that may lie; without checksums unless given.
 * @param {readonly Member[]} members
 * @param {{ wide?: boolean, count?: number, directory?: number, start?: number, comment?: Uint8Array }} [end]
 */
export function zip(members, { wide = false, count, directory, start, comment = new Uint8Array() } = {}) {
  const parts = [];
  const entries = [];
  let at = 0;
  for (const member of members) {
    const { name, data, pad = 0 } = member;
    const title = Buffer.from(name);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(title.length, 26);
    local.writeUInt16LE(pad, 28);
    parts.push(local, title, Buffer.alloc(pad), data);
    entries.push(entry(member, title, member.offset ?? at, wide));
    at += 30 + title.length + pad + data.length;
  }
  const central = Buffer.concat(entries);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(wide ? 0xffff : (count ?? members.length) % 65_536, 10);
  end.writeUInt32LE(wide ? 0xffffffff : (directory ?? central.length) >>> 0, 12);
  end.writeUInt32LE(wide ? 0xffffffff : (start ?? at) >>> 0, 16);
  end.writeUInt16LE(comment.length, 20);
  const long = wide
    ? wideEnd(count ?? members.length, directory ?? central.length, start ?? at, at + central.length)
    : [];
  return Buffer.concat([...parts, central, ...long, end, comment]);
}

/** @param {Member} member @param {Buffer} name @param {number} offset @param {boolean} wide */
function entry(
  { data, size = data.length, packed = size, method = 0, flags = 0, crc = 0 },
  name,
  offset,
  wide,
) {
  const head = Buffer.alloc(46);
  head.writeUInt32LE(0x02014b50, 0);
  head.writeUInt16LE(flags, 8);
  head.writeUInt16LE(method, 10);
  head.writeUInt32LE(crc, 16);
  head.writeUInt32LE(wide ? 0xffffffff : packed >>> 0, 20);
  head.writeUInt32LE(wide ? 0xffffffff : size >>> 0, 24);
  head.writeUInt16LE(name.length, 28);
  head.writeUInt32LE(wide ? 0xffffffff : offset >>> 0, 42);
  if (!wide) return Buffer.concat([head, name]);
  const extra = Buffer.alloc(28);
  extra.writeUInt16LE(1, 0);
  extra.writeUInt16LE(24, 2);
  [size, packed, offset].forEach((value, index) => {
    extra.writeBigUInt64LE(BigInt(value), 4 + 8 * index);
  });
  head.writeUInt16LE(extra.length, 30);
  return Buffer.concat([head, name, extra]);
}

/** @param {number} count @param {number} size @param {number} offset @param {number} at */
function wideEnd(count, size, offset, at) {
  const record = Buffer.alloc(56);
  record.writeUInt32LE(0x06064b50, 0);
  record.writeBigUInt64LE(BigInt(count), 32);
  record.writeBigUInt64LE(BigInt(size), 40);
  record.writeBigUInt64LE(BigInt(offset), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(at), 8);
  return [record, locator];
}

const member = fc.record(
  {
    name: fc.constantFrom(
      'a/data.pkl',
      'a/data/0',
      'a/data/1',
      'a/byteorder',
      'a/',
      'b/data.pkl',
      'a/../x',
      '',
    ),
    data: fc.oneof(fc.uint8Array({ maxLength: 24 }), pickle),
    size: maybe(lie),
    packed: maybe(lie),
    offset: maybe(lie),
    method: maybe(fc.constantFrom(8, 12, 0xffff)),
    flags: maybe(fc.constantFrom(1, 8, 0xffff)),
    crc: maybe(fc.nat({ max: 0xffffffff })),
    pad: maybe(small),
  },
  { requiredKeys: ['name', 'data'] },
);

/** Zips whose directory may lie about everything. */
export const lyingZip = fc
  .tuple(
    pickle,
    fc.array(member, { maxLength: 4 }),
    fc.record({
      wide: fc.boolean(),
      count: maybe(lie),
      directory: maybe(lie),
      start: maybe(lie),
      comment: fc.uint8Array({ maxLength: 4 }),
    }),
  )
  .map(([data, more, end]) =>
    zip(
      [{ name: 'a/data.pkl', data }, ...more.map((each) => /** @type {Member} */ (defined(each)))],
      defined(end),
    ),
  );

/** Without the fields that are undefined. @template {object} T @param {T} value @returns {any} */
const defined = (value) => Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined));

// ------------------------------------------------------------------------------------------ the old container

export const magic = Buffer.from('80028a0a6cfc9c46f9206aa850192e', 'hex');
/** @param {...Buffer} code */
export const closed = (...code) => raw([0x80, 2], ...code, '.');

/** Old containers whose list of storages and lengths may lie. */
export const lyingLegacy = fc
  .tuple(
    pickle,
    fc.array(fc.constantFrom('0', '1', '2', '9'), { maxLength: 4 }),
    fc.array(fc.bigInt({ min: -4n, max: 40n }), { maxLength: 4 }),
    pickle,
    small,
  )
  .map(([value, keys, counts, other, version]) => {
    const lengths = counts.map((count) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigInt64LE(count > 36n ? 2n ** 62n : count);
      return Buffer.concat([bytes, Buffer.alloc(Math.max(0, Math.min(64, Number(count) * 4)))]);
    });
    const list = closed(raw('](', ...keys.map(text), 'e'));
    return Buffer.concat([
      magic,
      version === 0 ? other : closed(integer(1001)),
      version === 1 ? other : closed(dictionary(text('little_endian'), raw([0x88]))),
      value,
      version === 2 ? other : list,
      ...lengths,
    ]);
  });

// ------------------------------------------------------------------------------------------ safetensors

const size = fc.oneof(
  { weight: 6, arbitrary: fc.nat({ max: 4 }) },
  { weight: 1, arbitrary: fc.constantFrom(-1, 0.5, 2 ** 31, 2 ** 53, 1e300, null, '4', [], {}, -0) },
);
const junk = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.constantFrom({ toString: 1, valueOf: 1 }, { constructor: 1 }),
);
const stored = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.tuple(
      fc.constantFrom('F32', 'F16', 'BF16', 'I64', 'U8', 'BOOL', 'F64', 'F8', 'toString'),
      fc.array(size, { maxLength: 3 }),
      fc.tuple(size, size),
      fc.nat({ max: 9 }),
    ),
  },
  { weight: 1, arbitrary: junk },
);
const widths = new Map(Object.entries({ F32: 4, F16: 2, BF16: 2, I64: 8, U8: 1, BOOL: 1, F64: 8 }));

/** @param {unknown} dtype @param {readonly unknown[]} shape */
const bytesOf = (dtype, shape) =>
  shape.reduce(
    (/** @type {number} */ product, each) => product * (typeof each === 'number' ? each : Number.NaN),
    widths.get(/** @type {string} */ (dtype)) ?? 1,
  );

/** Safetensors files whose headers may lie; many are sound. */
export const lyingSafetensors = fc
  .tuple(
    fc.array(
      fc.tuple(
        fc.constantFrom('a', 'b', 'c', 'd', '0', '__proto__', '__metadata__', 'constructor', ''),
        stored,
      ),
      { maxLength: 6 },
    ),
    maybe(lie),
    maybe(junk),
    small,
  )
  .map(([entries, length, whole, extra]) => {
    let at = 0;
    const fields = entries.map(([name, entry]) => {
      if (!Array.isArray(entry) || !Array.isArray(entry[1])) return [name, entry];
      const [dtype, shape, range, lies] = /** @type {[unknown, unknown[], unknown, unknown]} */ (entry);
      const bytes = bytesOf(dtype, shape);
      const sound = Number.isSafeInteger(bytes) && bytes >= 0 && bytes < 4096;
      const offsets = lies === 0 || !sound ? range : [at, at + bytes];
      if (sound) at += bytes;
      return [name, { dtype, shape, data_offsets: offsets }];
    });
    const header = JSON.stringify(whole === undefined ? Object.fromEntries(fields) : whole);
    const head = Buffer.alloc(8);
    head.writeBigUInt64LE(BigInt(length ?? Buffer.byteLength(header)));
    return Buffer.concat([head, Buffer.from(header), Buffer.alloc(at + (extra > 56 ? extra : 0))]);
  });

// ------------------------------------------------------------------------------------------ WAV

const chunk = fc.tuple(
  fc.constantFrom('fmt ', 'data', 'LIST', 'ds64', 'fact', 'JUNK'),
  fc.uint8Array({ maxLength: 32 }),
  maybe(lie),
);
const format = fc
  .tuple(
    fc.constantFrom(1, 1, 3, 6, 7, 0xfffe, 2, 85),
    fc.oneof(fc.constantFrom(1, 2), fc.nat({ max: 0xffff })),
    fc.oneof(fc.constantFrom(8000, 24_000), fc.nat({ max: 0xffffffff })),
    fc.constantFrom(8, 16, 24, 32, 64, 0, 12, 0xffff),
    maybe(fc.nat({ max: 0xffff })),
    fc.uint8Array({ minLength: 24, maxLength: 24 }),
  )
  .map(([tag, channels, rate, bits, frame, rest]) => {
    const bytes = Buffer.alloc(40);
    bytes.writeUInt16LE(tag, 0);
    bytes.writeUInt16LE(channels, 2);
    bytes.writeUInt32LE(rate, 4);
    bytes.writeUInt16LE((frame ?? channels * Math.ceil(bits / 8)) & 0xffff, 12);
    bytes.writeUInt16LE(bits, 14);
    bytes.set(rest, 16);
    if (Number(rest[0]) % 2 === 0) bytes.writeUInt16LE(1, 24);
    return /** @type {[string, Uint8Array, number | undefined]} */ (['fmt ', bytes, undefined]);
  });

/** WAV files of chunks in any order, with lying sizes. */
export const lyingWav = fc
  .tuple(
    fc.constantFrom('RIFF', 'RF64', 'BW64'),
    lie,
    fc.array(fc.oneof(chunk, format), { maxLength: 3 }),
    format,
    fc.array(chunk, { maxLength: 3 }),
    fc.uint8Array({ maxLength: 64 }),
  )
  .map(([magicWord, total, before, fmt, after, samples]) => {
    const parts = [...before, fmt, ...after, /** @type {const} */ (['data', samples, undefined])].map(
      ([name, data, length]) => {
        const head = Buffer.alloc(8);
        head.write(name, 'latin1');
        head.writeUInt32LE((length ?? data.length) >>> 0, 4);
        return Buffer.concat([head, data, Buffer.alloc(data.length % 2)]);
      },
    );
    const head = Buffer.alloc(12);
    head.write(magicWord, 'latin1');
    head.writeUInt32LE(total >>> 0, 4);
    head.write('WAVE', 8, 'latin1');
    return Buffer.concat([head, ...parts]);
  });

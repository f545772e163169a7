import { MetaVoiceError } from '../errors.js';
import type { ByteReader } from './byte-reader.js';
import { largestPickle, mostEntries } from './limits.js';
import { type Unpickled, unpickling } from './pickle.js';
import { dtypeBytes } from './pickle-values.js';
import type { Reading } from './reading.js';
import { refuseCheckpoint, shown } from './refuse.js';
import type { StoragePlace } from './torch-file.js';

const magic = 0x1950a86a20f9469cfc6cn;
/** The pickles around the value: numbers, a small dictionary, a list of names. */
const largestSmall = 1 << 20;

/**
 * The container that `torch.save` wrote before 2020: five pickles (magic, version, machine, value, storage keys), then
 * each storage as a 64-bit count and its numbers. Published speaker encoders of that age come in it.
 */
export function* readingLegacy(
  reader: ByteReader,
): Reading<{ value: unknown; places: ReadonlyMap<string, StoragePlace> }> {
  for (let length = 1 << 20; ; length *= 4) {
    const head = yield* reader.read(0, Math.min(length, reader.size, largestPickle));
    try {
      return yield* readingHead(reader, head);
    } catch (error) {
      const short = MetaVoiceError.isInstance(error) && error.details.truncated === true;
      if (!short || length >= Math.min(reader.size, largestPickle)) throw error;
    }
  }
}

function* readingHead(reader: ByteReader, head: Buffer) {
  let at = 0;
  function* next(most: number): Reading<Unpickled> {
    const pickle = yield* unpickling(head.subarray(0, at + most), reader.path, at);
    at += pickle.bytes;
    return pickle;
  }
  if ((yield* next(largestSmall)).value !== magic)
    throw refuseCheckpoint(reader.path, 'expected a file of torch.save, found another pickle');
  const version = (yield* next(largestSmall)).value;
  if (version !== 1001)
    throw refuseCheckpoint(
      reader.path,
      `version ${shown(version)} of the old torch container; expected 1001`,
    );
  const system = (yield* next(largestSmall)).value;
  if (!(system instanceof Map) || system.get('little_endian') !== true)
    throw refuseCheckpoint(reader.path, 'expected little-endian numbers');
  const { value, storages } = yield* next(head.length);
  const keys = (yield* next(largestSmall)).value;
  if (!Array.isArray(keys) || keys.length > mostEntries || new Set(keys).size !== keys.length)
    throw refuseCheckpoint(reader.path, 'its list of storages is damaged');

  const places = new Map<string, StoragePlace>();
  for (const key of keys) {
    const dtype = storages.get(key);
    if (!dtype) throw refuseCheckpoint(reader.path, `storage ${shown(key)} is listed but not used`);
    const count = (yield* reader.read(at, 8)).readBigInt64LE();
    const bytes = Number(count) * dtypeBytes[dtype];
    if (count < 0n || at + 8 + bytes > reader.size)
      throw refuseCheckpoint(
        reader.path,
        `storage ${key} lies outside the file; it is truncated or damaged`,
        {
          expected: at + 8 + bytes,
          found: reader.size,
        },
      );
    places.set(key, { offset: at + 8, bytes, crc: 0 });
    at += 8 + bytes;
  }
  return { value, places };
}

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PickleTensor } from '../../../dist/checkpoint/pickle-values.js';
import { TorchFile } from '../../../dist/checkpoint/torch-file.js';
import { MetaVoiceError } from '../../../dist/errors.js';
import { fixture, type Member, pickle, torchZip, zip } from './torch-save.js';

let folder: string;
let count = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-zip-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function read(bytes: Uint8Array): Promise<TorchFile> {
  const path = join(folder, `${count++}.pt`);
  await writeFile(path, bytes);
  return TorchFile.read(path);
}

const refused = (bytes: Uint8Array, message: RegExp) =>
  expect(read(bytes)).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT',
    message: expect.stringMatching(message),
  });

const data = pickle({ a: 1 });
const members = (...more: Member[]): Member[] => [{ name: 'root/data.pkl', data }, ...more];

describe('a torch zip is refused', () => {
  test('when it is empty, a web page, a Git LFS pointer or something else', async () => {
    await refused(Buffer.alloc(0), /an empty file/);
    await refused(Buffer.from('<!DOCTYPE html><html></html>'), /a web page/);
    await refused(Buffer.from('version https://git-lfs.github.com/spec/v1\n'), /Git LFS/);
    await refused(Buffer.from('something else'), /expected a file of torch\.save/);
  });

  test('when a member is compressed, by name', () =>
    refused(
      zip(members({ name: 'root/data/0', data, method: 8 })),
      /root\/data\/0 is compressed \(method 8\)/,
    ));

  test('when a member is encrypted', () =>
    refused(zip(members({ name: 'root/data/0', data, flags: 1 })), /root\/data\/0 is encrypted/));

  test('when two members have one name', () =>
    refused(zip(members({ name: 'root/data.pkl', data })), /same name/));

  test('when members overlap', () =>
    refused(
      zip(
        members({ name: 'root/data/0', data, size: 4000 }, { name: 'root/data/1', data: Buffer.alloc(8000) }),
      ),
      /overlaps/,
    ));

  test('when an offset does not lead to the member', () =>
    refused(zip(members({ name: 'root/data/0', data, offset: 3 })), /not where the directory says/));

  test('when an offset or a size leaves the file, in 32 and in 64 bits', async () => {
    const lie = members({ name: 'root/data/0', data, offset: 0xfffffff0 });
    await refused(zip(lie), /outside the file/);
    for (const size of [2 ** 40, Number.MAX_SAFE_INTEGER])
      await refused(zip(members({ name: 'root/data/0', data, size }), { wide: true }), /outside the file/);
  });

  test('when it has no data.pkl, or two', async () => {
    await refused(zip([{ name: 'a/b', data }]), /data\.pkl.*a\/b/);
    await refused(zip(members({ name: 'other/data.pkl', data })), /one <root>\/data\.pkl/);
  });

  test('when data.pkl does not match its checksum', () =>
    refused(zip([{ name: 'root/data.pkl', data, crc: 1 }]), /checksum/));

  test('when it is big-endian', () =>
    refused(zip(members({ name: 'root/byteorder', data: Buffer.from('big') })), /little-endian/));

  test('when it is cut anywhere', async () => {
    const whole = torchZip(data, { 0: new Uint8Array(16) });
    for (let length = 0; length < whole.length; length++)
      await expect(read(whole.subarray(0, length))).rejects.toMatchObject({ code: 'ERR_CHECKPOINT' });
  });
});

describe('a torch zip', () => {
  test('is read with 64-bit records and any root folder', async () => {
    for (const wide of [false, true]) {
      const file = await read(zip([{ name: 'ünïcode root/data.pkl', data }], { wide }));
      expect(file.value).toEqual(new Map([['a', 1]]));
    }
  });

  test('without checksums, as torch can write it, is read', async () => {
    const file = await read(zip([{ name: 'root/data.pkl', data, crc: 0 }]));
    expect(file.value).toEqual(new Map([['a', 1]]));
  });

  test('has another fingerprint when a number changed', async () => {
    const one = await read(torchZip(data, { 0: Buffer.from([1, 2, 3, 4]) }));
    const same = await read(torchZip(data, { 0: Buffer.from([1, 2, 3, 4]) }));
    const other = await read(torchZip(data, { 0: Buffer.from([1, 2, 3, 5]) }));
    expect(one.fingerprint).toBe(same.fingerprint);
    expect(one.fingerprint).not.toBe(other.fingerprint);
  });

  test('with one flipped bit is read or refused with one clear error, never anything else', async () => {
    const original = await readFile(fixture('speaker_encoder.pt'));
    // The pickle with its header, and the directory: the numbers between are checked when they are copied.
    const places = [...range(0, 1600, 3), ...range(original.length - 1700, original.length, 3)];
    for (const place of places) {
      const bytes = Buffer.from(original);
      bytes[place] = bytes[place]! ^ (1 << (place % 8));
      const error = await read(bytes).then(
        () => null,
        (reason: unknown) => reason,
      );
      if (error !== null) expect(MetaVoiceError.isInstance(error), String(error)).toBe(true);
    }
  });
});

describe('a tensor is located', () => {
  test('only when its storage is there and has the declared bytes', async () => {
    const file = await TorchFile.read(fixture('speaker_encoder.pt'));
    const state = (file.value as Map<string, Map<string, PickleTensor>>).get('model_state')!;
    const { storage } = state.get('linear.weight')!;
    const lying = { ...storage, elements: 2 ** 40, start: 0 };
    expect(() => file.locate('x', new PickleTensor(lying, 0, [2 ** 40], [1]))).toThrow(/should have/);
    expect(() => file.locate('x', new PickleTensor({ ...storage, key: '99' }, 0, [1], [1]))).toThrow(
      /missing/,
    );
  });

  test('as strided when it is a transposed view, as contiguous when only sizes of one differ', async () => {
    const file = await TorchFile.read(fixture('speaker_encoder.pt'));
    const state = (file.value as Map<string, Map<string, PickleTensor>>).get('model_state')!;
    const { storage } = state.get('linear.weight')!;
    expect(file.locate('x', new PickleTensor(storage, 0, [64, 256], [1, 64])).strides).toEqual([1, 64]);
    expect(file.locate('x', new PickleTensor(storage, 0, [1, 256, 64], [7, 64, 1])).strides).toBeNull();
  });
});

function* range(from: number, to: number, step: number): Generator<number> {
  for (let at = from; at < to; at += step) yield at;
}

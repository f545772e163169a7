import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { planSafetensors, readSafetensors } from '../../../dist/checkpoint/safetensors.js';
import { safetensors, withHeader } from './torch-save.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-safetensors-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function read(bytes: Uint8Array) {
  const path = join(folder, 'x.safetensors');
  await writeFile(path, bytes);
  return readSafetensors(path);
}

const refused = (bytes: Uint8Array, message: RegExp) =>
  expect(read(bytes)).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT',
    message: expect.stringMatching(message),
  });

const tensor = (shape: number[], range: number[], dtype = 'F32') => ({ dtype, shape, data_offsets: range });
const file = (header: unknown, bytes: number) => withHeader(JSON.stringify(header), [Buffer.alloc(bytes)]);

describe('a safetensors file is refused', () => {
  test('when its header is larger than the file or than any header', async () => {
    for (const length of [1000n, 2n ** 31n, 2n ** 63n]) {
      const bytes = Buffer.alloc(64);
      bytes.writeBigUInt64LE(length);
      await refused(bytes, /header would have/);
    }
    await refused(Buffer.alloc(3), /truncated/);
  });

  test('when its header is not JSON of tensors', async () => {
    await refused(withHeader('{"a":', []), /not JSON/);
    await refused(withHeader('[1]', []), /not an object/);
    await refused(file({ a: tensor([1], [0, 4], 'F8') }, 4), /unknown type F8/);
    await refused(file({ a: tensor([-1], [0, 4]) }, 4), /damaged/);
    await refused(file({ a: { dtype: 'F32' } }, 4), /damaged/);
    await refused(file({ __metadata__: { a: 1 } }, 0), /not text/);
  });

  test('when a tensor leaves the file or has not the bytes of its shape', async () => {
    await refused(file({ a: tensor([4], [0, 16]) }, 8), /needs 16 bytes/);
    await refused(file({ a: tensor([4], [0, 8]) }, 8), /needs 16 bytes/);
    await refused(file({ a: tensor([2 ** 40, 2 ** 40], [0, 8]) }, 8), /needs/);
    await refused(file({ a: tensor([2], [8, 0]) }, 8), /takes 8 to 0/);
  });

  test('when tensors overlap, leave a gap, or end before the file', async () => {
    await refused(file({ a: tensor([2], [0, 8]), b: tensor([2], [4, 12]) }, 12), /overlaps/);
    await refused(file({ a: tensor([2], [0, 8]), b: tensor([2], [12, 20]) }, 20), /gap/);
    await refused(file({ a: tensor([2], [0, 8]) }, 9), /end at byte/);
  });
});

describe('a safetensors file', () => {
  test('tells where each tensor is', async () => {
    const bytes = safetensors({
      a: { dtype: 'F32', shape: [1, 2], data: Buffer.alloc(8) },
      b: { dtype: 'BF16', shape: [], data: Buffer.alloc(2) },
      empty: { dtype: 'I64', shape: [0, 5], data: Buffer.alloc(0) },
    });
    const { tensors, size } = await read(bytes);
    expect(size).toBe(bytes.length);
    expect(tensors.get('a')).toEqual({ dtype: 'float32', shape: [1, 2], offset: size - 10, bytes: 8 });
    expect(tensors.get('b')).toMatchObject({ dtype: 'bfloat16', offset: size - 2 });
    expect(tensors.get('empty')).toMatchObject({ bytes: 0 });
  });

  test('is planned without gaps, its numbers at multiples of 64 bytes', async () => {
    const planned = [
      { name: 'odd', dtype: 'bfloat16', shape: [3] },
      { name: 'big', dtype: 'float32', shape: [16, 4] },
      { name: 'small', dtype: 'float32', shape: [1] },
      { name: 'other', dtype: 'float32', shape: [32] },
    ] as const;
    const { header, offsets, size } = planSafetensors(planned, { format: 'metavoice' });
    expect(header.length % 64).toBe(0);
    expect(offsets.get('big')! % 64).toBe(0);
    expect(offsets.get('other')! % 64).toBe(0);
    expect(offsets.get('small')! % 4).toBe(0);
    const { tensors, metadata } = await read(Buffer.concat([header, Buffer.alloc(size - header.length)]));
    expect(metadata).toEqual({ format: 'metavoice' });
    for (const { name, shape } of planned)
      expect(tensors.get(name)).toMatchObject({ shape: [...shape], offset: offsets.get(name) });
  });
});

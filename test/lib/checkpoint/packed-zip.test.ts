import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { readingFile } from '../../../dist/checkpoint/byte-reader.js';
import { readingPackedZip } from '../../../dist/checkpoint/packed-zip.js';
import { readAsync, readSync } from '../../../dist/checkpoint/reading.js';
import { deflated, type Member } from './deflated-zip.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const readingZip = (path: string, wanted: RegExp) =>
  readingFile(path, (reader) => readingPackedZip(reader, wanted));
const readZip = (path: string, wanted: RegExp) => readAsync(readingZip(path, wanted));

const save = async (name: string, members: Record<string, Member>): Promise<string> => {
  const path = join(folder, name);
  await writeFile(path, deflated(members));
  return path;
};

describe('archives that lie', () => {
  const data = Buffer.alloc(1 << 20);
  test.each<[string, Member, RegExp]>([
    ['a bomb that says its size', { data, size: 2 ** 31 }, /would make 2147483648 bytes, at most/],
    ['a bomb that does not', { data, size: 100 }, /does not unpack to the 100 bytes/],
    ['another checksum', { data, crc: 1 }, /does not match its size and checksum/],
    ['less than it says', { data, size: data.length + 1 }, /does not match its size/],
    ['another method', { data, method: 14 }, /packed by method 14; expected deflate/],
    ['a header elsewhere', { data, header: 5 }, /the header of member a\.ckpt\.best is not where/],
    ['a header outside', { data, header: 0xfffffff0 }, /the header of member a\.ckpt\.best is not where/],
  ])('%s', async (_, member, message) => {
    const path = await save('liar.zip', { 'a.ckpt.best': member });
    const refused = readZip(path, /best$/);
    await expect(refused).rejects.toThrow(message);
    expect(() => readSync(readingZip(path, /best$/))).toThrow(message);
    await expect(refused).rejects.toMatchObject({ code: 'ERR_CHECKPOINT', details: { file: path } });
  });

  it('members that are small alone and too much together are refused before they are unpacked', async () => {
    const data = Buffer.alloc(20 << 20);
    const many = Object.fromEntries(['a', 'b', 'c', 'd'].map((name) => [`${name}.ini`, { data }]));
    const path = await save('many.zip', many);
    await expect(readZip(path, /ini$/)).rejects.toThrow(/d\.ini would make 83886080 bytes, at most 67108864/);
    expect((await readZip(path, /^[abc]/)).size).toBe(3);
  });

  it('members that nobody asked for stay packed', async () => {
    const path = await save('two.zip', {
      bomb: { data, size: 1 },
      'a.ini': { data: Buffer.from('[df]') },
    });
    expect([...(await readZip(path, /ini$/))]).toEqual([['a.ini', Buffer.from('[df]')]]);
  });

  it('a truncated one is refused wherever it ends', async () => {
    const whole = deflated({ 'a.ini': { data: Buffer.from('[df]') } });
    for (let length = 0; length < whole.length; length++) {
      const path = join(folder, 'cut.zip');
      await writeFile(path, whole.subarray(0, length));
      await expect(readZip(path, /ini$/)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT' });
    }
  });
});

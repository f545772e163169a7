import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32, deflateRawSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { checkEnhancer } from '../../../dist/doctor/enhancer-files.js';
import { readZip } from '../../../dist/doctor/zip.js';
import { fixture } from '../checkpoint/torch-save.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Member {
  data: Buffer;
  /** What the directory says, where it lies. */
  size?: number;
  crc?: number;
  method?: number;
  header?: number;
}

/** A zip with deflated members. */
function deflated(members: Record<string, Member>): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const [
    name,
    { data, size = data.length, crc = crc32(data), method = 8, header = at },
  ] of Object.entries(members)) {
    const packed = method === 8 ? deflateRawSync(data) : data;
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(method, 8);
    local.writeUInt16LE(name.length, 26);
    parts.push(local, Buffer.from(name), packed);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(method, 10);
    entry.writeUInt32LE(crc, 16);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt32LE(size, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(header, 42);
    directory.push(entry, Buffer.from(name));
    at += 30 + name.length + packed.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Object.keys(members).length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, central, end]);
}

const save = async (name: string, members: Record<string, Member>): Promise<string> => {
  const path = join(folder, name);
  await writeFile(path, deflated(members));
  return path;
};

const best = 'DeepFilterNet3/checkpoints/model_120.ckpt.best';
const weights = () => readFile(fixture(best));

describe('the published archive', () => {
  it('is the same as the folder it holds', async () => {
    const path = await save('DeepFilterNet3.zip', {
      'DeepFilterNet3/config.ini': { data: await readFile(fixture('DeepFilterNet3/config.ini')) },
      [best]: { data: await weights() },
      'DeepFilterNet3/checkpoints/model_9.ckpt.best': { data: Buffer.from('an older one') },
    });
    const { found: _, facts, ...fromZip } = await checkEnhancer('enhancer', path);
    const fromFolder = await checkEnhancer('enhancer', fixture('DeepFilterNet3'));
    expect(fromZip.status).toBe('note');
    expect(fromZip.details).toEqual(fromFolder.details);
    expect({ ...facts, file: null }).toEqual({ ...fromFolder.facts, file: null });
  });

  it('without weights, or of something else, is refused', async () => {
    const empty = await save('empty.zip', { 'DeepFilterNet3/config.ini': { data: Buffer.from('[df]') } });
    await expect(checkEnhancer('enhancer', empty)).rejects.toThrow(/expected a member \*\.ckpt\.best/);
    await writeFile(join(folder, 'text.zip'), 'no archive');
    await expect(checkEnhancer('enhancer', join(folder, 'text.zip'))).rejects.toThrow(
      /expected a zip archive/,
    );
  });
});

describe('archives that lie', () => {
  const data = Buffer.alloc(1 << 20);
  test.each<[string, Member, RegExp]>([
    ['a bomb that says its size', { data, size: 2 ** 31 }, /would have 2147483648 bytes, at most/],
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
    await expect(refused).rejects.toMatchObject({ code: 'ERR_CHECKPOINT', details: { file: path } });
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

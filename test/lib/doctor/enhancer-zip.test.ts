import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkEnhancer } from '../../../dist/doctor/enhancer-files.js';
import { deflated, type Member } from '../checkpoint/deflated-zip.js';
import { fixture } from '../checkpoint/torch-save.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

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

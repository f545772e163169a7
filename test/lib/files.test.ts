import { execFileSync } from 'node:child_process';
import { constants } from 'node:fs';
import { lstat, mkdtemp, open, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { writeAtomically } from '../../dist/files.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const write = (path: string, text: string) => writeAtomically(path, (file) => file.writeFile(text));

it('leaves nothing behind when the writing fails', async () => {
  const place = join(folder, 'broken');
  await writeFile(place, 'before');
  await expect(
    writeAtomically(place, async (file) => {
      await file.writeFile('half');
      throw new Error('enough');
    }),
  ).rejects.toThrow('enough');
  expect(await readFile(place, 'utf8')).toBe('before');
  expect(await readdir(folder)).toEqual(['broken']);
});

it('writes where a link points, and leaves the link', async () => {
  await writeFile(join(folder, 'target'), 'before');
  await symlink('target', join(folder, 'link'));
  await write(join(folder, 'link'), 'after');
  expect((await lstat(join(folder, 'link'))).isSymbolicLink()).toBe(true);
  expect(await readFile(join(folder, 'target'), 'utf8')).toBe('after');
});

it.skipIf(process.platform === 'win32')('writes into a pipe instead of replacing it', async () => {
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const reader = await open(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    await write(pipe, 'through');
    const { bytesRead, buffer } = await reader.read(Buffer.alloc(16));
    expect(buffer.toString('utf8', 0, bytesRead)).toBe('through');
    expect((await lstat(pipe)).isFIFO()).toBe(true);
  } finally {
    await reader.close();
  }
});

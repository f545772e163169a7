/** Two copies of the package in one process, as npm makes them of two versions in one tree. */

import { execFile } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadEngine } from '../../dist/runtime/load.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const child = fileURLToPath(new URL('./copies-child.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'metavoice-copies-'));
const other = join(folder, 'other');

beforeAll(() => {
  for (const part of ['dist', 'build/Release', 'package.json'])
    cpSync(join(root, part), join(other, part), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(other, 'node_modules'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** What the child saw; it ends by itself, with exit code 0. */
async function run(what: string, libtorch = ''): Promise<unknown> {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [child, other, what, libtorch], {
    timeout: 60_000,
  });
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

const known = { byOurs: true, byTheirs: true };

test('both speak, side by side and the same, and know the errors of each other', async () => {
  expect(await run('speak')).toEqual({
    speeches: 1,
    strangers: true,
    disposed: { ...known, code: 'ERR_DISPOSED', message: expect.any(String) },
    refused: { ...known, code: 'ERR_MODEL_NOT_FOUND', message: expect.any(String) },
  });
});

test('the second cannot bring a libtorch of its own, and says so', async () => {
  const { directory } = (await loadEngine()).libtorch;
  const copy = join(folder, 'torch');
  mkdirSync(join(copy, 'lib'), { recursive: true });
  for (const name of readdirSync(directory))
    if (name !== 'lib') symlinkSync(join(directory, name), join(copy, name));
  for (const name of readdirSync(join(directory, 'lib'))) {
    // The first that is opened is another file, the others are the same.
    const place = (name: string) => [join(directory, 'lib', name), join(copy, 'lib', name)] as const;
    if (/^libc10\./.test(name)) copyFileSync(...place(name));
    else symlinkSync(...place(name));
  }
  expect(await run('another libtorch', copy)).toEqual({
    refused: {
      ...known,
      code: 'ERR_RUNTIME_NOT_FOUND',
      message: expect.stringMatching(/this process already uses another copy/),
    },
    frames: expect.any(Number),
  });
});

test('a process with both ends by itself, with models open in each', async () => {
  expect(await run('by themselves')).toBe('left open');
});

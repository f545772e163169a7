/** The addon in four worker threads at once, while the main thread speaks, too. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const child = fileURLToPath(new URL('./workers-child.mjs', import.meta.url));
const limit = 120_000;

/** What the process saw; it ends by itself, with exit code 0. */
async function run(how: string): Promise<unknown> {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [child, how], { timeout: limit });
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

/** The main thread spoke the same bytes before, meanwhile and after; no thread is left. */
const unharmed = { same: true, spoken: true, threads: true };

// Threads are counted under /proc.
describe.runIf(process.platform === 'linux')('four workers', () => {
  it('load and speak the very bytes of the main thread', { timeout: limit }, async () => {
    expect(await run('at once')).toEqual({ ...unharmed, said: ['the same'], messages: 12 });
  });

  it('speak the very bytes of the main thread to many callers each', { timeout: limit }, async () => {
    expect(await run('many callers')).toEqual({ ...unharmed, said: ['the same'], messages: 32 });
  });

  it('harm nobody when they are terminated, while they load and while they speak', {
    timeout: limit,
  }, async () => {
    expect(await run('terminated')).toEqual({ ...unharmed, said: [], messages: 0 });
  });

  it('harm nobody when they exit while they speak', { timeout: limit }, async () => {
    expect(await run('exited')).toEqual({ ...unharmed, said: [], messages: 0 });
  });

  it('harm nobody when they fail while they speak', { timeout: limit }, async () => {
    expect(await run('failed')).toEqual({ ...unharmed, said: ['a stranger'], messages: 8 });
  });

  it('harm nobody when they end with a stream left open', { timeout: limit }, async () => {
    expect(await run('left')).toEqual({ ...unharmed, said: [], messages: 0 });
  });
});

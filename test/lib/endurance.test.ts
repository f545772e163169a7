/** Fifty times the same: what the process holds stays as it was after the fifth. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const child = fileURLToPath(new URL('./endurance-child.mjs', import.meta.url));
const times = 50;

interface Held {
  /** kB */
  resident: number;
  files: number;
  threads: number;
}

/** The C library gives back at once what is freed, so that what it keeps for later is not taken for a leak. */
const candid = { MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: '65536', MALLOC_TRIM_THRESHOLD_: '65536' };

async function rounds(what: string): Promise<Held[]> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--expose-gc', child, what, String(times)],
    { env: { ...process.env, ...candid } },
  );
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Held);
}

// The system tells of memory, files and threads of a process under /proc.
describe.runIf(process.platform === 'linux')('fifty times', () => {
  it.each([
    'load, speak, dispose',
    'load and forget',
    'voice',
    'load what is broken',
    'abort a stream',
    'leave a stream',
  ])('%s', { timeout: 180_000 }, async (what) => {
    const held = await rounds(what);
    expect(held).toHaveLength(times);
    const { resident, files, threads } = held[4]!;
    const later = held.slice(5);
    const most = (key: keyof Held) => Math.max(...later.map((round) => round[key]));
    expect(most('resident')).toBeLessThanOrEqual(1.05 * resident);
    expect(most('files')).toBeLessThanOrEqual(files);
    // A thread that ends may be seen a moment longer.
    expect(Math.min(...later.slice(-3).map((round) => round.threads))).toBeLessThanOrEqual(threads);
  });
});

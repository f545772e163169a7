/** Damaged files by the hundred, from seeds: an error of ours or speech; no crash, no hang, no stranger. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const child = fileURLToPath(new URL('./damage-child.mjs', import.meta.url));

/** The process must end by itself: a crash or a hang fails here, with what it said. */
async function run(
  kind: string,
  times: number,
): Promise<{ counts: Record<string, number>; strangers: string[] }> {
  const options = { timeout: 110_000, killSignal: 'SIGKILL' } as const;
  const { stdout } = await promisify(execFile)(process.execPath, [child, kind, '1', String(times)], options);
  return JSON.parse(stdout);
}

const refused = ['ERR_CHECKPOINT', 'ERR_MODEL_NOT_FOUND'];

test.each<[kind: string, times: number, outcomes: string[]]>([
  ['a bit of the manifest', 500, [...refused, 'spoken']],
  ['a field of the manifest', 500, [...refused, 'spoken', 'ERR_TEXT_TOO_LONG']],
  ['a header of safetensors', 500, [...refused, 'spoken']],
  // Without the newline at the end of it, a manifest is whole.
  ['the end of a file', 500, [...refused, 'spoken']],
  ['a published file', 150, [...refused, 'spoken', 'ERR_NUMERIC', 'ERR_TEXT']],
  // ERR_CHECKPOINT: the enhancer's table of bands must be the one that is known.
  ['numbers of safetensors', 100, ['spoken', 'ERR_NUMERIC', 'ERR_NO_AUDIO', 'ERR_CHECKPOINT']],
  ['a recording', 200, ['decoded', 'ERR_REFERENCE_AUDIO']],
])('%s, %i times', { timeout: 120_000 }, async (kind, times, outcomes) => {
  const { counts, strangers } = await run(kind, times);
  expect(strangers).toEqual([]);
  expect(Object.keys(counts).filter((outcome) => !outcomes.includes(outcome))).toEqual([]);
  expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBe(times);
});

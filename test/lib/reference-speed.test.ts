/** The arithmetic and the refusals of tools/reference_speed.py; the reference itself is not at hand. */

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const tools = fileURLToPath(new URL('../../tools/', import.meta.url));
const python = (...words: string[]) =>
  spawnSync('python3', ['-B', ...words], { encoding: 'utf8', env: { ...process.env, PYTHONPATH: tools } });
const script = (...words: string[]) => python(join(tools, 'reference_speed.py'), ...words);

describe.skipIf(python('--version').status !== 0)('reference_speed.py', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'metavoice-reference-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('tells steps per second around each position, and of the mean of early ones', () => {
    // Ids from a prompt of 50 on; a step at position p takes 1 ms and p µs, and one of them is held up.
    const program = `
import json
from reference_speed import figures_of, seconds_of_steps
stamps, now = [], 0.0
for position in range(50, 2048):
    stamps.append(now)
    now += 0.001 + position * 1e-6 + (1 if position == 1000 else 0)
steps = seconds_of_steps(stamps, 50)
print(json.dumps([min(steps), max(steps), figures_of(steps)]))
`;
    const { stdout, stderr } = python('-c', program);
    expect(stderr).toBe('');
    const [least, most, figures] = JSON.parse(stdout);
    expect([least, most]).toEqual([50, 2046]);
    expect(figures['256']).toBeCloseTo(1 / 0.001256, 6);
    expect(figures['2000']).toBeCloseTo(1 / 0.003, 6);
    expect(figures['1000']).toBeCloseTo(1 / 0.002001, 6); // the median of nine without the one held up
    const mean = 0.001 + ((50 + 1499) / 2) * 1e-6 + 1 / 1450;
    expect(figures.mean).toBeCloseTo(1 / mean, 6);
  });

  it('tells of the positions that were reached alone', () => {
    const program = `
import json
from reference_speed import figures_of
print(json.dumps(figures_of({position: 0.01 for position in range(10, 300)})))
`;
    const figures = JSON.parse(python('-c', program).stdout);
    expect(Object.keys(figures)).toEqual(['256', 'mean']);
    expect(figures.mean).toBeCloseTo(100, 9);
  });

  it('refuses what is not there, one after another', () => {
    const refused = (words: RegExp, ...rest: string[]) => {
      const { status, stderr, stdout } = script(...rest);
      expect(stderr).toMatch(words);
      expect(stdout).toBe('');
      expect(status).toBe(1);
    };
    const [reference, checkpoint] = [join(folder, 'reference'), join(folder, 'checkpoint')];
    mkdirSync(join(reference, 'fam', 'llm'), { recursive: true });
    mkdirSync(checkpoint);
    refused(/expected a checkout of metavoice-src/, reference, checkpoint);
    writeFileSync(
      join(reference, 'fam', 'llm', 'fast_inference_utils.py'),
      'raise ImportError("no reference")\n',
    );
    refused(/expected first_stage\.pt in .*full-size-checkpoint/, reference, checkpoint);
    for (const name of ['first_stage.pt', 'speaker_encoder.pt']) writeFileSync(join(checkpoint, name), '');
    refused(/at least 1 for --repeats but received 0/, reference, checkpoint, '--repeats', '0');
    refused(/expected torch and the requirements of the reference/, reference, checkpoint);
    expect(script(reference, checkpoint, '--quantization', 'int2').status).toBe(2);
  });
});

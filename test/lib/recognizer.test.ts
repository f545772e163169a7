/** The recogniser behind `npm run eval:voice`: what it hears does not depend on what it heard before, and its end is told. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { knownPackages } from '../../scripts/python.mjs';
import { openRecognizer } from '../../tools/voice/evaluate/recognizer.mjs';
import { randomFrom } from '../../tools/voice/evaluate/statistics.mjs';

const python = await knownPackages('recognizer');
if (!python)
  console.warn(
    `skipped: the recogniser was not tried. ${process.env.METAVOICE_NO_RECOGNIZER ?? 'PocketSphinx is not in the cache; `npm test` and `npm run eval:voice` fetch it'}`,
  );

/** Half a second to a second and a half of a hum that rises and swells: nothing that is said, but it is heard as something. */
function hum(seed: number): Float32Array {
  const random = randomFrom(seed);
  const pitch = 90 + 120 * random();
  const length = Math.floor(8000 * (1 + 2 * random()));
  return Float32Array.from({ length }, (_, i) => {
    const phase = 2 * Math.PI * (pitch + i / 400) * (i / 16000);
    const voiced = Math.sin(phase) + 0.5 * Math.sin(5 * phase) + 0.3 * Math.sin(11 * phase);
    return 0.3 * Math.sin((Math.PI * i) / 2700) ** 2 * voiced + 0.02 * (random() - 0.5);
  });
}

it.skipIf(!python)('hears the same in another order, and in between silence and nothing at all', async () => {
  const recognizer = await openRecognizer(python!);
  try {
    const sounds = [1, 2, 3, 4, 5].map(hum);
    const forwards = await Promise.all(sounds.map((sound) => recognizer.hear(sound, 16000)));
    expect(new Set(forwards).size).toBeGreaterThan(1);
    expect(await recognizer.hear(new Float32Array(), 16000)).toBe('');
    await recognizer.hear(new Float32Array(16000), 16000);
    const backwards = await Promise.all(sounds.toReversed().map((sound) => recognizer.hear(sound, 16000)));
    expect(backwards.toReversed()).toEqual(forwards);
  } finally {
    await recognizer.close();
  }
});

it.skipIf(!python)('says that it ended, now and from then on', async () => {
  const recognizer = await openRecognizer(python!);
  // A rate that PocketSphinx refuses.
  for (const rate of [5, 16000])
    await expect(recognizer.hear(new Float32Array(100), rate)).rejects.toThrow('but it ended');
  await recognizer.close();
});

it.skipIf(!python)('leaves no process behind when the model does not load', async () => {
  const script = fileURLToPath(new URL('../../tools/voice/evaluate/run.mjs', import.meta.url));
  const run = promisify(execFile)(process.execPath, [script, '--model', '/no/such/model'], {
    timeout: 20_000,
  });
  // Neither 0 nor ended by the time limit.
  await expect(run).rejects.toMatchObject({
    code: 1,
    killed: false,
    stderr: expect.stringContaining('no model at'),
  });
});

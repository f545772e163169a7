/** Stages that take long hear `dispose()` and a signal: they end before their end, and hold up nobody. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../../dist/load-model.js';
import { resolveLoadOptions } from '../../dist/resolve-options.js';
import { loadEngine } from '../../dist/runtime/load.js';
import { Stages } from '../../dist/stages.js';
import { fixture } from './fixtures.js';

/** To its end each would take longer than a test may; the last one, whose arrays are large, some seconds. */
const limit = 20_000;
const long: [string, (stages: Stages, signal?: AbortSignal) => Promise<unknown>][] = [
  [
    'diffuse',
    (stages, signal) => stages.diffuse(codes(1500), { seed: 1, steps: 1000, ...(signal && { signal }) }),
  ],
  [
    'diffuse in windows',
    (stages, signal) =>
      stages.diffuse(codes(1500), { seed: 1, steps: 1000, chunkEnds: [19, 57], ...(signal && { signal }) }),
  ],
  ['enhance', (stages, signal) => stages.enhance(noise, 8000, signal && { signal })],
  ['enhanceSpectrum', (stages, signal) => stages.enhanceSpectrum(features, signal && { signal })],
];

const codes = (count: number) => ({
  codebooks: Array.from({ length: 8 }, (_, k) => new Uint16Array(count).fill(k)),
  frames: count,
});
const noise = Float32Array.from({ length: 8000 * 1200 }, (_, i) => ((i * 7919) % 2003) / 4006 - 0.25);
const features = {
  spec: noise.subarray(0, 4000 * 962),
  featErb: noise.subarray(0, 4000 * 32),
  featSpec: noise.subarray(0, 4000 * 192),
};

let cache: string;
beforeAll(async () => {
  process.env.METAVOICE_LIBTORCH = (await loadEngine()).libtorch.directory;
  cache = await mkdtemp(join(tmpdir(), 'metavoice-'));
  process.env.METAVOICE_CACHE = cache;
  await using stages = await open();
  // The first time weights are loaded and pages are touched.
  await stages.diffuse(codes(9), { seed: 1, steps: 1 });
}, 60_000);
afterAll(() => rm(cache, { recursive: true, force: true }));

const options = { device: 'cpu', dtype: 'float32' } as const;
const open = () => Stages.open(fixture('model'), options);
const loaded = () => loadModel(resolveLoadOptions({ ...options, model: fixture('model') }), {});

describe('dispose', () => {
  it.each(long)('ends %s with ERR_DISPOSED, at once', { timeout: limit }, async (_, begin) => {
    const stages = await open();
    const running = begin(stages);
    const heard = expect(running).rejects.toMatchObject({ name: 'MetaVoiceError', code: 'ERR_DISPOSED' });
    await wait(100);
    // It waits for the engine's threads, which are at it.
    await stages.dispose();
    await heard;
  });

  it('ends an enhancer of a speech, and what waits behind it', { timeout: limit }, async () => {
    const { native } = await loaded();
    const enhancers = [native.enhancer(8000), native.enhancer(8000)];
    const pushes = enhancers.flatMap((enhancer) => [enhancer.push(noise), enhancer.finish()]);
    const heard = Promise.all(
      pushes.map((push) => expect(push).rejects.toMatchObject({ code: 'ERR_DISPOSED' })),
    );
    await wait(50);
    await native.dispose();
    await heard;
  });
});

describe('a signal', () => {
  it.each(long)(
    'ends %s with its reason, and the next one has its turn',
    {
      timeout: limit,
    },
    async (_, begin) => {
      await using stages = await open();
      const control = new AbortController();
      const reason = new Error('enough');
      const running = begin(stages, control.signal);
      const heard = expect(running).rejects.toBe(reason);
      await wait(100);
      control.abort(reason);
      await heard;
      expect(await stages.decode(codes(9))).toHaveLength(9 * 320);
      await expect(begin(stages, control.signal)).rejects.toBe(reason);
    },
  );

  it('of a speech ends its enhancer, and that of another one has its turn', { timeout: limit }, async () => {
    const { native } = await loaded();
    const left = native.enhancer(8000);
    const heard = expect(left.push(noise)).rejects.toMatchObject({ code: 'ABORT_ERR' });
    const other = native.enhancer(8000).push(noise.subarray(0, 800));
    await wait(50);
    left.cancel();
    left.cancel();
    await heard;
    expect((await other).length).toBeGreaterThan(0);
    await expect(left.push(noise)).rejects.toMatchObject({ code: 'ABORT_ERR' });
    await native.dispose();
  });
});

it('one that is not stopped comes to its end', async () => {
  await using stages = await open();
  const { signal } = new AbortController();
  expect(await stages.diffuse(codes(9), { seed: 1, steps: 2, signal })).toEqual(
    await stages.diffuse(codes(9), { seed: 1, steps: 2 }),
  );
  expect((await stages.enhance(noise.subarray(0, 80), 8000, { signal })).samples).toHaveLength(480);
});

/** Where windows of diffusion meet there is no click: on the bundled voice, with random networks behind its codec. */

import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DiffusionBand, Manifest } from '../../../dist/checkpoint/manifest.js';
import { diffusionTensors } from '../../../dist/checkpoint/names.js';
import { MetaVoice, type Speech } from '../../../dist/index.js';
import { type PlainTensor, safetensors } from '../checkpoint/torch-save.js';
import { judge, noiseOf, stepped } from './voices.js';

const band = (betaEnd: number): DiffusionBand => ({
  channels: [4, 8, 16],
  kernel: 8,
  stride: 4,
  residualBlocks: 1,
  normGroups: 2,
  steps: 1000,
  schedule: { betaStart: 1e-5, betaEnd, exponent: 7.5, noiseScale: 1, clip: 5 },
  processor: null,
});

/** The bundled model with a diffusion decoder of random networks. */
async function makeModel(folder: string): Promise<void> {
  await cp(fileURLToPath(new URL('../../../voices/bundled', import.meta.url)), folder, { recursive: true });
  const place = join(folder, 'metavoice.json');
  const manifest = JSON.parse(await readFile(place, 'utf8')) as Manifest;
  const { dimension, sampleRate } = manifest.codec!;
  const sizes = { latent: dimension, bands: [band(0.029), band(0.025)] };
  const noise = noiseOf(5);
  const tensors: Record<string, PlainTensor> = {};
  for (const [name, { shape }] of diffusionTensors(sizes, new Map())) {
    const count = shape.reduce((product, size) => product * size, 1);
    const spread = 1.7 / Math.sqrt(count / shape[0]!);
    const isNorm = /norm\d?\.weight$/.test(name);
    const data = Float32Array.from({ length: count }, () => (isNorm ? 1 : spread * noise()));
    tensors[name] = { dtype: 'F32', shape, data: new Uint8Array(data.buffer) };
  }
  const file = safetensors(tensors);
  await writeFile(join(folder, 'diffusion.safetensors'), file);
  const diffusion = {
    file: 'diffusion.safetensors',
    bytes: file.length,
    dtype: 'float32',
    sampleRate,
    ...sizes,
  };
  await writeFile(place, JSON.stringify({ ...manifest, diffusion }));
}

let folder: string;
let speech: Speech;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-seams-'));
  await makeModel(join(folder, 'model'));
  await using tts = await MetaVoice.load({ model: join(folder, 'model'), device: 'cpu' });
  speech = await tts.synthesize('The kettle is on.', {
    seed: 3,
    decoder: 'diffusion',
    diffusionSteps: 3,
    check: 'off',
  });
}, 60_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

const clicks = async (samples: Float32Array) =>
  (await judge(samples, { sampleRate: speech.sampleRate, seconds: speech.durationSeconds })).findings.filter(
    ({ kind }) => kind === 'click',
  );

describe('windows of diffusion', () => {
  // Ends of chunks: 0.25 s, 0.75 s, 1.75 s in frames of 1/25 s, and of the fades behind them.
  const ends = [7, 19, 44].map((frame) => frame / 25);

  it('meet without a click', async () => {
    expect(speech.durationSeconds).toBeGreaterThan(ends[1]! + 0.1);
    expect(await clicks(speech.samples)).toEqual([]);
  });

  it('would be heard if they did not: a step at an end is found', async () => {
    const height = 0.3 * Math.max(...speech.samples.map(Math.abs));
    for (const end of ends.filter((each) => each < speech.durationSeconds - 0.1)) {
      const found = await clicks(stepped(speech.samples, speech.sampleRate, end, height));
      expect(found.some(({ startSeconds }) => Math.abs(startSeconds - end) < 0.002)).toBe(true);
    }
  });
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { convertModel } from '../../dist/checkpoint/convert.js';
import { describeModel } from '../../dist/describe-model.js';
import { handOver } from '../../dist/hand-over.js';
import type { NativeModel, NativeSamples } from '../../dist/native/contract.js';
import { loadEngine } from '../../dist/runtime/load.js';
import { fixture } from './fixtures.js';

let folder: string;
let native: NativeModel;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
  const model = join(folder, 'model');
  const manifest = await convertModel(fixture('model'), model, { dtype: 'float32' });
  const run = {
    device: 'cpu',
    dtype: 'float32',
    quantization: 'none',
    batchSize: 1,
    maxQueue: 0,
    cacheRows: 2,
    cachePositions: 0,
    deterministic: false,
  } as const;
  native = await (await loadEngine()).engine.loadModel(describeModel(model, manifest, run));
});
afterAll(async () => {
  await native?.dispose();
  await rm(folder, { recursive: true, force: true });
});

const tone = (length: number) =>
  Float32Array.from({ length }, (_, i) => 0.3 * Math.sin(i * 0.05) * Math.sin(i / 3000));
const turn = 1 << 19;

describe('a recording that is handed over', () => {
  test.each([turn - 1, turn, turn + 1, 2 * turn + 3])('of %i samples is the recording', async (length) => {
    const samples = tone(length);
    const handed = await handOver(native, samples);
    expect(handed instanceof Float32Array).toBe(length <= turn);
    const { embedding, samples16k } = await native.embedSpeaker(handed, 48_000);
    const whole = await native.embedSpeaker(samples, 48_000);
    expect(embedding).toEqual(whole.embedding);
    expect(samples16k).toBe(whole.samples16k);
  });

  it('must stay where it is meanwhile', async () => {
    const samples = tone(3 * turn);
    const handing = handOver(native, samples);
    structuredClone(samples.buffer, { transfer: [samples.buffer] });
    await expect(handing).rejects.toThrow(/a Float32Array that is not transferred while it is read/);
  });

  it('is written inside what was reserved, and nothing else passes for it', async () => {
    const reserved = native.reserve(10);
    reserved.write(0, tone(10));
    reserved.write(10, tone(0));
    for (const [offset, length] of [
      [-1, 1],
      [1, 10],
      [11, 0],
      [2 ** 52, 1],
    ] as const)
      expect(() => reserved.write(offset, tone(length))).toThrow(/inside the reserved samples/);
    expect(() => reserved.write(0, [1] as never)).toThrow(/a Float32Array/);
    expect(() => native.reserve(-1)).toThrow(/at least 0/);
    expect(() => native.reserve(2 ** 50)).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_MEMORY' }));
    expect(() => native.embedSpeaker({ write() {} } as NativeSamples, 16_000)).toThrow(/a Float32Array/);
  });
});

/** float16 ends at 65,504. What happens to a model whose activations, or weights, go beyond it. */

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { convertModel } from '../../dist/checkpoint/convert.js';
import { readSafetensors } from '../../dist/checkpoint/safetensors.js';
import { MetaVoice } from '../../dist/index.js';
import { Stages } from '../../dist/stages.js';
import { expectClose, fixture, readTensors } from './fixtures.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A float32 model folder with one file's tensors multiplied, by the first pattern that fits their names. */
async function modelWith(name: string, part: string, factors: [RegExp, number][]): Promise<string> {
  const target = join(folder, name);
  await convertModel(fixture('model'), target, { dtype: 'float32' });
  const file = join(target, `${part}.safetensors`);
  const bytes = await readFile(file);
  for (const [tensor, { offset, bytes: length }] of (await readSafetensors(file)).tensors) {
    const factor = factors.find(([pattern]) => pattern.test(tensor))?.[1];
    if (factor === undefined) continue;
    for (let at = offset; at < offset + length; at += 4)
      bytes.writeFloatLE(bytes.readFloatLE(at) * factor, at);
  }
  await writeFile(file, bytes);
  return target;
}

/** Harmless in float32: what is scaled up is scaled down behind. In float16 its inside overflows. */
const overflow: [RegExp, number][] = [
  [/feed_forward_norm\.weight/, 8],
  [/feed_forward\.up\.weight/, 1e5],
  [/feed_forward\.down\.weight/, 1 / 1e5],
];
const text = 'hi how are you today';
const speaker = () => readTensors('llm.safetensors').speaker!.data;

describe('activations beyond float16', () => {
  it.each(['none', 'int8', 'int4'] as const)(
    'are computed again in float32: the logits are right, %s',
    async (quantization) => {
      const model = await modelWith(`logits-${quantization}`, 'first_stage', overflow);
      const ids = Int32Array.from([2133, 2153, 2320, 2561]);
      const logits = async (dtype: 'float16' | 'float32') => {
        await using stages = await Stages.open(model, { device: 'cpu', dtype, quantization });
        return await stages.firstStageLogits(ids, speaker());
      };
      const narrow = await logits('float16');
      expect(narrow.every(Number.isFinite)).toBe(true);
      expectClose(narrow, await logits('float32'), 0.1);
    },
  );

  it('are reported with the speech, and the logger hears of it once', async () => {
    const model = await modelWith('speech', 'first_stage', overflow);
    const warn = vi.fn();
    await using tts = await MetaVoice.load({ model, device: 'cpu', dtype: 'float16', logger: { warn } });
    const voice = await tts.voice(fixture('voices/bria.mp3'));
    const options = { voice, seed: 3, maxSeconds: 0.5 };
    const speech = await tts.synthesize(text, options);
    expect(speech.samples.every(Number.isFinite)).toBe(true);
    expect(speech.health.redoneSteps).toBeGreaterThan(0);
    expect(speech.health.redoneWindows).toBe(0);
    expect((await tts.synthesize(text, options)).samples).toEqual(speech.samples);
    expect(warn).toHaveBeenCalledTimes(1);
  });

  it('are found in the second stage, too', async () => {
    const model = await modelWith('windows', 'second_stage', overflow);
    await using tts = await MetaVoice.load({ model, device: 'cpu', dtype: 'float16' });
    const voice = await tts.voice(fixture('voices/bria.mp3'));
    const speech = await tts.synthesize(text, { voice, seed: 3, maxSeconds: 0.5 });
    expect(speech.health).toEqual({ redoneSteps: 0, redoneWindows: 2 });
  });

  it('need nothing in float32 and bfloat16', async () => {
    const model = await modelWith('wide', 'first_stage', overflow);
    for (const dtype of ['float32', 'bfloat16'] as const) {
      await using tts = await MetaVoice.load({ model, device: 'cpu', dtype });
      const voice = await tts.voice(fixture('voices/bria.mp3'));
      const { health } = await tts.synthesize(text, { voice, seed: 3, maxSeconds: 0.3 });
      expect(health).toEqual({ redoneSteps: 0, redoneWindows: 0 });
    }
  });
});

describe('numbers that are not finite in float32 either', () => {
  it.each([
    ['first_stage', /norm\.weight/, 'first stage'],
    ['second_stage', /layers\.1\.attention_norm\.weight/, 'second stage'],
    ['codec', /decoder\.0\.bias/, 'codec'],
  ])('in %s end the request with ERR_NUMERIC, and the model goes on', async (part, pattern, words) => {
    const model = await modelWith(`broken-${part}`, part, [[pattern, Number.NaN]]);
    await using tts = await MetaVoice.load({ model, device: 'cpu', dtype: 'float32' });
    const voice = await tts.voice(fixture('voices/bria.mp3'));
    for (let times = 0; times < 2; times++)
      await expect(tts.synthesize(text, { voice, seed: 3, maxSeconds: 0.5 })).rejects.toMatchObject({
        code: 'ERR_NUMERIC',
        message: expect.stringContaining(`expected finite numbers from the ${words}`),
        details: { part: words },
      });
  });

  it('in the speaker encoder refuse the voice', async () => {
    const model = await modelWith('broken-speaker', 'speaker_encoder', [[/linear\.bias/, Number.NaN]]);
    await using tts = await MetaVoice.load({ model, device: 'cpu', dtype: 'float32' });
    await expect(tts.voice(fixture('voices/bria.mp3'))).rejects.toMatchObject({ code: 'ERR_NUMERIC' });
  });
});

describe('weights beyond float16', () => {
  it('are refused when float16 is asked of a float32 model, and load in bfloat16', async () => {
    const model = await modelWith('heavy', 'first_stage', [[/attention\.qkv\.weight/, 1e7]]);
    await expect(MetaVoice.load({ model, device: 'cpu', dtype: 'float16' })).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      message: expect.stringMatching(/beyond float16 .*use dtype bfloat16 or float32/),
    });
    await (await MetaVoice.load({ model, device: 'cpu', dtype: 'bfloat16' })).dispose();
  });
});

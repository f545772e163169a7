/** Speech by multi-band diffusion, on the random model: the laws of all that streams, and what the result says of it. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AudioChunk, MetaVoice, type SpeakOptions } from '../../dist/index.js';
import { loadModel } from '../../dist/load-model.js';
import { resolveLoadOptions } from '../../dist/resolve-options.js';
import { loadEngine } from '../../dist/runtime/load.js';
import { Stages } from '../../dist/stages.js';
import { fixture } from './fixtures.js';

const text = 'Hello there.';
const options: SpeakOptions = {
  seed: 5,
  decoder: 'diffusion',
  diffusionSteps: 2,
  maxSeconds: 1.2,
  check: 'off',
};

let cache: string;
let tts: MetaVoice;
beforeAll(async () => {
  process.env.METAVOICE_LIBTORCH = (await loadEngine()).libtorch.directory;
  cache = await mkdtemp(join(tmpdir(), 'metavoice-'));
  process.env.METAVOICE_CACHE = cache;
  tts = await MetaVoice.load({ model: fixture('model'), device: 'cpu', dtype: 'float32' });
  options.voice = await tts.voice(fixture('speaker_16k.wav'));
}, 60_000);
afterAll(async () => {
  await tts?.dispose();
  await rm(cache, { recursive: true, force: true });
});

async function listen(extra: SpeakOptions = {}): Promise<AudioChunk[]> {
  const chunks: AudioChunk[] = [];
  for await (const chunk of tts.stream(text, { ...options, ...extra })) chunks.push(chunk);
  return chunks;
}

const joined = (chunks: AudioChunk[]) => Float32Array.from(chunks.flatMap(({ samples }) => [...samples]));

describe('speech by diffusion', () => {
  it('collected is streamed, byte for byte, in chunks of the schedule', async () => {
    const chunks = await listen();
    const speech = await tts.synthesize(text, options);
    expect(speech.samples).toEqual(joined(chunks));
    expect(chunks.map(({ codes }) => codes.frames)).toEqual([19, 38, 33]);
    expect(speech.samples.every(Number.isFinite)).toBe(true);
    expect(speech).toMatchObject({ decoder: 'diffusion', decoderReason: 'it was asked for' });
  });

  it('does not change what was said when it ends elsewhere', async () => {
    // 57 frames, 15 of context and 16 of look-ahead behind them: nearer to the end the second stage sees less.
    const [long, short] = [await listen({ maxSeconds: 1.4 }), await listen()];
    expect(short.reduce((sum, { codes }) => sum + codes.frames, 0)).toBeGreaterThanOrEqual(57 + 15 + 16);
    for (const k of [0, 1]) expect(short[k]!.samples).toEqual(long[k]!.samples);
  });

  it('is another sound than EnCodec makes, of the same first stage, and as long', async () => {
    const speech = await tts.synthesize(text, { ...options, decoder: 'auto' });
    expect(speech.decoder).toBe('encodec');
    expect(speech.decoderReason).toMatch(/slower than speech/);
    const diffused = await tts.synthesize(text, options);
    expect(diffused.codes.codebooks.slice(0, 2)).toEqual(speech.codes.codebooks.slice(0, 2));
    expect(diffused.samples).toHaveLength(speech.samples.length);
    expect(diffused.samples).not.toEqual(speech.samples);
  });

  it('whole is the stage on the codes that were spoken', async () => {
    const plain = { quality: 'whole', maxSeconds: 0.4, enhance: false, loudness: 'off' } as const;
    const [chunk, ...others] = await listen(plain);
    expect(others).toEqual([]);
    expect(chunk!.last).toBe(true);
    await using stages = await Stages.open(fixture('model'), { device: 'cpu', dtype: 'float32' });
    const { seed = 0, diffusionSteps: steps = 20 } = options;
    expect(await stages.diffuse(chunk!.codes, { seed, steps })).toEqual(chunk!.samples);
    expect(chunk!.samples).toHaveLength(30 * 320);
  });

  it('is brought to -14 LKFS unless something else is asked for; EnCodec is left as loud as it is', async () => {
    const brief = { ...options, maxSeconds: 0.4 };
    expect((await tts.synthesize(text, brief)).loudness).toBe(-14);
    expect((await tts.synthesize(text, { ...brief, loudness: 'off' })).loudness).toBe('off');
    expect((await tts.synthesize(text, { ...brief, decoder: 'encodec' })).loudness).toBe('off');
  });

  it('stops at a signal while it samples', async () => {
    const signal = AbortSignal.timeout(100);
    await expect(tts.synthesize(text, { ...options, diffusionSteps: 1000, signal })).rejects.toMatchObject({
      name: 'TimeoutError',
    });
  });

  it('is judged to fit by what is free when it is asked for, and what the model holds', async () => {
    const options = resolveLoadOptions({ model: fixture('model'), device: 'cpu', dtype: 'float32' });
    const { native, plan, diffusionPlan } = await loadModel(options, {});
    // On the CPU `auto` takes EnCodec's decoder.
    expect(plan.decoder).toBe('encodec');
    expect(native.diffusionLoaded()).toBe(false);
    const before = diffusionPlan!('stream');
    expect(before).toMatchObject({ decoder: 'diffusion', quality: 'stream', fits: true });
    expect(before.total).toBeGreaterThan(plan.total);
    expect(diffusionPlan!('whole').total).toBeGreaterThan(before.total);
    const { done } = native.diffuse(new Uint16Array(8 * 9), 1, null, 1, null);
    await done;
    expect(native.diffusionLoaded()).toBe(true);
    expect(diffusionPlan!('stream')).toMatchObject({ total: before.total, fits: true });
    await native.dispose();
    expect(native.diffusionLoaded()).toBe(false);
  });

  it('is refused for more steps than were trained', () => {
    expect(() => tts.stream(text, { ...options, diffusionSteps: 1001 })).toThrow(RangeError);
  });
});

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { toMulaw } from '../../../dist/audio/mulaw.js';
import { toPcm16 } from '../../../dist/audio/pcm.js';
import { Resampler } from '../../../dist/audio/resampler.js';
import { type SampleRate, sampleRates } from '../../../dist/options.js';
import type { AudioChunk } from '../../../dist/stream/chunks.js';
import { joinSamples } from '../../../dist/stream/joins.js';
import { fakeManifest, fakeMetaVoice } from '../fake-metavoice.js';
import { FakeModel } from '../fake-native.js';

/** Three segments, and two pauses that are no whole number of samples at all rates. */
const text = 'One is here.\n\nTwo is there!\n\nIs three as well?';
const options = { seed: 3, pauseSeconds: { paragraph: 0.2501 } };

async function all(stream: AsyncIterable<AudioChunk>): Promise<AudioChunk[]> {
  const chunks: AudioChunk[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

async function bytesOf(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}
const samplesOf = (chunks: AudioChunk[]) => joinSamples(chunks.map(({ samples }) => samples));

const same = (a: Float32Array, b: Float32Array) =>
  Buffer.compare(new Uint8Array(a.buffer), new Uint8Array(b.buffer)) === 0;

/** The speech at the model's own rate, converted in one piece. */
async function converted(rate: SampleRate, ...extra: object[]): Promise<Float32Array> {
  const { samples } = await fakeMetaVoice().tts.synthesize(text, Object.assign({}, options, ...extra));
  if (rate === 24_000) return samples;
  const resampler = new Resampler(24_000, rate);
  return joinSamples([resampler.push(samples), resampler.end()]);
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-rate-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe.each(sampleRates)('at %i Hz', (sampleRate) => {
  const asked = { ...options, sampleRate };

  it('streamed equals collected equals the whole, converted', async () => {
    const { tts } = fakeMetaVoice();
    const stream = tts.stream(text, asked);
    expect(stream.sampleRate).toBe(sampleRate);
    const chunks = await all(stream);
    const speech = await tts.synthesize(text, asked);
    expect(same(samplesOf(chunks), await converted(sampleRate))).toBe(true);
    expect(same(speech.samples, samplesOf(chunks))).toBe(true);
    expect(speech.sampleRate).toBe(sampleRate);
    expect(speech.durationSeconds).toBe(speech.samples.length / sampleRate);
    const own = await tts.synthesize(text, options);
    expect(speech.samples).toHaveLength(Math.floor((own.samples.length * sampleRate) / 24_000 + 0.5));
    expect(speech.timings.realTimeFactor).toBeCloseTo(
      speech.timings.total / 1000 / speech.durationSeconds,
      9,
    );
  });

  it('chunks lie where they say, and tell the codes and places of the model', async () => {
    const { tts } = fakeMetaVoice();
    const own = await all(tts.stream(text, options));
    const chunks = await all(tts.stream(text, asked));
    expect(chunks).toHaveLength(own.length);
    let at = 0;
    for (const [k, chunk] of chunks.entries()) {
      expect(chunk.sampleRate).toBe(sampleRate);
      expect(chunk.startSeconds).toBe(at / sampleRate);
      expect(chunk.durationSeconds).toBe(chunk.samples.length / sampleRate);
      // A filter reaches ahead, by no more than this.
      expect(own[k]!.startSeconds - chunk.startSeconds).toBeLessThan(0.01);
      expect(chunk.startSeconds).toBeLessThan(own[k]!.startSeconds + 1 / sampleRate);
      const { index, segment, textOffset, textLength, firstFrame, codes, last, endReason } = own[k]!;
      expect(chunk).toMatchObject({
        index,
        segment,
        textOffset,
        textLength,
        firstFrame,
        codes,
        last,
        endReason,
      });
      at += chunk.samples.length;
    }
  });

  it('bytes are those of the samples, and headers tell the rate', async () => {
    const { tts } = fakeMetaVoice();
    const speech = await tts.synthesize(text, asked);
    const wav = await bytesOf(tts.stream(text, asked).toNodeReadable());
    expect([wav.readUInt32LE(24), wav.readUInt32LE(28), wav.readUInt32LE(40)]).toEqual([
      sampleRate,
      2 * sampleRate,
      0xffffffff,
    ]);
    expect(wav.subarray(44).equals(toPcm16(speech.samples))).toBe(true);
    const saved = Buffer.from(speech.toWav());
    expect([saved.readUInt32LE(24), saved.readUInt32LE(40)]).toEqual([sampleRate, 2 * speech.samples.length]);
    for (const [format, expected] of [
      ['pcm', toPcm16(speech.samples)],
      ['mulaw', toMulaw(speech.samples)],
    ] as const) {
      expect((await bytesOf(tts.stream(text, asked).toNodeReadable({ format }))).equals(expected)).toBe(true);
      const web = tts.stream(text, asked).toWebStream({ format });
      expect(Buffer.from(await new Response(web).arrayBuffer()).equals(expected)).toBe(true);
      expect(Buffer.from(speech.toBytes({ format })).equals(expected)).toBe(true);
      await speech.save(join(folder, format), { format });
      expect((await readFile(join(folder, format))).equals(expected)).toBe(true);
    }
    expect(saved.equals(speech.toBytes())).toBe(true);
  });
});

it('one chunk per segment is converted in slices, to the same samples', async () => {
  const { tts } = fakeMetaVoice(new FakeModel(450));
  const whole = await tts.synthesize('hello', { seed: 3, quality: 'whole', sampleRate: 44_100 });
  const streamed = await tts.synthesize('hello', { seed: 3, sampleRate: 44_100 });
  expect(whole.samples).toHaveLength(6 * 44_100);
  expect(same(whole.samples, streamed.samples)).toBe(true);
});

it('what is cut at a limit has the length of the limit', async () => {
  const speech = await fakeMetaVoice().tts.synthesize(text, {
    seed: 3,
    pauseSeconds: { paragraph: 0.32 },
    sampleRate: 8000,
    maxSeconds: 4.5,
  });
  expect(speech.endReason).toBe('limit');
  expect(speech.samples).toHaveLength(Math.round((Math.floor(4.5 * 75) / 75) * 8000));
});

it('a text whose end is not known gives its last samples with the empty chunk', async () => {
  const pieces = async function* () {
    yield 'One is here. ';
    await new Promise((resolve) => setTimeout(resolve, 80));
  };
  const { tts } = fakeMetaVoice();
  const asked = { seed: 3, flushSeconds: 0.01, sampleRate: 8000 } as const;
  const chunks = await all(tts.stream(pieces(), asked));
  expect(chunks.at(-1)).toMatchObject({ last: true, codes: { frames: 0 } });
  expect(chunks.at(-1)!.samples.length).toBeGreaterThan(0);
  expect(samplesOf(chunks)).toHaveLength(4 * 8000);
  const bytes = await bytesOf(tts.stream(pieces(), asked).toNodeReadable({ format: 'mulaw' }));
  expect(bytes).toHaveLength(4 * 8000);
});

it('progress counts what is handed out', async () => {
  const told: number[] = [];
  const speech = await fakeMetaVoice().tts.synthesize('hello', {
    sampleRate: 48_000,
    onProgress: (progress) => progress.phase === 'speak' && told.push(progress.seconds),
  });
  expect(told.at(-1)).toBe(speech.durationSeconds);
});

test('an abort ends a conversion between two slices', async () => {
  const { tts } = fakeMetaVoice(new FakeModel(1000));
  const controller = new AbortController();
  const speech = tts.synthesize('hello', { quality: 'whole', sampleRate: 48_000, signal: controller.signal });
  setTimeout(() => controller.abort(new Error('enough')), 1);
  await expect(speech).rejects.toThrow('enough');
});

it('refuses a model whose rate has nothing in common with the one asked for, before anything is spoken', () => {
  const codec = { ...fakeManifest().codec!, sampleRate: 24_001 };
  const { tts, native } = fakeMetaVoice(new FakeModel(), { codec });
  expect(() => tts.stream('hello', { sampleRate: 44_100 })).toThrow(
    expect.objectContaining({ code: 'ERR_UNSUPPORTED' }),
  );
  expect(native.started).toHaveLength(0);
});

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MetaVoice, synthesize, Voice } from '../../dist/index.js';
import { loadEngine } from '../../dist/runtime/load.js';
import { Stages } from '../../dist/stages.js';
import { expectClose, fixture, peak } from './fixtures.js';

const text = 'hi how are you today';
const bria = fixture('voices/bria.mp3');
const digest = (samples: Float32Array) =>
  createHash('sha256')
    .update(new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength))
    .digest('hex');

let folder: string;

beforeAll(async () => {
  // The managed libtorch lies in the cache, so it is found before the cache moves.
  process.env.METAVOICE_LIBTORCH = (await loadEngine()).libtorch.directory;
  folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
  process.env.METAVOICE_CACHE = join(folder, 'cache');
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe.each(['float32', 'bfloat16'] as const)('the engine in %s', (dtype) => {
  let tts: MetaVoice;
  let voice: Voice;
  const load = () => MetaVoice.load({ model: fixture('model'), device: 'cpu', dtype });

  beforeAll(async () => {
    tts = await load();
    voice = await tts.voice(bria);
  });
  afterAll(() => tts?.dispose());

  it('speaks the same bytes for the same seed, and others for another', async () => {
    const options = { voice, seed: 1, maxSeconds: 2 };
    const one = await tts.synthesize(text, options);
    const two = await tts.synthesize(text, options);
    const other = await tts.synthesize(text, { ...options, seed: 2 });
    expect(digest(two.samples)).toBe(digest(one.samples));
    expect(digest(other.samples)).not.toBe(digest(one.samples));
    expect(one.samples.every(Number.isFinite)).toBe(true);
    expect(peak(one.samples)).toBeGreaterThan(0);
    expect(one.codes.codebooks).toHaveLength(8);
    expect(one.codes.codebooks.every((codes) => codes.every((code) => code < 1024))).toBe(true);
    expect(one).toMatchObject({ sampleRate: 48000 });
    expect(one.samples).toHaveLength(one.codes.frames * 640);
  });

  it('speaks the same bytes in a second process', async () => {
    const here = await tts.synthesize(text, { voice: bria, seed: 1, maxSeconds: 1.5 });
    const script = `
      import { createHash } from 'node:crypto';
      import { synthesize } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)};
      const { samples } = await synthesize(${JSON.stringify(text)}, {
        model: ${JSON.stringify(fixture('model'))}, device: 'cpu', dtype: '${dtype}',
        voice: ${JSON.stringify(bria)}, seed: 1, maxSeconds: 1.5,
      });
      process.stdout.write(createHash('sha256').update(new Uint8Array(samples.buffer)).digest('hex'));`;
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module', '--eval', script],
      { cwd: fileURLToPath(new URL('../..', import.meta.url)), timeout: 60_000 },
    );
    // Nothing but what the script prints; and it ends by itself, with the shared model loaded.
    expect(stdout).toBe(digest(here.samples));
    expect(stderr).toBe('');
  });

  it('streams what it collects, byte for byte, however it is read', async () => {
    const options = { voice, seed: 5, maxSeconds: 2.5 };
    const { samples } = await tts.synthesize(text, options);
    const parts: Float32Array[] = [];
    let frames = 0;
    for await (const chunk of tts.stream(text, options)) {
      expect(chunk.firstFrame).toBe(frames);
      frames += chunk.codes.frames;
      parts.push(chunk.samples);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(parts.length).toBeGreaterThan(1);
    expect(digest(Float32Array.from(parts.flatMap((part) => [...part])))).toBe(digest(samples));
  });

  it('gives the same WAV through a Readable and a web stream', async () => {
    const options = { voice, seed: 6, maxSeconds: 1 };
    const speech = await tts.synthesize(text, options);
    const wav = Buffer.from(speech.toWav()).subarray(44);
    const parts: Buffer[] = [];
    for await (const part of tts.stream(text, options).toNodeReadable({ highWaterMark: 64 }))
      parts.push(part);
    expect(Buffer.concat(parts).subarray(44).equals(wav)).toBe(true);
    const body = await new Response(tts.stream(text, options).toWebStream({ format: 'pcm' })).arrayBuffer();
    expect(Buffer.from(body).equals(wav)).toBe(true);
  });

  it('enhances what the decoder says, in chunks as in one piece, or leaves it as it is', async () => {
    const options = { voice, seed: 4, maxSeconds: 1.5 };
    const enhanced = await tts.synthesize(text, options);
    const plain = await tts.synthesize(text, { ...options, enhance: false });
    expect(plain).toMatchObject({ sampleRate: 24000, codes: enhanced.codes });
    expect(plain.durationSeconds).toBe(enhanced.durationSeconds);
    await using stages = await Stages.open(fixture('model'), { device: 'cpu', dtype });
    const { samples, sampleRate } = await stages.enhance(plain.samples, plain.sampleRate);
    expect(sampleRate).toBe(enhanced.sampleRate);
    expect(digest(samples)).toBe(digest(enhanced.samples));
  });

  it('speaks whole, in one chunk', async () => {
    const sizes: number[] = [];
    for await (const { codes } of tts.stream(text, { voice, seed: 7, maxSeconds: 1.5, quality: 'whole' }))
      sizes.push(codes.frames);
    expect(sizes).toHaveLength(1);
    const whole = await tts.synthesize(text, { voice, seed: 7, maxSeconds: 1.5, quality: 'whole' });
    const streamed = await tts.synthesize(text, { voice, seed: 7, maxSeconds: 1.5 });
    // The first stage draws the same in both forms; the second sees more in the whole one.
    for (const k of [0, 1]) expect(whole.codes.codebooks[k]).toEqual(streamed.codes.codebooks[k]);
  });

  it('knows its limit and reports where the time went', async () => {
    const speech = await tts.synthesize(text, { voice, seed: 8, maxSeconds: 0.5 });
    expect(speech.durationSeconds).toBeLessThanOrEqual(0.5);
    expect(speech.timings.steps).toBeGreaterThan(0);
    expect(speech.timings.firstAudio).toBeLessThanOrEqual(speech.timings.total);
    expect(speech.timings.firstStage).toBeGreaterThan(0);
  });

  it('stops for an abort before, during and after', async () => {
    const reason = new Error('enough');
    await expect(tts.synthesize(text, { voice, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);

    const control = new AbortController();
    const speech = tts.synthesize(text, { voice, seed: 9, signal: control.signal });
    setTimeout(() => control.abort(reason), 100);
    await expect(speech).rejects.toBe(reason);

    const late = new AbortController();
    await tts.synthesize(text, { voice, seed: 9, maxSeconds: 0.3, signal: late.signal });
    late.abort(reason);
    await expect(tts.synthesize(text, { voice, seed: 9, maxSeconds: 0.3 })).resolves.toMatchObject({
      seed: 9,
    });
  });

  it('answers an abort within one launch', async () => {
    const control = new AbortController();
    const stream = tts.stream(text, { voice, seed: 10, signal: control.signal });
    const iterator = stream[Symbol.asyncIterator]();
    await iterator.next();
    const pull = iterator.next();
    pull.catch(() => {});
    const before = performance.now();
    control.abort();
    await expect(pull).rejects.toMatchObject({ name: 'AbortError' });
    expect(performance.now() - before).toBeLessThan(500);
  });

  it('keeps the event loop free while it speaks', async () => {
    let longest = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 1);
    await tts.synthesize(text, { voice, seed: 11, maxSeconds: 1.5 });
    clearInterval(timer);
    expect(longest).toBeLessThan(100);
  });

  it('gives another request its turn when one is left unread', async () => {
    const held = tts.stream(text, { voice, seed: 12 })[Symbol.asyncIterator]();
    await held.next();
    await held.return();
    await expect(tts.synthesize(text, { voice, seed: 12, maxSeconds: 0.3 })).resolves.toBeDefined();
  });

  it('speaks with a saved voice as with the recording', async () => {
    const path = join(folder, `bria-${dtype}.json`);
    await voice.save(path);
    const options = { seed: 13, maxSeconds: 0.5 };
    const expected = digest((await tts.synthesize(text, { ...options, voice: bria })).samples);
    for (const again of [await Voice.load(path), path, { file: path }])
      expect(digest((await tts.synthesize(text, { ...options, voice: again })).samples)).toBe(expected);
  });

  it('needs a voice, for this model ships none', async () => {
    await expect(tts.synthesize(text)).rejects.toMatchObject({ code: 'ERR_VOICE_REQUIRED' });
  });

  it('takes three branches of guidance, greedy and free drawing', async () => {
    for (const sampling of [
      { guidance: { speaker: 2, prompt: 1.5 } },
      { temperature: 0 },
      { topK: 5, topP: 1 },
      { guidance: 1 },
    ])
      await expect(
        tts.synthesize(text, { voice, seed: 14, maxSeconds: 0.3, sampling }),
      ).resolves.toMatchObject({ sampleRate: 48000 });
  });

  it('ends what is being spoken when it is disposed', async () => {
    const other = await load();
    const speaking = other.synthesize(text, { voice, seed: 15 });
    speaking.catch(() => {});
    const held = other.stream(text, { voice, seed: 15 })[Symbol.asyncIterator]();
    const waiting = held.next();
    waiting.catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 50));
    await other.dispose();
    await expect(speaking).rejects.toMatchObject({ name: 'MetaVoiceError', code: 'ERR_DISPOSED' });
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    expect(() => other.stream(text, { voice })).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }));
  });
});

describe('a long text', () => {
  it('is segments one after another, the first as if it were alone, with a pause between', async () => {
    await using tts = await MetaVoice.load({ model: fixture('model'), device: 'cpu', dtype: 'float32' });
    const options = { voice: await tts.voice(bria), seed: 3, enhance: false };
    // These weights know no end: each segment runs to the end of the window.
    const alone = await tts.synthesize('One.', options);
    const maxSeconds = alone.durationSeconds + 0.7 + 0.3;
    const segments: { samples: number[]; codes: number[] }[] = [];
    for await (const { segment, samples, codes } of tts.stream('One.\n\nTwo.', { ...options, maxSeconds })) {
      segments[segment] ??= { samples: [], codes: [] };
      segments[segment].samples.push(...samples);
      segments[segment].codes.push(...codes.codebooks[7]!);
    }
    const [one, two] = segments;
    const { length } = alone.samples;
    const fade = 0.005 * alone.sampleRate;
    expect(one!.codes).toEqual([...alone.codes.codebooks[7]!]);
    expect(one!.samples.slice(0, length - fade)).toEqual([...alone.samples.slice(0, length - fade)]);
    expect(one!.samples.slice(length)).toEqual(Array.from({ length: 0.7 * alone.sampleRate }, () => 0));
    expect(two!.samples.length).toBe(two!.codes.length * 320);
    expect(two!.samples.length / alone.sampleRate).toBeCloseTo(0.3, 1);
    expect(Math.abs(two!.samples[0]!)).toBe(0);
  });
});

describe('quality', () => {
  it('of the stream is near the whole in the codes that both see alike', async () => {
    const options = {
      model: fixture('model'),
      device: 'cpu',
      dtype: 'float32',
      voice: bria,
      seed: 3,
      maxSeconds: 0.2,
    } as const;
    // Shorter than the first chunk, both forms see all of the utterance.
    const streamed = await synthesize(text, options);
    const whole = await synthesize(text, { ...options, quality: 'whole' });
    expect(whole.codes.codebooks).toEqual(streamed.codes.codebooks);
    expectClose(whole.samples, streamed.samples, 1e-4 * peak(whole.samples));
  });
});

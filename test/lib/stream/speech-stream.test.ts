import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { describe, expect, it, test, vi } from 'vitest';
import type { AudioChunk } from '../../../dist/stream/chunks.js';
import type { SpeechStream } from '../../../dist/stream/speech-stream.js';
import { fakeMetaVoice } from '../fake-metavoice.js';
import { FakeModel, hop, nativeError } from '../fake-native.js';

const settle = () => new Promise((resolve) => setTimeout(resolve, 5));

async function all(stream: AsyncIterable<AudioChunk>): Promise<AudioChunk[]> {
  const chunks: AudioChunk[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const samplesOf = (chunks: AudioChunk[]) => Float32Array.from(chunks.flatMap(({ samples }) => [...samples]));
const bytesOf = async (stream: AsyncIterable<Uint8Array>) => {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
};

describe('a speech stream refuses', () => {
  it('to be read twice, in any pair of forms', async () => {
    const { tts } = fakeMetaVoice();
    const forms: ((stream: SpeechStream) => unknown)[] = [
      (stream) => stream[Symbol.asyncIterator](),
      (stream) => stream.toNodeReadable(),
      (stream) => stream.toWebStream(),
    ];
    for (const first of forms)
      for (const second of forms) {
        const stream = tts.stream('hello');
        first(stream);
        expect(() => second(stream)).toThrow(expect.objectContaining({ code: 'ERR_UNSUPPORTED' }));
        await expect(stream.collect()).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' });
      }
  });

  test.each([
    [{ format: 'mp3' }, /'wav', 'pcm', 'mulaw' for `format`/],
    [{ formt: 'wav' }, /did you mean `format`/],
    [{ highWaterMark: -1 }, /`highWaterMark`/],
  ])('%j', (options, message) => {
    const { tts } = fakeMetaVoice();
    expect(() => tts.stream('hello').toNodeReadable(options as object)).toThrow(message);
  });
});

describe('a speech stream', () => {
  it('starts nothing before it is pulled', async () => {
    const { tts, native } = fakeMetaVoice();
    tts.stream('hello');
    tts.stream('hello')[Symbol.asyncIterator]();
    tts.stream('hello').toNodeReadable();
    tts.stream('hello').toWebStream();
    await settle();
    expect(native.started).toHaveLength(0);
  });

  it('cuts chunks where the schedule says, and tells where each begins', async () => {
    const { tts } = fakeMetaVoice();
    const chunks = await all(tts.stream('hello'));
    expect(chunks.map(({ firstFrame, codes }) => [firstFrame, codes.frames])).toEqual([
      [0, 19],
      [19, 38],
      [57, 75],
      [132, 150],
      [282, 18],
    ]);
    for (const [k, chunk] of chunks.entries()) {
      expect(chunk).toMatchObject({ index: k, segment: 0, sampleRate: 24000, last: k === 4 });
      expect(chunk.endReason).toBe(k === 4 ? 'end' : null);
      expect(chunk.startSeconds).toBeCloseTo(chunk.firstFrame / 75, 9);
      expect(chunk.durationSeconds).toBe(chunk.samples.length / 24000);
      expect(chunk.codes.codebooks).toHaveLength(8);
    }
  });

  it('collected equals streamed', async () => {
    const { tts } = fakeMetaVoice();
    const chunks = await all(tts.stream('hello', { seed: 3 }));
    const speech = await tts.synthesize('hello', { seed: 3 });
    expect(speech.samples).toEqual(samplesOf(chunks));
    expect(speech).toMatchObject({
      seed: 3,
      sampleRate: 24000,
      endReason: 'end',
      durationSeconds: 4,
      decoder: 'encodec',
    });
    expect(speech.codes.frames).toBe(300);
    expect([...speech.codes.codebooks[2]!.slice(0, 3)]).toEqual([200, 201, 202]);
    expect([...speech.codes.codebooks[2]!.slice(-2)]).toEqual([498, 499]);
    expect(speech.timings).toMatchObject({
      prefill: 1,
      firstStage: 2,
      secondStage: 3,
      decoder: 4,
      steps: 600,
    });
    expect(speech.timings.firstAudio).toBeLessThanOrEqual(speech.timings.total);
    expect(speech.timings.realTimeFactor).toBeCloseTo(speech.timings.total / 4000, 9);
  });

  it('tells what was done again in float32, while it speaks and after, and warns of it once', async () => {
    const native = new FakeModel();
    native.redonePerChunk = 2;
    const warn = vi.fn();
    const { tts } = fakeMetaVoice(native, {}, { warn });
    const stream = tts.stream('hello');
    const seen: number[] = [];
    for await (const _ of stream) seen.push(stream.health.redoneSteps);
    expect(seen).toEqual([2, 4, 6, 8, 10].slice(0, seen.length));
    const speech = await tts.synthesize('hello');
    expect(speech.health).toEqual({ redoneSteps: 2 * seen.length, redoneWindows: 0 });
    expect(warn).toHaveBeenCalledTimes(1);
    expect(warn.mock.calls[0]![1]).toMatch(/overflowed .* done again in float32/);
    native.redonePerChunk = 0;
    expect((await tts.synthesize('hello')).health).toEqual({ redoneSteps: 0, redoneWindows: 0 });
  });

  it('speaks one chunk in whole quality', async () => {
    const { tts, native } = fakeMetaVoice();
    const chunks = await all(tts.stream('hello', { quality: 'whole' }));
    expect(chunks.map(({ codes, last }) => [codes.frames, last])).toEqual([[300, true]]);
    expect(native.started[0]?.request.whole).toBe(true);
  });

  it('rests when nobody reads', async () => {
    const { tts, native } = fakeMetaVoice();
    const iterator = tts.stream('hello')[Symbol.asyncIterator]();
    await iterator.next();
    await settle();
    expect(native.started[0]?.pulls).toBe(1);
    await iterator.return();
    expect(native.started[0]?.cancelled).toBeGreaterThan(0);
  });

  it('stops the engine when the loop is left', async () => {
    const { tts, native } = fakeMetaVoice();
    for await (const chunk of tts.stream('hello')) if (chunk.index === 1) break;
    expect(native.started[0]).toMatchObject({ pulls: 2 });
    expect(native.started[0]?.cancelled).toBeGreaterThan(0);
  });

  it('stops the engine when the loop throws', async () => {
    const { tts, native } = fakeMetaVoice();
    const loop = async () => {
      for await (const _ of tts.stream('hello')) throw new Error('mine');
    };
    await expect(loop()).rejects.toThrow('mine');
    expect(native.started[0]?.cancelled).toBeGreaterThan(0);
  });

  it('answers return() while a pull waits', async () => {
    const native = new FakeModel();
    native.stalls = true;
    const { tts } = fakeMetaVoice(native);
    const iterator = tts.stream('hello')[Symbol.asyncIterator]();
    const pull = iterator.next();
    await settle();
    await expect(iterator.return()).resolves.toMatchObject({ done: true });
    await expect(pull).resolves.toMatchObject({ done: true });
  });

  it('ends a loop quietly, and rejects a collection, when it is cancelled', async () => {
    const { tts, native } = fakeMetaVoice();
    const stream = tts.stream('hello');
    let count = 0;
    for await (const _ of stream) if (++count === 2) stream.cancel();
    expect(count).toBe(2);
    expect(native.started[0]?.cancelled).toBeGreaterThan(0);

    const other = tts.stream('hello');
    const collected = other.collect();
    other.cancel();
    await expect(collected).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('reports progress per chunk, and fails with what the callback throws', async () => {
    const { tts, native } = fakeMetaVoice();
    const seen: unknown[] = [];
    await tts.synthesize('hello', { onProgress: (progress) => seen.push(progress) });
    expect(seen).toHaveLength(5);
    expect(seen.at(-1)).toEqual({ phase: 'speak', seconds: 4, segment: 0, segments: 1 });

    const onProgress = () => {
      throw new Error('mine');
    };
    await expect(tts.synthesize('hello', { onProgress })).rejects.toThrow('mine');
    expect(native.started[1]?.cancelled).toBeGreaterThan(0);
  });

  it('cuts at maxSeconds and says so', async () => {
    const { tts, native } = fakeMetaVoice();
    const speech = await tts.synthesize('hello', { maxSeconds: 1 });
    expect(speech).toMatchObject({ endReason: 'limit', durationSeconds: 1 });
    expect(native.started[0]?.request.maximumFrames).toBe(75);
  });
});

describe('an abort', () => {
  const reason = new Error('enough');

  it('before the first pull starts nothing', async () => {
    const { tts, native } = fakeMetaVoice();
    const stream = tts.stream('hello', { signal: AbortSignal.abort(reason) });
    await expect(all(stream)).rejects.toBe(reason);
    expect(native.started).toHaveLength(0);
  });

  it('while a chunk is computed rejects with its own reason', async () => {
    const native = new FakeModel();
    native.stalls = true;
    const { tts } = fakeMetaVoice(native);
    const control = new AbortController();
    const speech = tts.synthesize('hello', { signal: control.signal });
    await settle();
    control.abort(reason);
    await expect(speech).rejects.toBe(reason);
    expect(native.started[0]?.cancelled).toBeGreaterThan(0);
  });

  it('while the reader holds a chunk rejects the next pull', async () => {
    const { tts, native } = fakeMetaVoice();
    const control = new AbortController();
    const iterator = tts.stream('hello', { signal: control.signal })[Symbol.asyncIterator]();
    await iterator.next();
    control.abort(reason);
    await expect(iterator.next()).rejects.toBe(reason);
    expect(native.started[0]?.cancelled).toBeGreaterThan(0);
  });

  it('after the end is nothing', async () => {
    const { tts } = fakeMetaVoice();
    const control = new AbortController();
    const speech = await tts.synthesize('hello', { signal: control.signal });
    control.abort(reason);
    expect(speech.durationSeconds).toBe(4);
  });

  it('leaves no listener on the signal', async () => {
    const { tts } = fakeMetaVoice();
    const { signal } = new AbortController();
    const added = vi.spyOn(signal, 'addEventListener');
    const removed = vi.spyOn(signal, 'removeEventListener');
    await tts.synthesize('hello', { signal });
    for await (const _ of tts.stream('hello', { signal })) break;
    expect(removed.mock.calls.length).toBe(added.mock.calls.length);
  });

  it('reaches the readers of bytes', async () => {
    const { tts } = fakeMetaVoice();
    for (const form of ['toNodeReadable', 'toWebStream'] as const) {
      const control = new AbortController();
      const stream = tts.stream('hello', { signal: control.signal })[form]() as AsyncIterable<Uint8Array>;
      const read = async () => {
        for await (const _ of stream) control.abort(reason);
      };
      await expect(read()).rejects.toBe(reason);
    }
  });
});

describe('a failure of the engine', () => {
  it('has our class, its code and the stack of the caller', async () => {
    const native = new FakeModel();
    native.failAt = 1;
    const { tts } = fakeMetaVoice(native);
    const callerOfSynthesize = () => tts.synthesize('hello');
    const error = await callerOfSynthesize().catch((caught) => caught);
    expect(error).toMatchObject({
      name: 'MetaVoiceError',
      code: 'ERR_NUMERIC',
      message: 'not finite at step 3',
    });
    expect(error.stack).toMatch(/^MetaVoiceError: not finite at step 3\n\s+at callerOfSynthesize/);
    expect(native.started[0]?.cancelled).toBeGreaterThan(0);
  });

  it('when it starts is the same', async () => {
    const native = new FakeModel();
    native.start = () => {
      throw nativeError('ERR_QUEUE_FULL', 'expected room in the queue');
    };
    const { tts } = fakeMetaVoice(native);
    await expect(all(tts.stream('hello'))).rejects.toMatchObject({
      name: 'MetaVoiceError',
      code: 'ERR_QUEUE_FULL',
    });
  });

  it('destroys a Readable and errors a web stream', async () => {
    const native = new FakeModel();
    native.failAt = 1;
    const { tts } = fakeMetaVoice(native);
    await expect(bytesOf(tts.stream('hello').toNodeReadable())).rejects.toMatchObject({
      code: 'ERR_NUMERIC',
    });
    const web = tts.stream('hello').toWebStream() as unknown as AsyncIterable<Uint8Array>;
    await expect(bytesOf(web)).rejects.toMatchObject({ code: 'ERR_NUMERIC' });
  });
});

describe('bytes', () => {
  it('are the samples as WAV, with lengths unknown in the header', async () => {
    const { tts } = fakeMetaVoice();
    const speech = await tts.synthesize('hello', { seed: 9 });
    const whole = Buffer.from(speech.toWav());
    const streamed = await bytesOf(tts.stream('hello', { seed: 9 }).toNodeReadable({ format: 'wav' }));
    expect(streamed.subarray(44)).toEqual(whole.subarray(44));
    expect(streamed.readUInt32LE(4)).toBe(0xffffffff);
    expect(streamed.readUInt32LE(40)).toBe(0xffffffff);
    expect(whole.readUInt32LE(40)).toBe(300 * hop * 2);
    expect(whole.readInt16LE(44 + 2 * 100)).toBe(Math.round(speech.samples[100]! * 32767));
  });

  it('are the same from both kinds of stream, and bare as PCM', async () => {
    const { tts } = fakeMetaVoice();
    const stream = () => tts.stream('hello', { seed: 9 });
    const wav = await bytesOf(stream().toNodeReadable());
    const web = (options?: { format: 'wav' | 'pcm' }) =>
      bytesOf(stream().toWebStream(options) as unknown as AsyncIterable<Uint8Array>);
    expect(await web()).toEqual(wav);
    expect(await web({ format: 'pcm' })).toEqual(wav.subarray(44));
    expect(await bytesOf(stream().toNodeReadable({ format: 'pcm' }))).toEqual(wav.subarray(44));
  });

  it('make a body of a Response', async () => {
    const { tts } = fakeMetaVoice();
    const response = new Response(tts.stream('hello', { seed: 9 }).toWebStream());
    expect((await response.arrayBuffer()).byteLength).toBe(44 + 300 * hop * 2);
  });

  it('wait for the reader of a Readable', async () => {
    const { tts, native } = fakeMetaVoice();
    const readable = tts.stream('hello').toNodeReadable({ highWaterMark: 1000 });
    await once(readable, 'readable');
    await settle();
    expect(native.started[0]?.pulls).toBe(1);
    readable.destroy();
    await once(readable, 'close');
    expect(native.started[0]?.cancelled).toBeGreaterThan(0);
  });

  it('wait for the reader of a web stream', async () => {
    const { tts, native } = fakeMetaVoice();
    const reader = tts.stream('hello').toWebStream().getReader();
    await reader.read();
    await settle();
    expect(native.started[0]?.pulls).toBe(1);
    await reader.cancel();
    expect(native.started[0]?.cancelled).toBeGreaterThan(0);
  });

  it('stop the engine at once when the reader leaves while a pull waits', async () => {
    const native = new FakeModel();
    native.stalls = true;
    const { tts } = fakeMetaVoice(native);
    const readable = tts.stream('hello').toNodeReadable();
    readable.resume();
    const reader = tts.stream('hello').toWebStream().getReader();
    const read = reader.read();
    await settle();
    readable.destroy();
    await once(readable, 'close');
    await reader.cancel();
    await expect(read).resolves.toMatchObject({ done: true });
    expect(native.started.map(({ cancelled }) => cancelled > 0)).toEqual([true, true]);
  });

  it('are destroyed with the error of a pipeline', async () => {
    const { tts, native } = fakeMetaVoice();
    const sink = async (source: AsyncIterable<Uint8Array>) => {
      for await (const _ of source) throw new Error('disk full');
    };
    await expect(pipeline(tts.stream('hello').toNodeReadable(), sink)).rejects.toThrow('disk full');
    expect(native.started[0]?.cancelled).toBeGreaterThan(0);
  });
});

describe('Speech.save', () => {
  it('refuses what is no path', async () => {
    const { tts } = fakeMetaVoice();
    const speech = await tts.synthesize('hello');
    await expect(speech.save('')).rejects.toThrow(/a path for `path`/);
    await expect(speech.save('/nowhere/at/all.wav')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('writes the bytes of toWav, and nothing else', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
    try {
      const { tts } = fakeMetaVoice(new FakeModel(1000));
      const speech = await tts.synthesize('hello');
      await speech.save(join(folder, 'a.wav'));
      expect(new Uint8Array(await readFile(join(folder, 'a.wav')))).toEqual(speech.toWav());
      expect(await readdir(folder)).toEqual(['a.wav']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

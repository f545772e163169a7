import { describe, expect, it, test } from 'vitest';
import { Enhancement } from '../../../dist/stream/enhancement.js';
import { fakeEnhancer as enhancer, fakeManifest, fakeMetaVoice } from '../fake-metavoice.js';
import { FakeModel, nativeError } from '../fake-native.js';

const joined = (pieces: Float32Array[]) => pieces.flatMap((piece) => [...piece]);

describe('the enhancement of a speech', () => {
  it('hands on what it knows, and the rest at the end', async () => {
    const enhancement = new Enhancement(() => new FakeModel().enhancer());
    const pieces = [
      await enhancement.convert(Float32Array.of(1, 2), false),
      await enhancement.convert(new Float32Array(0), false),
      await enhancement.convert(Float32Array.of(3), true),
    ];
    expect(pieces.map((piece) => [...piece])).toEqual([[1, 1], [], [2, 2, 3, 3]]);
  });

  it('that is none changes nothing', async () => {
    const samples = Float32Array.of(1, 2);
    expect(await new Enhancement(() => null).convert(samples, true)).toBe(samples);
  });
});

describe('a speech', () => {
  test.each([
    ['where the model has an enhancer', { enhancer }, undefined, 48000, 'the model has an enhancer'],
    ['unless it is not wanted', { enhancer }, false, 24000, 'it was switched off'],
    ['as it is asked for', { enhancer }, true, 48000, 'it was asked for'],
    ['not where the model has none', {}, 'auto' as const, 24000, 'the model has no enhancer'],
  ])('is enhanced, %s', async (_, manifest, enhance, rate, reason) => {
    const { tts } = fakeMetaVoice(new FakeModel(100), manifest);
    const options = { seed: 1, ...(enhance !== undefined && { enhance }) };
    const stream = tts.stream('Hello there.', options);
    const enhanced = rate === 48000;
    expect(stream.enhancement).toEqual({ enhanced, reason });
    const speech = await stream.collect();
    expect(speech.sampleRate).toBe(rate);
    expect(speech).toMatchObject({ enhanced, enhancedReason: reason });
    // The fake takes five milliseconds for each of its chunks.
    expect(speech.timings.enhancer).toBe(enhanced ? 5 * 3 : 0);
    if (enhance !== false) expect(tts.sampleRate).toBe(rate);
    expect(speech.samples).toHaveLength((100 * 320 * rate) / 24000);
    expect(speech.durationSeconds).toBeCloseTo(100 / 75, 9);
  });

  it('in chunks is the speech, each where the one before ended', async () => {
    const { tts } = fakeMetaVoice(new FakeModel(100), { enhancer });
    const options = { seed: 1, enhance: true };
    const plain = await tts.synthesize('One.\n\nTwo.', { ...options, enhance: false });
    const whole = await tts.synthesize('One.\n\nTwo.', options);
    const pieces: Float32Array[] = [];
    let seconds = 0;
    for await (const chunk of tts.stream('One.\n\nTwo.', options)) {
      expect(chunk.sampleRate).toBe(48000);
      expect(chunk.startSeconds).toBeCloseTo(seconds, 9);
      seconds += chunk.durationSeconds;
      pieces.push(chunk.samples);
    }
    expect(joined(pieces)).toEqual([...whole.samples]);
    // The pause between the segments is part of the speech that is enhanced.
    expect([...whole.samples].filter((_, i) => i % 2 === 0)).toEqual([...plain.samples]);
  });

  it('that the model can not enhance is refused before anything is spoken', async () => {
    const { tts, native } = fakeMetaVoice();
    expect(() => tts.stream('Hello.', { enhance: true })).toThrow(
      expect.objectContaining({
        code: 'ERR_MODEL_NOT_FOUND',
        message: expect.stringContaining('DeepFilterNet3'),
      }),
    );
    expect(native.started).toHaveLength(0);
    expect(fakeManifest().enhancer).toBeUndefined();
  });

  it('ends with the error of its enhancer, and with ERR_DISPOSED once the model is', async () => {
    const native = new FakeModel(100);
    const { tts } = fakeMetaVoice(native, { enhancer });
    native.enhancer = () => ({
      push: () => Promise.reject(nativeError('ERR_NUMERIC', 'no numbers')),
      finish: () => Promise.reject(nativeError('ERR_NUMERIC', 'no numbers')),
      spent: () => 0,
      cancel() {},
    });
    await expect(tts.synthesize('Hello.')).rejects.toMatchObject({
      name: 'MetaVoiceError',
      code: 'ERR_NUMERIC',
    });
    native.enhancer = () => ({
      push: async () => {
        await tts.dispose();
        throw nativeError('ERR_DISPOSED', 'the model was disposed');
      },
      finish: async () => new Float32Array(0),
      spent: () => 0,
      cancel() {},
    });
    await expect(tts.synthesize('Hello.')).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  });

  it('that is left while it is enhanced ends with the reason of the signal', async () => {
    const native = new FakeModel(100);
    const { tts } = fakeMetaVoice(native, { enhancer });
    const control = new AbortController();
    const reason = new Error('enough');
    native.enhancer = () => ({
      push: async (samples) => {
        control.abort(reason);
        return samples;
      },
      finish: async () => new Float32Array(0),
      spent: () => 0,
      cancel() {},
    });
    await expect(tts.synthesize('Hello.', { signal: control.signal })).rejects.toBe(reason);
  });

  it('does not wait for an enhancer that is busy with others when it is left', async () => {
    const native = new FakeModel(100);
    const { tts } = fakeMetaVoice(native, { enhancer });
    const control = new AbortController();
    const reason = new Error('enough');
    let stopped = false;
    native.enhancer = () => ({
      push: () => {
        setImmediate(() => control.abort(reason));
        return new Promise(() => {});
      },
      finish: () => new Promise(() => {}),
      spent: () => 0,
      cancel: () => {
        stopped = true;
      },
    });
    await expect(tts.synthesize('Hello.', { signal: control.signal })).rejects.toBe(reason);
    expect(stopped).toBe(true);
  });

  it('that is read once the model is disposed of ends with ERR_DISPOSED', async () => {
    const native = new FakeModel(100);
    const { tts } = fakeMetaVoice(native, { enhancer });
    native.enhancer = () => {
      throw nativeError('ERR_DISPOSED', 'the model was disposed');
    };
    const stream = tts.stream('Hello.');
    await tts.dispose();
    await expect(stream[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      name: 'MetaVoiceError',
      code: 'ERR_DISPOSED',
    });
  });

  it('goes on to the rate that was asked for, with the length of what was spoken', async () => {
    const native = new FakeModel(100);
    const { tts } = fakeMetaVoice(native, { enhancer });
    const spoken = await tts.synthesize('Hello.', { seed: 1, enhance: false });
    const enhanced = await tts.synthesize('Hello.', { seed: 1 });
    const phone = await tts.synthesize('Hello.', { seed: 1, sampleRate: 8000 });
    expect([spoken.sampleRate, enhanced.sampleRate, phone.sampleRate]).toEqual([24000, 48000, 8000]);
    expect(enhanced.samples).toHaveLength(2 * spoken.samples.length);
    expect(phone.samples).toHaveLength(Math.round(spoken.samples.length / 3));
    expect(phone.durationSeconds).toBeCloseTo(spoken.durationSeconds, 3);
    const chunks = [];
    for await (const chunk of tts.stream('Hello.', { seed: 1, sampleRate: 8000 })) chunks.push(chunk);
    let end = 0;
    for (const chunk of chunks) {
      expect(chunk.startSeconds).toBeCloseTo(end / 8000, 9);
      end += chunk.samples.length;
    }
    expect(Float32Array.from(chunks.flatMap(({ samples }) => [...samples]))).toEqual(phone.samples);
  });
});

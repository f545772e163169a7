import { setTimeout as wait } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { fakeManifest, fakeMetaVoice } from '../fake-metavoice.js';
import { FakeModel, nativeError } from '../fake-native.js';

it('is off with the EnCodec decoder unless it is asked for, and told', async () => {
  for (const quality of ['stream', 'whole'] as const)
    for (const [loudness, asked] of [
      [undefined, null],
      ['off', null],
      [-14, -14],
      [0, 0],
    ] as const) {
      const { tts, native } = fakeMetaVoice();
      const stream = tts.stream('hello', loudness === undefined ? { quality } : { quality, loudness });
      expect(stream.loudness).toBe(asked ?? 'off');
      const speech = await stream.collect();
      expect(speech.loudness).toBe(asked ?? 'off');
      // A whole segment gets a gain of its own; in chunks all of the speech has one that runs, from the first 19 frames on.
      const whole = quality === 'whole' ? asked : null;
      expect(native.started.at(-1)?.request.loudness).toBe(whole);
      expect(native.levelled).toEqual(asked === null || whole !== null ? [] : [[asked, 19 * 320]]);
    }
});

const long = 'One is here.\n\nTwo is there.\n\nThree is gone.\n\nFour is back.';
const options = { seed: 3, loudness: -14, check: 'off' } as const;

it('runs through the segments in the order in which they are heard, whichever was computed first', async () => {
  const spoken = async (batchSize: number, hurry: number) => {
    const native = new FakeModel(90);
    const { tts } = fakeMetaVoice(native, {}, {}, batchSize);
    native.pace = () => wait(hurry * Math.random());
    return { speech: await tts.synthesize(long, options), native };
  };
  const alone = await spoken(1, 0);
  expect(alone.native.started.length).toBeGreaterThan(1);
  expect(alone.native.levelled).toHaveLength(1);
  for (let round = 0; round < 4; round++) {
    const { speech } = await spoken(4, 8);
    expect(speech.samples).toEqual(alone.speech.samples);
  }
});

it('goes on from segment to segment, hears no pause, and no more than is handed out', async () => {
  const { tts, native } = fakeMetaVoice(new FakeModel(90));
  const chunks = [];
  for await (const chunk of tts.stream(long, { ...options, maxSeconds: 2 })) chunks.push(chunk);
  const plain = await tts.synthesize(long, { ...options, loudness: 'off', maxSeconds: 2 });
  const levelled = chunks.flatMap(({ samples }) => [...samples]);
  expect(levelled).toHaveLength(plain.samples.length);
  const frames = chunks.reduce((sum, { codes }) => sum + codes.frames, 0);
  expect(frames).toBeLessThan(native.started.length * 90);
  // The gain of the fake tells how many samples came before, all of them spoken ones.
  let spoken = 0;
  let compared = 0;
  let at = 0;
  for (const { codes, samples } of chunks) {
    for (let i = 0; i < codes.frames * 320; i++) {
      const [found, wanted] = [levelled[at + i]!, plain.samples[at + i]! / (1 + (spoken + i) / 24_000)];
      compared++;
      expect(Math.abs(found - wanted)).toBeLessThan(1e-6);
    }
    spoken += codes.frames * 320;
    at += samples.length;
  }
  expect(compared).toBe(frames * 320);
});

it('fails with the error of its leveller, and does not wait for one that is busy when it is left', async () => {
  const { tts, native } = fakeMetaVoice(new FakeModel(90));
  native.leveller = () => ({ push: () => Promise.reject(nativeError('ERR_OUT_OF_MEMORY', 'no memory')) });
  await expect(tts.synthesize('hello', options)).rejects.toMatchObject({
    name: 'MetaVoiceError',
    code: 'ERR_OUT_OF_MEMORY',
  });
  const control = new AbortController();
  const reason = new Error('enough');
  native.leveller = () => ({
    push: () => {
      setImmediate(() => control.abort(reason));
      return new Promise(() => {});
    },
  });
  await expect(tts.synthesize('hello', { ...options, signal: control.signal })).rejects.toBe(reason);
});

it('is refused for a model whose rate is too low to measure it', () => {
  const codec = { ...fakeManifest().codec!, sampleRate: 3999 };
  const { tts } = fakeMetaVoice(new FakeModel(), { codec });
  expect(() => tts.stream('hello', { loudness: -14, chunkSeconds: { first: 1 } })).toThrow(
    expect.objectContaining({ code: 'ERR_UNSUPPORTED', message: expect.stringMatching(/4000 Hz or more/) }),
  );
  expect(() => tts.stream('hello', { loudness: 'off', chunkSeconds: { first: 1 } })).not.toThrow();
});

import { expect, it } from 'vitest';
import { fakeManifest, fakeMetaVoice } from '../fake-metavoice.js';
import { FakeModel } from '../fake-native.js';

it('is off with the EnCodec decoder unless it is asked for, and told', async () => {
  const { tts, native } = fakeMetaVoice();
  for (const [loudness, asked] of [
    [undefined, null],
    ['off', null],
    [-14, -14],
    [0, 0],
  ] as const) {
    const stream = tts.stream('hello', loudness === undefined ? {} : { loudness });
    expect(stream.loudness).toBe(asked ?? 'off');
    const speech = await stream.collect();
    expect(speech.loudness).toBe(asked ?? 'off');
    expect(native.started.at(-1)?.request.loudness).toBe(asked);
  }
});

it('is refused for a model whose rate is too low to measure it', () => {
  const codec = { ...fakeManifest().codec!, sampleRate: 3999 };
  const { tts } = fakeMetaVoice(new FakeModel(), { codec });
  expect(() => tts.stream('hello', { loudness: -14, chunkSeconds: { first: 1 } })).toThrow(
    expect.objectContaining({ code: 'ERR_UNSUPPORTED', message: expect.stringMatching(/4000 Hz or more/) }),
  );
  expect(() => tts.stream('hello', { loudness: 'off', chunkSeconds: { first: 1 } })).not.toThrow();
});

/** Recordings that nobody means, through `voice()` and the real speaker encoder. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MetaVoice } from '../../dist/index.js';
import { toneAndPauses, wavFile } from './audio/wav-file.js';
import { fixture } from './fixtures.js';

const folder = mkdtempSync(join(tmpdir(), 'metavoice-recordings-'));
let tts: MetaVoice;
beforeAll(async () => {
  tts = await MetaVoice.load({ model: fixture('model'), device: 'cpu', dtype: 'float32' });
});
afterAll(async () => {
  await tts.dispose();
  rmSync(folder, { recursive: true });
});

let count = 0;
function file(bytes: Uint8Array): string {
  const path = join(folder, `${count++}.wav`);
  writeFileSync(path, bytes);
  return path;
}

const rate = 16_000;
const speech = (seconds: number) => toneAndPauses(seconds, rate);
const samples = (values: Float32Array, sampleRate = rate) => ({ samples: values, sampleRate });
const pcm = (values: Float32Array): Uint8Array =>
  new Uint8Array(Int16Array.from(values, (value) => Math.round(32767 * value)).buffer);
const withOne = (value: number): Float32Array => speech(4).fill(value, 31_000, 31_001);

describe('a recording is refused', () => {
  test.each<[string, () => Parameters<MetaVoice['voice']>[0], RegExp, object?]>([
    ['silence', () => samples(new Float32Array(64_000)), /silence/, { seconds: 0, needed: 1.6 }],
    ['a whisper of the last bit', () => samples(new Float32Array(64_000).fill(2e-6)), /silence/],
    ['silence in a file', () => file(wavFile({ data: new Uint8Array(64_000), sampleRate: rate })), /silence/],
    ['denormal numbers', () => samples(new Float32Array(64_000).fill(1e-40)), /silence/],
    ['no sample', () => samples(new Float32Array(0)), /no samples/],
    ['one sample', () => samples(Float32Array.of(0.5)), /1\.6/, { needed: 1.6 }],
    ['a second and a half', () => samples(speech(1.5)), /1\.6/, { seconds: 1.5, needed: 1.6 }],
    ['one click in silence', () => samples(new Float32Array(64_000).fill(1, 32_000, 32_001)), /1\.6|silence/],
    ['NaN', () => samples(withOne(Number.NaN)), /NaN instead of a number at sample 31000/],
    ['Infinity', () => samples(withOne(Infinity)), /Infinity instead of a number at sample 31000/],
    ['-Infinity', () => samples(withOne(-Infinity)), /-Infinity instead/],
    ['1 Hz', () => file(wavFile({ data: pcm(speech(4)), sampleRate: 1 })), /a sample rate of 1 Hz/],
    ['10 MHz', () => file(wavFile({ data: pcm(speech(4)), sampleRate: 10_000_000 })), /rate of 10000000 Hz/],
    [
      'as loud as numbers are',
      () => samples(speech(4).map((x) => 1e38 * x)),
      /as large as .*within \[-1, 1\]/,
    ],
    ['2 GHz', () => file(wavFile({ data: pcm(speech(4)), sampleRate: 2 ** 31 - 1 })), /rate of 2147483647/],
    ['no channel', () => file(wavFile({ data: pcm(speech(4)), channels: 0, frameBytes: 2 })), /0 channels/],
    ['65 channels', () => file(wavFile({ data: pcm(speech(9)), channels: 65 })), /65 channels/],
    ['0 bits', () => file(wavFile({ data: pcm(speech(4)), bits: 0, frameBytes: 2 })), /0-bit/],
    ['65535 bits', () => file(wavFile({ data: pcm(speech(4)), bits: 65_535, frameBytes: 2 })), /65535-bit/],
    [
      'a part of four gigabytes before the samples',
      () =>
        file(
          wavFile({
            data: pcm(speech(4)),
            sampleRate: rate,
            between: [['LIST', new Uint8Array(4), 2 ** 32 - 1]],
          }),
        ),
      /cut off in its part "LIST"/,
    ],
    [
      'a header without samples',
      () => file(wavFile({ data: new Uint8Array(), dataSize: 2 ** 32 - 1 })),
      /without samples/,
    ],
    [
      'half a header',
      () => file(wavFile({ data: pcm(speech(4)) }).subarray(0, 30)),
      /cut off|without a format/,
    ],
  ])('%s', async (_, source, message, details = {}) => {
    await expect(tts.voice(source())).rejects.toMatchObject({
      code: 'ERR_REFERENCE_AUDIO',
      message: expect.stringMatching(message),
      details,
    });
  });

  test('at a rate that nothing is recorded at, as an option', async () => {
    for (const sampleRate of [1, 999, 768_001, 10_000_000])
      await expect(tts.voice(samples(speech(4), sampleRate))).rejects.toThrow(/`voice.sampleRate`/);
  });
});

describe('a recording is taken', () => {
  test.each<[string, () => Parameters<MetaVoice['voice']>[0]]>([
    ['of 1.7 s', () => samples(speech(1.7))],
    [
      'of 8 bits',
      () =>
        file(wavFile({ data: Uint8Array.from(speech(4), (x) => 128 + 127 * x), bits: 8, sampleRate: rate })),
    ],
    ['at 1 kHz, the lowest rate', () => samples(toneAndPauses(4, 1_000), 1_000)],
    ['at 768 kHz, the highest', () => samples(toneAndPauses(2, 768_000), 768_000)],
    ['at a rate without common divisors', () => samples(toneAndPauses(4, 44_101), 44_101)],
    [
      'of 64 channels',
      () =>
        file(
          wavFile({
            data: pcm(
              Float32Array.from({ length: 64 * 32_000 }, (_, i) => 0.3 * Math.sin(Math.floor(i / 64) * 0.05)),
            ),
            channels: 64,
            sampleRate: rate,
          }),
        ),
    ],
    [
      'that says it has four gigabytes',
      () =>
        file(
          wavFile({ data: pcm(speech(4)), sampleRate: rate, dataSize: 2 ** 32 - 2, riffSize: 2 ** 32 - 1 }),
        ),
    ],
    ['far too loud', () => samples(speech(4).map((x) => 1e6 * x))],
    ['of integers that were taken for floats', () => samples(speech(4).map((x) => 2 ** 31 * x))],
    ['with an offset', () => samples(speech(4).map((x) => 0.5 + x / 2))],
    ['of a square wave', () => samples(speech(4).map((x) => Math.sign(x)))],
  ])('%s', async (_, source) => {
    const voice = await tts.voice(source());
    expect(voice.embedding.every(Number.isFinite)).toBe(true);
    expect(Math.hypot(...voice.embedding)).toBeCloseTo(1, 4);
  });
});

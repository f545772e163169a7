import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decodeAudio } from '../../../dist/audio/decode.js';
import { encodeWav, wavHeader } from '../../../dist/audio/wav.js';
import { wavFile } from './wav-file.js';

const fixture = (name: string): string => fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url));
const bria = fixture('voices/bria.mp3');

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-audio-'));
});
afterAll(() => rm(folder, { recursive: true }));

interface Refusal {
  code: string;
  message: string;
  details: { file: string | null; found: string; accepted: string[] };
}

const refusalOf = (source: string | Uint8Array): Promise<Refusal> =>
  decodeAudio(source).then(
    () => {
      throw new Error('expected a refusal');
    },
    (error: Refusal) => error,
  );

/** Level of a frequency in the middle of a signal. */
function levelAt(samples: Float32Array, sampleRate: number, hertz: number): number {
  const start = Math.floor(samples.length / 4);
  const length = Math.floor(samples.length / 2);
  let re = 0;
  let im = 0;
  for (let n = 0; n < length; n++) {
    const window = 1 - Math.cos((2 * Math.PI * n) / length);
    re += window * samples[start + n]! * Math.cos((2 * Math.PI * hertz * n) / sampleRate);
    im += window * samples[start + n]! * Math.sin((2 * Math.PI * hertz * n) / sampleRate);
  }
  return (2 * Math.hypot(re, im)) / length;
}

describe('what is refused', () => {
  test('a message names the file, what was found and what is accepted', async () => {
    const path = join(folder, 'note.mp3');
    await writeFile(path, 'These are words.');
    const error = await refusalOf(path);
    expect(error.code).toBe('ERR_REFERENCE_AUDIO');
    expect(error.message).toBe(
      `expected a WAV, FLAC, MP3, OGG Vorbis or OGG Opus recording at "${path}" but found a text file; ` +
        'give another recording, or convert this one',
    );
    expect(error.details).toEqual({
      file: path,
      found: 'a text file',
      accepted: ['wav', 'flac', 'mp3', 'ogg-vorbis', 'ogg-opus'],
    });
  });

  test('what is no source is a TypeError', async () => {
    await expect(decodeAudio(7 as never)).rejects.toThrow(TypeError);
  });

  test.each([
    ['no such file', () => join(folder, 'absent.wav')],
    ['a folder', () => folder],
    ['an empty file', () => new Uint8Array()],
    ['a zip file', () => fixture('model/first_stage.pt')],
    ['an MP4 or M4A file (AAC)', () => new Uint8Array(Buffer.from('\0\0\0\x20ftypM4A \0\0\0\0'))],
    ['an HTML or XML page', () => new Uint8Array(Buffer.from('<!doctype html><html>'))],
    ['no audio', () => Uint8Array.from({ length: 5000 }, (_, index) => (index * 37) % 251)],
  ])('%s', async (found, source) => {
    expect((await refusalOf(source())).details.found).toBe(found);
  });

  test.each([
    ['flac.flac', /cut off|without samples|damaged/],
    ['lame.mp3', /cut off/],
    ['vorbis.ogg', /cut off/],
    ['opus.ogg', /cut off/],
  ])('%s cut off in the middle', async (name, found) => {
    const bytes = await readFile(fixture(`audio/${name}`));
    const error = await refusalOf(new Uint8Array(bytes.subarray(0, bytes.length * 0.45)));
    expect(error.code).toBe('ERR_REFERENCE_AUDIO');
    expect(error.details.found).toMatch(found);
  });

  const data = new Uint8Array(64);
  test.each([
    ['no channels', wavFile({ data, channels: 0, frameBytes: 2 }), '0 channels'],
    ['no rate', wavFile({ data, sampleRate: 0 }), 'sample rate of 0 Hz'],
    ['frames of another size', wavFile({ data, frameBytes: 3 }), 'frames of 3 bytes instead of 2'],
    ['12-bit floats', wavFile({ data, tag: 3, bits: 16 }), '16-bit floats'],
    ['ADPCM', wavFile({ data, tag: 2, bits: 4, frameBytes: 1 }), 'Microsoft ADPCM'],
    ['no samples', wavFile({ data: new Uint8Array() }), 'without samples'],
    [
      'a part larger than the file',
      wavFile({ data, between: [['LIST', data, 1e9]] }),
      'cut off in its part "LIST"',
    ],
    ['a header alone', wavFile({ data }).subarray(0, 20), 'cut off'],
    [
      'samples that are no numbers',
      wavFile({ data: new Uint8Array(64).fill(255), tag: 3, bits: 32 }),
      'NaN instead',
    ],
  ])('a WAV file with %s', async (_, bytes, found) => {
    expect((await refusalOf(bytes)).details.found).toContain(found);
  });

  test('a recording of more than half an hour', async () => {
    const frames = 30 * 60 * 48_000 + 1;
    const bytes = new Uint8Array(44 + frames);
    bytes.set(wavFile({ data: new Uint8Array(), bits: 8, dataSize: frames }));
    expect((await refusalOf(bytes)).message).toContain('30 minutes');
  });

  test('an aborted call rejects with the reason of the signal', async () => {
    const reason = new Error('no longer needed');
    await expect(decodeAudio(bria, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const pending = decodeAudio(bria, { signal: controller.signal });
    setTimeout(() => controller.abort(reason), 20);
    await expect(pending).rejects.toBe(reason);
  });
});

describe('formats', () => {
  test.each([
    ['pcm16.wav', 'wav', 5512, 22_050, 2],
    ['pcm24.wav', 'wav', 5512, 22_050, 1],
    ['flac.flac', 'flac', 5512, 22_050, 2],
    ['flac.ogg', 'flac', 5512, 22_050, 2],
    ['lame.mp3', 'mp3', 5512, 22_050, 2],
    ['plain.mp3', 'mp3', 6912, 22_050, 1], // no tag: the encoder's delay and padding stay
    ['vorbis.ogg', 'ogg-vorbis', 5512, 22_050, 2],
    ['opus.ogg', 'ogg-opus', 11_999, 48_000, 2],
  ])(
    '%s has its samples, mixed to the mean of the channels',
    async (name, format, length, sampleRate, channels) => {
      const audio = await decodeAudio(fixture(`audio/${name}`));
      expect(audio).toMatchObject({ format, sampleRate, channels });
      expect(audio.samples.length).toBe(length);
      for (const hertz of [440, 660]) expect(levelAt(audio.samples, sampleRate, hertz)).toBeCloseTo(0.2, 1.5);
      expect(levelAt(audio.samples, sampleRate, 1500)).toBeLessThan(0.01);
    },
  );

  test.each(['alaw.wav', 'ulaw.wav'])('%s is expanded', async (name) => {
    const { samples, sampleRate } = await decodeAudio(fixture(`audio/${name}`));
    const amplitude = Math.max(...samples);
    expect([samples.length, sampleRate]).toEqual([2000, 8000]);
    expect(amplitude).toBeGreaterThan(0.38);
    expect(levelAt(samples, sampleRate, 440)).toBeCloseTo(0.4, 1.5);
  });

  test('FLAC holds the very samples of the WAV file that it was made of', async () => {
    const [wav, flac] = await Promise.all(
      ['pcm16.wav', 'flac.flac'].map((name) => decodeAudio(fixture(`audio/${name}`))),
    );
    expect(flac!.samples).toEqual(wav!.samples);
  });

  test('the MP3 of a voice is as long as libsndfile and mpg123 find it', async () => {
    const { samples, ...facts } = await decodeAudio(bria);
    expect(samples.length).toBe(1_977_984);
    expect(facts).toEqual({ sampleRate: 44_100, channels: 1, format: 'mp3' });
    expect(samples.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0)).toBeCloseTo(0.756689, 5);
  });

  test('an MP3 behind a tag and some garbage is found', async () => {
    const tag = Buffer.from([...Buffer.from('ID3'), 4, 0, 0, 0, 0, 1, 0, ...new Uint8Array(128), 0, 1, 2]);
    const bytes = Buffer.concat([tag, await readFile(fixture('audio/lame.mp3'))]);
    expect((await decodeAudio(new Uint8Array(bytes))).samples.length).toBe(5512);
  });
});

describe('WAV', () => {
  const values = [0, 0.5, -0.5, -1];
  const bytesOf = (array: { buffer: ArrayBufferLike }): Uint8Array =>
    new Uint8Array(array.buffer as ArrayBuffer);

  test.each([
    ['8-bit', { bits: 8, data: Uint8Array.of(128, 192, 64, 0) }],
    ['16-bit', { bits: 16, data: bytesOf(Int16Array.from(values, (value) => value * 2 ** 15)) }],
    ['24-bit', { bits: 24, data: Uint8Array.of(0, 0, 0, 0, 0, 0x40, 0, 0, 0xc0, 0, 0, 0x80) }],
    ['32-bit', { bits: 32, data: bytesOf(Int32Array.from(values, (value) => value * 2 ** 31)) }],
    ['float', { tag: 3, bits: 32, data: bytesOf(Float32Array.from(values)) }],
    ['double', { tag: 3, bits: 64, data: bytesOf(Float64Array.from(values)) }],
  ])('%s samples', async (_, parts) => {
    expect([...(await decodeAudio(wavFile(parts))).samples]).toEqual(values);
  });

  const data = bytesOf(Int16Array.of(16384, -16384));

  test('channels are averaged', async () => {
    expect([...(await decodeAudio(wavFile({ data, channels: 2 }))).samples]).toEqual([0]);
  });

  test('parts of odd length are followed by a byte of padding', async () => {
    const bytes = wavFile({ data, between: [['junk', Uint8Array.of(1, 2, 3)]] });
    expect([...(await decodeAudio(bytes)).samples]).toEqual([0.5, -0.5]);
  });

  test.each([0xffffffff, 0, 1e9, 5])('a stream that says %d bytes is read to its end', async (dataSize) => {
    const bytes = wavFile({ data, dataSize, riffSize: 0xffffffff });
    expect([...(await decodeAudio(bytes)).samples]).toEqual([0.5, -0.5]);
  });

  test('a header of ours for a stream is understood', async () => {
    const bytes = Buffer.concat([wavHeader(24_000, null), data]);
    expect(await decodeAudio(new Uint8Array(bytes))).toMatchObject({
      sampleRate: 24_000,
      samples: { length: 2 },
    });
  });

  test('RF64 takes its size from its own part', async () => {
    const sizes = new Uint8Array(28);
    new DataView(sizes.buffer).setBigUint64(8, 2n, true);
    const bytes = wavFile({
      data,
      riff: 'RF64',
      riffSize: 0xffffffff,
      dataSize: 0xffffffff,
      between: [['ds64', sizes]],
    });
    expect([...(await decodeAudio(bytes)).samples]).toEqual([0.5]);
  });

  test('what was written is read back', async () => {
    const samples = Float32Array.from({ length: 100 }, (_, index) => Math.sin(index));
    const back = (await decodeAudio(encodeWav(samples, 24_000))).samples;
    for (let index = 0; index < 100; index++) expect(back[index]).toBeCloseTo(samples[index]!, 3);
  });

  test("the caller's bytes stay as they are", async () => {
    const bytes = wavFile({ data });
    const before = bytes.slice();
    await decodeAudio(bytes);
    expect(bytes).toEqual(before);
  });
});

test('decoding leaves the event loop free', async () => {
  await decodeAudio(fixture('audio/lame.mp3'));
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await decodeAudio(bria);
  delay.disable();
  // On this thread it would take a few hundred milliseconds at a stretch.
  expect(delay.max / 1e6).toBeLessThan(100);
  expect(delay.percentile(90) / 1e6).toBeLessThan(20);
});

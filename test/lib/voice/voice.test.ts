import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeWav } from '../../../dist/audio/wav.js';
import { VoiceCache } from '../../../dist/voice/cache.js';
import { createVoice, type VoiceContext } from '../../../dist/voice/create.js';
import { Voice } from '../../../dist/voice/voice.js';
import { toneAndPauses } from '../audio/wav-file.js';

const bria = fileURLToPath(new URL('../../fixtures/voices/bria.mp3', import.meta.url));
const encoderDigest = 'encoder-1';
const embedding = Float32Array.from({ length: 256 }, (_, index) => Math.fround(Math.sin(index + 1)));
const refused = expect.objectContaining({ code: 'ERR_REFERENCE_AUDIO' });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-voice-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** A speaker encoder that keeps everything, and counts its calls. */
function context(options: Partial<VoiceContext> = {}): VoiceContext & { calls: number } {
  const fake = {
    calls: 0,
    encoderDigest,
    cacheDirectory: null,
    async embed(samples: Float32Array, sampleRate: number) {
      fake.calls += 1;
      const samples16k = Math.ceil((samples.length * 16_000) / sampleRate);
      return { embedding, trim: [0, samples16k] as [number, number], samples16k };
    },
    ...options,
  };
  return fake;
}

const speech = (seconds: number) => ({ samples: toneAndPauses(seconds, 16_000), sampleRate: 16_000 });

describe('what is refused', () => {
  test('a source that is none', async () => {
    for (const source of [7, null, '', { file: '' }, { file: 7 }, { samples: [1], sampleRate: 16_000 }])
      await expect(createVoice(source as never, context())).rejects.toThrow(TypeError);
    const samples = new Float32Array(10);
    for (const sampleRate of [0, 16_000.5, 1e9, Number.NaN])
      await expect(createVoice({ samples, sampleRate }, context())).rejects.toThrow(RangeError);
  });

  test('a recording that is too short, with the seconds found and needed', async () => {
    await expect(createVoice(speech(1.5), context())).rejects.toThrow(
      expect.objectContaining({
        code: 'ERR_REFERENCE_AUDIO',
        details: { file: null, seconds: 1.5, needed: 1.6 },
      }),
    );
  });

  test('a recording of which too little is left after the trim', async () => {
    const embed = async () => ({ embedding, trim: [1000, 17_000] as [number, number], samples16k: 80_000 });
    await expect(createVoice(speech(5), context({ embed }))).rejects.toThrow(
      /at least 1.6 s .* speech of 1.00 s/,
    );
  });

  test('silence, numbers that are none, and no samples', async () => {
    const sampleRate = 16_000;
    await expect(createVoice({ samples: new Float32Array(80_000), sampleRate }, context())).rejects.toThrow(
      /silence/,
    );
    const samples = new Float32Array(80_000);
    samples[7] = Number.NaN;
    await expect(createVoice({ samples, sampleRate }, context())).rejects.toThrow(/NaN .* at sample 7/);
    await expect(createVoice({ samples: new Float32Array(), sampleRate }, context())).rejects.toThrow(
      refused,
    );
  });

  test('a file that is not there, or no audio', async () => {
    await expect(createVoice(join(folder, 'absent.wav'), context())).rejects.toThrow(refused);
    await expect(createVoice({ file: folder }, context())).rejects.toThrow(/found a folder/);
    const path = join(folder, 'other.json');
    await writeFile(path, '{"some": "thing"}');
    await expect(createVoice(path, context())).rejects.toThrow(/"format": "metavoice-voice"/);
  });

  test('the saved voice of another encoder', async () => {
    const path = join(folder, 'foreign.json');
    await Voice.fromEmbedding(embedding, 'encoder-2').save(path);
    await expect(createVoice(path, context())).rejects.toThrow(/encoder-1.*encoder-2.*make the voice again/);
  });

  test('an embedding that is no direction', async () => {
    expect(() => Voice.fromEmbedding(new Float32Array(4), encoderDigest)).toThrow(
      expect.objectContaining({ code: 'ERR_NUMERIC' }),
    );
  });

  test('an aborted call, with the reason of the signal', async () => {
    const reason = new Error('enough');
    await expect(createVoice(bria, context({ signal: AbortSignal.abort(reason) }))).rejects.toBe(reason);
    const controller = new AbortController();
    const embed = () => {
      setTimeout(() => controller.abort(reason), 5);
      return new Promise<never>(() => {});
    };
    await expect(createVoice(speech(3), context({ embed, signal: controller.signal }))).rejects.toBe(reason);
  });

  test.each([
    ['no JSON', () => '{"format": '],
    ['another version', (file: object) => JSON.stringify({ ...file, version: 2 })],
    ['a broken id', (file: object) => JSON.stringify({ ...file, id: 'x' })],
    ['a broken embedding', (file: object) => JSON.stringify({ ...file, embedding: 'AAA' })],
    ['an embedding of zeros', (file: object) => JSON.stringify({ ...file, embedding: 'AAAAAA==' })],
    ['an embedding of no numbers', (file: object) => JSON.stringify({ ...file, embedding: 'AADAfw==' })],
    ['a quality without figures', (file: object) => JSON.stringify({ ...file, quality: { seconds: 1 } })],
    ['no encoder', (file: object) => JSON.stringify({ ...file, encoder: '' })],
  ])('a voice file with %s', async (_, write) => {
    const path = join(folder, 'broken.json');
    await writeFile(path, write(Voice.fromEmbedding(embedding, encoderDigest).toJSON()));
    await expect(Voice.load(path)).rejects.toThrow(refused);
  });

  test('a voice file that is not there', async () => {
    await expect(Voice.load(join(folder, 'absent.json'))).rejects.toThrow(refused);
    await expect(Voice.load('')).rejects.toThrow(TypeError);
  });
});

describe('a voice', () => {
  test('is made of a recording, with its quality', async () => {
    const voice = await createVoice(bria, context());
    expect(voice.embedding).toEqual(embedding);
    expect(voice.id).toMatch(/^[0-9a-f]{32}$/);
    expect(voice.warnings).toEqual([]);
    expect(voice.quality!.seconds).toBeCloseTo(44.852, 3);
    expect(voice.quality!.speechSeconds).toBeGreaterThan(25);
    expect(voice.quality!.speechSeconds).toBeLessThan(40);
    expect(voice.quality!.bandwidthHertz).toBeGreaterThan(12_000);
  });

  test('has the same identity for the same content under any name, and another one otherwise', async () => {
    const path = join(folder, 'copy.mp3');
    await writeFile(path, await readFile(bria));
    const ids = await Promise.all([
      createVoice(bria, context()),
      createVoice({ file: path }, context()),
      createVoice(bria, context({ encoderDigest: 'encoder-2' })),
      createVoice(speech(3), context()),
      createVoice({ ...speech(3), sampleRate: 16_001 }, context()),
    ]).then((voices) => voices.map(({ id }) => id));
    expect(ids[0]).toBe(ids[1]);
    expect(new Set(ids).size).toBe(4);
  });

  test('cannot be changed through its embedding', async () => {
    const source = embedding.slice();
    const voice = Voice.fromEmbedding(source, encoderDigest);
    source.fill(0);
    voice.embedding.fill(0);
    expect(voice.embedding).toEqual(embedding);
    expect(() => Object.assign(voice, { id: 'x' })).toThrow(TypeError);
  });

  test('warns about what can be heard', async () => {
    const { samples, sampleRate } = speech(4);
    const loud = samples.map((sample) => Math.max(-1, Math.min(1, 8 * sample)));
    const [short, clipped, narrow] = await Promise.all([
      createVoice({ samples, sampleRate }, context()),
      createVoice({ samples: loud, sampleRate }, context()),
      createVoice(
        { samples: toneAndPauses(4, 8_000).map((s, n) => s * ((n >> 1) % 2 ? 0.9 : 1)), sampleRate: 8_000 },
        context(),
      ),
    ]);
    expect(short!.warnings).toEqual([expect.stringContaining('4.0 s; 30 s or more')]);
    expect(clipped!.warnings).toContainEqual(expect.stringContaining('clipped'));
    expect(narrow!.warnings).toContainEqual(expect.stringContaining('reaches only to'));
  });

  test('lets the caller keep the samples', async () => {
    const source = speech(3);
    const before = source.samples.slice();
    await createVoice(source, context());
    expect(source.samples).toEqual(before);
  });

  test('comes back from its file as it was', async () => {
    const path = join(folder, 'saved.json');
    const voice = await createVoice(bria, context());
    await voice.save(path);
    const loaded = await Voice.load(path);
    expect(loaded.toJSON()).toEqual(voice.toJSON());
    expect(Voice.fromJSON(JSON.parse(JSON.stringify(voice))).embedding).toEqual(embedding);
    expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    const fake = context();
    expect((await createVoice(path, fake)).id).toBe(voice.id);
    expect(fake.calls).toBe(0);
  });
});

describe('the cache', () => {
  test('spares the second embedding, by content', async () => {
    const fake = context({ cacheDirectory: join(folder, 'cache') });
    const path = join(folder, 'speech.wav');
    await writeFile(path, encodeWav(speech(3).samples, 16_000));
    const once = await createVoice(path, fake);
    const again = await createVoice({ file: path }, fake);
    expect(fake.calls).toBe(1);
    expect(again.toJSON()).toEqual(once.toJSON());
    await writeFile(path, encodeWav(speech(4).samples, 16_000));
    expect((await createVoice(path, fake)).id).not.toBe(once.id);
    expect(fake.calls).toBe(2);
  });

  test('writes a broken entry anew', async () => {
    const cacheDirectory = join(folder, 'cache-broken');
    const fake = context({ cacheDirectory });
    const voice = await createVoice(speech(3), fake);
    const entry = join(cacheDirectory, 'voices', `${voice.id}.json`);
    await writeFile(entry, '{"format":"metavoice-voice"');
    expect((await createVoice(speech(3), fake)).toJSON()).toEqual(voice.toJSON());
    expect(fake.calls).toBe(2);
    expect(JSON.parse(await readFile(entry, 'utf8'))).toEqual(voice.toJSON());
  });

  test('that cannot be written, or is switched off, costs nothing but time', async () => {
    const path = join(folder, 'not-a-folder');
    await writeFile(path, '');
    expect((await createVoice(speech(3), context({ cacheDirectory: path }))).embedding).toEqual(embedding);
    const cache = new VoiceCache(null);
    expect(await cache.put(Voice.fromEmbedding(embedding, encoderDigest))).toBe(false);
    expect(await cache.get('0'.repeat(32), encoderDigest)).toBe(null);
  });
});

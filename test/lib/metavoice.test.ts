import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { encodeWav } from '../../dist/audio/wav.js';
import { MetaVoice } from '../../dist/metavoice.js';
import { wholeText } from '../../dist/plan-text.js';
import { chunks, emptyTally } from '../../dist/stream/chunks.js';
import type { SpeechPlan } from '../../dist/stream/plan.js';
import { Voice } from '../../dist/voice/voice.js';
import { barePackage } from './bare-package.js';
import { fakeFolder, fakeManifest, fakeMetaVoice } from './fake-metavoice.js';
import { FakeModel } from './fake-native.js';

let folder: string;
let recording: string;
const tone = (seconds: number, rate = 16000) =>
  Float32Array.from({ length: seconds * rate }, (_, i) => Math.sin((i * 2 * Math.PI * 180) / rate) / 3);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
  process.env.XDG_CACHE_HOME = join(folder, 'cache');
  recording = join(folder, 'voice.wav');
  await writeFile(recording, encodeWav(tone(4), 16000));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const code = (expected: string) => expect.objectContaining({ code: expected });

describe('MetaVoice refuses', () => {
  test.each([
    [undefined, TypeError, /a string or an iterable of strings for `text` but received undefined/],
    [7, TypeError, /`text`/],
    [{ text: 'x' }, TypeError, /`text`/],
  ])('the text %j', async (text, kind, message) => {
    const { tts } = fakeMetaVoice();
    expect(() => tts.stream(text as never)).toThrow(kind);
    await expect(tts.synthesize(text as never)).rejects.toThrow(message);
  });

  it('texts with nothing to speak, unknown letters, the special token', () => {
    const { tts } = fakeMetaVoice();
    for (const text of ['', '  ', '**', 'привет', 'a <|endoftext|> b'])
      expect(() => tts.stream(text)).toThrow(code('ERR_TEXT'));
  });

  it('a word that leaves the window no room, at once even when it is huge', () => {
    const { tts } = fakeMetaVoice();
    // 1,024 columns less the closing one, 150 frames of the largest chunk and 16 of look-ahead; the last id is end of text.
    const limit = 1024 - 1 - 150 - 16;
    const words = (count: number) => Array.from({ length: count }, () => '?;').join('');
    expect(() => tts.stream(words(limit))).toThrow(code('ERR_TEXT_TOO_LONG'));
    expect(() => tts.stream('a'.repeat(200))).not.toThrow();
    const refusal = (letters: number) => {
      const word = 'abc'.repeat(letters / 3);
      const before = performance.now();
      expect(() => tts.stream(word)).toThrow(code('ERR_TEXT_TOO_LONG'));
      return performance.now() - before;
    };
    const fastest = (letters: number) => Math.min(...[1, 2, 3].map(() => refusal(letters)));
    // Where every pair of its letters were looked at, ten times the letters would take a hundred times as long.
    expect(fastest(600_000)).toBeLessThan(40 * fastest(60_000));
  });

  it('a model without a part that speaks, naming part and file', () => {
    expect(() => fakeMetaVoice(new FakeModel(), { codec: null })).toThrow(
      /EnCodec codec.*encodec_24khz\*\.th/,
    );
    expect(() => fakeMetaVoice(new FakeModel(), { firstStage: null })).toThrow(/first_stage\.pt/);
    expect(() => fakeMetaVoice(new FakeModel(), { secondStage: null })).toThrow(code('ERR_MODEL_NOT_FOUND'));
  });

  it('to speak without a voice where the model ships none', () => {
    const { tts } = fakeMetaVoice(new FakeModel(), { speakers: [] });
    expect(() => tts.stream('hello')).toThrow(code('ERR_VOICE_REQUIRED'));
    expect(() => tts.stream('hello', { voice: { speaker: 'ada' } })).toThrow(code('ERR_VOICE_REQUIRED'));
  });

  it('an unknown speaker, with the known ones', async () => {
    const { tts } = fakeMetaVoice();
    expect(() => tts.stream('hello', { voice: { speaker: 'eve' } })).toThrow(
      /one of 'ada', 'bert' for `voice.speaker` but received "eve"/,
    );
    await expect(tts.voice({ speaker: 'eve' })).rejects.toThrow(RangeError);
  });

  it('an embedding of another size', () => {
    const { tts } = fakeMetaVoice();
    const voice = Voice.fromEmbedding(new Float32Array(256).fill(1), 'other');
    expect(() => tts.stream('hello', { voice })).toThrow(/an embedding of 4 numbers/);
  });

  it('a voice of another speaker encoder, when it is pulled', async () => {
    const { tts } = fakeMetaVoice();
    const stranger = Voice.fromEmbedding(new Float32Array(4).fill(0.5), 'other');
    const refusal = { code: 'ERR_REFERENCE_AUDIO', details: { found: 'other' } };
    await expect(tts.synthesize('hi', { voice: stranger })).rejects.toMatchObject(refusal);
    await expect(tts.voice(stranger)).rejects.toMatchObject(refusal);
  });

  it('recordings where there is no speaker encoder', async () => {
    const { tts } = fakeMetaVoice(new FakeModel(), { speakerEncoder: null });
    expect(() => tts.stream('hello', { voice: recording })).toThrow(/speaker_encoder\.pt/);
    await expect(tts.voice(recording)).rejects.toMatchObject({ code: 'ERR_MODEL_NOT_FOUND' });
  });

  it('a recording that is not there, when it is pulled', async () => {
    const { tts, native } = fakeMetaVoice();
    await expect(tts.synthesize('hello', { voice: join(folder, 'no.wav') })).rejects.toMatchObject({
      code: 'ERR_REFERENCE_AUDIO',
    });
    expect(native.started).toHaveLength(0);
  });

  it('to be constructed', () => {
    expect(() => Reflect.construct(MetaVoice, [])).toThrow();
  });

  it('chunks that the streaming decoder cannot begin with', () => {
    const { tts } = fakeMetaVoice();
    expect(() => tts.stream('hello', { chunkSeconds: { first: 0.05 } })).toThrow(/`chunkSeconds.first`/);
  });

  it('the bundled model where it was left out, before libtorch is opened', async () => {
    const bare = barePackage(join(folder, 'bare'));
    const { MetaVoice: Bare } = (await import(bare.url('dist/index.js'))) as { MetaVoice: typeof MetaVoice };
    const before = performance.now();
    await expect(Bare.load({ model: 'bundled' })).rejects.toMatchObject({
      code: 'ERR_MODEL_NOT_FOUND',
      message: expect.stringMatching(/METAVOICE_MODEL/),
      details: { model: 'bundled', folder: bare.file('voices/bundled') },
    });
    expect(performance.now() - before).toBeLessThan(200);
  });

  it('to load when the signal has aborted', async () => {
    const reason = new Error('enough');
    await expect(MetaVoice.load({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});

describe('what the engine is asked', () => {
  it('is the whole request, with ids of both stages', async () => {
    const { tts, native } = fakeMetaVoice();
    await tts.synthesize('Hello…', {
      seed: 11,
      sampling: { topK: 5, guidance: { speaker: 2, prompt: 1.5 } },
    });
    const request = native.started[0]!.request;
    expect(request).toMatchObject({
      seed: 11,
      segment: 0,
      attempt: 0,
      sampling: {
        temperature: 1,
        topP: 0.95,
        topK: 5,
        guidance: { speaker: 2, prompt: 1.5 },
        constrain: true,
      },
      lookAhead: 16,
      whole: false,
      loudness: null,
      maximumFrames: 1024,
      waitingChunks: 2,
    });
    expect([...request.chunkEnds.slice(0, 5)]).toEqual([19, 57, 132, 282, 432]);
    expect(request.firstStageIds.at(-1)).toBe(2049 + 512);
    expect(request.secondStageIds).toEqual(request.firstStageIds.map((id) => id - 1024));
    expect([...request.speaker]).toEqual([1, 0, 0, 0]);
  });

  it('is drawn as the model advises, unless the request says otherwise', async () => {
    const sampling = { temperature: 0.7, topK: 80, guidance: 2 };
    const { tts, native } = fakeMetaVoice(new FakeModel(), { sampling });
    await tts.synthesize('Hello.');
    await tts.stream('Hello.', { sampling: { temperature: 1, guidance: { prompt: 2 } } }).collect();
    expect(native.started.map(({ request }) => request.sampling)).toEqual([
      { temperature: 0.7, topP: 0.95, topK: 80, guidance: { speaker: 2, prompt: 1 }, constrain: true },
      { temperature: 1, topP: 0.95, topK: 80, guidance: { speaker: 2, prompt: 2 }, constrain: true },
    ]);
  });

  it('is as many diffusion steps as were asked for, by default 20, or all that the networks were trained on', async () => {
    const { diffusion } = fakeManifest();
    const trained = (steps: number) => ({
      diffusion: { ...diffusion!, bands: diffusion!.bands.map((band) => ({ ...band, steps })) },
    });
    const asked = async (steps: number, options: { diffusionSteps?: number }) => {
      const native = new FakeModel(10);
      const { tts } = fakeMetaVoice(native, trained(steps));
      await tts.synthesize('Hello.', { seed: 1, decoder: 'diffusion', ...options });
      return native.started[0]!.request.diffusionSteps;
    };
    expect(await asked(1000, {})).toBe(20);
    expect(await asked(1000, { diffusionSteps: 7 })).toBe(7);
    expect(await asked(12, {})).toBe(12);
    await expect(asked(12, { diffusionSteps: 13 })).rejects.toThrow(/at most 12.* for `diffusionSteps`/);
  });

  it('is to speak segments one after another, as one speech', async () => {
    const native = new FakeModel(100);
    const plan: SpeechPlan = {
      seed: 1,
      spokenRate: 24000,
      enhancedRate: 24000,
      decoder: { decoder: 'encodec', reason: 'a test' },
      enhancement: { enhanced: false, reason: 'a test' },
      sampleRate: 24000,
      hop: 320,
      loudness: 'off',
      judged: 0,
      text: wholeText(
        ['a', 'b', 'c'].map((letter, offset) => ({
          text: letter,
          offset,
          length: 1,
          pause: 'none',
          encode: () => ({ firstStageIds: new Int32Array(1), secondStageIds: new Int32Array(1) }),
        })),
      ),
      pauseSamples: () => 0,
      concurrent: 1,
      continues: false,
      maximumFrames: 250,
      signal: null,
      onProgress: null,
      site: {},
      onRedone() {},
      onFirstAudio() {},
      requireOpen() {},
      cancelOnDispose: () => () => {},
      speaker: async () => new Float32Array(4),
      leveller: () => null,
      enhancer: () => null,
      check: 'off',
      checker: () => {
        throw new Error('expected that nobody listens');
      },
      start: ({ encode }, segment, speaker) =>
        native.start({
          ...encode(),
          context: new Uint16Array(0),
          speaker,
          seed: 1,
          segment,
          attempt: 0,
          sampling: {
            temperature: 1,
            topP: 1,
            topK: 0,
            guidance: { speaker: 1, prompt: 1 },
            constrain: true,
          },
          diffusionSteps: 0,
          chunkEnds: Int32Array.of(60, 120),
          lookAhead: 16,
          likelyFrames: 0,
          whole: false,
          loudness: null,
          maximumFrames: 250,
          waitingChunks: 2,
        }),
    };
    const tally = emptyTally();
    const seen = [];
    for await (const chunk of chunks(plan, tally, new AbortController())) seen.push(chunk);
    expect(
      seen.map(({ segment, index, firstFrame, codes, last, endReason }) => [
        segment,
        index,
        firstFrame,
        codes.frames,
        last,
        endReason,
      ]),
    ).toEqual([
      [0, 0, 0, 60, false, null],
      [0, 1, 60, 40, false, null],
      [1, 2, 100, 60, false, null],
      [1, 3, 160, 40, false, null],
      [2, 4, 200, 50, true, 'limit'],
    ]);
    expect(seen.map(({ startSeconds }) => startSeconds)).toEqual([0, 0.8, 100 / 75, 160 / 75, 200 / 75]);
    expect(tally).toMatchObject({ prefill: 3, decoder: 12, steps: 520 });
    expect(native.started.every(({ cancelled }) => cancelled === 0 || cancelled >= 1)).toBe(true);
  });
});

describe('voices', () => {
  it('of the model are found by name', async () => {
    const { tts, native } = fakeMetaVoice();
    expect(tts.speakers).toEqual(['ada', 'bert']);
    await tts.synthesize('hello', { voice: { speaker: 'bert' } });
    expect([...native.started[0]!.request.speaker]).toEqual([0, 1, 0, 0]);
    const voice = await tts.voice({ speaker: 'bert' });
    expect([...voice.embedding]).toEqual([0, 1, 0, 0]);
    await expect(tts.voice(voice)).resolves.toBe(voice);
  });

  it('of a recording are computed once, however many ask and in whatever form', async () => {
    const { tts, native } = fakeMetaVoice();
    const [one, two] = await Promise.all([tts.voice(recording), tts.voice({ file: recording })]);
    expect(one).toBe(two);
    await tts.synthesize('hello', { voice: recording, check: 'off' });
    expect(native.embeds).toBe(1);
    expect([...native.started[0]!.request.speaker]).toEqual([0.5, 0.5, 0.5, 0.5]);
  });

  it('of samples are computed from them', async () => {
    const { tts, native } = fakeMetaVoice();
    const voice = { samples: tone(3, 24000), sampleRate: 24000 };
    await tts.synthesize('hello', { voice, check: 'off' });
    expect(native.embeds).toBe(1);
  });

  it('go on for one caller when another gives up', async () => {
    const { tts } = fakeMetaVoice();
    const other = join(folder, 'other.wav');
    await writeFile(other, encodeWav(tone(5), 16000));
    const control = new AbortController();
    const left = tts.voice(other, { signal: control.signal });
    const stays = tts.voice(other, { signal: new AbortController().signal });
    const reason = new Error('enough');
    setImmediate(() => control.abort(reason));
    await expect(left).rejects.toBe(reason);
    await expect(stays).resolves.toBeInstanceOf(Voice);
  });
});

describe('dispose', () => {
  it('is idempotent, and the same as Symbol.asyncDispose', async () => {
    const { tts, native } = fakeMetaVoice();
    await Promise.all([tts.dispose(), tts.dispose(), tts[Symbol.asyncDispose]()]);
    expect(native.disposals).toBe(1);
  });

  it('refuses later use', async () => {
    const { tts } = fakeMetaVoice();
    await tts.dispose();
    expect(() => tts.stream('hello')).toThrow(code('ERR_DISPOSED'));
    await expect(tts.synthesize('hello')).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    await expect(tts.voice(recording)).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    expect(tts).toMatchObject({ device: 'cpu', dtype: 'float32', sampleRate: 24000, model: fakeFolder() });
  });

  it('ends streams in flight with ERR_DISPOSED', async () => {
    const native = new FakeModel();
    const { tts } = fakeMetaVoice(native);
    const held = tts.stream('hello')[Symbol.asyncIterator]();
    await held.next();
    const fresh = tts.stream('hello')[Symbol.asyncIterator]();
    native.stalls = true;
    const waiting = tts.synthesize('hello');
    waiting.catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 5));
    await tts.dispose();
    for (const use of [waiting, held.next(), fresh.next()])
      await expect(use).rejects.toMatchObject({ name: 'MetaVoiceError', code: 'ERR_DISPOSED' });
  });
});

describe('facts', () => {
  it('are read only', () => {
    const { tts } = fakeMetaVoice(new FakeModel(), {
      codec: { ...fakeManifest().codec!, sampleRate: 48000 },
    });
    expect(tts).toMatchObject({ reason: 'a fake', sampleRate: 48000, libtorch: { version: '0.0.0' } });
    expect(() => Object.assign(tts, { device: 'cuda:0' })).toThrow(TypeError);
  });
});

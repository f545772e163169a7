/** Every option of the public API meets every wrong value: a clean refusal or, where it is right after all, nothing. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { MetaVoice, MetaVoiceError, plan, synthesize, Voice } from '../../dist/index.js';
import { createStages } from '../../dist/open-stages.js';
import { loadKeys, speakKeys } from '../../dist/resolve-options.js';
import { decodeAudio, Stages } from '../../dist/stages.js';
import { fakeLoaded, fakeMetaVoice } from './fake-metavoice.js';
import { FakeModel } from './fake-native.js';
import { outcomeOf, theirs, whyUnclean, wrongValues } from './wrong-values.js';

const folder = mkdtempSync(join(tmpdir(), 'metavoice-wrong-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Right = readonly string[];
const numbers = ['-0', '0.5', '2^53', '1e308'];

/** Which of the values an option takes, by its path; all others are refused. */
const load: Record<string, Right> = {
  options: ['an empty object', 'an object without a prototype'],
  'options.model': ['a blank string', 'a numeral'],
  'options.download': ['true', 'false'],
  'options.device': [],
  'options.dtype': [],
  'options.quantization': [],
  'options.batchSize': [],
  'options.maxQueue': ['-0'],
  'options.maxSeconds': numbers.slice(1),
  'options.deterministic': ['true', 'false'],
  'options.libtorch': ['a blank string', 'a numeral'],
  'options.logger': [], // by its shape; below
  'options.signal': [],
  'options.onProgress': ['a function', 'a function behind a proxy that throws'],
};
const speak: Record<string, Right> = {
  options: load.options!,
  'options.voice': ['a blank string', 'a numeral'],
  'options.seed': ['-0'],
  'options.sampling': load.options!,
  'options.sampling.temperature': ['-0', '0.5'],
  'options.sampling.topP': ['-0', '0.5'],
  'options.sampling.topK': [],
  'options.sampling.guidance': ['-0', '0.5', ...load.options!],
  'options.sampling.guidance.speaker': ['-0', '0.5'],
  'options.sampling.guidance.prompt': [],
  'options.sampling.constrain': ['true', 'false'],
  'options.decoder': [],
  'options.diffusionSteps': [],
  'options.enhance': ['true', 'false'],
  'options.quality': [],
  'options.loudness': ['-1', '-0'],
  'options.sampleRate': [],
  'options.chunkSeconds': load.options!,
  'options.chunkSeconds.first': numbers.slice(1),
  'options.chunkSeconds.largest': numbers.slice(1),
  'options.pauseSeconds': load.options!,
  'options.pauseSeconds.sentence': ['-0', '0.5'],
  'options.pauseSeconds.clause': ['-0', '0.5'],
  'options.pauseSeconds.paragraph': ['-0', '0.5'],
  'options.continuity': [],
  'options.flushSeconds': ['-0', '0.5'],
  'options.check': [],
  'options.maxSeconds': numbers.slice(1),
  'options.signal': [],
  'options.onProgress': load['options.onProgress']!,
};

/** `{ sampling: { topP: value } }` for `options.sampling.topP`. */
function at(path: string, value: unknown): unknown {
  return path
    .split('.')
    .slice(1)
    .reduceRight((inner: unknown, key) => ({ [key]: inner }), value);
}

/** Refusals that mean: the option itself was right. */
const further = new Set([
  'ERR_MODEL_NOT_FOUND',
  'ERR_REFERENCE_AUDIO',
  'ERR_RUNTIME_NOT_FOUND',
  'ERR_VOICE_REQUIRED',
]);

async function judge(call: () => unknown, right: boolean): Promise<string | null> {
  const { error } = await outcomeOf(call);
  if (error === undefined) return right ? null : 'taken';
  if (!right)
    return MetaVoiceError.isInstance(error) && error.code === 'ERR_UNSUPPORTED' ? null : whyUnclean(error);
  const meets = MetaVoiceError.isInstance(error)
    ? further.has(error.code)
    : /model's window/.test(String(error));
  return meets || error === theirs ? null : `refused: ${error}`;
}

async function judgeAll(
  path: string,
  right: Right,
  call: (value: unknown) => unknown,
): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const [name, value] of wrongValues) {
    const wrong = await judge(() => call(value), right.includes(name));
    if (wrong !== null) found[`${name} for ${path}`] = wrong;
  }
  return found;
}

describe('a wrong value is refused cleanly', () => {
  const model = join(folder, 'nowhere');

  test('every option of load and of speaking has its row here', () => {
    const rows = (table: object) =>
      [...new Set(Object.keys(table).flatMap((path) => path.split('.')[1] ?? []))].sort();
    expect(rows(load)).toEqual([...loadKeys].sort());
    expect(rows(speak)).toEqual([...speakKeys].sort());
  });

  test.each(Object.entries(load))('MetaVoice.load: %s', async (path, right) => {
    const options = (value: unknown) =>
      path === 'options' || path === 'options.model'
        ? at(path, value)
        : { model, ...(at(path, value) as object) };
    // Where no model is named, the one that ships is loaded.
    const logger = path === 'options.logger' ? loggers : right;
    expect(await judgeAll(path, logger, (value) => MetaVoice.load(options(value) as never))).toEqual({});
  });

  const planned: Record<string, Right> = {
    ...Object.fromEntries(
      ['', '.model', '.dtype', '.quantization', '.batchSize', '.maxSeconds'].map((key) => [
        `options${key}`,
        load[`options${key}`]!,
      ]),
    ),
    'options.decoder': [],
    'options.device': [],
    'options.device.name': ['a blank string', 'a numeral'],
    'options.device.computeCapability': [],
    'options.device.memory': [],
  };
  test.each(Object.entries(planned))('plan: %s', async (path, right) => {
    const t4 = { name: 'Tesla T4', computeCapability: '7.5', memory: 16e9 };
    const options = (value: unknown) => {
      if (path.startsWith('options.device.')) return { device: { ...t4, [path.split('.')[2]!]: value } };
      return at(path, value);
    };
    expect(await judgeAll(path, right, (value) => void plan(options(value) as never))).toEqual({});
  });

  test.each(Object.entries(speak))('stream, synthesize: %s', async (path, right) => {
    const { tts } = fakeMetaVoice(new FakeModel(8));
    const ofTts = (value: unknown) => tts.synthesize('hi', at(path, value) as never);
    expect(await judgeAll(path, right, ofTts)).toEqual({});
    // At once, not at the first pull.
    const now = (value: unknown) => void tts.stream('hi', at(path, value) as never);
    expect(await judgeAll(path, right, now)).toEqual({});
    const shared = (value: unknown) =>
      path === 'options'
        ? synthesize('hi', value as never)
        : synthesize('hi', { model, ...(at(path, value) as object) });
    expect(await judgeAll(path, right, shared)).toEqual({});
  });

  test('the text', async () => {
    const { tts } = fakeMetaVoice(new FakeModel(8));
    const speakable = wrongValues.filter(([, value]) => typeof value !== 'string' || value.trim() !== '');
    // Iterables are not read before the first pull; then their pieces are refused.
    const iterable = ['an array', 'an array of numbers', 'a map', 'a boxed string', 'bytes', 'floats'];
    for (const [name, value] of speakable) {
      const right = name === 'a numeral' || iterable.includes(name);
      expect(await judge(() => void tts.stream(value as never), right), name).toBe(null);
      const { error } = await outcomeOf(() => tts.synthesize(value as never));
      if (name === 'a numeral' || name === 'a boxed string') expect(error, name).toBe(undefined);
      else if (name === 'an array') expect(error, name).toMatchObject({ code: 'ERR_TEXT' });
      else expect(whyUnclean(error), name).toBe(null);
    }
  });

  test('a voice, its parts and its options', async () => {
    const { tts } = fakeMetaVoice();
    const voices: [string, Right, (value: unknown) => unknown][] = [
      ['voice', ['a blank string', 'a numeral'], (value) => tts.voice(value as never)],
      ['voice.file', ['a blank string', 'a numeral'], (file) => tts.voice({ file } as never)],
      ['voice.speaker', [], (speaker) => tts.voice({ speaker } as never)],
      ['voice.samples', [], (samples) => tts.voice({ samples, sampleRate: 16_000 } as never)],
      [
        'voice.sampleRate',
        [],
        (sampleRate) => tts.voice({ samples: new Float32Array(9), sampleRate } as never),
      ],
      ['voice.embedding', [], (embedding) => tts.voice({ embedding, encoder: 'x' } as never)],
      [
        'voice.encoder',
        ['a blank string', 'a numeral'],
        (encoder) => tts.voice({ embedding: new Float32Array(4), encoder } as never),
      ],
      ['options', load.options!, (options) => tts.voice({ speaker: 'ada' }, options as never)],
      ['options.signal', [], (signal) => tts.voice({ speaker: 'ada' }, { signal } as never)],
    ];
    for (const [path, right, call] of voices) expect(await judgeAll(path, right, call), path).toEqual({});
  });

  test('the forms of a stream and of a speech', async () => {
    const { tts } = fakeMetaVoice(new FakeModel(8));
    const speech = await tts.synthesize('hi');
    const file = join(folder, 'speech');
    const forms: [string, Right, (value: unknown) => unknown][] = [
      ['options', load.options!, (options) => void tts.stream('hi').toNodeReadable(options as never)],
      ['format', [], (format) => void tts.stream('hi').toNodeReadable({ format } as never)],
      [
        'highWaterMark',
        ['-0'],
        (highWaterMark) => void tts.stream('hi').toNodeReadable({ highWaterMark } as never),
      ],
      ['options', load.options!, (options) => void tts.stream('hi').toWebStream(options as never)],
      ['format', [], (format) => void tts.stream('hi').toWebStream({ format } as never)],
      ['options', load.options!, (options) => speech.toBytes(options as never)],
      ['format', [], (format) => speech.toBytes({ format } as never)],
      ['options', load.options!, (options) => speech.save(file, options as never)],
      ['format', [], (format) => speech.save(file, { format } as never)],
    ];
    for (const [path, right, call] of forms) expect(await judgeAll(path, right, call), path).toEqual({});
  });

  test('the path of a file', async () => {
    const { tts } = fakeMetaVoice(new FakeModel(8));
    const speech = await tts.synthesize('hi');
    const voice = await tts.voice({ speaker: 'ada' });
    const inFolder = (path: unknown) => (typeof path === 'string' && path !== '' ? join(folder, path) : path);
    const strings = ['a blank string', 'a numeral'];
    for (const [name, call] of [
      ['Speech.save', (path: unknown) => speech.save(inFolder(path) as never)],
      ['Voice.save', (path: unknown) => voice.save(inFolder(path) as never)],
      ['Voice.load', (path: unknown) => Voice.load(inFolder(path) as never)],
    ] as const)
      expect(await judgeAll('path', strings, call), name).toEqual({});
    const source = ['a blank string', 'a numeral', 'an empty string', 'bytes'];
    expect(await judgeAll('source', source, (path) => decodeAudio(path as never))).toEqual({});
  });

  test('a signal that is half of one, and a logger with half of its methods', async () => {
    const throwIfAborted = () => {};
    for (const signal of [{ throwIfAborted }, { throwIfAborted, aborted: false }, { aborted: true }])
      expect(await judge(() => MetaVoice.load({ model, signal } as never), false)).toBe(null);
    for (const logger of [{ info: null }, { warn: 'x' }, { debug: {} }])
      expect(await judge(() => MetaVoice.load({ model, logger } as never), false)).toBe(null);
  });

  test('a saved voice', async () => {
    for (const [name, value] of wrongValues) {
      const { error } = await outcomeOf(() => Voice.fromJSON(value));
      if (error !== theirs && !(error instanceof TypeError && /revoked/.test(error.message)))
        expect(error, name).toMatchObject({ code: 'ERR_REFERENCE_AUDIO' });
    }
  });
});

/** Any object is a logger: without the three methods, a silent one. */
const loggers = wrongValues
  .filter(([name, value]) => typeof value === 'object' && value !== null && !/proxy/.test(name))
  .map(([name]) => name);

describe('the stages refuse cleanly', () => {
  const floats = (length: number) => new Float32Array(length).fill(0.5);
  const codes = { codebooks: Array.from({ length: 8 }, () => new Uint16Array(9)), frames: 9 };
  const calls: [string, Right, (stages: Stages, value: unknown) => unknown][] = [
    ['text', ['an empty string', 'a blank string', 'a numeral'], (s, v) => s.tokenize(v as never)],
    ['ids', [], (s, v) => s.firstStageLogits(v as never, floats(4))],
    ['speaker', [], (s, v) => s.firstStageLogits(Int32Array.of(1), v as never)],
    ['settings', [], (s, v) => s.firstStageGreedy(Int32Array.of(1), floats(4), v as never)],
    [
      'settings.guidance',
      ['-1', ...numbers],
      (s, v) => s.firstStageGreedy(Int32Array.of(1), floats(4), { guidance: v as never, steps: 1 }),
    ],
    [
      'settings.steps',
      [],
      (s, v) => s.firstStageGreedy(Int32Array.of(1), floats(4), { guidance: 1, steps: v as never }),
    ],
    [
      'text of the second stage',
      ['an empty string', 'a blank string', 'a numeral'],
      (s, v) => s.secondStageLogits(v as never, [new Uint16Array(3), new Uint16Array(3)], floats(4)),
    ],
    ['coarse', [], (s, v) => s.secondStageLogits('hi', v as never, floats(4))],
    ['coarse[0]', [], (s, v) => s.secondStageLogits('hi', [v as never, new Uint16Array(3)], floats(4))],
    ['logits', [], (s, v) => s.sampleDistribution(v as never)],
    ['settings', load.options!, (s, v) => s.sampleDistribution(floats(4), v as never)],
    ['temperature', numbers, (s, v) => s.sampleDistribution(floats(4), { temperature: v as never })],
    ['topP', ['-0', '0.5'], (s, v) => s.sampleDistribution(floats(4), { topP: v as never })],
    ['topK', [], (s, v) => s.sampleDistribution(floats(4), { topK: v as never })],
    ['samples', [], (s, v) => s.embedSpeaker(v as never, 16_000)],
    ['sampleRate', [], (s, v) => s.embedSpeaker(floats(9), v as never)],
    ['samples to encode', [], (s, v) => s.encode(v as never, 24_000)],
    ['rate to encode', [], (s, v) => s.encode(floats(9), v as never)],
    ['codes', [], (s, v) => s.decode(v as never)],
    ['codes.codebooks', [], (s, v) => s.decode({ ...codes, codebooks: v as never })],
    ['codes.frames', [], (s, v) => s.decode({ ...codes, frames: v as never })],
    ['options', load.options!, (s, v) => s.decode(codes, v as never)],
    ['options.pieces', [], (s, v) => s.decode(codes, { pieces: v as never })],
    ['modelFolder', ['a blank string', 'a numeral'], (_, v) => Stages.open(v as never)],
    ['options of open', load.options!, (_, v) => Stages.open(folder, v as never)],
    ['options.device', [], (_, v) => Stages.open(folder, { device: v as never })],
    ['options.dtype', [], (_, v) => Stages.open(folder, { dtype: v as never })],
    ['options.quantization', [], (_, v) => Stages.open(folder, { quantization: v as never })],
    [
      'options.deterministic',
      ['true', 'false'],
      (_, v) => Stages.open(folder, { deterministic: v as never }),
    ],
    ['options.signal', [], (_, v) => Stages.open(folder, { signal: v as never })],
  ];
  test.each(calls)('%s', async (path, right, call) => {
    const stages = createStages(fakeLoaded(new FakeModel()));
    expect(await judgeAll(path, right, (value) => call(stages, value))).toEqual({});
  });
});

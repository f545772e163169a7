import { describe, expect, it, test } from 'vitest';
import { createStages } from '../../dist/open-stages.js';
import * as entry from '../../dist/stages.js';
import { fakeEnhancer, fakeLoaded } from './fake-metavoice.js';
import { FakeModel } from './fake-native.js';

const speaker = new Float32Array(4).fill(0.5);
const ids = Int32Array.of(2153, 2561);
const codes = (frames: number, value = 1) => ({
  codebooks: Array.from({ length: 8 }, () => new Uint16Array(frames).fill(value)),
  frames,
});
const coarse = (frames: number): [Uint16Array, Uint16Array] => [
  new Uint16Array(frames),
  new Uint16Array(frames),
];
const spectrum = (frames: number, changes = {}) => ({
  spec: new Float32Array(frames * 962),
  featErb: new Float32Array(frames * 32),
  featSpec: new Float32Array(frames * 192),
  ...changes,
});
const open = (changes = {}) =>
  createStages(fakeLoaded(new FakeModel(), { enhancer: fakeEnhancer, ...changes }));
type Call = (stages: entry.Stages) => unknown;
const wrong = <T>(value: unknown) => value as T;

describe('the stages refuse', () => {
  test.each<[string, Call, string, RegExp]>([
    [
      'ids of another type',
      (s) => s.firstStageLogits(wrong([1]), speaker),
      'TypeError',
      /an Int32Array for `ids`/,
    ],
    ['no ids', (s) => s.firstStageLogits(new Int32Array(0), speaker), 'RangeError', /between 1 and 2048 ids/],
    [
      'more ids than the window',
      (s) => s.firstStageLogits(new Int32Array(2049), speaker),
      'RangeError',
      /`ids.length`/,
    ],
    [
      'an id past the vocabulary',
      (s) => s.firstStageLogits(Int32Array.of(1, 2562), speaker),
      'RangeError',
      /0 and 2561 for `ids\[1\]` but received 2562/,
    ],
    [
      'a negative id',
      (s) => s.firstStageGreedy(Int32Array.of(-1), speaker, { guidance: 3, steps: 1 }),
      'RangeError',
      /`ids\[0\]`/,
    ],
    [
      'a speaker of another length',
      (s) => s.firstStageLogits(ids, new Float32Array(5)),
      'RangeError',
      /4 numbers for `speaker.length`/,
    ],
    [
      'a speaker of another type',
      (s) => s.firstStageLogits(ids, wrong([1, 2, 3, 4])),
      'TypeError',
      /a Float32Array for `speaker`/,
    ],
    [
      'a prompt longer than the ids',
      (s) => s.firstStageLogits(ids, speaker, { prompt: ids.length + 1 }),
      'RangeError',
      /`prompt`/,
    ],
    ['no prompt', (s) => s.firstStageLogits(ids, speaker, { prompt: 0 }), 'RangeError', /`prompt`/],
    [
      'no settings',
      (s) => s.firstStageGreedy(ids, speaker, wrong(undefined)),
      'TypeError',
      /a number for `guidance`/,
    ],
    ['no steps', (s) => s.firstStageGreedy(ids, speaker, { guidance: 3, steps: 0 }), 'RangeError', /`steps`/],
    [
      'a guidance that is no number',
      (s) => s.firstStageGreedy(ids, speaker, { guidance: Number.NaN, steps: 1 }),
      'RangeError',
      /a finite number for `guidance`/,
    ],
    [
      'one coarse codebook',
      (s) => s.secondStageLogits('hi', wrong([new Uint16Array(3)]), speaker),
      'TypeError',
      /two Uint16Arrays/,
    ],
    [
      'coarse codebooks of different lengths',
      (s) => s.secondStageLogits('hi', [new Uint16Array(3), new Uint16Array(4)], speaker),
      'RangeError',
      /3 as the first codebook for `coarse\[1\].length`/,
    ],
    [
      'a coarse code out of range',
      (s) => s.secondStageLogits('hi', [Uint16Array.of(1), Uint16Array.of(1024)], speaker),
      'RangeError',
      /0 and 1023 for `coarse\[1\]\[0\]`/,
    ],
    [
      'more frames than the window',
      (s) => s.secondStageLogits('hi', coarse(1023), speaker),
      'RangeError',
      /at most \d+ frames beside \d text ids/,
    ],
    ['logits of another type', (s) => s.sampleDistribution(wrong([1]), {}), 'TypeError', /`logits`/],
    [
      'a misspelt setting',
      (s) => s.sampleDistribution(new Float32Array(3), wrong({ top_p: 1 })),
      'TypeError',
      /did you mean `topP`/,
    ],
    [
      'a temperature below 0',
      (s) => s.sampleDistribution(new Float32Array(3), { temperature: -1 }),
      'RangeError',
      /`temperature`/,
    ],
    ...[Number.NaN, Infinity, -Infinity].flatMap((value): [string, Call, string, RegExp][] => [
      [
        `a speaker with ${value}`,
        (s) => s.firstStageLogits(ids, Float32Array.of(0, 1, value, 0)),
        'RangeError',
        /a finite number for `speaker\[2\]` but received (NaN|-?Infinity)/,
      ],
      [
        `a speaker of the second stage with ${value}`,
        (s) => s.secondStageLogits('hi', coarse(3), Float32Array.of(value, 1, 0, 0)),
        'RangeError',
        /`speaker\[0\]`/,
      ],
      [
        `samples with ${value}`,
        (s) => s.embedSpeaker(Float32Array.of(0, value), 16000),
        'RangeError',
        /`samples\[1\]`/,
      ],
      [
        `samples to encode with ${value}`,
        (s) => s.encode(Float32Array.of(0, 0, value), 24000),
        'RangeError',
        /`samples\[2\]`/,
      ],
      [
        `logits with ${value}`,
        (s) => s.sampleDistribution(Float32Array.of(0, value, 1)),
        'RangeError',
        /`logits\[1\]`/,
      ],
    ]),
    ['no samples', (s) => s.embedSpeaker(new Float32Array(0), 16000), 'RangeError', /`samples.length`/],
    [
      'no sample rate',
      (s) => s.embedSpeaker(new Float32Array(9), wrong(undefined)),
      'TypeError',
      /`sampleRate`/,
    ],
    ['samples of another type', (s) => s.encode(wrong(new Float64Array(9)), 24000), 'TypeError', /`samples`/],
    [
      'codes that are none',
      (s) => s.decode(wrong(new Uint16Array(8))),
      'TypeError',
      /\{ codebooks, frames \} for `codes`/,
    ],
    [
      'too few codebooks',
      (s) => s.decode({ codebooks: codes(9).codebooks.slice(1), frames: 9 }),
      'RangeError',
      /8 codebooks/,
    ],
    ['a code out of range', (s) => s.decode(codes(9, 1024)), 'RangeError', /`codes.codebooks\[0\]\[0\]`/],
    ['a wrong count of frames', (s) => s.decode({ ...codes(9), frames: 8 }), 'RangeError', /`codes.frames`/],
    [
      'pieces that do not add up',
      (s) => s.decode(codes(20), { pieces: [10, 9] }),
      'RangeError',
      /add up to 20/,
    ],
    [
      'a first piece that is too short',
      (s) => s.decode(codes(20), { pieces: [6, 14] }),
      'RangeError',
      /at least 7 frames for `pieces\[0\]`/,
    ],
    ['an empty piece', (s) => s.decode(codes(20), { pieces: [20, 0] }), 'RangeError', /`pieces\[1\]`/],
    ['letters the model does not know', async (s) => s.tokenize('привет'), 'MetaVoiceError', /U\+043F/],
    ['a diffusion without a seed', (s) => s.diffuse(codes(9), wrong({})), 'TypeError', /a number for `seed`/],
    ['a negative seed', (s) => s.diffuse(codes(9), { seed: -1 }), 'RangeError', /`seed`/],
    ['no diffusion steps', (s) => s.diffuse(codes(9), { seed: 1, steps: 0 }), 'RangeError', /`steps`/],
    [
      'more diffusion steps than were trained',
      (s) => s.diffuse(codes(9), { seed: 1, steps: 1001 }),
      'RangeError',
      /between 1 and 1000 for `steps`/,
    ],
    [
      'noise of another length',
      (s) => s.diffuse(codes(9), { noise: new Float32Array(4), steps: 2 }),
      'RangeError',
      /23040 numbers for `noise.length`/,
    ],
    [
      'noise and a seed',
      (s) => s.diffuse(codes(9), wrong({ seed: 1, noise: new Float32Array(23040), steps: 2 })),
      'TypeError',
      /noise without a seed/,
    ],
    [
      'chunks that do not grow',
      (s) => s.diffuse(codes(9), { seed: 1, chunkEnds: [5, 5] }),
      'RangeError',
      /an integer above 5 for `chunkEnds\[1\]`/,
    ],
    [
      'a signal that is none',
      (s) => s.diffuse(codes(9), { seed: 1, signal: wrong('soon') }),
      'TypeError',
      /an AbortSignal for `signal`/,
    ],
    [
      'a signal that is none, to enhance',
      (s) => s.enhance(new Float32Array(9), 48000, { signal: wrong(3) }),
      'TypeError',
      /an AbortSignal for `signal`/,
    ],
    [
      'an option that enhancing has not',
      (s) => s.enhanceSpectrum(spectrum(1), wrong({ singal: null })),
      'TypeError',
      /did you mean `signal`/,
    ],
    ['no chunks', (s) => s.diffuse(codes(9), { seed: 1, chunkEnds: [] }), 'RangeError', /`chunkEnds.length`/],
    [
      'diffusion of codes of another codec',
      (s) => s.diffuse(codes(9, 1024), { seed: 1 }),
      'RangeError',
      /codebooks/,
    ],
    [
      'nothing to enhance',
      (s) => s.enhance(new Float32Array(0), 48000),
      'RangeError',
      /at least one number for `samples.length`/,
    ],
    [
      'to enhance what is no number',
      (s) => s.enhance(Float32Array.of(0, Number.NaN), 48000),
      'RangeError',
      /`samples\[1\]`/,
    ],
    ['to enhance at no rate', (s) => s.enhance(new Float32Array(9), 0), 'RangeError', /`sampleRate`/],
    [
      'a spectrum without a whole number of frames',
      (s) => s.enhanceSpectrum(spectrum(2, { spec: new Float32Array(2 * 962 - 1) })),
      'RangeError',
      /1924 numbers for `features.spec.length` but received 1923/,
    ],
    [
      'features of fewer frames than the spectrum',
      (s) => s.enhanceSpectrum(spectrum(2, { featErb: new Float32Array(32) })),
      'RangeError',
      /64 numbers for `features.featErb.length` but received 32/,
    ],
    [
      'a spectrum without its features',
      (s) => s.enhanceSpectrum(spectrum(2, { featSpec: undefined })),
      'TypeError',
      /a Float32Array for `features.featSpec`/,
    ],
  ])('%s', async (_, call, name, message) => {
    const attempt = async () => call(open());
    await expect(attempt()).rejects.toThrow(message);
    await expect(attempt()).rejects.toMatchObject({ name });
  });

  test.each<[string, Call, RegExp]>([
    ['firstStage', (s) => s.firstStageLogits(ids, speaker), /first_stage\.pt/],
    ['secondStage', (s) => s.secondStageLogits('hi', coarse(3), speaker), /second_stage\.pt/],
    ['speakerEncoder', (s) => s.embedSpeaker(new Float32Array(9), 16000), /speaker_encoder\.pt/],
    ['codec', (s) => s.decode(codes(9)), /encodec_24khz\*\.th/],
    ['codec', (s) => s.encode(new Float32Array(9), 24000), /encodec_24khz\*\.th/],
    ['diffusion', (s) => s.diffuse(codes(9), { seed: 1 }), /mbd_comp_8\.pt/],
    ['enhancer', (s) => s.enhance(new Float32Array(9), 48000), /DeepFilterNet3/],
    ['enhancer', (s) => s.enhanceSpectrum(spectrum(1)), /DeepFilterNet3/],
  ])('to use an absent %s', async (part, call, message) => {
    const stages = open({ [part]: null });
    await expect(call(stages)).rejects.toMatchObject({
      code: 'ERR_MODEL_NOT_FOUND',
      message: expect.stringMatching(message),
    });
  });

  it('to be used after dispose', async () => {
    const stages = open();
    await stages.dispose();
    await stages.dispose();
    expect(() => stages.tokenize('hi')).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }));
    await expect(stages.decode(codes(9))).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  });
});

test('the entry hands out nothing that makes stages of other things', () => {
  expect(Object.keys(entry).sort()).toEqual(['MetaVoiceError', 'Stages', 'decodeAudio', 'errorCodes']);
});

describe('the stages', () => {
  it('tokenise for both stages, and an empty text to end of text', () => {
    const stages = open();
    expect(stages.tokenize('')).toEqual({
      normalized: '',
      firstStage: Int32Array.of(2561),
      secondStage: Int32Array.of(1537),
    });
    expect(stages.tokenize('a…b').normalized).toBe('a...b');
  });

  it('hand codes over codebook by codebook', async () => {
    expect(await open().encode(new Float32Array(640), 24000)).toEqual({
      frames: 2,
      codebooks: Array.from({ length: 8 }, (_, k) => Uint16Array.of(2 * k, 2 * k + 1)),
    });
    expect((await open().decode(codes(9))).length).toBe(9 * 320);
  });
});

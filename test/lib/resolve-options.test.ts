import { describe, expect, it, test } from 'vitest';
import type { AdvisedSampling } from '../../dist/options.js';
import {
  resolveLoadOptions,
  resolveSpeakOptions,
  resolveSynthesizeOptions,
} from '../../dist/resolve-options.js';
import { fillSampling } from '../../dist/resolve-sampling.js';

const none: NodeJS.ProcessEnv = {};

describe('loading refuses', () => {
  test.each<[unknown, string, RegExp]>([
    [null, 'TypeError', /expected an object for `options` but received null/],
    ['cpu', 'TypeError', /expected an object for `options`/],
    [[], 'TypeError', /an array of length 0/],
    [{ divice: 'cpu' }, 'TypeError', /received `divice`; did you mean `device`\?/],
    [{ data_type: 'cpu' }, 'TypeError', /received `data_type`; known are `model`/],
    [{ batch_size: 2 }, 'TypeError', /did you mean `batchSize`\?/],
    [{ voice: 'a.wav' }, 'TypeError', /`voice`; it is an option of `synthesize` and `stream`/],
    [{ model: 3 }, 'TypeError', /for `model` but received 3 of type number/],
    [{ model: '' }, 'RangeError', /for `model`/],
    [{ download: 'yes' }, 'TypeError', /a boolean for `download` but received "yes"/],
    [{ download: 1 }, 'TypeError', /`download`/],
    [{ dowload: true }, 'TypeError', /did you mean `download`\?/],
    [{ device: 0 }, 'TypeError', /'cuda:N' for `device` but received 0/],
    [{ device: 'gpu' }, 'RangeError', /for `device` but received "gpu"/],
    [{ device: 'cuda:-1' }, 'RangeError', /`device`/],
    [{ device: 'cuda:01' }, 'RangeError', /`device`/],
    [{ device: 'CUDA' }, 'RangeError', /`device`/],
    [{ dtype: 'fp16' }, 'RangeError', /one of 'auto', 'float32', 'float16', 'bfloat16' for `dtype`/],
    [{ dtype: null }, 'TypeError', /`dtype` but received null/],
    [{ quantization: 'int2' }, 'RangeError', /`quantization`/],
    [{ quantization: null }, 'TypeError', /`quantization`/],
    [{ kvCache: 'int4' }, 'RangeError', /one of 'auto', '16bit', 'int8' for `kvCache` but received "int4"/],
    [{ kvCache: 16 }, 'TypeError', /`kvCache`/],
    [{ kvCache: null }, 'TypeError', /`kvCache`/],
    [{ kvcache: 'int8' }, 'TypeError', /did you mean `kvCache`\?/],
    [{ batchSize: 0 }, 'RangeError', /between 1 and 256 for `batchSize`/],
    [{ batchSize: 1.5 }, 'RangeError', /`batchSize`/],
    [{ batchSize: '2' }, 'TypeError', /`batchSize`/],
    [{ maxQueue: -1 }, 'RangeError', /between 0 and 65536 for `maxQueue`/],
    [{ maxQueue: '2' }, 'TypeError', /`maxQueue`/],
    [{ maxSeconds: 0 }, 'RangeError', /greater than 0 for `maxSeconds`/],
    [{ maxSeconds: Infinity }, 'RangeError', /`maxSeconds`/],
    [{ deterministic: 1 }, 'TypeError', /a boolean for `deterministic`/],
    [{ libtorch: '' }, 'RangeError', /`libtorch`/],
    [{ logger: console.log }, 'TypeError', /`logger`/],
    [{ logger: { warn: true } }, 'TypeError', /`logger.warn`/],
    [{ signal: {} }, 'TypeError', /an AbortSignal for `signal`/],
    [{ signal: new AbortController() }, 'TypeError', /AbortController/],
    [{ onProgress: {} }, 'TypeError', /a function for `onProgress`/],
  ])('%j', (options, name, message) => {
    const attempt = () => resolveLoadOptions(options, none);
    expect(attempt).toThrow(message);
    expect(attempt).toThrow(expect.objectContaining({ name }));
  });

  it('a device or dtype of the environment, by the name of the variable', () => {
    expect(() => resolveLoadOptions({}, { METAVOICE_DEVICE: 'gpu' })).toThrow(/`METAVOICE_DEVICE`/);
    expect(() => resolveLoadOptions({}, { METAVOICE_DTYPE: 'half' })).toThrow(/`METAVOICE_DTYPE`/);
  });
});

describe('speaking refuses', () => {
  test.each<[unknown, string, RegExp]>([
    [{ temperature: 1 }, 'TypeError', /`temperature`; it is `sampling.temperature`/],
    [{ device: 'cpu' }, 'TypeError', /`device`; it is an option of `MetaVoice.load`/],
    [{ pitch: 1 }, 'TypeError', /known are `voice`, `seed`/],
    [{ sampling: 1 }, 'TypeError', /an object for `sampling`/],
    [{ sampling: { topp: 1 } }, 'TypeError', /for `sampling` but received `topp`; did you mean `topP`\?/],
    [{ sampling: { temperature: -0.1 } }, 'RangeError', /between 0 and 1000000 for `sampling.temperature`/],
    [{ sampling: { temperature: 1e39 } }, 'RangeError', /`sampling.temperature`/],
    [{ sampling: { temperature: Number.NaN } }, 'RangeError', /received NaN/],
    [{ sampling: { temperature: '1' } }, 'TypeError', /`sampling.temperature`/],
    [{ sampling: { topP: 1.01 } }, 'RangeError', /between 0 and 1 for `sampling.topP` but received 1.01/],
    [{ sampling: { topK: 0 } }, 'RangeError', /`sampling.topK`/],
    [{ sampling: { topK: 2.5 } }, 'RangeError', /`sampling.topK`/],
    [{ sampling: { guidance: -1 } }, 'RangeError', /`sampling.guidance`/],
    [{ sampling: { guidance: Infinity } }, 'RangeError', /`sampling.guidance`/],
    [{ sampling: { guidance: { prompt: 1e30 } } }, 'RangeError', /`sampling.guidance.prompt`/],
    [{ sampling: { guidance: 'strong' } }, 'TypeError', /a number or \{ speaker, prompt \}/],
    [
      { sampling: { guidance: { prompt: 0.5 } } },
      'RangeError',
      /between 1 and 1000 for `sampling.guidance.prompt`/,
    ],
    [{ sampling: { guidance: { speker: 2 } } }, 'TypeError', /did you mean `speaker`\?/],
    [{ sampling: { constrain: 'yes' } }, 'TypeError', /`sampling.constrain`/],
    [{ seed: -1 }, 'RangeError', /`seed`/],
    [{ seed: 2 ** 53 }, 'RangeError', /`seed`/],
    [{ seed: 1.5 }, 'RangeError', /`seed`/],
    [{ seed: '7' }, 'TypeError', /`seed`/],
    [{ decoder: 'mbd' }, 'RangeError', /`decoder`/],
    [{ diffusionSteps: 0 }, 'RangeError', /between 1 and 1000 for `diffusionSteps`/],
    [{ diffusionSteps: 2.5 }, 'RangeError', /`diffusionSteps`/],
    [{ diffusionSteps: '20' }, 'TypeError', /`diffusionSteps`/],
    [{ enhance: 'yes' }, 'TypeError', /`enhance`/],
    [{ quality: 'best' }, 'RangeError', /`quality`/],
    [
      { sampleRate: 11_025 },
      'RangeError',
      /one of 8000, 16000, .* 48000 \(Hz\) for `sampleRate` but received 11025/,
    ],
    [{ loudness: 3 }, 'RangeError', /between -70 and 0 \(LKFS\), or 'off', for `loudness` but received 3/],
    [{ loudness: Number.NaN }, 'RangeError', /`loudness`/],
    [{ loudness: 'loud' }, 'RangeError', /`loudness` but received "loud"/],
    [{ loudness: false }, 'TypeError', /`loudness`/],
    [{ sampleRate: '8000' }, 'TypeError', /`sampleRate` but received "8000"/],
    [{ sampleRate: null }, 'TypeError', /`sampleRate`/],
    [{ rate: 8000 }, 'TypeError', /received `rate`; known are/],
    [{ chunkSeconds: { first: 0 } }, 'RangeError', /`chunkSeconds.first`/],
    [{ chunkSeconds: { first: 1, largest: 0.5 } }, 'RangeError', /at least chunkSeconds.first \(1\)/],
    [{ chunkSeconds: 1 }, 'TypeError', /`chunkSeconds`/],
    [{ pauseSeconds: 1 }, 'TypeError', /an object for `pauseSeconds`/],
    [{ pauseSeconds: { sentence: -0.1 } }, 'RangeError', /between 0 and 10 for `pauseSeconds.sentence`/],
    [{ pauseSeconds: { clause: 10.5 } }, 'RangeError', /`pauseSeconds.clause`/],
    [{ pauseSeconds: { paragraph: null } }, 'TypeError', /`pauseSeconds.paragraph`/],
    [{ pauseSeconds: { sentense: 1 } }, 'TypeError', /did you mean `sentence`\?/],
    [{ continuity: 'seamless' }, 'RangeError', /one of 'independent', 'continue' for `continuity`/],
    [{ continuity: true }, 'TypeError', /`continuity`/],
    [{ flushSeconds: -1 }, 'RangeError', /between 0 and 3600 for `flushSeconds`/],
    [{ flushSeconds: Infinity }, 'RangeError', /`flushSeconds`/],
    [{ flushSeconds: Number.NaN }, 'RangeError', /`flushSeconds`/],
    [{ flushSeconds: '1' }, 'TypeError', /`flushSeconds`/],
    [{ check: 'listen' }, 'RangeError', /one of 'off', 'report', 'respeak' for `check`/],
    [{ check: false }, 'TypeError', /`check`/],
    [{ check: null }, 'TypeError', /`check`/],
    [{ maxSeconds: -1 }, 'RangeError', /`maxSeconds`/],
    [{ voice: 7 }, 'TypeError', /a Voice, a path/],
    [{ voice: null }, 'TypeError', /a Voice, a path/],
    [{ voice: '' }, 'RangeError', /`voice`/],
    [{ voice: {} }, 'TypeError', /a Voice, a path/],
    [{ voice: { file: 'a', speaker: 'b' } }, 'TypeError', /a Voice, a path/],
    [{ voice: { path: 'a' } }, 'TypeError', /received `path`; known are `file`/],
    [{ voice: { samples: [0], sampleRate: 8000 } }, 'TypeError', /`voice.samples`/],
    [{ voice: { samples: new Float32Array(9) } }, 'TypeError', /`voice.sampleRate`/],
    [{ voice: { samples: new Float32Array(9), sampleRate: 10 } }, 'RangeError', /`voice.sampleRate`/],
    [{ voice: { speaker: 1 } }, 'TypeError', /`voice.speaker`/],
    [{ voice: { embedding: [1] } }, 'TypeError', /`voice.embedding`/],
  ])('%j', (options, name, message) => {
    const attempt = () => resolveSpeakOptions(options);
    expect(attempt).toThrow(message);
    expect(attempt).toThrow(expect.objectContaining({ name }));
  });
});

describe('resolved options', () => {
  it('are complete when nothing is given', () => {
    expect(resolveLoadOptions(undefined, none)).toEqual({
      model: 'bundled',
      download: false,
      device: 'auto',
      dtype: 'auto',
      quantization: null,
      kvCache: 'auto',
      batchSize: 1,
      maxQueue: 128,
      maxSeconds: null,
      deterministic: false,
      libtorch: null,
      logger: {},
      signal: null,
      onProgress: null,
    });
    const speak = resolveSpeakOptions(undefined);
    expect({ ...speak, sampling: fillSampling(speak.sampling) }).toEqual({
      voice: null,
      seed: expect.any(Number),
      sampling: {
        temperature: 1,
        topP: 0.95,
        topK: 0,
        guidance: { speaker: 3, prompt: 1 },
        constrain: true,
      },
      decoder: 'auto',
      diffusionSteps: null,
      enhance: 'auto',
      quality: 'stream',
      loudness: null,
      sampleRate: null,
      chunkSeconds: { first: 0.25, largest: 2 },
      pauseSeconds: { sentence: 0.3, clause: 0.1, paragraph: 0.7 },
      continuity: 'independent',
      flushSeconds: 0.7,
      check: 'report',
      maxSeconds: null,
      signal: null,
      onProgress: null,
    });
  });

  it.each(['none', 'int8', 'int4'] as const)(
    'have the quantization that was asked for: %s',
    (quantization) => {
      expect(resolveLoadOptions({ quantization }, none).quantization).toBe(quantization);
      expect(resolveSynthesizeOptions({ quantization }, none).load.quantization).toBe(quantization);
    },
  );

  it('take the option before the environment, and the environment before the default', () => {
    const environment = { METAVOICE_MODEL: 'm', METAVOICE_DEVICE: 'cuda:3', METAVOICE_DTYPE: 'float16' };
    expect(resolveLoadOptions({}, environment)).toMatchObject({
      model: 'm',
      device: 'cuda:3',
      dtype: 'float16',
    });
    expect(resolveLoadOptions({ model: 'n', device: 'cpu', dtype: 'auto' }, environment)).toMatchObject({
      model: 'n',
      device: 'cpu',
      dtype: 'auto',
    });
    expect(resolveLoadOptions({}, { METAVOICE_DEVICE: '' }).device).toBe('auto');
  });

  it('read each getter once', () => {
    let reads = 0;
    const options = {
      get seed() {
        return ++reads;
      },
    };
    expect(resolveSpeakOptions(options).seed).toBe(1);
    expect(reads).toBe(1);
  });

  it('take undefined as absent, and options without a prototype', () => {
    expect(
      resolveSpeakOptions(Object.assign(Object.create(null), { seed: 5, voice: undefined })),
    ).toMatchObject({
      seed: 5,
      voice: null,
    });
  });

  it('know every form of guidance', () => {
    const guidance = (value: unknown) =>
      fillSampling(resolveSpeakOptions({ sampling: { guidance: value } }).sampling).guidance;
    expect(guidance(1.5)).toEqual({ speaker: 1.5, prompt: 1 });
    expect(guidance(0)).toEqual({ speaker: 0, prompt: 1 });
    expect(guidance({ prompt: 2 })).toEqual({ speaker: 3, prompt: 2 });
    expect(guidance({ speaker: 2 })).toEqual({ speaker: 2, prompt: 1 });
  });

  it('fill in what the model advises for what a request does not give', () => {
    const advised = { temperature: 0.7, topP: 0.9, topK: 80, guidance: { speaker: 2, prompt: 1.25 } };
    const filled = (sampling: unknown, advice: AdvisedSampling = advised) =>
      fillSampling(resolveSpeakOptions({ sampling }).sampling, advice);
    expect(filled(undefined)).toEqual({ ...advised, constrain: true });
    const own = { temperature: 0, topP: 0, topK: 1, guidance: { speaker: 0, prompt: 1 }, constrain: false };
    expect(filled(own)).toEqual(own);
    for (const [name, value] of Object.entries(own))
      expect(filled({ [name]: value })).toEqual({ ...advised, constrain: true, [name]: value });
    // Each of the two guidances for itself.
    expect(filled({ guidance: 5 }).guidance).toEqual({ speaker: 5, prompt: 1.25 });
    expect(filled({ guidance: { prompt: 4 } }).guidance).toEqual({ speaker: 2, prompt: 4 });
    expect(filled(undefined, { guidance: 2 }).guidance).toEqual({ speaker: 2, prompt: 1 });
    expect(filled(undefined, { guidance: { prompt: 2 } }).guidance).toEqual({ speaker: 3, prompt: 2 });
    expect(filled(undefined, { topK: 7 })).toMatchObject({ temperature: 1, topP: 0.95, topK: 7 });
  });

  it('know loudness as a level, and as none', () => {
    expect([-70, -14, -0, 'off'].map((loudness) => resolveSpeakOptions({ loudness }).loudness)).toEqual([
      -70,
      -14,
      0,
      'off',
    ]);
  });

  it('let a long first chunk make the largest as long', () => {
    expect(resolveSpeakOptions({ chunkSeconds: { first: 3 } }).chunkSeconds).toEqual({
      first: 3,
      largest: 3,
    });
  });

  it('fill in the pauses that are not given', () => {
    expect(resolveSpeakOptions({ pauseSeconds: { clause: 0, paragraph: 10 } }).pauseSeconds).toEqual({
      sentence: 0.3,
      clause: 0,
      paragraph: 10,
    });
  });

  test.each(['off', 'report', 'respeak'] as const)('know the check %s, in each place', (check) => {
    expect(resolveSpeakOptions({ check }).check).toBe(check);
    expect(resolveSynthesizeOptions({ check }, none).speak.check).toBe(check);
    expect(() => resolveLoadOptions({ check }, none)).toThrow(/it is an option of `synthesize` and `stream`/);
  });

  it('draw another seed each time', () => {
    const seeds = new Set(Array.from({ length: 20 }, () => resolveSpeakOptions({}).seed));
    expect(seeds.size).toBeGreaterThan(15);
  });

  it('give the limit of a one-call request to speaking, not to the shared model', () => {
    const { load, speak } = resolveSynthesizeOptions({ maxSeconds: 2, device: 'cpu', seed: 1 }, none);
    expect(load).toMatchObject({ maxSeconds: null, device: 'cpu' });
    expect(speak).toMatchObject({ maxSeconds: 2, seed: 1 });
    expect(() => resolveSynthesizeOptions({ seeed: 1 }, none)).toThrow(/did you mean `seed`/);
  });
});

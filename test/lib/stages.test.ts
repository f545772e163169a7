import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { decodeAudio } from '../../dist/audio/decode.js';
import { loadEngine } from '../../dist/runtime/load.js';
import { Stages } from '../../dist/stages.js';
import { argMax, expectClose, fixture, peak, readJson, readTensors, worst } from './fixtures.js';

const logitsTolerance = 2e-4;

const llm = readJson('llm.json') as {
  tokens: { text: string; first: number[]; second: number[] }[];
  tokenizer_error: string;
  prompt: number[];
  'first.greedy': { guidance: number; ids: number[] };
  sampling: { temperature: number; top_p: number | null; top_k: number | null; kept: number }[];
  second: { text: string; codes: [number[], number[]]; argmax: number[][] };
};
const greedy = llm['first.greedy'];
const tensors = readTensors('llm.safetensors');
const golden = (name: string) => tensors[name]!.data;
const vocabulary = tensors['sampling.guided_logits']!.shape[0]!;
const prompt = Int32Array.from(llm.prompt);
const coarse = llm.second.codes.map((codes) => Uint16Array.from(codes)) as [Uint16Array, Uint16Array];

/** Logits of golden step `step`: [2, vocabulary]. */
const goldenStep = (step: number) =>
  golden('first.decode_logits').subarray(step * 2 * vocabulary, (step + 1) * 2 * vocabulary);

/** Rows of the last `count` positions of [2, T, vocabulary], as [count, 2, vocabulary]. */
function lastPositions(logits: Float32Array, count: number): Float32Array {
  const length = logits.length / 2 / vocabulary;
  const picked = new Float32Array(count * 2 * vocabulary);
  for (let i = 0; i < count; i++)
    for (let row = 0; row < 2; row++) {
      const from = (row * length + length - count + i) * vocabulary;
      picked.set(logits.subarray(from, from + vocabulary), (2 * i + row) * vocabulary);
    }
  return picked;
}

/** Guided logits of one step, and how far the best is ahead. */
function margin(step: number): number {
  const [withSpeaker, without] = [
    goldenStep(step).subarray(0, vocabulary),
    goldenStep(step).subarray(vocabulary),
  ];
  const guided = withSpeaker.map((c, i) => greedy.guidance * c + (1 - greedy.guidance) * without[i]!);
  const best = argMax(guided);
  const top = guided[best]!;
  guided[best] = -Infinity;
  return top - Math.max(...guided);
}

let cache: string;
let stages: Stages;
const open = (dtype: 'float32' | 'float16' | 'bfloat16') =>
  Stages.open(fixture('model'), { device: 'cpu', dtype });

describe('the stages of the engine', () => {
  beforeAll(async () => {
    // The managed libtorch lies in the cache, so it is found before the cache moves.
    process.env.METAVOICE_LIBTORCH = (await loadEngine()).libtorch.directory;
    cache = await mkdtemp(join(tmpdir(), 'metavoice-'));
    process.env.METAVOICE_CACHE = cache;
    stages = await open('float32');
  });
  afterAll(async () => {
    await stages?.dispose();
    await rm(cache, { recursive: true, force: true });
  });

  describe('text', () => {
    it('gives the ids of both stages', () => {
      let compared = 0;
      for (const { text, first, second } of llm.tokens) {
        const tokens = stages.tokenize(text);
        if (tokens.normalized !== text) continue;
        expect([...tokens.firstStage]).toEqual(first);
        expect([...tokens.secondStage]).toEqual(second);
        compared++;
      }
      expect(compared).toBeGreaterThan(3);
      expect(() => stages.tokenize(llm.tokenizer_error)).toThrow(
        expect.objectContaining({ code: 'ERR_TEXT' }),
      );
    });
  });

  describe('the first stage', () => {
    it('gives the logits of a prefill', async () => {
      const logits = await stages.firstStageLogits(prompt, golden('speaker'));
      expectClose(logits, golden('first.prefill_logits'), logitsTolerance);
    });

    it('gives the logits of every step, recomputed', async () => {
      const ids = Int32Array.from([...prompt, ...greedy.ids.slice(0, -1)]);
      const logits = await stages.firstStageLogits(ids, golden('speaker'));
      expectClose(lastPositions(logits, greedy.ids.length), golden('first.decode_logits'), logitsTolerance);
    });

    it('gives the logits of every step, taken one by one as speech takes them', async () => {
      const ids = Int32Array.from([...prompt, ...greedy.ids.slice(0, -1)]);
      const settings = { prompt: prompt.length };
      const logits = await stages.firstStageLogits(ids, golden('speaker'), settings);
      expectClose(lastPositions(logits, greedy.ids.length), golden('first.decode_logits'), logitsTolerance);
      const whole = await stages.firstStageLogits(ids, golden('speaker'), { prompt: ids.length });
      expectClose(logits, whole, logitsTolerance);
    });

    it('chooses the same ids through the cache', async () => {
      const steps = greedy.ids.length;
      const ids = await stages.firstStageGreedy(prompt, golden('speaker'), {
        guidance: greedy.guidance,
        steps,
      });
      expect([...ids]).toEqual(greedy.ids);
    });

    it('through the cache stays with the recomputed choice for long', async () => {
      const ids = await stages.firstStageGreedy(prompt, golden('speaker'), { guidance: 2, steps: 200 });
      const all = Int32Array.from([...prompt, ...ids]);
      const logits = await stages.firstStageLogits(all.subarray(0, -1), golden('speaker'));
      const rows = lastPositions(logits, ids.length);
      for (const [step, id] of ids.entries()) {
        const row = rows.subarray(2 * step * vocabulary, 2 * (step + 1) * vocabulary);
        const guided = row.subarray(0, vocabulary).map((c, i) => 2 * c - row[vocabulary + i]!);
        expect(guided[argMax(guided)]! - guided[id]!).toBeLessThan(1e-3);
      }
    });

    it('ends greedy decoding with the window', async () => {
      const long = new Int32Array(2046).fill(prompt[0]!);
      const ids = await stages.firstStageGreedy(long, golden('speaker'), { guidance: 1, steps: 100 });
      expect(ids.length).toBeLessThanOrEqual(2);
    });
  });

  describe('sampling', () => {
    test.each(llm.sampling.map((setting, n) => ({ ...setting, n })))(
      '$n: $temperature $top_p $top_k',
      (setting) => {
        const { n, temperature, top_p, top_k, kept } = setting;
        const probabilities = stages.sampleDistribution(golden('sampling.guided_logits'), {
          temperature,
          ...(top_p !== null && { topP: top_p }),
          ...(top_k !== null && { topK: top_k }),
        });
        expectClose(probabilities, golden(`sampling.${n}`), 1e-5);
        expect(probabilities.filter((p) => p > 0).length).toBe(kept);
      },
    );
  });

  describe('the second stage', () => {
    it('gives the logits and the codes of a whole pass', async () => {
      const logits = await stages.secondStageLogits(llm.second.text, coarse, golden('speaker'));
      expectClose(logits, golden('second.logits'), logitsTolerance);
      const [books, frames, outputs] = tensors['second.logits']!.shape as [number, number, number];
      for (let k = 0; k < books; k++)
        for (let f = 0; f < frames; f++) {
          const at = (k * frames + f) * outputs;
          expect(argMax(logits.subarray(at, at + outputs))).toBe(llm.second.argmax[k]![f]);
        }
    });

    it('takes codes that fill the window to its last column', async () => {
      const { secondStage } = stages.tokenize(llm.second.text);
      const frames = 1024 - secondStage.length;
      const full: [Uint16Array, Uint16Array] = [new Uint16Array(frames), new Uint16Array(frames)];
      const logits = await stages.secondStageLogits(llm.second.text, full, golden('speaker'));
      expect(logits).toHaveLength(6 * frames * 1025);
      expect(logits.every(Number.isFinite)).toBe(true);
    });
  });

  describe('the speaker encoder', () => {
    it('embeds a recording at 16 kHz', async () => {
      const { samples, sampleRate } = await decodeAudio(fixture('speaker_16k.wav'));
      const embedding = await stages.embedSpeaker(samples, sampleRate);
      expectClose(embedding, readTensors('speaker.safetensors').embedding!.data, 1e-4);
    });

    it('embeds a recording at another rate', async () => {
      const { samples, sampleRate } = await decodeAudio(fixture('voices/bria.mp3'));
      const embedding = await stages.embedSpeaker(samples, sampleRate);
      expectClose(embedding, readTensors('speaker_mp3.safetensors').embedding!.data, 1e-3);
    });

    it('refuses silence', async () => {
      await expect(stages.embedSpeaker(new Float32Array(32000), 16000)).rejects.toMatchObject({
        name: 'MetaVoiceError',
        code: 'ERR_REFERENCE_AUDIO',
      });
    });
  });

  describe('the codec', () => {
    const codec = readTensors('codec.safetensors');
    const codesOf = (name: string) => {
      const { shape, data } = codec[name]!;
      const [books, frames] = shape as [number, number];
      const codebooks = Array.from({ length: books }, (_, k) =>
        Uint16Array.from(data.subarray(k * frames, (k + 1) * frames)),
      );
      return { codebooks, frames };
    };

    it('encodes to the same codes', async () => {
      expect(await stages.encode(codec.wav!.data, 24000)).toEqual(codesOf('codes'));
    });

    test.each([
      ['codes', 'decoded'],
      ['random_codes', 'random_decoded'],
    ])('decodes %s', async (codes, decoded) => {
      const expected = codec[decoded]!.data;
      expectClose(await stages.decode(codesOf(codes)), expected, 1e-3 * peak(expected));
    });

    test.each([
      [[113]],
      [[7, 106]],
      [[19, 38, 56]],
      [[7, 1, 1, 1, 2, 3, 5, 8, 13, 72]],
      [[50, 1, 62]],
      [[112, 1]],
      [Array.from({ length: 107 }, (_, i) => (i === 0 ? 7 : 1))],
    ])('decodes in pieces of %j as it does whole', async (pieces) => {
      const whole = await stages.decode(codesOf('random_codes'));
      expectClose(await stages.decode(codesOf('random_codes'), { pieces }), whole, 1e-4 * peak(whole));
    });
  });

  describe('the enhancer', () => {
    const network = readTensors('enhancer.safetensors');
    const whole = readTensors('enhancer_whole.safetensors');

    it('gives the spectrum and the gains of its network', async () => {
      const [spec, featErb, featSpec] = ['spec', 'feat_erb', 'feat_spec'].map((name) => network[name]!.data);
      const found = await stages.enhanceSpectrum({ spec: spec!, featErb: featErb!, featSpec: featSpec! });
      expectClose(found.enhanced, network.enhanced!.data, 2e-4);
      expectClose(found.mask, network.mask!.data, 2e-4);
    });

    it('gives the whole signal, at 48 kHz whatever comes', async () => {
      const samples = whole.samples!.data;
      const found = await stages.enhance(samples, 48000);
      expect(found.sampleRate).toBe(48000);
      expectClose(found.samples, whole.enhanced!.data, 1e-3 * peak(whole.enhanced!.data));
      const narrow = await stages.enhance(samples.subarray(0, 4801), 24000);
      expect(narrow.sampleRate).toBe(48000);
      expect(narrow.samples).toHaveLength(2 * 4801);
    });

    it('computes in float32, whatever the language models do', async () => {
      await using narrow = await open('bfloat16');
      const samples = whole.samples!.data.subarray(0, 4800);
      expect(await narrow.enhance(samples, 48000)).toEqual(await stages.enhance(samples, 48000));
    });
  });

  describe('the diffusion decoder', () => {
    const diffusion = readTensors('diffusion.safetensors');
    const { shape, data } = diffusion.codes!;
    const frames = shape[1]!;
    const first = (count: number) => ({
      codebooks: Array.from({ length: shape[0]! }, (_, k) =>
        Uint16Array.from(data.subarray(k * frames, k * frames + count)),
      ),
      frames: count,
    });

    it('gives the golden signal of the given noise', async () => {
      const expected = diffusion.equalized!.data;
      const found = await stages.diffuse(first(frames), { noise: diffusion.noise!.data });
      expectClose(found, expected, 1e-3 * peak(expected));
    });

    it('draws its own noise from a seed: the same signal each time, another of another seed', async () => {
      const settings = { seed: 7, steps: 3 };
      const found = await stages.diffuse(first(9), settings);
      expect(found).toHaveLength(9 * 320);
      expect(await stages.diffuse(first(9), settings)).toEqual(found);
      const other = await stages.diffuse(first(9), { ...settings, seed: 8 });
      expect(worst(other, found).error).toBeGreaterThan(1e-3 * peak(found));
    });

    it('in windows says the same of the same beginning', async () => {
      const settings = { seed: 7, steps: 2, chunkEnds: [4, 8] };
      const found = await stages.diffuse(first(31), settings);
      expect(found).toHaveLength(31 * 320);
      const shorter = await stages.diffuse(first(24), settings);
      expect(shorter.subarray(0, 8 * 320)).toEqual(found.subarray(0, 8 * 320));
    });
  });

  describe.each([
    ['bfloat16', 0.03],
    ['float16', 0.004],
  ] as const)('in %s', (dtype, relative) => {
    let narrow: Stages;
    beforeAll(async () => {
      narrow = await open(dtype);
    });
    afterAll(() => narrow?.dispose());

    it('the first stage stays near, and chooses the same while the margin allows', async () => {
      const ids = Int32Array.from([...prompt, ...greedy.ids.slice(0, -1)]);
      const steps = greedy.ids.length;
      const logits = lastPositions(await narrow.firstStageLogits(ids, golden('speaker')), steps);
      const { error, words } = worst(logits, golden('first.decode_logits'));
      const scale = peak(golden('first.decode_logits'));
      expect(error, words).toBeLessThan(relative * scale);

      // Guidance 3 weighs the errors of both rows by 3 and 2; two candidates may each be off by that.
      const doubtful = greedy.ids.findIndex((_, step) => margin(step) <= 10 * error);
      const sure = doubtful < 0 ? steps : doubtful;
      const chosen = await narrow.firstStageGreedy(prompt, golden('speaker'), {
        guidance: greedy.guidance,
        steps,
      });
      expect([...chosen.slice(0, sure)]).toEqual(greedy.ids.slice(0, sure));
    });

    it('the second stage stays near', async () => {
      const logits = await narrow.secondStageLogits(llm.second.text, coarse, golden('speaker'));
      const { error, words } = worst(logits, golden('second.logits'));
      expect(error, words).toBeLessThan(relative * peak(golden('second.logits')));
    });

    it('what listens and sounds stays in float32', async () => {
      const { samples, sampleRate } = await decodeAudio(fixture('speaker_16k.wav'));
      expect(await narrow.embedSpeaker(samples, sampleRate)).toEqual(
        await stages.embedSpeaker(samples, sampleRate),
      );
    });
  });
});

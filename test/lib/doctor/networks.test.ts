import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { type Networks, type Rule, rulesOf } from '../../../dist/doctor/networks.js';
import { Stages } from '../../../dist/stages.js';
import { fixture } from '../checkpoint/torch-save.js';

let stages: Stages;
beforeAll(async () => {
  stages = await Stages.open(fixture('.'), { device: 'cpu', dtype: 'float32' });
});
afterAll(() => stages.dispose());

/** The real networks, with some of their answers replaced. */
const altered = (changes: Partial<Networks>): Networks => ({
  manifest: stages.manifest,
  tokenize: (text) => stages.tokenize(text),
  firstStageLogits: (ids, speaker) => stages.firstStageLogits(ids, speaker),
  firstStageGreedy: (ids, speaker, settings) => stages.firstStageGreedy(ids, speaker, settings),
  secondStageLogits: (text, coarse, speaker) => stages.secondStageLogits(text, coarse, speaker),
  ...changes,
});

const broken = (rules: Rule[]): string[] => rules.flatMap(({ name, holds }) => (holds ? [] : [name]));

it('sound networks keep every rule', async () => {
  const rules = await rulesOf(stages);
  expect(rules.map(({ name }) => name)).toEqual([
    'text with <|endoftext|> is refused',
    'cached decoding equals full recomputation, guidance 3',
    'guidance 1 is row 0',
    'row 1 is a run with a zero speaker vector',
    'the second stage predicts 6 codebooks',
  ]);
  expect(broken(rules)).toEqual([]);
});

it.each(['int8', 'int4'] as const)(
  'networks with weights in %s keep every rule, too',
  async (quantization) => {
    await using quantized = await Stages.open(fixture('.'), {
      device: 'cpu',
      dtype: 'float32',
      quantization,
    });
    expect(broken(await rulesOf(quantized))).toEqual([]);
  },
);

it('rules of stages that are absent are left out', async () => {
  const alone = altered({ manifest: { ...stages.manifest, secondStage: null } });
  const rules = await rulesOf(alone);
  expect(rules).toHaveLength(3);
  expect(broken(rules)).toEqual([]);
  expect(await rulesOf(altered({ manifest: { ...stages.manifest, firstStage: null } }))).toHaveLength(1);
});

describe('a network that breaks a rule is found', () => {
  test.each<[string, () => Partial<Networks>, RegExp]>([
    [
      'takes the special token',
      () => ({ tokenize: (text) => stages.tokenize(text.replace('<|endoftext|>', '')) }),
      /endoftext/,
    ],
    [
      'decodes with another cache',
      () => ({
        firstStageGreedy: async (ids, speaker, settings) => {
          const greedy = await stages.firstStageGreedy(ids, speaker, settings);
          greedy[greedy.length - 1] = (greedy.at(-1)! + 1) % 2048;
          return greedy;
        },
      }),
      /cached decoding[\s\S]*guidance 1/,
    ],
    [
      'hears guidance as another number',
      () => ({
        firstStageGreedy: (ids, speaker, { steps }) =>
          stages.firstStageGreedy(ids, speaker, { guidance: -2, steps }),
      }),
      /cached decoding|guidance 1/,
    ],
    [
      'mixes the speaker into both rows',
      () => ({
        firstStageLogits: async (ids, speaker) => {
          const logits = await stages.firstStageLogits(ids, speaker);
          logits.copyWithin(logits.length / 2, 0);
          return logits;
        },
      }),
      /row 1/,
    ],
    [
      'predicts what is no number',
      () => ({
        secondStageLogits: async (text, coarse, speaker) => {
          const logits = await stages.secondStageLogits(text, coarse, speaker);
          logits[3] = Number.NaN;
          return logits;
        },
      }),
      /second stage/,
    ],
    [
      'gives no numbers at all',
      () => ({
        firstStageLogits: async (ids, speaker) =>
          (await stages.firstStageLogits(ids, speaker)).fill(Number.NaN),
      }),
      /cached decoding[\s\S]*row 1/,
    ],
  ])('one that %s', async (_, changes, names) => {
    expect(broken(await rulesOf(altered(changes()))).join('\n')).toMatch(names);
  });
});

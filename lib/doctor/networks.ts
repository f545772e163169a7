/**
 * What must hold for any weights, without golden data (language model, section 14): the cache, the two rows of
 * guidance, and the tokenizer's special token.
 */

import { MetaVoiceError } from '../errors.js';
import { Stages, type StagesOptions } from '../stages.js';
import type { Check } from './check.js';

/** Largest error, as a share of the largest logit. */
const tolerance = 1e-5;
const steps = 12;
const text = 'hi how are you today';

export interface Rule {
  readonly name: string;
  readonly holds: boolean;
  readonly found: string;
}

/** Opens the stages in float32 and holds them against the rules. Rejects with what opening or computing rejects with. */
export async function checkNetworks(folder: string, options: StagesOptions): Promise<Check> {
  const stages = await Stages.open(folder, { ...options, dtype: 'float32' });
  try {
    const rules = await rulesOf(stages);
    const broken = rules.filter(({ holds }) => !holds).length;
    const where = `on ${stages.device} in float32`;
    return {
      name: 'networks',
      status: broken > 0 ? 'problem' : 'ok',
      found:
        broken > 0
          ? `${broken} of ${rules.length} rules broken ${where}`
          : `${rules.length} rules hold ${where}`,
      details: rules.map(({ name, holds, found }) => `${holds ? 'holds' : 'broken'}: ${name} (${found})`),
      facts: { device: stages.device, rules },
    };
  } finally {
    await stages.dispose();
  }
}

/** What the rules ask of the stages. */
export type Networks = Pick<
  Stages,
  'manifest' | 'tokenize' | 'firstStageLogits' | 'firstStageGreedy' | 'secondStageLogits'
>;

/** Each rule, and whether it holds; those for absent stages are left out. */
export async function rulesOf(stages: Networks): Promise<Rule[]> {
  const rules: Rule[] = [];
  const { firstStage, secondStage } = stages.manifest;
  if (firstStage && secondStage) rules.push(specialIsRefused(stages));
  if (firstStage) rules.push(...(await firstStageRules(stages, firstStage.speakerEmbedding)));
  if (secondStage) rules.push(await secondStageRule(stages, secondStage.speakerEmbedding));
  return rules;
}

function specialIsRefused(stages: Networks): Rule {
  const name = 'text with <|endoftext|> is refused';
  try {
    stages.tokenize('hi <|endoftext|> there');
  } catch (error) {
    const code = MetaVoiceError.isInstance(error) ? error.code : String(error);
    return { name, holds: code === 'ERR_TEXT', found: code };
  }
  return { name, holds: false, found: 'it was taken' };
}

async function firstStageRules(stages: Networks, embedding: number): Promise<Rule[]> {
  const prompt = promptOf(stages);
  const speaker = speakerOf(embedding);
  const rules: Rule[] = [];
  for (const guidance of [3, 1]) rules.push(await cacheRule(stages, prompt, speaker, guidance));
  if (embedding === 0) return rules;
  const silent = new Float32Array(embedding);
  const [, without] = rows(await stages.firstStageLogits(prompt, speaker));
  const [zero] = rows(await stages.firstStageLogits(prompt, silent));
  const error = relativeError(without, zero);
  rules.push({
    name: 'row 1 is a run with a zero speaker vector',
    holds: error <= tolerance,
    found: `off by ${error.toExponential(1)} of the largest logit`,
  });
  return rules;
}

/**
 * Greedy ids through the cache are the arg-max of one full pass over the same ids. With guidance 1 that is row 0 alone.
 * Two logits within the tolerance may change places.
 */
async function cacheRule(
  stages: Networks,
  prompt: Int32Array,
  speaker: Float32Array,
  guidance: number,
): Promise<Rule> {
  const ids = await stages.firstStageGreedy(prompt, speaker, { guidance, steps });
  const all = new Int32Array([...prompt, ...ids.subarray(0, -1)]);
  const [withSpeaker, without] = rows(await stages.firstStageLogits(all, speaker));
  const vocabulary = withSpeaker.length / all.length;
  const allowed = tolerance * (Math.abs(guidance) + Math.abs(1 - guidance));
  let worst = 0;
  for (const [step, id] of ids.entries()) {
    const start = (prompt.length - 1 + step) * vocabulary;
    const guided = Float64Array.from({ length: vocabulary }, (_, n) => {
      const row0 = withSpeaker[start + n]!;
      return guidance === 1 ? row0 : guidance * row0 + (1 - guidance) * without[start + n]!;
    });
    const scale = largest(withSpeaker.subarray(start, start + vocabulary));
    const most = guided.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    worst = Math.max(worst, (most - guided[id]!) / scale);
  }
  const name =
    guidance === 1
      ? 'guidance 1 is row 0'
      : `cached decoding equals full recomputation, guidance ${guidance}`;
  const found = `${ids.length} greedy ids, off by ${worst.toExponential(1)} of the largest logit`;
  return { name, holds: ids.length > 0 && worst <= allowed, found };
}

async function secondStageRule(stages: Networks, embedding: number): Promise<Rule> {
  const { outputs, vocabularies } = stages.manifest.secondStage!;
  const frames = 8;
  const codes = (factor: number): Uint16Array =>
    Uint16Array.from({ length: frames }, (_, n) => (n * factor) % (vocabularies[1]! - 1));
  const logits = await stages.secondStageLogits(text, [codes(97), codes(61)], speakerOf(embedding));
  const expected = outputs.reduce((sum, width) => sum + width * frames, 0);
  const finite = logits.every(Number.isFinite);
  return {
    name: `the second stage predicts ${outputs.length} codebooks`,
    holds: finite && logits.length === expected,
    found: `${logits.length} logits for ${frames} frames${finite ? '' : ', some of which are no numbers'}`,
  };
}

/** Ids of a text; of a model whose tokenizer lies in the other stage's file, its first text ids. */
function promptOf(stages: Networks): Int32Array {
  if (stages.manifest.secondStage) return stages.tokenize(text).firstStage;
  const { offset } = stages.manifest.firstStage!.tokenizer;
  return Int32Array.from({ length: 8 }, (_, n) => offset + n);
}

/** Some unit vector without negative numbers, as embeddings are. */
function speakerOf(size: number): Float32Array {
  const vector = Float32Array.from({ length: size }, (_, n) => 1 + Math.sin(n));
  const length = Math.hypot(...vector) || 1;
  return vector.map((value) => value / length);
}

function rows(logits: Float32Array): [Float32Array, Float32Array] {
  return [logits.subarray(0, logits.length / 2), logits.subarray(logits.length / 2)];
}

const largest = (values: Float32Array): number =>
  values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;

function relativeError(a: Float32Array, b: Float32Array): number {
  const scale = largest(b);
  return a.reduce((most, value, n) => Math.max(most, Math.abs(value - b[n]!)), 0) / scale;
}

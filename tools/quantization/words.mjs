/** What is understood of speech held one way, beside what is understood of the same sentences in float32. */
import { bootstrapInterval, median } from '../voice/evaluate/statistics.mjs';
import { wordErrorRate } from '../voice/evaluate/words.mjs';

/** @typedef {import('../voice/evaluate/speak.mjs').Utterance} Utterance */

/** Points of word error that a form may cost, as shares. @type {Partial<Record<string, number>>} */
export const bounds = { int8: 0.01, int4: 0.02 };

/**
 * The same sentences, with the same seeds, in the same order. The interval is of the bootstrap over sentences, each drawn with
 * what was heard of both, and with all its seeds.
 *
 * @param {readonly Utterance[]} truth @param {readonly Utterance[]} other
 */
export function compareWords(truth, other) {
  /** @type {Map<number, { truth: Utterance[], other: Utterance[] }>} */
  const sentences = new Map();
  for (const [index, utterance] of other.entries()) {
    const counterpart = truth[index];
    if (counterpart?.id !== utterance.id)
      throw new Error(`expected the utterances of sentence ${utterance.id} side by side`);
    const pair = sentences.get(utterance.id) ?? { truth: [], other: [] };
    pair.truth.push(counterpart);
    pair.other.push(utterance);
    sentences.set(utterance.id, pair);
  }
  const pairs = [...sentences.values()];
  const cost = (/** @type {readonly { truth: Utterance[], other: Utterance[] }[]} */ sample) =>
    wordErrorRate(sample.flatMap(({ other: own }) => own)) -
    wordErrorRate(sample.flatMap(({ truth: own }) => own));
  return {
    utterances: other.length,
    sentences: pairs.length,
    rate: wordErrorRate(other),
    interval: bootstrapInterval(
      pairs.map(({ other: own }) => own),
      (sample) => wordErrorRate(sample.flat()),
    ),
    cost: cost(pairs),
    costInterval: bootstrapInterval(pairs, cost),
    similarity: median(other.map(({ similarity }) => similarity)),
    rightSpeaker: other.filter(({ margin }) => margin > 0).length / other.length,
  };
}

/** @typedef {ReturnType<typeof compareWords>} WordFigures */

/**
 * Whether a form costs no more than it may. `settled` tells whether the interval leaves no doubt of it. Null for a form of which
 * nothing was asked.
 *
 * @param {string} quantization @param {Pick<WordFigures, 'cost' | 'costInterval'>} words
 */
export function judgeCost(quantization, { cost, costInterval: [low, high] }) {
  const bound = bounds[quantization];
  if (bound === undefined) return null;
  return { bound, holds: cost <= bound, settled: high <= bound || low > bound };
}

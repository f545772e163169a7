/** The first stage held one way against the same in float32, over the same ids: nothing is heard here. */
import { Stages } from '../../dist/stages.js';
import { median, quantile } from '../voice/evaluate/statistics.mjs';
import { argMax, divergence, firstDifference, guided, rowsAt } from './logits.mjs';

/**
 * What both read: the text, and behind it codes that float32 spoke.
 *
 * @typedef {{ ids: Int32Array, prompt: number, speaker: Float32Array }} Passage `prompt` of the ids are text
 * @typedef {import('../../dist/stages.js').StagesOptions} Held
 * @typedef {{ logits: Float32Array, greedy: Int32Array }} Answer `logits` [2, ids, vocabulary]
 */

/**
 * The ids of a text and of the coarse codes behind it, as the first stage interleaves them.
 *
 * @param {Int32Array} text @param {readonly Uint16Array[]} codebooks The first two count. @param {number} codebookSize
 */
export function passageIds(text, [first = new Uint16Array(), second = new Uint16Array()], codebookSize) {
  const ids = new Int32Array(text.length + 2 * first.length);
  ids.set(text);
  for (const [frame, code] of first.entries()) {
    ids[text.length + 2 * frame] = code;
    ids[text.length + 2 * frame + 1] = codebookSize + (second[frame] ?? 0);
  }
  return ids;
}

/**
 * Of each passage: the logits behind each of its ids, and a free greedy run. Held in float32 the ids go in one pass; what is
 * judged takes them one by one, by the steps that speak.
 *
 * @param {string} model @param {Held} held @param {readonly Passage[]} passages
 * @param {{ guidance: number, steps: number, oneByOne: boolean }} settings
 * @param {(answer: Answer, index: number) => void} onAnswer
 */
export async function answers(model, held, passages, { guidance, steps, oneByOne }, onAnswer) {
  const stages = await Stages.open(model, held);
  try {
    for (const [index, { ids, prompt, speaker }] of passages.entries()) {
      const logits = await stages.firstStageLogits(ids, speaker, oneByOne ? { prompt } : {});
      const greedy = await stages.firstStageGreedy(ids.slice(0, prompt), speaker, { guidance, steps });
      onAnswer({ logits, greedy }, index);
    }
  } finally {
    await stages.dispose();
  }
}

/** Sums over passages, of everything behind their texts. */
export class Comparison {
  /** @type {number[]} */
  #divergences = [];
  /** @type {number[]} */
  #guidedDivergences = [];
  #same = 0;
  /** @type {(number | null)[]} */
  #parted = [];
  /** @type {number[]} */
  #lengths = [];

  /** @param {number} guidance With which arg-maxes are taken. */
  constructor(guidance) {
    this.guidance = guidance;
  }

  /** @param {Passage} passage @param {Answer} truth @param {Answer} other */
  add({ ids, prompt }, truth, other) {
    for (let position = prompt - 1; position < ids.length; position++) {
      const wanted = rowsAt(truth.logits, ids.length, position);
      const found = rowsAt(other.logits, ids.length, position);
      const wantedGuided = guided(wanted.speaker, wanted.without, this.guidance);
      const foundGuided = guided(found.speaker, found.without, this.guidance);
      this.#divergences.push(divergence(wanted.speaker, found.speaker));
      this.#guidedDivergences.push(divergence(wantedGuided, foundGuided));
      if (argMax(wantedGuided) === argMax(foundGuided)) this.#same++;
    }
    this.#parted.push(firstDifference(truth.greedy, other.greedy));
    this.#lengths.push(truth.greedy.length);
  }

  figures() {
    const positions = this.#divergences.length;
    const mean = (/** @type {readonly number[]} */ values) =>
      values.reduce((sum, value) => sum + value, 0) / values.length;
    // A run that never parts is as long as it is.
    const parted = this.#parted.map((step, run) => step ?? this.#lengths[run] ?? 0);
    return {
      positions,
      divergence: { mean: mean(this.#divergences), p99: quantile(this.#divergences, 0.99) },
      guidedDivergence: { mean: mean(this.#guidedDivergences), p99: quantile(this.#guidedDivergences, 0.99) },
      agreement: this.#same / positions,
      greedy: {
        runs: parted.length,
        same: this.#parted.filter((step) => step === null).length,
        medianLength: median(this.#lengths),
        medianFirstDifference: median(parted),
        earliestDifference: Math.min(...parted),
      },
    };
  }
}

/** @typedef {ReturnType<Comparison['figures']>} LogitFigures */

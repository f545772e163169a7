/** From utterances to the figures of the report, and the limits they are held against. */
import { bootstrapInterval, median, quantile } from './statistics.mjs';
import { wordErrorRate } from './words.mjs';

/** @typedef {import('./speak.mjs').Utterance} Utterance */

/** Of flite's length. */
export const durationRange = /** @type {const} */ ([0.6, 1.6]);

/** @param {readonly Utterance[]} utterances */
export const rateOf = (utterances) => ({
  rate: wordErrorRate(utterances),
  interval: bootstrapInterval(utterances, wordErrorRate),
  flite: wordErrorRate(utterances.map(({ flite }) => flite)),
  utterances: utterances.length,
  words: utterances.reduce((sum, { words }) => sum + words, 0),
});

/** @param {readonly Utterance[]} utterances */
export function summarize(utterances) {
  const speakers = [...new Set(utterances.map(({ speaker }) => speaker))];
  const of = (/** @type {string} */ name) => utterances.filter(({ speaker }) => speaker === name);
  const bySpeaker = (/** @type {(own: Utterance[]) => unknown} */ figure) =>
    Object.fromEntries(speakers.map((name) => [name, figure(of(name))]));
  return {
    wordErrors: { ...rateOf(utterances), speakers: bySpeaker(rateOf) },
    duration: durations(utterances),
    limited: share(utterances, ({ endReason }) => endReason === 'limit'),
    silent: utterances.filter(({ endReason }) => endReason === 'silent').length,
    speaker: {
      right: share(utterances, isRight),
      similarity: median(utterances.map(({ similarity }) => similarity)),
      margin: median(utterances.map(({ margin }) => margin)),
      speakers: bySpeaker((own) => share(own, isRight)),
    },
    speed: speed(utterances.filter(({ seconds }) => seconds > 0)),
  };
}

/** @param {Utterance} utterance */
const isRight = ({ margin }) => margin > 0;

/** @param {readonly Utterance[]} utterances @param {(utterance: Utterance) => boolean} holds */
const share = (utterances, holds) => utterances.filter(holds).length / utterances.length;

/** @param {readonly Utterance[]} utterances */
function durations(utterances) {
  const ratios = utterances.map(({ durationRatio }) => durationRatio);
  const [low, high] = durationRange;
  return {
    ...{ min: Math.min(...ratios), p5: quantile(ratios, 0.05), median: median(ratios) },
    ...{ p95: quantile(ratios, 0.95), max: Math.max(...ratios) },
    outside: ratios.filter((ratio) => ratio < low || ratio > high).length,
    seconds: utterances.reduce((sum, { seconds }) => sum + seconds, 0),
  };
}

/** @param {readonly Utterance[]} spoken */
function speed(spoken) {
  const seconds = spoken.reduce((sum, one) => sum + one.seconds, 0);
  const work = spoken.reduce((sum, one) => sum + one.seconds * one.realTimeFactor, 0);
  return {
    medianRealTimeFactor: median(spoken.map(({ realTimeFactor }) => realTimeFactor)),
    realTimeFactor: work / seconds,
    medianFirstAudioSeconds: median(spoken.map(({ firstAudioSeconds }) => firstAudioSeconds)),
  };
}

/**
 * Shares of codes that are the same, over all frames of all utterances: of the codebooks that the first stage gives (all, by
 * construction) and of those that the second stage predicts.
 *
 * @param {readonly (import('../../../dist/stages.js').Codes | null)[]} one
 * @param {readonly (import('../../../dist/stages.js').Codes | null)[]} other
 */
export function codeAgreement(one, other) {
  /** @type {{ same: number, of: number }[]} */
  const counts = [];
  for (const [index, codes] of one.entries())
    for (const [k, codebook] of (codes?.codebooks ?? []).entries()) {
      const compared = other[index]?.codebooks[k] ?? new Uint16Array();
      counts[k] ??= { same: 0, of: 0 };
      const count = counts[k];
      count.same += codebook.filter((code, frame) => code === compared[frame]).length;
      count.of += Math.max(codebook.length, compared.length);
    }
  const shares = (/** @type {typeof counts} */ some) =>
    some.reduce((sum, { same }) => sum + same, 0) / some.reduce((sum, { of }) => sum + of, 0);
  return {
    codebooks: counts.map((count) => shares([count])),
    coarse: shares(counts.slice(0, 2)),
    predicted: shares(counts.slice(2)),
  };
}

/**
 * What was promised of the bundled voice, on two cores.
 *
 * @param {ReturnType<typeof summarize>} summary
 * @param {{ firstAudioSeconds: number, peakBytes: number | null }} coldStart
 * @returns {{ name: string, value: number | null, limit: number, unit: 'percent' | 'count' | 'ratio' | 'seconds' | 'bytes', passed: boolean }[]}
 */
export function judgeLimits(summary, coldStart) {
  const { wordErrors, duration, limited, speaker, speed: fast } = summary;
  const most = 1.5 * wordErrors.flite + 0.1;
  return [
    atMost('word error rate (1.5 × flite’s and 10 points)', wordErrors.rate, most, 'percent'),
    atMost(`utterances outside ${durationRange.join('–')} × flite’s length`, duration.outside, 0, 'count'),
    below('utterances that reached the limit', limited, 0.02, 'percent'),
    atLeast('nearest to the speaker asked for', speaker.right, 0.95, 'percent'),
    below('real-time factor', fast.realTimeFactor, 0.7, 'ratio'),
    below('process start to first audio', coldStart.firstAudioSeconds, 1.5, 'seconds'),
    below('peak resident memory', coldStart.peakBytes, 400e6, 'bytes'),
  ];
}

/** @typedef {ReturnType<typeof judgeLimits>[number]} Verdict */

/** @param {(value: number, limit: number) => boolean} holds */
const verdict =
  (holds) =>
  (
    /** @type {string} */ name,
    /** @type {number | null} */ value,
    /** @type {number} */ limit,
    /** @type {Verdict['unit']} */ unit,
  ) => ({ name, value, limit, unit, passed: value !== null && holds(value, limit) });
const atMost = verdict((value, limit) => value <= limit);
const below = verdict((value, limit) => value < limit);
const atLeast = verdict((value, limit) => value >= limit);

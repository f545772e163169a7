/** From seconds of single decode steps to the figures that are reported, and the targets they are held against. */
import { median } from '../tools/voice/evaluate/statistics.mjs';

/** Where steps are reported; 800 is about the middle of ten seconds of speech. */
export const reportedPositions = [256, 800, 1000, 2000];
/** The mean is over positions up to here: ten seconds of speech. */
const meanUpTo = 1500;
const meanSamples = 15;

/**
 * What one path took in one round.
 *
 * @typedef {{ seconds: number[], weightBytes: number, positionBytes: number }} Times `seconds` [positions, steps]
 * @typedef {{ bandwidth: number, own: Times, libtorch: Times | null }} Round `bandwidth` in bytes per second
 * @typedef {{ median: number, low: number, high: number }} Spread Over the rounds.
 * @typedef {{ bytes: number, stepsPerSecond: Spread, shareOfBandwidth: Spread, libtorch: Spread | null, ratio: Spread | null }} Figure
 */

/**
 * Where a window is measured: at the reported positions, and in the middles of equal spans for the mean. A step's time grows
 * with its position in proportion, which middles average exactly.
 *
 * @param {number} window Positions of the first stage.
 */
export function planPositions(window) {
  const last = window - 2; // a step at it still has room
  const upTo = Math.min(meanUpTo, last);
  const span = upTo / meanSamples;
  return {
    reported: reportedPositions.filter((position) => position <= last),
    mean: Array.from({ length: meanSamples }, (_, i) => Math.max(1, Math.round((i + 0.5) * span))),
    upTo,
  };
}

/** @param {readonly number[]} values @returns {Spread} */
const spreadOf = (values) => ({
  median: median(values),
  low: Math.min(...values),
  high: Math.max(...values),
});

/**
 * Of each position and of the mean, over all rounds. Shares and ratios are formed within a round: what slows a machine down
 * for a while slows all that is measured then.
 *
 * @param {readonly Round[]} rounds @param {ReturnType<typeof planPositions>} plan
 */
export function summarizeSteps(rounds, plan) {
  const { reported, mean, upTo } = plan;
  const at = (/** @type {Times} */ { seconds }, /** @type {number} */ index) => {
    const steps = seconds.length / (reported.length + mean.length);
    return median(seconds.slice(index * steps, (index + 1) * steps));
  };
  const meanOf = (/** @type {Times} */ times) =>
    mean.reduce((sum, _, i) => sum + at(times, reported.length + i), 0) / mean.length;
  const [
    {
      own: { weightBytes, positionBytes },
    } = { own: { weightBytes: 0, positionBytes: 0 } },
  ] = rounds;
  /** @param {number} position @param {(times: Times) => number} secondsOf @returns {Figure} */
  const figure = (position, secondsOf) => {
    const bytes = weightBytes + position * positionBytes;
    const compared = rounds.flatMap(({ own, libtorch }) => (libtorch ? [{ own, libtorch }] : []));
    return {
      bytes,
      stepsPerSecond: spreadOf(rounds.map(({ own }) => 1 / secondsOf(own))),
      shareOfBandwidth: spreadOf(rounds.map(({ own, bandwidth }) => bytes / secondsOf(own) / bandwidth)),
      libtorch: compared.length > 0 ? spreadOf(compared.map((round) => 1 / secondsOf(round.libtorch))) : null,
      ratio:
        compared.length > 0
          ? spreadOf(compared.map((round) => secondsOf(round.libtorch) / secondsOf(round.own)))
          : null,
    };
  };
  const middle = mean.reduce((sum, position) => sum + position, 0) / mean.length;
  return {
    readBandwidth: spreadOf(rounds.map(({ bandwidth }) => bandwidth)),
    weightBytes,
    positionBytes,
    positions: reported.map((position, index) => ({
      position,
      ...figure(position, (times) => at(times, index)),
    })),
    mean: { from: 0, to: upTo, ...figure(middle, meanOf) },
  };
}

/** @typedef {ReturnType<typeof summarizeSteps>} Summary */

/** Shares of the read bandwidth on two cores of a CPU, and how many times faster than libtorch alone. */
const cpuShares = { none: 0.85, int8: 0.85, int4: 0.8 };
const cpuRatio = 1.4;
/** Steps per second, mean, on an H200; int4 with keys and values in int8. */
const h200Rates = { none: 900, int8: 1500, int4: 2000 };
/** Ceilings on a T4 by counted bytes at position 800 over 220 GB/s, in steps per second, of which 90 % are wanted. */
const t4Ceilings = { none: 79, int8: 142, int4: 270 };

/**
 * What is asked of the published size, and whether it holds.
 *
 * @param {Summary} summary
 * @param {{ device: string, gpu: string | null, dtype: string, quantization: 'none' | 'int8' | 'int4', kvCache: string }} run
 * @returns {{ name: string, value: number, limit: number, passed: boolean }[]}
 */
export function judgeSteps(summary, { device, gpu, dtype, quantization, kvCache }) {
  const { mean, positions } = summary;
  const atLeast = (/** @type {string} */ name, /** @type {number} */ value, /** @type {number} */ limit) => ({
    ...{ name, value, limit },
    passed: value >= limit,
  });
  if (device === 'cpu') {
    if (quantization === 'none' && dtype === 'float32') return [];
    const share = atLeast(
      'share of the read bandwidth, mean',
      mean.shareOfBandwidth.median,
      cpuShares[quantization],
    );
    const ratio = mean.ratio && atLeast('times libtorch alone, mean', mean.ratio.median, cpuRatio);
    return ratio ? [share, ratio] : [share];
  }
  const narrow = quantization !== 'int4' || kvCache === 'int8';
  if (gpu?.includes('H200') && dtype !== 'float32' && narrow)
    return [atLeast('steps per second, mean', mean.stepsPerSecond.median, h200Rates[quantization])];
  const middle = positions.find(({ position }) => position === 800);
  if (gpu?.includes('T4') && dtype === 'float16' && narrow && middle)
    return [
      atLeast(
        'steps per second at position 800',
        middle.stepsPerSecond.median,
        0.9 * t4Ceilings[quantization],
      ),
    ];
  return [];
}

/** The arithmetic behind `npm run bench -- --steps-only`: bytes of a step, figures, targets. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { matrixBytes, positionBytes, stepWeightBytes } from '../../bench/step-bytes.mjs';
import { judgeSteps, planPositions, type Round, summarizeSteps } from '../../bench/step-figures.mjs';
import { stepRows } from '../../bench/steps.mjs';
import { callSite } from '../../dist/call-site.js';
import { loadModel } from '../../dist/load-model.js';
import { resolveLoadOptions } from '../../dist/resolve-options.js';
import { loadEngine } from '../../dist/runtime/load.js';
import { fixture } from './fixtures.js';

const published = {
  ...{ width: 2048, feedForward: 5632, layers: 24, heads: 16, outputs: [2562] },
  activation: 'swiglu' as const,
};
const head = 2562 * 2048 * 4;
const numbers = 24 * (2048 * 2048 * 4 + 3 * 2048 * 5632);

describe('bytes of a step at the published size', () => {
  it('are all numbers of the layers, and the output layer in float32', () => {
    expect(numbers).toBe(1_233_125_376);
    expect(stepWeightBytes(published, { dtype: 'float32' })).toBe(numbers * 4 + head);
    expect(stepWeightBytes(published, { dtype: 'bfloat16' })).toBe(numbers * 2 + head);
  });

  it('have a scale for each row in int8, a scale and a zero for each group of 128 in int4', () => {
    const rows = 24 * (3 * 2048 + 2048 + 2 * 5632 + 2048);
    const form = { dtype: 'bfloat16' };
    expect(stepWeightBytes(published, { ...form, quantization: 'int8' })).toBe(numbers + 2 * rows + head);
    expect(stepWeightBytes(published, { ...form, quantization: 'int4' })).toBe(
      numbers / 2 + (numbers / 128) * 4 + head,
    );
  });

  it('of a matrix that int4 leaves whole are those of its dtype', () => {
    expect(matrixBytes(10, 256, 'int4', 'float16')).toBe(10 * (128 + 8));
    expect(matrixBytes(10, 192, 'int4', 'float16')).toBe(10 * 192 * 2);
    expect(matrixBytes(10, 192, 'int4', 'float32')).toBe(10 * 192 * 4);
    expect(matrixBytes(10, 192, 'int8', 'float32')).toBe(10 * (192 + 2));
  });

  it('of a position are keys and values of two rows in every layer', () => {
    expect(positionBytes(published, { dtype: 'bfloat16' })).toBe(393_216);
    expect(positionBytes(published, { dtype: 'float32' })).toBe(786_432);
    expect(positionBytes(published, { dtype: 'float32', kvCache: '16bit' })).toBe(393_216);
    expect(positionBytes(published, { dtype: 'float16', kvCache: 'int8' })).toBe(24 * 2 * 2 * (2048 + 64));
    expect(positionBytes(published, { dtype: 'float16', rows: 3 })).toBe(589_824);
  });

  it('without a gate has two matrices in the network of each position', () => {
    const plain = { ...published, activation: 'gelu' as const, layers: 1 };
    expect(stepWeightBytes(plain, { dtype: 'float16' })).toBe((2048 * 2048 * 4 + 2 * 2048 * 5632) * 2 + head);
  });
});

describe('positions', () => {
  it('are those that are reported, and the middles of equal spans', () => {
    const { reported, mean, upTo } = planPositions(2048);
    expect(reported).toEqual([256, 800, 1000, 2000]);
    expect(mean).toEqual(Array.from({ length: 15 }, (_, i) => 50 + 100 * i));
    expect(upTo).toBe(1500);
  });

  it('stay inside a smaller window', () => {
    const { reported, mean, upTo } = planPositions(896);
    expect(reported).toEqual([256, 800]);
    expect(upTo).toBe(894);
    expect(Math.min(...mean)).toBeGreaterThan(0);
    expect(Math.max(...mean)).toBeLessThan(894);
    expect(planPositions(12).reported).toEqual([]);
    expect(planPositions(12).mean.every((position) => position >= 1 && position <= 10)).toBe(true);
  });
});

/** Steps that take `base` seconds, and `slope` more with each position; one of three is held up. */
function times(base: number, slope: number) {
  const { reported, mean } = planPositions(2048);
  const seconds = [...reported, ...mean].flatMap((position) => {
    const own = base + slope * position;
    return [own, 10 * own, own];
  });
  return { seconds, weightBytes: 1000, positionBytes: 2 };
}

/** One step at each position instead of three. */
const onlyFirst = (all: ReturnType<typeof times>) => ({
  ...all,
  seconds: all.seconds.filter((_, index) => index % 3 === 0),
});

describe('figures', () => {
  const rounds: Round[] = [1, 2, 4].map((slowness) => ({
    bandwidth: 1e5 / slowness,
    own: times(0.01 * slowness, 1e-5 * slowness),
    libtorch: onlyFirst(times(0.02 * slowness, 2e-5 * slowness)),
  }));
  const summary = summarizeSteps(rounds, planPositions(2048));

  it('are medians and extremes of the rounds, each of the middle step', () => {
    const [first] = summary.positions;
    expect(first).toMatchObject({ position: 256, bytes: 1512 });
    expect(first!.stepsPerSecond.median).toBeCloseTo(1 / (0.02 + 256 * 2e-5), 9);
    expect(first!.stepsPerSecond.low).toBeCloseTo(1 / (0.04 + 256 * 4e-5), 9);
    expect(first!.stepsPerSecond.high).toBeCloseTo(1 / (0.01 + 256 * 1e-5), 9);
    expect(first!.libtorch!.median).toBeCloseTo(first!.stepsPerSecond.median / 2, 9);
    expect(summary.readBandwidth).toEqual({ median: 5e4, low: 2.5e4, high: 1e5 });
  });

  it('have shares and ratios within a round, so that a slow one changes neither', () => {
    for (const { shareOfBandwidth, ratio, bytes, position } of summary.positions) {
      expect(shareOfBandwidth.low).toBeCloseTo(shareOfBandwidth.high, 12);
      expect(shareOfBandwidth.median).toBeCloseTo(bytes / (0.01 + 1e-5 * position) / 1e5, 9);
      expect(ratio!.low).toBeCloseTo(2, 12);
      expect(ratio!.high).toBeCloseTo(2, 12);
    }
  });

  it('have the mean of the seconds, not of the speeds', () => {
    expect(summary.mean).toMatchObject({ from: 0, to: 1500, bytes: 2500 });
    expect(summary.mean.stepsPerSecond.median).toBeCloseTo(1 / (0.02 + 750 * 2e-5), 9);
  });

  it('say nothing of libtorch where it was not measured', () => {
    const alone = summarizeSteps(
      rounds.map((round) => ({ ...round, libtorch: null })),
      planPositions(2048),
    );
    expect(alone.mean.libtorch).toBeNull();
    expect(alone.mean.ratio).toBeNull();
    const [names, ...rows] = stepRows(alone);
    expect(rows).toHaveLength(5);
    expect(rows.every((row) => row.length === names!.length && row.includes('–'))).toBe(true);
  });

  const run = { device: 'cpu', gpu: null, dtype: 'bfloat16', kvCache: 'int8' };
  const judged = (share: number, ratio: number, of: object) =>
    judgeSteps(
      {
        ...summary,
        mean: {
          ...summary.mean,
          shareOfBandwidth: { median: share, low: 0, high: 1 },
          ratio: { median: ratio, low: 0, high: 9 },
          stepsPerSecond: { median: 1000 * share, low: 0, high: 1e4 },
        },
      },
      { ...run, quantization: 'int4', ...of },
    ).map(({ passed }) => passed);

  it('are held against the targets of their device', () => {
    expect(judged(0.8, 1.4, {})).toEqual([true, true]);
    expect(judged(0.79, 1.39, {})).toEqual([false, false]);
    expect(judged(0.84, 2, { quantization: 'int8' })).toEqual([false, true]);
    expect(judged(0.85, 2, { quantization: 'none' })).toEqual([true, true]);
    expect(judged(0.85, 2, { quantization: 'none', dtype: 'float32' })).toEqual([]);
    const h200 = { device: 'cuda:0', gpu: 'NVIDIA H200' };
    expect(judged(0.9, 0, { ...h200, quantization: 'none' })).toEqual([true]);
    expect(judged(0.89, 0, { ...h200, quantization: 'none' })).toEqual([false]);
    expect(judged(2, 0, h200)).toEqual([true]);
    expect(judged(2, 0, { ...h200, kvCache: '16bit' })).toEqual([]);
    expect(
      judged(9, 0, { device: 'cuda:0', gpu: 'Tesla T4', dtype: 'float16', quantization: 'none' }),
    ).toEqual([false]);
    expect(judged(9, 0, { device: 'cuda:0', gpu: 'another' })).toEqual([]);
  });
});

describe('the engine', () => {
  let cache: string;
  beforeAll(async () => {
    // The managed libtorch lies in the cache, so it is found before the cache moves.
    process.env.METAVOICE_LIBTORCH = (await loadEngine()).libtorch.directory;
    cache = await mkdtemp(join(tmpdir(), 'metavoice-steps-'));
    process.env.METAVOICE_CACHE = cache;
  });
  afterAll(() => rm(cache, { recursive: true, force: true }));

  it.each(['float32', 'bfloat16'] as const)(
    'counts the same bytes in %s, and times every step',
    async (dtype) => {
      const options = resolveLoadOptions({ model: fixture('model'), device: 'cpu', dtype });
      const { native, manifest } = await loadModel(options, callSite(loadModel));
      try {
        for (const libtorchOnly of [false, true]) {
          const found = await native.stepTimes(Int32Array.of(40, 7, 2000), 2, libtorchOnly);
          expect(found.seconds).toHaveLength(6);
          expect(found.seconds.every((seconds) => seconds > 0 && seconds < 60)).toBe(true);
          expect(found.weightBytes).toBe(stepWeightBytes(manifest.firstStage!, { dtype }));
          expect(found.positionBytes).toBe(positionBytes(manifest.firstStage!, { dtype }));
        }
      } finally {
        await native.dispose();
      }
    },
  );
});

/** The few statistics that the report needs; the same input always gives the same numbers. */

/**
 * Linear between the two nearest ranks. NaN for nothing.
 *
 * @param {readonly number[]} values
 * @param {number} share 0 to 1
 */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? Number.NaN;
  return low + (high - low) * (at - Math.floor(at));
}

/** @param {readonly number[]} values */
export const median = (values) => quantile(values, 0.5);

/** Uniform in [0, 1): mulberry32. @param {number} seed 32 bits */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * The 95 % interval of a statistic by the percentile bootstrap: items are drawn with replacement, whole utterances here,
 * because the errors within one hang together.
 *
 * @template T
 * @param {readonly T[]} items At least one.
 * @param {(sample: readonly T[]) => number} statistic
 * @param {{ rounds?: number, seed?: number }} [options]
 * @returns {[number, number]}
 */
export function bootstrapInterval(items, statistic, { rounds = 2000, seed = 1 } = {}) {
  const random = randomFrom(seed);
  const results = Array.from({ length: rounds }, () =>
    statistic(items.map(() => /** @type {T} */ (items[Math.floor(random() * items.length)]))),
  );
  return [quantile(results, 0.025), quantile(results, 0.975)];
}

/** −1 to 1. @param {Float32Array} a @param {Float32Array} b Of the same length. */
export function cosine(a, b) {
  let product = 0;
  let squareA = 0;
  let squareB = 0;
  for (const [index, x] of a.entries()) {
    const y = b[index] ?? 0;
    product += x * y;
    squareA += x * x;
    squareB += y * y;
  }
  return product / Math.sqrt(squareA * squareB);
}

/** How far logits are from others that are taken for true. */

/** Logarithms of the probabilities, in float64. @param {ArrayLike<number>} logits */
export function logSoftmax(logits) {
  const values = Float64Array.from(logits);
  let largest = -Infinity;
  for (const value of values) largest = Math.max(largest, value);
  let sum = 0;
  for (const value of values) sum += Math.exp(value - largest);
  const logarithm = Math.log(sum);
  return values.map((value) => value - largest - logarithm);
}

/**
 * Kullback and Leibler's divergence of the distributions that logits stand for, in nats: what is lost when `other` is taken
 * where `truth` holds. 0 for equal ones, and never below; an entry without probability in `truth` counts nothing.
 *
 * @param {ArrayLike<number>} truth @param {ArrayLike<number>} other
 */
export function divergence(truth, other) {
  const p = logSoftmax(truth);
  const q = logSoftmax(other);
  let sum = 0;
  for (const [i, logarithm] of p.entries())
    if (logarithm > -Infinity) sum += Math.exp(logarithm) * (logarithm - (q[i] ?? -Infinity));
  return Math.max(0, sum);
}

/** The first of the largest. @param {ArrayLike<number>} values */
export function argMax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] ?? 0) > (values[best] ?? 0)) best = i;
  return best;
}

/**
 * As the model is drawn from: what the row without the speaker says is taken away from the one with.
 *
 * @param {Float32Array} speaker @param {Float32Array} without @param {number} guidance
 */
export const guided = (speaker, without, guidance) =>
  speaker.map((value, i) => guidance * value + (1 - guidance) * (without[i] ?? 0));

/**
 * One position of [2, positions, vocabulary]: the row with the speaker and the one without.
 *
 * @param {Float32Array} logits @param {number} positions @param {number} position
 */
export function rowsAt(logits, positions, position) {
  const vocabulary = logits.length / 2 / positions;
  const row = (/** @type {number} */ index) =>
    logits.subarray(
      (index * positions + position) * vocabulary,
      (index * positions + position + 1) * vocabulary,
    );
  return { speaker: row(0), without: row(1) };
}

/** Where two runs part, or null where they are the same. @param {ArrayLike<number>} one @param {ArrayLike<number>} other */
export function firstDifference(one, other) {
  const shared = Math.min(one.length, other.length);
  for (let i = 0; i < shared; i++) if (one[i] !== other[i]) return i;
  return one.length === other.length ? null : shared;
}

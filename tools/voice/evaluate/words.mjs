/** Word error rate: how many words a recogniser heard otherwise than they were written. */

/**
 * The words of a text, the same way for what was written and what was heard: lower case, a hyphen parts two words, no
 * punctuation but apostrophes inside words.
 *
 * @param {string} text
 * @returns {string[]}
 */
export function words(text) {
  const plain = text
    .toLowerCase()
    .replaceAll('’', "'")
    .replaceAll(/[-‐-―]/g, ' ');
  return plain.match(/[\p{L}\p{N}]+(?:'[\p{L}\p{N}]+)*/gu) ?? [];
}

/**
 * The fewest insertions, deletions and substitutions that turn one list into the other (Levenshtein).
 *
 * @param {readonly string[]} from
 * @param {readonly string[]} to
 */
export function editDistance(from, to) {
  let row = Array.from({ length: to.length + 1 }, (_, j) => j);
  for (const [i, word] of from.entries()) {
    const next = [i + 1];
    for (const [j, other] of to.entries())
      next.push(
        Math.min((row[j] ?? 0) + (word === other ? 0 : 1), (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1),
      );
    row = next;
  }
  return row[to.length] ?? 0;
}

/**
 * @param {string} written
 * @param {string} heard
 * @returns {{ errors: number, words: number }} `errors` may exceed `words`: insertions count.
 */
export function wordErrors(written, heard) {
  const reference = words(written);
  return { errors: editDistance(reference, words(heard)), words: reference.length };
}

/** Errors per word of a whole corpus. @param {readonly { errors: number, words: number }[]} counts */
export function wordErrorRate(counts) {
  const total = (/** @type {'errors' | 'words'} */ key) => counts.reduce((sum, count) => sum + count[key], 0);
  return total('errors') / total('words');
}

/** Word error rate: how many words a recogniser heard otherwise than they were written. */

const ones =
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen'.split(
    ' ',
  );
const tens = '_ _ twenty thirty forty fifty sixty seventy eighty ninety'.split(' ');

/** Its words, as the recogniser's dictionary has them. @param {number} number Whole, 0 to 999. @returns {(string | undefined)[]} */
function spellOut(number) {
  if (number < 20) return [ones[number]];
  if (number < 100) return [tens[Math.floor(number / 10)], ...(number % 10 ? [ones[number % 10]] : [])];
  return [ones[Math.floor(number / 100)], 'hundred', ...(number % 100 ? spellOut(number % 100) : [])];
}

/**
 * The words of a text, the same way for what was written and what was heard: lower case, a hyphen parts two words, no
 * punctuation but apostrophes inside words, whole numbers below a thousand in words. Other figures (1,000, 3.5, 2nd, 007) stay
 * as they are: how they are read is not in their digits.
 *
 * @param {string} text
 * @returns {string[]}
 */
export function words(text) {
  const plain = text
    .toLowerCase()
    .replaceAll('’', "'")
    .replaceAll(/[-‐-―]/g, ' ');
  const spelled = plain.replaceAll(
    /(?<![\p{L}\p{N}][.,:'/]?)(?:0|[1-9]\d{0,2})(?![.,:'/]?[\p{L}\p{N}])/gu,
    (digits) => spellOut(Number(digits)).join(' '),
  );
  return spelled.match(/[\p{L}\p{N}]+(?:'[\p{L}\p{N}]+)*/gu) ?? [];
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

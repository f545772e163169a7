/** Where a text makes its speaker rest. */

/** Marks within a text, not those that end it: after them comes white space and something to say. */
const mark = /[,;:.!?…)\]”"]+[)\]”"’']*(?=\s+\S)|\s[-–—]+(?=\s)|—/gu;

/** More than any segment has. */
const mostRests = 200;

/**
 * The rests of a text in seconds from its beginning.
 *
 * @param text normalised, as it is spoken
 * @param expectedSeconds of a part of a text; additive
 */
export function restsOf(text: string, expectedSeconds: (part: string) => number): number[] {
  const rests: number[] = [];
  let seconds = 0;
  let from = 0;
  for (const { index, 0: found } of text.matchAll(mark)) {
    const to = index + found.length;
    seconds += expectedSeconds(text.slice(from, to));
    from = to;
    rests.push(seconds);
    if (rests.length === mostRests) break;
  }
  return rests;
}

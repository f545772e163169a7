/**
 * A tokenizer of 512 ranks that gives the known ids for both texts: the merges that those ids stand for, a few on the
 * way to them, and filling that no text has.
 */

const merges: Record<number, string> = {
  256: ' t',
  258: ' a',
  262: ' s',
  264: ' o',
  271: 'is',
  272: ' m',
  274: ' f',
  276: 'en',
  278: ' to',
  279: ' of',
  288: ' h',
  303: 'ow',
  306: 'ic',
  322: ' you',
  325: 'ce',
  327: 'ay',
  328: 'et',
  331: 'al',
  339: ' is',
  350: ' an',
  370: 'ch',
  379: ' M',
  385: ' de',
  403: ' by',
  407: 'pe',
  427: ' are',
  434: 'our',
  438: 'ation',
  465: 'ound',
  // On the way; their ranks are free.
  300: ' d',
  301: ' b',
  302: ' y',
  310: 'ou',
  311: 'nd',
  312: 'on',
  313: 'ion',
  314: 'at',
  315: 're',
};

/** Byte strings by rank. */
export function goldenRanks(): Buffer[] {
  return Array.from({ length: 512 }, (_, rank) => {
    if (rank < 256) return Buffer.from([rank]);
    const merge = merges[rank];
    return merge === undefined ? Buffer.from([0xff, 0xfe, rank - 256]) : Buffer.from(merge);
  });
}

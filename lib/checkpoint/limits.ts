/** Bounds on what is read from a checkpoint, so that a small hostile file takes neither all memory nor all time. */

/** Largest pickle: the one of the published first stage has 60 kB. */
export const largestPickle = 16 << 20;

/**
 * Bytes that the values of a pickle may take: some, and so many for each of its own. A list takes a hundred bytes and
 * one byte of pickle, so that a file could ask for far more than itself.
 */
export const pickleAllowance = (bytes: number): number => (64 << 20) + 48 * bytes;

/** Largest JSON beside a model: a manifest holds the tokenizers, a few MB at most. */
export const largestText = 64 << 20;

/**
 * Members of a zip, storages, tensors, and keys that are numbers. The hash of a number is no secret, so that a file
 * could choose all of them for one bucket of a table: the time grows with the square of their number.
 */
export const mostEntries = 16_384;

/** Layers, codebooks and the like that a manifest may speak of. */
export const mostParts = 10_000;

/** Dimensions of a tensor. */
export const mostDimensions = 16;

import type { Expected } from './names.js';
import { few, refuseCheckpoint } from './refuse.js';

const text = (shape: readonly number[]): string => `[${shape.join(', ')}]`;
export const equal = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((size, d) => size === b[d]);

/**
 * Holds what a file has against what it must have. Throws ERR_CHECKPOINT with file, tensor, expected and found: missing
 * names first, then unknown ones, then shapes. `nameOf` gives the name that the file itself uses.
 */
export function compareTensors(
  file: string,
  expected: Expected,
  found: ReadonlyMap<string, readonly number[]>,
  nameOf: (name: string) => string = (name) => name,
): void {
  const missing = [...expected].filter(([name, { optional }]) => !optional && !found.has(name));
  if (missing.length > 0) {
    const names = missing.map(([name]) => nameOf(name));
    throw refuseCheckpoint(file, `lacks ${tensors(names)}`, {
      tensor: names[0],
      expected: text(missing[0]![1].shape),
      found: null,
      missing: names,
    });
  }
  const unknown = [...found.keys()].filter((name) => !expected.has(name)).map(nameOf);
  if (unknown.length > 0) throw refuseUnknown(file, unknown);
  for (const [name, { shape }] of expected) {
    const actual = found.get(name);
    if (!actual || equal(actual, shape)) continue;
    throw refuseCheckpoint(
      file,
      `tensor ${nameOf(name)} has shape ${text(actual)}, expected ${text(shape)} by the other tensors and the model's arguments`,
      { tensor: nameOf(name), expected: [...shape], found: [...actual] },
    );
  }
}

export function refuseUnknown(file: string, names: string[]): Error {
  return refuseCheckpoint(
    file,
    `has ${tensors(names)}, which this model does not have; is it another kind of model?`,
    { tensor: names[0], expected: null, found: names[0], unknown: names },
  );
}

const tensors = (names: string[]): string =>
  names.length === 1 ? `the tensor ${names[0]}` : `${names.length} tensors: ${few(names)}`;

/** What a file has, held against the table of the published one: sizes first, then names and shapes at those sizes. */

import {
  elements,
  expand,
  measure,
  type PublishedPart,
  publishedSizes,
  type Shape,
  type Table,
  totals,
} from './table.js';

export interface FoundTensor {
  readonly shape: Shape;
  readonly dtype: string;
  /** Equal for tensors that are the same numbers. */
  readonly identity: string;
}

export type FoundTensors = ReadonlyMap<string, FoundTensor>;

export interface Difference {
  readonly name: string;
  readonly expected: unknown;
  readonly found: unknown;
}

export interface Comparison {
  readonly tensors: { readonly expected: number; readonly found: number };
  readonly parameters: { readonly expected: number; readonly found: number };
  /** Sizes that are not as published, such as the number of layers. */
  readonly sizes: readonly Difference[];
  /** Names and shapes that do not follow from those sizes. */
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
  readonly shapes: readonly Difference[];
  /** Numbers of another type than published, by type. */
  readonly dtypes: Readonly<Record<string, number>>;
  /** Other facts: arguments, configurations, the tokenizer. */
  readonly values: readonly Difference[];
  /** Scalars that mean nothing here. */
  readonly ignored: readonly string[];
}

export interface CompareOptions {
  /** The file is of a converted model: tied tensors and those of the training are left out. */
  readonly converted?: boolean;
  /** Counters may be left out, as conversions do. */
  readonly withoutCounters?: boolean;
  readonly values?: readonly Difference[];
}

export function compare(
  part: Pick<PublishedPart, 'table' | 'scalars'>,
  given: FoundTensors,
  { converted = false, withoutCounters = false, values = [] }: CompareOptions = {},
): Comparison {
  const known = rowsFor(part.table, converted, withoutCounters);
  const { found, ignored } = setScalarsAside(part, known, given);
  const shapes = new Map([...found].map(([name, { shape }]) => [name, shape]));
  const published = publishedSizes(known);
  const sizes = fit(known, shapes, published);
  const structure = differ(known, shapes, sizes);
  const expected = totals(known, published);
  return {
    tensors: { expected: expected.tensors, found: found.size },
    parameters: { expected: expected.parameters, found: distinct(found) },
    sizes: Object.entries(sizes)
      .filter(([name, size]) => size !== published[name])
      .map(([name, size]) => ({ name, expected: published[name], found: size })),
    ...structure,
    // A converted model is stored as somebody chose.
    dtypes: converted ? {} : otherDtypes(known, found, sizes),
    values: [...untied(known, found), ...values],
    ignored,
  };
}

/** Nothing differs but, perhaps, sizes. */
export const isSound = ({ missing, unexpected, shapes }: Comparison): boolean =>
  missing.length + unexpected.length + shapes.length === 0;

export const isAsPublished = (comparison: Comparison): boolean =>
  isSound(comparison) &&
  comparison.sizes.length + comparison.values.length + Object.keys(comparison.dtypes).length === 0;

function rowsFor(table: Table, converted: boolean, withoutCounters: boolean): Table {
  const rows = table.rows.filter(
    ({ tied, training, counter }) => !(converted && (tied || training)) && !(withoutCounters && counter),
  );
  return { ...table, rows };
}

function setScalarsAside({ scalars }: Pick<PublishedPart, 'scalars'>, table: Table, given: FoundTensors) {
  if (!scalars) return { found: given, ignored: [] };
  const named = new Set(expand(table, publishedSizes(table)).keys());
  const ignored = [...given].filter(([name, { shape }]) => elements(shape) === 1 && !named.has(name));
  const found = new Map(given);
  for (const [name] of ignored) found.delete(name);
  return { found, ignored: ignored.map(([name]) => name) };
}

/** Measured sizes. Where one tensor lies about a size that the others have as published, the published one stands. */
function fit(table: Table, shapes: ReadonlyMap<string, Shape>, published: Record<string, number>) {
  let sizes = measure(table, shapes);
  let best = weigh(differ(table, shapes, sizes));
  for (const name of Object.keys(sizes)) {
    if (best === 0 || sizes[name] === published[name]) continue;
    const other = { ...sizes, [name]: published[name]! };
    const weight = weigh(differ(table, shapes, other));
    if (weight < best) [sizes, best] = [other, weight];
  }
  return sizes;
}

type Structure = Pick<Comparison, 'missing' | 'unexpected' | 'shapes'>;

const weigh = ({ missing, unexpected, shapes }: Structure): number =>
  missing.length + unexpected.length + shapes.length;

const equal = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((size, d) => size === b[d]);

function differ(table: Table, found: ReadonlyMap<string, Shape>, sizes: Record<string, number>): Structure {
  const expected = expand(table, sizes);
  const shapes: Difference[] = [];
  for (const [name, { shape }] of expected) {
    const actual = found.get(name);
    if (actual && !equal(actual, shape)) shapes.push({ name, expected: shape, found: actual });
  }
  return {
    missing: [...expected.keys()].filter((name) => !found.has(name)),
    unexpected: [...found.keys()].filter((name) => !expected.has(name)),
    shapes,
  };
}

const isFloat = (dtype: string): boolean => /float/.test(dtype);

/** Parameters, those that are stored once counted once. */
function distinct(found: FoundTensors): number {
  const seen = new Set<string>();
  let sum = 0;
  for (const { shape, dtype, identity } of found.values()) {
    if (!isFloat(dtype) || seen.has(identity)) continue;
    seen.add(identity);
    sum += elements(shape);
  }
  return sum;
}

function otherDtypes(table: Table, found: FoundTensors, sizes: Record<string, number>) {
  const counts: Record<string, number> = {};
  const expected = expand(table, sizes);
  for (const [name, { dtype }] of found) {
    const wanted = expected.get(name)?.row.counter ? 'int64' : 'float32';
    if (dtype !== wanted) counts[dtype] = (counts[dtype] ?? 0) + 1;
  }
  return counts;
}

/** Tensors that should be the same numbers as another one, and are not. */
function untied({ rows }: Table, found: FoundTensors): Difference[] {
  return rows.flatMap(({ name, tied }) => {
    const tensor = found.get(name);
    const other = tied === undefined ? undefined : found.get(tied);
    if (!tensor || !other || tensor.identity === other.identity) return [];
    return [{ name, expected: `the numbers of ${tied}`, found: 'numbers of its own' }];
  });
}

/**
 * Tables of tensors: names and shapes written once for any size of a network. A table says what a file of given sizes
 * has, and sizes are measured from what a file has.
 */

/** A number, or a size by name with a factor and a divisor: `width`, `3 width`, `channels/2`, `3 channels/2`. */
export type Dimension = number | string;

export interface Row {
  /** With `#` where `each` counts. */
  readonly name: string;
  readonly shape: readonly Dimension[];
  /** The size through which `#` runs, from 0. */
  readonly each?: string;
  /** The tensor whose numbers these are, stored once. */
  readonly tied?: string;
  /** Counters in int64, not numbers of the network. */
  readonly counter?: true;
  /** Used by the training alone: a converted model leaves it out. */
  readonly training?: true;
}

/** A size, and where it shows: in a dimension of a tensor, or in how many numbers `#` takes. */
export interface Size {
  readonly published: number;
  readonly from: readonly [tensor: string, dimension: number] | string;
}

export interface Table {
  readonly sizes: Readonly<Record<string, Size>>;
  readonly rows: readonly Row[];
}

export interface PublishedPart {
  /** In the words of messages. */
  readonly words: string;
  /** Name of the published file. */
  readonly file: string;
  readonly table: Table;
  readonly tensors: number;
  /** Tied tensors once, counters not. */
  readonly parameters: number;
  /** Single numbers beside the network, left by its training, that mean nothing here. */
  readonly scalars?: true;
}

/** What the arguments stored with a language model say. */
export interface StageValues {
  readonly n_head: number;
  readonly norm_type: string;
  readonly nonlinearity_type: string;
  readonly bias: boolean;
  readonly causal: boolean;
}

export interface PublishedStage extends PublishedPart {
  readonly values: StageValues;
  /** Of the tokenizer: added to every id; mergeable tokens; id of end of text before the offset. */
  readonly tokenizer: { readonly offset: number; readonly ranks: number; readonly endOfText: number };
}

export type Sizes = Readonly<Record<string, number>>;
export type Shape = readonly number[];

/** What a table says of one tensor. */
export interface Expected {
  readonly shape: Shape;
  readonly row: Row;
}

export const publishedSizes = ({ sizes }: Table): Record<string, number> =>
  Object.fromEntries(Object.entries(sizes).map(([name, { published }]) => [name, published]));

/** Every tensor of a network of these sizes. */
export function expand({ rows }: Table, sizes: Sizes): Map<string, Expected> {
  const expected = new Map<string, Expected>();
  for (const row of rows) {
    const shape = row.shape.map((dimension) => resolve(dimension, sizes));
    const count = row.each === undefined ? 1 : Math.min(sizes[row.each]!, mostRepeats);
    for (let n = 0; n < count; n++) expected.set(row.name.replace('#', String(n)), { shape, row });
  }
  return expected;
}

/** A file may number its layers as it likes; nothing grows with it. */
const mostRepeats = 10_000;

function resolve(dimension: Dimension, sizes: Sizes): number {
  if (typeof dimension === 'number') return dimension;
  const [, factor = '1', name = '', divisor = '1'] =
    /^(?:(\d+) )?([a-z][a-z0-9 ]*?)(?:\/(\d+))?$/.exec(dimension) ?? [];
  return (Number(factor) * (sizes[name] ?? Number.NaN)) / Number(divisor);
}

/** The sizes of what was found; those that nothing shows are as published. */
export function measure(table: Table, found: ReadonlyMap<string, Shape>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(table.sizes).map(([name, { published, from }]) => {
      const size = typeof from === 'string' ? count(from, found.keys()) : found.get(from[0])?.[from[1]];
      return [name, size ?? published];
    }),
  );
}

/** Numbers 0 … n−1 in the place of `#` among the names: n. */
function count(template: string, names: Iterable<string>): number {
  const [before = '', after = ''] = template.split('#');
  let most = 0;
  for (const name of names) {
    if (!name.startsWith(before) || !name.endsWith(after)) continue;
    const digits = name.slice(before.length, name.length - after.length);
    if (/^\d{1,5}$/.test(digits)) most = Math.max(most, Number(digits) + 1);
  }
  return Math.min(most, mostRepeats);
}

export const elements = (shape: Shape): number => shape.reduce((all, size) => all * size, 1);

/** Tensors and parameters of a table at given sizes: tied ones count once, counters not at all. */
export function totals(table: Table, sizes: Sizes): { tensors: number; parameters: number } {
  const expected = [...expand(table, sizes).values()];
  const counted = expected.filter(({ row }) => !row.tied && !row.counter);
  return {
    tensors: expected.length,
    parameters: counted.reduce((sum, { shape }) => sum + elements(shape), 0),
  };
}

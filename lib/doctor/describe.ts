/** Comparisons in words: a few lines, however many tensors differ. */

import type { Status } from './check.js';
import { type Comparison, type Difference, isAsPublished, isSound } from './compare.js';

/** Groups of names that are shown of each kind. */
const mostLines = 8;

const count = (value: number): string => value.toLocaleString('en-US');

/** A value as it is shown: text bare, lists in brackets. */
export const shown = (value: unknown): string => {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
  return (text.length > 120 ? `${text.slice(0, 120)}…` : text).replaceAll(',', ', ').replaceAll(',  ', ', ');
};

/** The sentence, the lines under it, and what it is worth. */
export function describe(
  file: string,
  comparison: Comparison,
): { status: Status; found: string; details: string[] } {
  const details = detailsOf(comparison);
  const { tensors, parameters } = comparison;
  if (isAsPublished(comparison)) {
    const found = `${file} is as published: ${tensors.found} tensors, ${count(parameters.found)} parameters`;
    return { status: 'ok', found, details };
  }
  const numbers =
    tensors.expected === tensors.found
      ? `${tensors.found} tensors as expected`
      : `${tensors.expected} tensors expected, ${tensors.found} found`;
  const sizes = comparison.sizes.map(({ name, expected, found }) => `${name} ${expected} → ${found}`);
  const sum =
    parameters.expected === parameters.found
      ? ''
      : `; parameters ${count(parameters.expected)} → ${count(parameters.found)}`;
  return {
    status: isSound(comparison) ? 'note' : 'problem',
    found: `${file}: ${numbers}${sizes.length > 0 ? `: ${sizes.join(', ')}` : ''}${sum}; ${structureWords(comparison)}`,
    details,
  };
}

function structureWords({ missing, unexpected, shapes, values }: Comparison): string {
  const kinds = [
    [missing.length, 'missing'],
    [unexpected.length, 'unexpected'],
    [shapes.length, 'of another shape'],
  ] as const;
  const words = kinds.flatMap(([number, kind]) => (number > 0 ? [`${number} ${kind}`] : []));
  const structure = words.length > 0 ? words.join(', ') : 'names and structure agree';
  if (values.length === 0) return structure;
  return `${structure}, ${values.length} ${values.length === 1 ? 'value differs' : 'values differ'}`;
}

function detailsOf({ missing, unexpected, shapes, dtypes, values, ignored }: Comparison): string[] {
  return [
    ...limit(group(missing).map((words) => `missing: ${words}`)),
    ...limit(group(unexpected).map((words) => `not in the published file: ${words}`)),
    ...limit(
      shapes.map(
        ({ name, expected, found }) =>
          `${name}: [${shown(expected).slice(1, -1)}] expected, [${shown(found).slice(1, -1)}] found`,
      ),
    ),
    ...Object.entries(dtypes).map(([dtype, number]) => `${number} tensors hold ${dtype} numbers`),
    ...limit(values.map(valueWords)),
    ...(ignored.length > 0 ? [`single numbers of the training, not used: ${ignored.join(', ')}`] : []),
  ];
}

function valueWords({ name, expected, found }: Difference): string {
  if (!isLong(expected) || !isLong(found))
    return `${name}: ${shown(expected)} expected, ${found === null ? 'none' : shown(found)} found`;
  const at = expected.findIndex((value, index) => value !== found[index]);
  return `${name}: ${expected.length} expected, ${found.length} found, and number ${at + 1} is the first to differ (${expected[at]} expected, ${found[at]} found)`;
}

const isLong = (value: unknown): value is readonly unknown[] => Array.isArray(value) && value.length > 8;

function limit(lines: string[]): string[] {
  if (lines.length <= mostLines) return lines;
  return [
    ...lines.slice(0, mostLines),
    `… and ${lines.length - mostLines} more such lines (all are in --json)`,
  ];
}

/** Names that differ in numbers alone become one: `h.#.ln_1.weight (# = 2–23)`. */
export function group(names: readonly string[]): string[] {
  const groups = new Map<string, string[]>();
  for (const name of names) {
    const template = name.replace(/\d+/g, '#');
    groups.set(template, [...(groups.get(template) ?? []), name]);
  }
  return [...groups.values()].map(groupWords);
}

function groupWords(names: readonly string[]): string {
  if (names.length === 1) return names[0]!;
  const numbers = names.map((name) => [...name.matchAll(/\d+/g)].map(([digits]) => Number(digits)));
  const varying = numbers[0]!.flatMap((first, place) =>
    numbers.some((other) => other[place] !== first) ? [place] : [],
  );
  if (varying.length !== 1) return `${names[0]} and ${names.length - 1} like it`;
  const place = varying[0]!;
  let at = -1;
  const template = names[0]!.replace(/\d+/g, (digits) => (++at === place ? '#' : digits));
  return `${template} (# = ${ranges(numbers.map((each) => each[place]!))})`;
}

/** `0, 2–5, 9` */
function ranges(numbers: number[]): string {
  const sorted = [...numbers].sort((a, b) => a - b);
  const runs: [number, number][] = [];
  for (const number of sorted) {
    const last = runs.at(-1);
    if (last && number === last[1] + 1) last[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(', ');
}

/** Deepest nesting that is told. */
const deepest = 6;

/** A value of a pickle as JSON can hold it: dictionaries become objects, what is no data becomes the name of its kind. */
export function plainValue(value: unknown, depth = 0): unknown {
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (typeof value !== 'object' || value === null) return value ?? null;
  if (depth >= deepest) return '…';
  if (Array.isArray(value)) return value.map((item) => plainValue(item, depth + 1));
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  const kind = value.constructor?.name ?? 'Object';
  if (!(value instanceof Map) && kind !== 'Object') return kind;
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  return Object.fromEntries(entries.map(([key, item]) => [String(key), plainValue(item, depth + 1)]));
}

/** A dictionary of a pickle, or nothing, as an object. */
export const entriesOf = (value: unknown): Record<string, unknown> =>
  value instanceof Map
    ? Object.fromEntries([...value].filter(([key]) => typeof key === 'string'))
    : typeof value === 'object' && value !== null
      ? (value as Record<string, unknown>)
      : {};

/** The same, in plain values. */
export const plainEntries = (value: unknown): Record<string, unknown> =>
  plainValue(entriesOf(value)) as Record<string, unknown>;

/** Named predicates, and the one sentence in which every bad argument is refused. */

export const isString = (value: unknown): value is string => typeof value === 'string';
export const isFiniteNumber = (value: unknown): value is number =>
  typeof value === 'number' && Number.isFinite(value);
export const isInteger = (value: unknown): value is number => Number.isInteger(value);
export const isBoolean = (value: unknown): value is boolean => typeof value === 'boolean';
export const isFunction = (value: unknown): value is (...args: never[]) => unknown =>
  typeof value === 'function';
export const isPlainObject = (value: unknown): value is Record<string, unknown> => {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
};
export const inRange = (value: number, low: number, high: number): boolean => value >= low && value <= high;

/** What was received, short enough to print: `"abc" of type string`. */
export function received(value: unknown): string {
  if (value === null) return 'null';
  if (value === undefined) return 'undefined';
  if (typeof value === 'string')
    return `${JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)} of type string`;
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint')
    return `${value} of type ${typeof value}`;
  if (typeof value === 'function') return `a function`;
  if (Array.isArray(value)) return `an array of length ${value.length}`;
  // A value that was read from a file may have anything under this name.
  const name: unknown = (value as object).constructor?.name;
  return `an object of type ${typeof name === 'string' ? name.slice(0, 60) : 'Object'}`;
}

/** `expected <what> for <name> but received <value> of type <type>` */
export const expectedType = (what: string, name: string, value: unknown): TypeError =>
  new TypeError(`expected ${what} for \`${name}\` but received ${received(value)}`);

export const expectedRange = (what: string, name: string, value: unknown): RangeError =>
  new RangeError(`expected ${what} for \`${name}\` but received ${received(value)}`);

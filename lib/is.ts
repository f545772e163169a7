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
  if (typeof value === 'string') return `${JSON.stringify(short(value))} of type string`;
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint')
    return `${short(String(value))} of type ${typeof value}`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'symbol') return 'a symbol';
  return objectWords(value);
}

const short = (text: string): string => (text.length > 60 ? `${text.slice(0, 60)}…` : text);

/** A refusal must not fail on what it refuses: proxies and getters may throw, and data read from a file may name anything. */
function objectWords(value: object): string {
  try {
    if (Array.isArray(value)) return `an array of length ${value.length}`;
    const name: unknown = value.constructor?.name;
    return `an object of type ${isString(name) && name !== '' ? short(name) : 'Object'}`;
  } catch {
    return 'an object that cannot be looked into';
  }
}

/** `expected <what> for <name> but received <value> of type <type>` */
export const expectedType = (what: string, name: string, value: unknown): TypeError =>
  new TypeError(`expected ${what} for \`${name}\` but received ${received(value)}`);

export const expectedRange = (what: string, name: string, value: unknown): RangeError =>
  new RangeError(`expected ${what} for \`${name}\` but received ${received(value)}`);

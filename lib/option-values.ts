/** Judges of single option values. Each returns the value in its type, or throws the one sentence of `is.ts`. */

import {
  expectedRange,
  expectedType,
  inRange,
  isBoolean,
  isFiniteNumber,
  isFunction,
  isInteger,
  isPlainObject,
  isString,
} from './is.js';
import type { OnProgress } from './options.js';

export type Bag = Record<string, unknown>;

/** A null-prototype copy with every getter read once; `undefined` counts as absent. Unknown names are refused. */
export function copyOptions(
  value: unknown,
  name: string,
  known: readonly string[],
  places: Readonly<Record<string, string>> = {},
): Bag {
  const copy: Bag = Object.create(null);
  if (value === undefined) return copy;
  if (!isPlainObject(value)) throw expectedType('an object', name, value);
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) throw unknownOption(key, name, known, places);
    copy[key] = value[key];
  }
  return copy;
}

/** Where an option lives instead, else the nearest name, else all names. */
function unknownOption(
  key: string,
  name: string,
  known: readonly string[],
  places: Readonly<Record<string, string>>,
): TypeError {
  const near = nearest(key, known);
  const advice = Object.hasOwn(places, key)
    ? places[key]
    : near
      ? `did you mean \`${near}\`?`
      : `known are ${known.map((option) => `\`${option}\``).join(', ')}`;
  return new TypeError(`expected a known option for \`${name}\` but received \`${key}\`; ${advice}`);
}

/** The known name that takes the fewest edits, if they are few. */
function nearest(key: string, known: readonly string[]): string | undefined {
  const edits = (a: string, b: string): number => {
    let row = Array.from({ length: b.length + 1 }, (_, i) => i);
    for (let i = 1; i <= a.length; i++) {
      const next = [i];
      for (let j = 1; j <= b.length; j++) {
        const swap = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
        next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, swap));
      }
      row = next;
    }
    return row[b.length]!;
  };
  const wanted = key.slice(0, 40).toLowerCase().replaceAll(/[-_]/g, '');
  const ranked = known
    .map((option) => ({ option, cost: edits(wanted, option.toLowerCase()) }))
    .sort((a, b) => a.cost - b.cost);
  const best = ranked[0];
  return best && best.cost <= Math.max(1, Math.floor(best.option.length / 3)) ? best.option : undefined;
}

/** Only `undefined` is absent: null is a value, and refused as one. */
export const orDefault = (value: unknown, fallback: unknown): unknown =>
  value === undefined ? fallback : value;

export function requireOneOf(value: unknown, allowed: readonly string[], name: string): void {
  if (isString(value) && allowed.includes(value)) return;
  const what = `one of ${allowed.map((item) => `'${item}'`).join(', ')}`;
  throw isString(value) ? expectedRange(what, name, value) : expectedType(what, name, value);
}

export function nonEmpty(value: unknown, name: string, what: string): string {
  if (!isString(value)) throw expectedType(what, name, value);
  if (value === '') throw expectedRange(what, name, value);
  return value;
}

export function numberOf(value: unknown, name: string, low: number, high: number, fallback: number): number {
  if (value === undefined) return fallback;
  const bound = low === -Infinity ? '' : ` of at least ${low}`;
  const what = high === Infinity ? `a finite number${bound}` : `a number between ${low} and ${high}`;
  if (typeof value !== 'number') throw expectedType(what, name, value);
  if (!isFiniteNumber(value) || !inRange(value, low, high)) throw expectedRange(what, name, value);
  return value + 0; // −0 becomes 0
}

export function integerOf(value: unknown, name: string, low: number, high: number): number {
  const what =
    high === Number.MAX_SAFE_INTEGER
      ? `a safe integer of at least ${low}`
      : `an integer between ${low} and ${high}`;
  if (typeof value !== 'number') throw expectedType(what, name, value);
  if (!isInteger(value) || !inRange(value, low, high)) throw expectedRange(what, name, value);
  return value + 0;
}

export function secondsOf(value: unknown, name: string): number | null {
  if (value === undefined) return null;
  const what = 'a finite number of seconds greater than 0';
  if (typeof value !== 'number') throw expectedType(what, name, value);
  if (!isFiniteNumber(value) || value <= 0) throw expectedRange(what, name, value);
  return value;
}

export function booleanOf(value: unknown, name: string, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (!isBoolean(value)) throw expectedType('a boolean', name, value);
  return value;
}

export function functionOf(value: unknown, name: string): OnProgress | null {
  if (value === undefined) return null;
  if (!isFunction(value)) throw expectedType('a function', name, value);
  return value as OnProgress;
}

/** An AbortSignal of this realm or another: by its shape, for Electron and jsdom bring their own. */
export function signalOf(value: unknown): AbortSignal | null {
  if (value === undefined) return null;
  const signal = value as AbortSignal | null;
  const sound =
    typeof signal === 'object' &&
    signal !== null &&
    isBoolean(signal.aborted) &&
    [signal.throwIfAborted, signal.addEventListener, signal.removeEventListener].every(isFunction);
  if (!sound) throw expectedType('an AbortSignal', 'signal', value);
  return signal;
}

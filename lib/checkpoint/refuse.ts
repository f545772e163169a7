import { basename } from 'node:path';
import { MetaVoiceError } from '../errors.js';

const longestMessage = 2000;

/** A checkpoint that cannot be used: `<file>: <what is wrong>`, with the facts in `details`. */
export function refuseCheckpoint(
  file: string,
  message: string,
  details: Record<string, unknown> = {},
): MetaVoiceError {
  return new MetaVoiceError('ERR_CHECKPOINT', printable(`${basename(file)}: ${message}`), {
    details: { file, ...details },
  });
}

/** Names from a file may be long, and hold what a terminal obeys. */
function printable(message: string): string {
  const short = message.length > longestMessage ? `${message.slice(0, longestMessage)}…` : message;
  return short.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '?');
}

/** Names for a message: the first few, and how many more. */
export function few(names: Iterable<string>, most = 5): string {
  const all = [...names];
  const shown = all.slice(0, most).join(', ');
  return all.length > most ? `${shown} and ${all.length - most} more` : shown;
}

/**
 * A value from a file for a message, whatever it is. Nothing of the value is called and nothing deep is walked: lists
 * that hold each other have no end as text, and an object may bring its own `toString`.
 */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 60));
  if (value instanceof Map) return 'a dictionary';
  if (Array.isArray(value)) {
    const plain = value.length <= 16 && value.every((item) => typeof item === 'number');
    return plain ? `[${value.join(', ')}]` : `a list of ${value.length}`;
  }
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}

/** A key of a dictionary as a name. */
export const nameOfKey = (key: unknown): string => (typeof key === 'string' ? key : shown(key));

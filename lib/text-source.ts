/** What may be spoken: a text, or what gives one piece by piece. */

import { expectedType, isFunction, isString } from './is.js';
import type { TextSource } from './options.js';

/** Refuses what no `text` can be, before the text itself is judged. Nothing is read from a source. */
export function requireTextSource(value: unknown): TextSource {
  if (isString(value)) return value;
  if (typeof value === 'object' && value !== null) {
    const source = value as Record<symbol, unknown>;
    if (isFunction(source[Symbol.asyncIterator]) || isFunction(source[Symbol.iterator]))
      return value as TextSource;
  }
  throw expectedType('a string or an iterable of strings', 'text', value);
}

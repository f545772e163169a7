/** Judges of the options that say what the sound that comes out is like. */

import { expectedRange, expectedType, inRange, isBoolean, isString } from './is.js';
import { requireOneOf } from './option-values.js';
import { loudnessRange, type SampleRate, sampleRates } from './options.js';

export function resolveDecoder(value: unknown): 'auto' | 'encodec' | 'diffusion' {
  requireOneOf(value, ['auto', 'encodec', 'diffusion'], 'decoder');
  return value as 'auto' | 'encodec' | 'diffusion';
}

export function resolveEnhance(value: unknown): 'auto' | boolean {
  if (value === 'auto' || isBoolean(value)) return value;
  throw expectedType("'auto', true or false", 'enhance', value);
}

/** Null: what suits the decoder. */
export function resolveLoudness(value: unknown): number | 'off' | null {
  if (value === undefined) return null;
  const { least, most } = loudnessRange;
  const what = `a number between ${least} and ${most} (LKFS), or 'off',`;
  if (value === 'off') return value;
  if (isString(value)) throw expectedRange(what, 'loudness', value);
  if (typeof value !== 'number') throw expectedType(what, 'loudness', value);
  if (!inRange(value, least, most)) throw expectedRange(what, 'loudness', value);
  return value + 0;
}

/** Null: the model's own. */
export function resolveSampleRate(value: unknown): SampleRate | null {
  if (value === undefined) return null;
  const what = `one of ${sampleRates.join(', ')} (Hz)`;
  if (typeof value !== 'number') throw expectedType(what, 'sampleRate', value);
  if (!sampleRates.includes(value as SampleRate)) throw expectedRange(what, 'sampleRate', value);
  return value as SampleRate;
}

/** Judges of what a voice is asked of, before any file is opened. */

import { maximumRate, minimumRate } from './audio/limits.js';
import { expectedType, isPlainObject, isString } from './is.js';
import { copyOptions, integerOf, nonEmpty } from './option-values.js';
import type { VoiceSource } from './options.js';
import type { Voice } from './voice/voice.js';

/** Judges the form of a voice, not whether its file or speaker exists. */
export function requireVoiceSource(value: unknown, name: string): VoiceSource {
  const what = 'a Voice, a path, { file }, { samples, sampleRate } or { speaker }';
  if (isString(value)) return nonEmpty(value, name, what);
  if (typeof value !== 'object' || value === null) throw expectedType(what, name, value);
  if ('embedding' in value) {
    const { embedding, encoder } = value as { embedding: unknown; encoder?: unknown };
    if (!(embedding instanceof Float32Array))
      throw expectedType('a Float32Array', `${name}.embedding`, embedding);
    nonEmpty(encoder, `${name}.encoder`, 'the digest of its speaker encoder');
    return value as Voice;
  }
  if (!isPlainObject(value)) throw expectedType(what, name, value);
  const source = copyOptions(value, name, ['file', 'samples', 'sampleRate', 'speaker']);
  const forms = ['file', 'samples', 'speaker'].filter((key) => source[key] !== undefined);
  if (forms.length !== 1) throw expectedType(what, name, value);
  if (source.sampleRate !== undefined && source.samples === undefined) throw expectedType(what, name, value);
  if (source.file !== undefined) return { file: nonEmpty(source.file, `${name}.file`, 'a path') };
  if (source.speaker !== undefined) return { speaker: nonEmpty(source.speaker, `${name}.speaker`, 'a name') };
  if (!(source.samples instanceof Float32Array))
    throw expectedType('a Float32Array', `${name}.samples`, source.samples);
  return { samples: source.samples, sampleRate: requireSampleRate(source.sampleRate, `${name}.sampleRate`) };
}

/** A sample rate in Hz that can be resampled from. */
export function requireSampleRate(value: unknown, name: string): number {
  return integerOf(value, name, minimumRate, maximumRate);
}

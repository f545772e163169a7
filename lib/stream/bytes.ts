/** Samples as bytes, with or without a WAV header. */

import { toMulaw } from '../audio/mulaw.js';
import { toPcm16 } from '../audio/pcm.js';
import { wavHeader } from '../audio/wav.js';
import { copyOptions, requireOneOf } from '../option-values.js';
import type { AudioChunk } from './chunks.js';

/**
 * `'wav'` begins with a header; where the speech is still being spoken, its lengths are 0xFFFFFFFF, as they are not known
 * yet. `'pcm'` is the same without one: 16-bit mono samples, little-endian. `'mulaw'` is a byte for each sample (ITU-T G.711),
 * without a header: what telephone lines carry, at 8000 Hz.
 */
export type ByteFormat = 'wav' | 'pcm' | 'mulaw';

export interface ByteOptions {
  /** @default 'wav' */
  format?: ByteFormat;
}

const toBytes: Record<ByteFormat, (samples: Float32Array) => Uint8Array> = {
  wav: toPcm16,
  pcm: toPcm16,
  mulaw: toMulaw,
};

export function resolveFormat(
  options: unknown,
  known: readonly string[],
): Record<string, unknown> & { format: ByteFormat } {
  const copy = copyOptions(options, 'options', known);
  const { format = 'wav' } = copy;
  requireOneOf(format, Object.keys(toBytes), 'format');
  return { ...copy, format: format as ByteFormat };
}

/** The samples alone. */
export const sampleBytes = (samples: Float32Array, format: ByteFormat): Uint8Array =>
  toBytes[format](samples);

/**
 * What comes before the samples; empty for most formats.
 * @param length samples to follow, or null when they are not known yet
 */
export const headerBytes = (format: ByteFormat, sampleRate: number, length: number | null): Uint8Array =>
  format === 'wav' ? wavHeader(sampleRate, length === null ? null : 2 * length) : new Uint8Array(0);

function withHeader(header: Uint8Array, bytes: Uint8Array): Uint8Array {
  if (header.length === 0) return bytes;
  const joined = new Uint8Array(header.length + bytes.length);
  joined.set(header);
  joined.set(bytes, header.length);
  return joined;
}

/** One array per chunk; the header comes with the first, so that a request that fails has sent nothing. */
export async function* chunkBytes(
  source: AsyncIterable<AudioChunk>,
  format: ByteFormat,
): AsyncGenerator<Uint8Array, void, undefined> {
  let begun = false;
  for await (const { samples, sampleRate } of source) {
    // The end of a text whose source paused before; readers take no bytes for the end.
    if (samples.length === 0) continue;
    const bytes = sampleBytes(samples, format);
    yield begun ? bytes : withHeader(headerBytes(format, sampleRate, null), bytes);
    begun = true;
  }
}

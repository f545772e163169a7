/** Chunks as bytes: 16-bit mono samples, little-endian, with or without a WAV header. */

import { toPcm16 } from '../audio/pcm.js';
import { wavHeader } from '../audio/wav.js';
import { copyOptions, requireOneOf } from '../option-values.js';
import type { AudioChunk } from './chunks.js';

/** `'wav'` begins with a header whose lengths are 0xFFFFFFFF, as they are not known yet; `'pcm'` is bare samples. */
export type ByteFormat = 'wav' | 'pcm';

export interface ByteOptions {
  /** @default 'wav' */
  format?: ByteFormat;
}

export function resolveFormat(
  options: unknown,
  known: readonly string[],
): Record<string, unknown> & { format: ByteFormat } {
  const copy = copyOptions(options, 'options', known);
  const { format = 'wav' } = copy;
  requireOneOf(format, ['wav', 'pcm'], 'format');
  return { ...copy, format: format as ByteFormat };
}

/** One array per chunk; the header comes with the first, so that a request that fails has sent nothing. */
export async function* chunkBytes(
  source: AsyncIterable<AudioChunk>,
  format: ByteFormat,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const { samples, sampleRate, index } of source) {
    // The end of a text whose source paused before; readers take no bytes for the end.
    if (samples.length === 0) continue;
    const bytes = toPcm16(samples);
    if (format === 'pcm' || index > 0) {
      yield bytes;
      continue;
    }
    const header = wavHeader(sampleRate, null);
    const first = new Uint8Array(header.length + bytes.length);
    first.set(header);
    first.set(bytes, header.length);
    yield first;
  }
}

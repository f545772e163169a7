import { expectedType, isString } from '../is.js';
import type { Decoded } from './decode-bytes.js';
import type { DecodeJob } from './decode-worker.js';
import type { AudioFormat } from './sniff.js';
import { namedProblem, readRecording } from './source.js';
import { copyInPieces, runInWorker } from './worker.js';

export type { AudioFormat } from './sniff.js';

export interface DecodedRecording {
  /** Mono, the arithmetic mean of the channels; nominally in [-1, 1]. */
  samples: Float32Array;
  /** Hertz; OGG Opus is always 48,000. */
  sampleRate: number;
  /** Channels of the recording. */
  channels: number;
  /** By content, not by name. FLAC in OGG is `'flac'`. */
  format: AudioFormat;
}

const worker = new URL('./decode-worker.js', import.meta.url);

/**
 * Decodes a whole recording to mono at its own rate, in a worker thread.
 * @param source a path, or the bytes of a file (not to be changed before the promise settles)
 * @throws {MetaVoiceError} ERR_REFERENCE_AUDIO with `details` { file, found, accepted }; when aborted, the signal's reason
 */
export async function decodeAudio(
  source: string | Uint8Array,
  options: { signal?: AbortSignal | undefined } = {},
): Promise<DecodedRecording> {
  const { signal } = options;
  if (!isString(source) && !(source instanceof Uint8Array))
    throw expectedType('a path or a Uint8Array', 'source', source);
  const name = isString(source) ? source : null;
  try {
    const bytes = isString(source) ? await readRecording(source, signal) : await copyInPieces(source);
    const job: DecodeJob = { bytes };
    return await runInWorker<Decoded>(worker, job, { moved: [bytes.buffer], signal });
  } catch (error) {
    throw namedProblem(error, name);
  }
}

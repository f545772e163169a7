/** Whether it is the voice that was asked for that speaks, all the time. */

import type { Pieces } from './samples.js';
import { leastCosine, leastVoiceSeconds, windowSeconds, windowStep } from './thresholds.js';

/** The voice that was asked for, and the encoder that tells voices. */
export interface VoiceReference {
  embedding: Float32Array;
  /** Embedding of a sound of `windowSeconds` or more; null where there is nothing but silence. */
  embed(samples: Float32Array, sampleRate: number): Promise<Float32Array | null>;
}

export interface VoiceWindow {
  startSeconds: number;
  seconds: number;
  cosine: number;
}

/**
 * The windows of the voice, in order: evenly over the extent, so that the first and the last are full of speech, too.
 *
 * @param extent [start, end) in samples, from the first sound to the last
 */
export async function voiceWindows(
  pieces: Pieces,
  [start, end]: readonly [number, number],
  sampleRate: number,
  { embedding, embed }: VoiceReference,
  signal: AbortSignal | null,
): Promise<VoiceWindow[]> {
  const length = Math.round(windowSeconds * sampleRate);
  const most = Math.max(0, end - start - length);
  const steps = Math.ceil(most / (windowStep * sampleRate));
  if (end - start < leastVoiceSeconds * sampleRate) return [];
  const windows: VoiceWindow[] = [];
  for (let k = 0; k <= steps; k++) {
    const from = start + Math.round((most * k) / Math.max(1, steps));
    const to = Math.min(end, from + length);
    // One at a time: between two of them the engine serves others.
    const found = await embed(filled(pieces.read(from, to), length), sampleRate);
    signal?.throwIfAborted();
    if (found)
      windows.push({
        startSeconds: from / sampleRate,
        seconds: (to - from) / sampleRate,
        cosine: cosine(found, embedding),
      });
  }
  return windows;
}

/** A short sound is repeated: an encoder would fill it up with silence, and judge that. */
function filled(samples: Float32Array, length: number): Float32Array {
  if (samples.length >= length) return samples;
  // Silence at the ends is cut off before it is judged, so one more than fills it.
  const times = Math.ceil(length / samples.length) + 1;
  const result = new Float32Array(times * samples.length);
  for (let k = 0; k < times; k++) result.set(samples, k * samples.length);
  return result;
}

export interface Drift {
  startSeconds: number;
  seconds: number;
  cosine: number;
}

/** Windows that fall out, those that overlap as one. */
export function findDrift(windows: readonly VoiceWindow[]): Drift[] {
  const found: Drift[] = [];
  for (const { startSeconds, seconds, cosine } of windows) {
    // What is not a number is no voice either.
    if (cosine >= leastCosine) continue;
    const last = found.at(-1);
    if (last && startSeconds <= last.startSeconds + last.seconds) {
      last.seconds = startSeconds + seconds - last.startSeconds;
      last.cosine = Math.min(last.cosine, cosine);
    } else found.push({ startSeconds, seconds, cosine });
  }
  return found;
}

function cosine(a: Float32Array, b: Float32Array): number {
  let product = 0;
  let ofA = 0;
  let ofB = 0;
  for (let i = 0; i < b.length; i++) {
    product += a[i]! * b[i]!;
    ofA += a[i]! ** 2;
    ofB += b[i]! ** 2;
  }
  const scale = Math.sqrt(ofA * ofB);
  return scale > 0 ? product / scale : 0;
}

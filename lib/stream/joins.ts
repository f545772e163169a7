/** Where two segments meet (the first fades out, a pause, the second fades in), and where a speech is cut. */

import type { NativeChunk } from '../native/contract.js';
import type { ResolvedPauses } from '../options.js';

/** A segment may end and begin away from zero, and a step is heard as a click. Too short to be heard itself. */
const fadeSeconds = 0.005;

const fadeLength = (samples: Float32Array, sampleRate: number): number =>
  Math.min(samples.length, Math.round(fadeSeconds * sampleRate));

/** From 0 at 0 to 1 at 1, flat at both ends. */
const ramp = (x: number): number => x * x * (3 - 2 * x);

/** In place; the first sample becomes 0. */
export function fadeIn(samples: Float32Array, sampleRate: number): void {
  const length = fadeLength(samples, sampleRate);
  for (let i = 0; i < length; i++) samples[i]! *= ramp(i / length);
}

/** In place; the last sample becomes 0. */
export function fadeOut(samples: Float32Array, sampleRate: number): void {
  const length = fadeLength(samples, sampleRate);
  const last = samples.length - 1;
  for (let i = 0; i < length; i++) samples[last - i]! *= ramp(i / length);
}

export function withSilence(samples: Float32Array, silence: number): Float32Array {
  if (silence === 0) return samples;
  const longer = new Float32Array(samples.length + silence);
  longer.set(samples);
  return longer;
}

export function joinSamples(pieces: readonly Float32Array[]): Float32Array {
  if (pieces.length === 1) return pieces[0]!;
  const joined = new Float32Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    joined.set(piece, at);
    at += piece.length;
  }
  return joined;
}

/** Samples of silence for a kind of pause. */
export const pauseSamples = (
  kind: 'none' | keyof ResolvedPauses,
  seconds: ResolvedPauses,
  sampleRate: number,
): number => (kind === 'none' ? 0 : Math.round(seconds[kind] * sampleRate));

/**
 * No more of a chunk than there is room for. One that fills it ends the segment, unless it ends by itself: segments are
 * begun before it is known what those before leave, so the engine speaks on past the limit.
 *
 * @param room whole frames
 */
export function cutChunk(chunk: NativeChunk, room: number, hop: number): NativeChunk {
  const { frames, samples, codes } = chunk;
  if (frames < room || (frames === room && chunk.endReason)) return chunk;
  const codebooks = codes.length / frames;
  const kept = new Uint16Array(codebooks * room);
  for (let k = 0; k < codebooks; k++) kept.set(codes.subarray(k * frames, k * frames + room), k * room);
  return { ...chunk, samples: samples.slice(0, room * hop), codes: kept, frames: room, endReason: 'limit' };
}

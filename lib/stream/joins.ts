/** Where two segments meet: the first fades out, a pause, the second fades in. */

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

/** Samples of silence for a kind of pause. */
export const pauseSamples = (
  kind: 'none' | keyof ResolvedPauses,
  seconds: ResolvedPauses,
  sampleRate: number,
): number => (kind === 'none' ? 0 : Math.round(seconds[kind] * sampleRate));

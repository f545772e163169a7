/** Sound that is like speech where the checks look: syllables of a pitched voice with hiss, and damage done to it. */

import { Checker, type SegmentToCheck } from '../../../dist/check/checker.js';
import type { VoiceReference } from '../../../dist/check/drift.js';

export function noiseOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48271) % 2147483647;
    return (2 * state) / 2147483647 - 1;
  };
}

/**
 * Syllables of 0.2 s at a pitch, with 0.2 s of rest at both ends and noise 60 dB below.
 * @param seconds of the syllables together
 */
export function voiced(seconds: number, sampleRate: number, pitch = 120): Float32Array {
  const noise = noiseOf(7);
  const rest = Math.round(0.2 * sampleRate);
  const length = Math.round(seconds * sampleRate);
  return Float32Array.from({ length: length + 2 * rest }, (_, i) => {
    const t = (i - rest) / sampleRate;
    if (i < rest || i >= rest + length) return 1e-4 * noise();
    const swell = 0.4 + 0.6 * Math.sin(Math.PI * ((t / 0.2) % 1)) ** 2;
    const edge = Math.min(1, t / 0.02, (seconds - t) / 0.02);
    let sum = 0;
    for (let k = 1; k <= 8; k++) sum += Math.sin(2 * Math.PI * k * pitch * t) / k;
    return 0.15 * swell * edge * (sum + 0.05 * noise()) + 1e-4 * noise();
  });
}

/** Silence with noise 60 dB below in place of [from, to) seconds; speech comes down to it by 1 dB a millisecond. */
export function paused(samples: Float32Array, sampleRate: number, from: number, to: number): Float32Array {
  const noise = noiseOf(11);
  return samples.map((sample, i) => {
    const t = i / sampleRate;
    const inside = Math.min(t - (from - 0.06), to + 0.06 - t);
    return sample * 10 ** (-Math.min(60, Math.max(0, 1000 * inside)) / 20) + 1e-4 * noise();
  });
}

export function zeroed(samples: Float32Array, sampleRate: number, from: number, to: number): Float32Array {
  return samples.slice().fill(0, Math.round(from * sampleRate), Math.round(to * sampleRate));
}

/** A step that falls back over 20 ms. */
export function stepped(samples: Float32Array, sampleRate: number, at: number, height: number): Float32Array {
  const start = Math.round(at * sampleRate);
  const fall = 0.02 * sampleRate;
  return samples.map((sample, i) =>
    i < start || i >= start + fall ? sample : sample + height * (1 - (i - start) / fall),
  );
}

/** Another sound in place of what is there from a time on. */
export function spliced(
  samples: Float32Array,
  other: Float32Array,
  sampleRate: number,
  at: number,
): Float32Array {
  const result = samples.slice();
  result.set(other, Math.round(at * sampleRate));
  return result;
}

/** An encoder that tells pitches: [1, 0] where the sound turns slowly about zero, [0, 1] where quickly. */
export function pitchEncoder(most = 300): VoiceReference & { heard: { length: number; first: number }[] } {
  const heard: { length: number; first: number }[] = [];
  return {
    heard,
    embedding: Float32Array.of(1, 0),
    async embed(samples, sampleRate) {
      heard.push({ length: samples.length, first: samples[0]! });
      // Below the noise, so that only the voice counts.
      let sign = 0;
      let turns = 0;
      for (const sample of samples) {
        if (Math.abs(sample) < 0.01) continue;
        if (sign !== 0 && Math.sign(sample) !== sign) turns++;
        sign = Math.sign(sample);
      }
      const rate = turns / (samples.length / sampleRate);
      const other = Math.min(1, Math.max(0, (rate - 0.75 * most) / (0.5 * most)));
      return Float32Array.of(1 - other, other);
    },
  };
}

export interface Judged extends Partial<SegmentToCheck> {
  seconds?: number;
  rests?: number[];
  endReason?: 'end' | 'limit';
  signal?: AbortSignal;
}

/** The check of samples, fed in pieces that end at `cuts`. */
export async function judge(samples: Float32Array, asked: Judged = {}, cuts: readonly number[] = []) {
  const { seconds = 2.5, rests = [], endReason = 'end', signal, ...rest } = asked;
  const checker = new Checker({
    segment: 0,
    attempt: 0,
    sampleRate: 24_000,
    expected: { seconds, rests },
    voice: null,
    ...rest,
  });
  const ends = [...cuts, samples.length].sort((a, b) => a - b);
  let from = 0;
  for (const end of ends) {
    checker.add(samples.subarray(from, end));
    from = end;
  }
  return checker.finish(endReason, signal);
}

/** Silences that the text does not ask for, and dropouts. */

import type { Level } from './level.js';
import {
  dropoutDecibels,
  dropoutEdgeDecibels,
  dropoutSeconds,
  longestEnd,
  longestRest,
  longestSilence,
  restSeconds,
  restShare,
  silentDecibels,
} from './thresholds.js';

export interface Hole {
  startSeconds: number;
  seconds: number;
  /** Seconds that would have been plausible. */
  most: number;
  dropout: boolean;
}

/** What a text leads to expect of its speech. */
export interface Expected {
  /** From the first sound to the last. */
  seconds: number;
  /** Where the text has marks that rest, in expected seconds from the beginning. */
  rests: readonly number[];
}

/** @param length seconds of the whole segment */
export function findHoles(level: Level, expected: Expected, sampleRate: number, length: number): Hole[] {
  const { extent, frame } = level;
  if (!extent) return [{ startSeconds: 0, seconds: length, most: longestEnd, dropout: false }];
  const unit = frame / sampleRate;
  const [start, end] = [extent[0] * unit, extent[1] * unit];
  const holes = dropouts(level, extent, unit);
  if (start > longestEnd) holes.push(long(0, start, longestEnd));
  for (const [from, to] of runs(level, extent, silentDecibels)) {
    const most = nearRest((from + to) / 2, expected, extent) ? longestRest : longestSilence;
    const known = holes.some(({ startSeconds }) => startSeconds >= from * unit && startSeconds < to * unit);
    if ((to - from) * unit > most && !known) holes.push(long(from * unit, (to - from) * unit, most));
  }
  if (length - end > longestEnd) holes.push(long(end, length - end, longestEnd));
  return holes.sort((a, b) => a.startSeconds - b.startSeconds);
}

const long = (startSeconds: number, seconds: number, most: number): Hole => ({
  startSeconds,
  seconds,
  most,
  dropout: false,
});

/** Where a model speaks nothing for a moment, or samples were lost: at once silent, at once back. */
function dropouts(level: Level, extent: readonly [number, number], unit: number): Hole[] {
  return runs(level, extent, dropoutDecibels)
    .filter(([from, to]) => (to - from) * unit >= dropoutSeconds && steep(level.decibels, from, to))
    .map(([from, to]) => ({
      startSeconds: from * unit,
      seconds: (to - from) * unit,
      most: dropoutSeconds,
      dropout: true,
    }));
}

/** Both edges. The frame at an edge may lie across it, so levels are compared over it. */
function steep(decibels: Float32Array, from: number, to: number): boolean {
  const at = (frame: number) => decibels[frame] ?? -Infinity;
  const fall = Math.max(at(from - 2), at(from - 3)) - at(from + 1);
  const rise = Math.max(at(to + 1), at(to + 2)) - at(to - 2);
  return Math.min(fall, rise) >= dropoutEdgeDecibels;
}

/** Runs [from, to) of frames so far below the loud ones, within the extent. */
function runs({ decibels, loud }: Level, [start, end]: readonly [number, number], below: number) {
  const found: [number, number][] = [];
  let from = -1;
  for (let i = start; i <= end; i++) {
    const silent = i < end && decibels[i]! < loud - below;
    if (silent && from < 0) from = i;
    if (silent || from < 0) continue;
    found.push([from, i]);
    from = -1;
  }
  return found;
}

/** Whether a mark of the text rests about there, as far as its letters tell. */
function nearRest(frame: number, { seconds, rests }: Expected, [start, end]: readonly [number, number]) {
  const place = (frame - start) / (end - start);
  const near = restShare + restSeconds / Math.max(seconds, restSeconds);
  return rests.some((rest) => Math.abs(rest / seconds - place) <= near);
}

/** Where chunks end, in frames. The bytes depend on it, so it is counted from the start of the utterance, exactly. */

import { expectedRange } from '../is.js';
import { defaults } from '../options.js';

/** Frames that must exist past a chunk before the second stage runs on it: it looks both ways. */
export const lookAhead = 16;

export interface ChunkSeconds {
  readonly first: number;
  readonly largest: number;
}

/** Products such as 1.75 · 75 must not cross a whole number by the last bit of a float. */
const wholeFrames = (frames: number): number => Math.ceil(frames - 1e-6);

/**
 * Ends of the chunks in frames, growing: lengths double from `first` seconds up to `largest`, and chunk k ends at
 * frame ceil(seconds so far × frame rate). 19, 57, 132, 282, 432, … for 0.25 s, 2 s and 75 frames per second.
 *
 * @param frameRate frames per second of the codec
 * @param maximumFrames the last end is the first that reaches it
 * @param leastFirstFrames frames with which the exact streaming decoder can begin (7 for the published codec)
 * @throws RangeError when the first chunk would have fewer
 */
export function chunkEnds(
  frameRate: number,
  { first, largest }: ChunkSeconds,
  maximumFrames: number,
  leastFirstFrames: number,
): Int32Array {
  if (wholeFrames(first * frameRate) < leastFirstFrames) {
    const least = Math.ceil((leastFirstFrames - 1) / frameRate / 0.001 + 1e-9) * 0.001;
    throw expectedRange(
      `at least ${least.toFixed(3)} (${leastFirstFrames} frames at ${frameRate} per second)`,
      'chunkSeconds.first',
      first,
    );
  }
  const ends: number[] = [];
  let seconds = 0;
  let length = first;
  let end = 0;
  while (end < maximumFrames) {
    seconds += length;
    // A length of less than one frame past the first chunk still moves on.
    end = Math.max(end + 1, wholeFrames(seconds * frameRate));
    ends.push(end);
    length = Math.min(length * 2, largest);
  }
  return Int32Array.from(ends);
}

/** Frames of the longest chunk of a schedule. */
export function longestChunk(ends: Int32Array): number {
  let longest = 0;
  for (let i = 0; i < ends.length; i++) longest = Math.max(longest, ends[i]! - (i > 0 ? ends[i - 1]! : 0));
  return longest;
}

/**
 * The chunk lengths that a second stage of this window can serve: a chunk, what must be seen behind it and the closing
 * column take at most three quarters of the window, so that the text finds room.
 *
 * @param window columns of the second stage
 * @param behind frames that are seen behind a chunk: the look-ahead, and what the decoder must know
 * @throws RangeError for a `largest` beyond the default that leaves no such room; the default itself shrinks
 */
export function fitChunks(
  seconds: ChunkSeconds,
  frameRate: number,
  window: number,
  behind: number = lookAhead,
): ChunkSeconds {
  const frames = Math.floor(window * 0.75) - behind - 1;
  const most = frames / frameRate;
  if (seconds.largest <= most) return seconds;
  if (seconds.largest > defaults.chunkSeconds.largest) {
    // `largest` follows a longer `first` where it was not given.
    const name = seconds.first > most ? 'first' : 'largest';
    throw expectedRange(
      `at most ${most.toFixed(2)} (what the model's window holds)`,
      `chunkSeconds.${name}`,
      seconds[name],
    );
  }
  return { first: Math.min(seconds.first, most), largest: most };
}

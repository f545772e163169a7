/** What is done with a segment that was judged: told, or spoken once more. */

import { MetaVoiceError } from '../errors.js';
import type { CheckMode } from '../options.js';
import { isBetter, type SegmentCheck } from './findings.js';

/** What is needed of a chunk; the rest passes through. */
interface SpokenChunk {
  samples: Float32Array;
  /** As the model spoke them, where `samples` were made louder or softer. */
  decoded?: Float32Array | null;
  /** Set on the last chunk of a segment. */
  endReason: 'end' | 'limit' | null;
}

/** What is needed of a `Checker`. */
interface SegmentChecker {
  add(samples: Float32Array): void;
  finish(endReason: 'end' | 'limit', signal?: AbortSignal | null): Promise<SegmentCheck>;
}

export interface CheckedSegment<Chunk extends SpokenChunk> {
  mode: CheckMode;
  segment: number;
  /** Speaks the segment with the random key of this attempt. Leaving the iteration stops it. */
  speak(segment: number, attempt: number): AsyncIterable<Chunk>;
  checker(segment: number, attempt: number): SegmentChecker;
  /** Gets the checks of all attempts, those that were handed out with `heard`. It rejects only with the signal's reason. */
  report(checks: Promise<SegmentCheck[]>): void;
  signal: AbortSignal;
}

/**
 * The chunks of a segment to hand out.
 *
 * Segment 0 streams at once, and is only reported. With `'respeak'` the later ones are held until they are judged; one
 * with findings is spoken once more, and the better attempt is handed out.
 */
export async function* checkedSegment<Chunk extends SpokenChunk>(
  asked: CheckedSegment<Chunk>,
): AsyncGenerator<Chunk, void, undefined> {
  const { mode, segment, speak } = asked;
  if (mode === 'off') yield* speak(segment, 0);
  else if (mode === 'report' || segment === 0) yield* streamed(asked);
  else yield* held(asked);
}

/** The check runs beside the reader, who waits for nothing. */
async function* streamed<Chunk extends SpokenChunk>(
  asked: CheckedSegment<Chunk>,
): AsyncGenerator<Chunk, void, undefined> {
  const { segment, speak, signal } = asked;
  const checker = asked.checker(segment, 0);
  for await (const chunk of speak(segment, 0)) {
    checker.add(spoken(chunk));
    if (chunk.endReason) tell(asked, checker.finish(chunk.endReason, signal).then(listed));
    yield chunk;
  }
}

/** How loud it is made is not the model's doing, and a speaker encoder hears it. */
const spoken = ({ samples, decoded }: SpokenChunk): Float32Array => decoded ?? samples;

const listed = (check: SegmentCheck): SegmentCheck[] => [check];

/** Whoever is told may come late or never to look at it. */
function tell(
  { report }: { report(checks: Promise<SegmentCheck[]>): void },
  checks: Promise<SegmentCheck[]>,
) {
  checks.catch(() => {});
  report(checks);
}

interface Attempt<Chunk> {
  chunks: Chunk[];
  check: SegmentCheck;
}

async function* held<Chunk extends SpokenChunk>(
  asked: CheckedSegment<Chunk>,
): AsyncGenerator<Chunk, void, undefined> {
  const first = await attempted(asked, 0);
  const second = first.check.findings.length > 0 ? await another(asked, first) : null;
  const better =
    second && (first.chunks.length === 0 || isBetter(second.check, first.check)) ? second : first;
  const attempts = second ? [first, second] : [first];
  tell(asked, Promise.resolve(attempts.map(({ check }) => marked(check, check === better.check))));
  yield* better.chunks;
}

const marked = (check: SegmentCheck, heard: boolean): SegmentCheck => ({
  ...check,
  heard,
  findings: check.findings.map((finding) => ({ ...finding, heard })),
});

/** Speaks and judges. That the model spoke nothing is a finding, so that it is tried again. */
async function attempted<Chunk extends SpokenChunk>(
  { segment, speak, checker, signal }: CheckedSegment<Chunk>,
  attempt: number,
): Promise<Attempt<Chunk> & { failure: unknown }> {
  const judge = checker(segment, attempt);
  const chunks: Chunk[] = [];
  let failure: unknown = null;
  try {
    for await (const chunk of speak(segment, attempt)) {
      chunks.push(chunk);
      judge.add(spoken(chunk));
    }
  } catch (error) {
    if (codeOf(error) !== 'ERR_NO_AUDIO') throw error;
    failure = error;
  }
  // What was stopped ends early, and is judged no more.
  signal.throwIfAborted();
  const check = await judge.finish(chunks.at(-1)?.endReason ?? 'end', signal);
  return { chunks, check, failure };
}

/** The second attempt; null where it failed and the first has something to hand out. */
async function another<Chunk extends SpokenChunk>(
  asked: CheckedSegment<Chunk>,
  first: Attempt<Chunk> & { failure: unknown },
): Promise<Attempt<Chunk> | null> {
  try {
    const second = await attempted(asked, 1);
    if (!second.failure) return second;
    if (first.failure) throw first.failure;
    return null;
  } catch (error) {
    // Sound speech with a finding is better than none; but what was stopped stays stopped.
    const code = codeOf(error);
    if (asked.signal.aborted || first.chunks.length === 0 || code === null || code === 'ERR_DISPOSED')
      throw error;
    return null;
  }
}

const codeOf = (error: unknown): string | null => (MetaVoiceError.isInstance(error) ? error.code : null);

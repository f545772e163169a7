/** Judges one spoken segment: fed as it is spoken, it answers when the segment has ended. */

import { fromNative, MetaVoiceError } from '../errors.js';
import type { NativeModel } from '../native/contract.js';
import { ClickMeter } from './clicks.js';
import { findDrift, type VoiceReference, voiceWindows } from './drift.js';
import { excess, type Finding, type SegmentCheck } from './findings.js';
import { type Expected, findHoles, type Hole } from './holes.js';
import { type Level, LevelMeter } from './level.js';
import { Pieces } from './samples.js';
import {
  clickNeighbourhoodSeconds,
  clickRatio,
  leastCosine,
  leastPace,
  mostOfAKind,
  mostPace,
  paceSlack,
} from './thresholds.js';

export interface SegmentToCheck {
  readonly segment: number;
  readonly attempt: number;
  /** Hz */
  readonly sampleRate: number;
  readonly expected: Expected;
  /** Null for a model without a speaker encoder. */
  readonly voice: VoiceReference | null;
}

/**
 * One attempt at one segment. What it finds does not depend on the pieces in which the samples come. It copies them once,
 * and computes in slices of less than a millisecond between which the event loop goes on.
 */
export class Checker {
  readonly #asked: SegmentToCheck;
  readonly #pieces = new Pieces();

  constructor(asked: SegmentToCheck) {
    this.#asked = asked;
  }

  /** The next samples as the model spoke them: before loudness and fades, without the pause that follows. */
  add(samples: Float32Array): void {
    this.#pieces.add(samples);
  }

  /**
   * What is wrong with all that was added; times count from the beginning of the segment.
   *
   * A check that fails fails no speech: it is told in `unchecked`.
   *
   * @param endReason how the segment ended
   * @throws only the signal's reason
   */
  async finish(endReason: 'end' | 'limit', signal: AbortSignal | null = null): Promise<SegmentCheck> {
    const { segment, attempt, sampleRate } = this.#asked;
    const meter = new LevelMeter(sampleRate);
    const clicks = new ClickMeter(sampleRate);
    await this.#pieces.visit((samples) => {
      meter.add(samples);
      clicks.add(samples);
    }, signal);
    const level = meter.level();
    const holes = this.#holes(level);
    const found: Problem[] = [...this.#length(level, endReason), ...holes.map(holeProblem)];
    if (level.extent) {
      // A dropout has a step at each end: one damage, told once.
      for (const { startSeconds, ratio } of clicks.clicks(this.#pieces, level.loud))
        if (!holes.some((hole) => touches(hole, startSeconds))) found.push(clickProblem(startSeconds, ratio));
    }
    const own = { segment, attempt, heard: true };
    const check: SegmentCheck = { ...own, findings: [], voice: null, unchecked: [] };
    found.push(...(await this.#drift(level, check, signal)));
    check.findings = worst(found.map((each) => ({ ...own, ...each })));
    return check;
  }

  #holes(level: Level): Hole[] {
    const { expected, sampleRate } = this.#asked;
    // Nothing at all is no silence: its length tells it.
    if (this.#pieces.length === 0) return [];
    return findHoles(level, expected, sampleRate, this.#pieces.length / sampleRate);
  }

  #length(level: Level, endReason: 'end' | 'limit'): Problem[] {
    const { sampleRate, expected } = this.#asked;
    const whole = this.#pieces.length / sampleRate;
    if (endReason === 'limit') return [limitProblem(whole, expected.seconds)];
    const [start, end] = (level.extent ?? [0, 0]).map((frame) => (frame * level.frame) / sampleRate);
    const seconds = end! - start!;
    const least = leastPace * expected.seconds;
    const most = mostPace * expected.seconds + paceSlack;
    if (seconds >= least && seconds <= most) return [];
    return [durationProblem(start!, seconds, seconds < least ? least : most)];
  }

  async #drift(level: Level, check: SegmentCheck, signal: AbortSignal | null): Promise<Problem[]> {
    const { voice, sampleRate } = this.#asked;
    const skip = (reason: string): Problem[] => {
      check.unchecked.push({ kind: 'drift', reason });
      return [];
    };
    if (!voice) return skip('the model has no speaker encoder');
    if (!level.extent) return [];
    try {
      const [start, end] = level.extent;
      const extent = [start * level.frame, end * level.frame] as const;
      const windows = await voiceWindows(this.#pieces, extent, sampleRate, voice, signal);
      if (windows.length === 0) return skip('the speech is too short to tell a voice');
      const least = Math.min(...windows.map(({ cosine }) => cosine));
      check.voice = { windows: windows.length, least };
      return findDrift(windows).map(driftProblem);
    } catch (error) {
      signal?.throwIfAborted();
      return skip(error instanceof Error ? error.message : String(error));
    }
  }
}

/** The voice that a model was asked for, by the model's own encoder. */
export function voiceReference(
  native: Pick<NativeModel, 'embedSpeaker'>,
  embedding: Float32Array,
): VoiceReference {
  return {
    embedding,
    async embed(samples, sampleRate) {
      try {
        return (await native.embedSpeaker(samples, sampleRate)).embedding;
      } catch (error) {
        const known = fromNative(error);
        if (MetaVoiceError.isInstance(known) && known.code === 'ERR_REFERENCE_AUDIO') return null;
        throw known;
      }
    },
  };
}

type Problem = Pick<Finding, 'kind' | 'startSeconds' | 'durationSeconds' | 'value' | 'expected' | 'message'>;

function limitProblem(seconds: number, expected: number): Problem {
  const message = `the speech was cut after ${seconds.toFixed(1)} s; about ${expected.toFixed(1)} s were expected`;
  return { kind: 'limit', startSeconds: 0, durationSeconds: seconds, value: seconds, expected, message };
}

function durationProblem(startSeconds: number, seconds: number, expected: number): Problem {
  const bound = `${seconds < expected ? 'at least' : 'at most'} ${expected.toFixed(2)} s`;
  const message = `expected ${bound} of speech for the text but found ${seconds.toFixed(2)} s`;
  return { kind: 'duration', startSeconds, durationSeconds: seconds, value: seconds, expected, message };
}

function holeProblem({ startSeconds, seconds, most, dropout }: Hole): Problem {
  const milliseconds = `${Math.round(1000 * seconds)} ms`;
  const message = dropout
    ? `the speech drops out for ${milliseconds}`
    : `expected silence of at most ${Math.round(1000 * most)} ms but found ${milliseconds}`;
  return { kind: 'hole', startSeconds, durationSeconds: seconds, value: seconds, expected: most, message };
}

function clickProblem(startSeconds: number, ratio: number): Problem {
  const message = `a step stands ${ratio.toFixed(1)} times above those around it, at most ${clickRatio} is speech`;
  return { kind: 'click', startSeconds, durationSeconds: 0, value: ratio, expected: clickRatio, message };
}

function driftProblem({ startSeconds, seconds, cosine }: ReturnType<typeof findDrift>[number]): Problem {
  const message = `the voice is another for ${seconds.toFixed(1)} s: a cosine of ${cosine.toFixed(2)}, at least ${leastCosine} was expected`;
  return {
    kind: 'drift',
    startSeconds,
    durationSeconds: seconds,
    value: cosine,
    expected: leastCosine,
    message,
  };
}

const touches = ({ startSeconds, seconds }: Hole, at: number): boolean =>
  at >= startSeconds - clickNeighbourhoodSeconds && at <= startSeconds + seconds + clickNeighbourhoodSeconds;

/** At most so many of each kind, in order of time. */
function worst(findings: Finding[]): Finding[] {
  const counts = new Map<string, number>();
  return findings
    .sort((a, b) => excess(b) - excess(a))
    .filter(({ kind }) => {
      const count = (counts.get(kind) ?? 0) + 1;
      counts.set(kind, count);
      return count <= mostOfAKind;
    })
    .sort((a, b) => a.startSeconds - b.startSeconds);
}

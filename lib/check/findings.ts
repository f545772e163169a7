/** What is wrong with a spoken segment, as plain data. */

/**
 * `'drift'`: for a while it is not the voice that was asked for. `'duration'`: too short or too long for its text.
 * `'limit'`: the model did not come to an end and was cut. `'hole'`: silence where the text has no pause. `'click'`: a
 * step between samples that speech does not make.
 */
export type FindingKind = 'drift' | 'duration' | 'limit' | 'hole' | 'click';

export interface Finding {
  kind: FindingKind;
  /** The segment of the text, and how often it had been spoken before. */
  segment: number;
  attempt: number;
  /** Whether this attempt was handed out; false where another one took its place. */
  heard: boolean;
  /** Where it is in the speech, and how long. */
  startSeconds: number;
  durationSeconds: number;
  /**
   * What was measured: `drift` the cosine to the voice, `duration` and `limit` seconds of speech, `hole` seconds of
   * silence, `click` how far a step stands above its neighbourhood.
   */
  value: number;
  /** The bound that `value` lies beyond; for `limit` the seconds that the text was expected to take. */
  expected: number;
  /** The same in words. */
  message: string;
}

/** What the check of one attempt at a segment found. */
export interface SegmentCheck {
  segment: number;
  attempt: number;
  /** Whether this attempt was handed out. */
  heard: boolean;
  /** Empty where nothing is wrong; in order of time. */
  findings: Finding[];
  /** How near the voice was: windows that were looked at, and the lowest cosine among them. Null where none was. */
  voice: { windows: number; least: number } | null;
  /** What could not be judged, and why. */
  unchecked: Unchecked[];
}

export interface Unchecked {
  kind: FindingKind;
  reason: string;
}

/** How far beyond its bound a finding is; 0 at the bound, comparable between kinds only roughly. */
export function excess({ kind, value, expected }: Finding): number {
  if (kind === 'drift') return expected - value;
  if (kind === 'duration') return Math.min(10, Math.abs(Math.log(value / expected)));
  return value / expected - 1;
}

/** Whether the second attempt is the better one: fewer findings, then smaller ones. A draw goes to the first. */
export function isBetter(second: SegmentCheck, first: SegmentCheck): boolean {
  const fewer = first.findings.length - second.findings.length;
  if (fewer !== 0) return fewer > 0;
  const sum = ({ findings }: SegmentCheck) => findings.reduce((total, each) => total + excess(each), 0);
  return sum(second) < sum(first);
}

/** The findings of a segment, told of a speech in which it begins at `startSeconds`. */
export const placed = (findings: readonly Finding[], startSeconds: number): Finding[] =>
  findings.map((each) => ({ ...each, startSeconds: each.startSeconds + startSeconds }));

/** From sentences to segments: each is spoken as one utterance, and laid beside the next with a pause. */

import { MetaVoiceError } from '../errors.js';
import { type ClauseRank, divideSentence } from './clauses.js';
import { blanked } from './letters.js';
import { normalizeText } from './normalize.js';
import { splitSentences } from './sentences.js';

/** What ends a segment, and so how long it is silent after it. */
export type Pause = 'none' | 'clause' | 'sentence' | 'paragraph';

export interface Segment {
  /** Normalised. */
  readonly text: string;
  /** Its place in the text as it was given, in UTF-16 units. The places of all segments cover the text exactly once. */
  readonly offset: number;
  readonly length: number;
  /** After it; `'none'` after the last one. */
  readonly pause: Pause;
}

/** What a segment may be at most. */
export interface SegmentLimits {
  /** Ids, end of text included. */
  readonly tokens: number;
  /** Seconds of speech that the windows hold beside so many ids. */
  seconds(tokens: number): number;
  /** Ids of a normalised text: the least there can be, told at once, and as many as there are. */
  leastTokens(text: string): number;
  countTokens(text: string): number;
}

/** Speech is slower than expected now and then: a window must hold so much more. */
const margin = 1.25;
/** A part as short as this is not divided for its length in time, whatever the window. */
const leastSeconds = 4;
/** Sentences shorter than this are joined with a neighbour, up to the length of an ordinary segment. */
export const shortSeconds = 3;
export const ordinarySeconds = 8;
/** Sentences shorter than this speak badly alone: they are joined as far as the window goes. */
export const tinySeconds = 1;

interface Piece {
  readonly start: number;
  end: number;
  seconds: number;
  readonly before: Pause;
}

/**
 * The segments of a text whose letters were judged. Sentences that are too long for the window are parted at their
 * clauses; short ones in the same paragraph are joined.
 *
 * @param text as it was given, not normalised
 * @throws {MetaVoiceError} ERR_TEXT_TOO_LONG for what does not fit and has no place to be parted
 */
export function segmentText(text: string, limits: SegmentLimits): Segment[] {
  const fits = fitting(text, limits);
  const pieces: Piece[] = [];
  for (const piece of dividedSentences(text, fits)) {
    const last = pieces.at(-1);
    if (last && joins(last, piece) && fits(last.start, piece.end, last.seconds + piece.seconds)) {
      last.end = piece.end;
      last.seconds += piece.seconds;
    } else pieces.push(piece);
  }
  return pieces.map(({ start, end }, index) => {
    const next = pieces[index + 1];
    const offset = index === 0 ? 0 : start;
    const spoken = normalizeText(text.slice(start, end));
    requireTokens(spoken, limits);
    return {
      text: spoken,
      offset,
      length: (next?.start ?? text.length) - offset,
      pause: next?.before ?? 'none',
    };
  });
}

export type Fits = (start: number, end: number, seconds: number) => boolean;

/** Whether [start, end) of a text, of so many expected seconds, is at most a segment. */
export function fitting(text: string, limits: SegmentLimits): Fits {
  return (start, end, seconds) => {
    const most = Math.max(leastSeconds, limits.seconds(end - start + 1) / margin);
    if (seconds > most) return false;
    if (surelyFits(end - start, limits)) return true;
    const spoken = normalizeText(text.slice(start, end));
    return limits.leastTokens(spoken) <= limits.tokens && limits.countTokens(spoken) <= limits.tokens;
  };
}

/** A letter is three bytes at most when it is normalised, and a token one byte at least. */
const surelyFits = (letters: number, { tokens }: SegmentLimits): boolean => 3 * letters + 1 <= tokens;

function* dividedSentences(text: string, fits: Fits): Generator<Piece> {
  const plain = blanked(text);
  for (const { start, end, before } of splitSentences(text)) {
    let pause: Pause = before;
    const parts = divideSentence(plain.slice(start, end), (from, to, seconds) =>
      fits(start + from, start + to, seconds),
    );
    for (const part of parts) {
      yield { start: start + part.start, end: start + part.end, seconds: part.seconds, before: pause };
      pause = pauseAt(part.rank);
    }
  }
}

export const pauseAt = (rank: ClauseRank | null): Pause =>
  rank === 'word' || rank === 'clinging' ? 'none' : 'clause';

/** Whether two neighbours are better spoken as one. */
function joins(one: Piece, two: Piece): boolean {
  if (two.before !== 'sentence') return false;
  const shorter = Math.min(one.seconds, two.seconds);
  return shorter < tinySeconds || (shorter < shortSeconds && one.seconds + two.seconds <= ordinarySeconds);
}

/** @throws {MetaVoiceError} ERR_TEXT_TOO_LONG */
export function requireTokens(text: string, limits: SegmentLimits): void {
  if (surelyFits(text.length, limits)) return;
  requireFits(limits.leastTokens(text), limits.tokens, text);
  requireFits(limits.countTokens(text), limits.tokens, text);
}

/**
 * Refuses a segment that leaves no room in the window of the model, before any step is taken.
 * @param tokens ids of the segment, end of text included
 * @param limit the most ids that a segment may have
 * @throws {MetaVoiceError} ERR_TEXT_TOO_LONG with `details` { tokens, limit, length }
 */
export function requireFits(tokens: number, limit: number, text: string): void {
  if (tokens <= limit) return;
  // Letters that steer a terminal or the direction of writing, and halves of pairs, stay out of messages.
  const shown = text.slice(0, 40).replace(/\p{C}/gu, '?');
  const start = text.length > 40 ? `${shown.trimEnd()}…` : shown;
  throw new MetaVoiceError(
    'ERR_TEXT_TOO_LONG',
    `expected a text that can be parted between words into segments of at most ${limit} tokens but "${start}" has ` +
      `${tokens} (${text.length} letters) and no such place; put spaces in it`,
    { details: { tokens, limit, length: text.length } },
  );
}

/** Where a sentence is parted that is too long to be spoken at once: at its clauses, never inside a word. */

import { clinging, conjunctions } from './abbreviations.js';
import { closing, hasWords, opening } from './letters.js';
import { expectedSeconds } from './spoken-length.js';

/** How good a place is: after `; : —`; after a comma, at a bracket; before a conjunction; between words; in `the | end`. */
const ranks = ['strong', 'comma', 'conjunction', 'word', 'clinging'] as const;
export type ClauseRank = (typeof ranks)[number];

/** One part ends at `end`, the next begins at `next`. */
interface Place {
  readonly end: number;
  readonly next: number;
  readonly rank: number;
  /** Expected seconds of what lies before. */
  readonly seconds: number;
}

export interface Part {
  /** [start, end) in the sentence */
  readonly start: number;
  readonly end: number;
  readonly seconds: number;
  /** The place after it; null at the end of the sentence. */
  readonly rank: ClauseRank | null;
}

/**
 * The parts of a sentence that fit: it is halved at the best place near its middle, and the halves again. What has no
 * place left is a part though it does not fit.
 *
 * @param words the sentence, with plain spaces for white space
 */
export function divideSentence(
  words: string,
  fits: (start: number, end: number, seconds: number) => boolean,
): Part[] {
  const total = expectedSeconds(words);
  if (fits(0, words.length, total)) return [{ start: 0, end: words.length, seconds: total, rank: null }];
  const places = placesOf(words);
  const parts: Part[] = [];
  /** The part between the places before `low` and at `high`. */
  const divide = (low: number, high: number): void => {
    const start = places[low - 1]?.next ?? 0;
    const end = places[high]?.end ?? words.length;
    const from = places[low - 1]?.seconds ?? 0;
    const to = places[high]?.seconds ?? total;
    if (low === high || fits(start, end, to - from)) {
      const place = places[high];
      parts.push({ start, end, seconds: to - from, rank: place ? ranks[place.rank]! : null });
      return;
    }
    const middle = bestPlace(places, low, high, from, to);
    divide(low, middle);
    divide(middle + 1, high);
  };
  divide(0, places.length);
  return parts;
}

/** The place of the best rank in the middle half, and of these the nearest to the middle; else the nearest of all. */
function bestPlace(places: readonly Place[], low: number, high: number, from: number, to: number): number {
  const middle = (from + to) / 2;
  let best = low;
  let bestScore = Infinity;
  for (let index = low; index < high; index++) {
    const { rank, seconds } = places[index]!;
    const off = Math.abs(seconds - middle) / (to - from);
    const score = off <= 0.25 ? rank + off : ranks.length + off;
    if (score >= bestScore) continue;
    best = index;
    bestScore = score;
  }
  return best;
}

/** Where a sentence may be parted, first to last, for as long as `accepts` says no; null where it never does. */
export function firstPlace(
  words: string,
  accepts: (rank: ClauseRank, seconds: number) => boolean,
): { end: number; next: number; rank: ClauseRank } | null {
  for (const { end, next, rank, seconds } of placesOf(words))
    if (accepts(ranks[rank]!, seconds)) return { end, next, rank: ranks[rank]! };
  return null;
}

/** Spaces, and dashes that stand between words without any. */
const separators = /( +)|(?<=[\p{L}\p{N}.,!?"'”’)])(?:—|--)(?=["“‘'(]?\p{L})/gu;

function placesOf(words: string): Place[] {
  const places: Place[] = [];
  const found = [...words.matchAll(separators)];
  let counted = 0;
  let seconds = 0;
  let spoken = false;
  for (const [index, match] of found.entries()) {
    const next = match.index + match[0].length;
    const end = match[1] === undefined ? next : match.index;
    seconds += expectedSeconds(words.slice(counted, end));
    spoken ||= hasWords(words.slice(counted, end));
    counted = end;
    // Marks alone stay with the words before or, at the beginning, after them.
    if (!spoken || !hasWords(words.slice(next, found[index + 1]?.index ?? words.length))) continue;
    places.push({ end, next, rank: ranks.indexOf(rankOf(words, end, next)), seconds });
  }
  return places;
}

const strong = new RegExp(`(?:[;:!?…—]|\\.\\.|(?:^| )[-–]|--)[${closing}]*$`);
const comma = new RegExp(`(?:,[${closing}]*|[)\\]])$`);
const nextWord = new RegExp(`^[${opening}]*(\\p{L}+)`, 'u');
/** `(2)` and what it counts, `June 29, 2007`, `Foundation, Inc.`: a mark that parts nothing. */
const counts = /\((?:\d{1,3}|\p{L}|[ivx]{2,4})\)$/iu;
const afterName = /^(?:\d{4}|(?:Inc|Ltd|LLC|Jr|Sr|Esq|Ph\.D|M\.D)\b)/;
/** Longer than any word that is asked for. */
const reach = 24;

function rankOf(words: string, end: number, next: number): ClauseRank {
  const before = words.slice(Math.max(0, end - reach), end);
  const after = words.slice(next, next + reach);
  if (counts.test(before) || (before.endsWith(',') && afterName.test(after))) return 'clinging';
  if (strong.test(before)) return 'strong';
  if (comma.test(before) || /^[([]/.test(after)) return 'comma';
  if (conjunctions.has(nextWord.exec(after)?.[1]?.toLowerCase() ?? '')) return 'conjunction';
  const last = /\p{L}+$/u.exec(before)?.[0].toLowerCase() ?? '';
  // A point here is that of an abbreviation.
  return clinging.has(last) || /[.]$/.test(before) ? 'clinging' : 'word';
}

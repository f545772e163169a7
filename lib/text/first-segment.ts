/** The first segment of a text of which only the beginning is there. */

import { type Block, textBlocks } from './blocks.js';
import { type ClauseRank, divideSentence, firstPlace } from './clauses.js';
import { blanked } from './letters.js';
import {
  type Fits,
  fitting,
  ordinarySeconds,
  type Pause,
  pauseAt,
  requireFits,
  type SegmentLimits,
  shortSeconds,
  tinySeconds,
} from './segment.js';
import { blockSentences, type Sentence } from './sentences.js';
import { expectedSeconds } from './spoken-length.js';

/**
 * Where somebody waits for a sound (at the beginning, and after a flush), a clause is enough: one that takes so long. A
 * shorter one speaks badly alone, and would be over before the next is ready. A conjunction is a weaker place than a mark.
 */
const clauseSeconds = 2;
const conjunctionSeconds = 4;

/** Where a segment ends in what was read, and where the next one begins. */
export interface Cut {
  readonly end: number;
  readonly next: number;
  readonly pause: Pause;
  readonly context: Context | null;
}

/** What the rest of a block must know of its beginning. */
export interface Context {
  readonly item: boolean;
  readonly capitals: boolean;
}

/** A sentence, and the block it is in. */
interface Placed extends Sentence {
  readonly block: Block;
}

/** The part of the pending text that is looked at: up to the end of a word, without white space in front. */
export interface View {
  readonly start: number;
  readonly text: string;
  readonly plain: string;
  readonly context: Context | null;
  readonly sentences: readonly Placed[];
  readonly fits: Fits;
}

/** @param start of the first letter in what was read */
export function viewOf(read: string, start: number, context: Context | null, limits: SegmentLimits): View {
  const text = read.slice(start);
  const plain = blanked(text);
  const sentences = textBlocks(text, context).flatMap((block, index) =>
    blockSentences(plain, block, index === 0 && context?.capitals).map((sentence) => ({
      ...sentence,
      block,
    })),
  );
  return { start, text, plain, context, sentences, fits: fitting(text, limits) };
}

/**
 * The first segment of what is seen, if it is certain: sentences are joined until they are long enough, as far as they
 * fit; one that does not fit is parted. At the `end` of the text nothing is certain means that all of it is one segment.
 */
export function findCut(view: View, quick: boolean, end: boolean, limits: SegmentLimits): Cut | null {
  const { plain, sentences, fits } = view;
  const start = sentences[0]?.start ?? 0;
  const enough = quick ? clauseSeconds : shortSeconds;
  let before = 0;
  for (const [index, sentence] of sentences.entries()) {
    const next = sentences[index + 1];
    const seconds = before + expectedSeconds(plain.slice(sentences[index - 1]?.end ?? start, sentence.end));
    const crowded = before >= tinySeconds && seconds > ordinarySeconds;
    if (crowded) return cutBefore(view, index);
    if (!fits(start, sentence.end, seconds)) {
      // A tiny one is joined with the first part of the next.
      if (before >= tinySeconds) return cutBefore(view, index);
      return partOf(view, index, before) ?? unparted(view, index, end, limits);
    }
    if (!next) return quick && !end ? clauseOf(view, sentence, before) : null;
    if (next.before === 'paragraph' || seconds >= enough) return cutBefore(view, index + 1);
    before = seconds;
  }
  return null;
}

/** Before the sentence of this index. */
function cutBefore(view: View, index: number): Cut {
  const next = view.sentences[index]!;
  return {
    end: view.sentences[index - 1]!.end,
    next: next.start,
    pause: next.before,
    context: contextAt(view, next.block, next.start),
  };
}

/** In a sentence that does not fit, behind those before it, of `before` seconds; null where it has no place. */
function partOf(view: View, index: number, before: number): Cut | null {
  const { plain, sentences, fits } = view;
  const sentence = sentences[index]!;
  const words = plain.slice(sentence.start, sentence.end);
  const [part, other] = divideSentence(words, (from, to, seconds) => {
    const [start, more] = from === 0 ? [sentences[0]!.start, before] : [sentence.start + from, 0];
    return fits(start, sentence.start + to, seconds + more);
  });
  if (!part || !other) return null;
  return cutInside(view, sentence, { end: part.end, next: other.start, rank: part.rank! });
}

/** A sentence that has no place to be parted: as it is, if it has an end. */
function unparted(view: View, index: number, end: boolean, limits: SegmentLimits): Cut | null {
  const { plain, sentences } = view;
  if (index > 0) return cutBefore(view, index);
  if (sentences[1]) return cutBefore(view, 1);
  // One that grows is refused before it has an end.
  const words = plain.slice(sentences[0]!.start).replace(/ +/g, ' ');
  if (!end) requireFits(limits.leastTokens(words), limits.tokens, words);
  return null;
}

/** The first clause that is long enough, of a sentence that goes on. */
function clauseOf(view: View, sentence: Placed, before: number): Cut | null {
  const place = firstPlace(view.plain.slice(sentence.start, sentence.end), (rank, seconds) => {
    if (rank === 'strong' || rank === 'comma') return before + seconds >= clauseSeconds;
    return rank === 'conjunction' && before + seconds >= conjunctionSeconds;
  });
  return place && cutInside(view, sentence, place);
}

const cutInside = (
  view: View,
  { start, block }: Placed,
  { end, next, rank }: { end: number; next: number; rank: ClauseRank },
): Cut => ({
  end: start + end,
  next: start + next,
  pause: pauseAt(rank),
  context: contextAt(view, block, start + next),
});

/** What a text from `next` on must know of the block that it is in; null where it begins the block. */
export function contextAt({ plain, context, sentences }: View, block: Block, next: number): Context | null {
  if (next === block.start) return null;
  const capitals = sentences[0]!.block === block && context?.capitals;
  return { item: block.item, capitals: capitals || /\p{Lu}/u.test(plain.slice(block.start, next)) };
}

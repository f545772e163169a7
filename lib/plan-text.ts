/** From a text to the ids that both stages read, segment by segment. */

import { setImmediate as rest } from 'node:timers/promises';
import type { Manifest, TokenizerData } from './checkpoint/manifest.js';
import { normalizeText, requireSpeakable } from './text/normalize.js';
import { requireFits, segmentText } from './text/segment.js';
import { Tokenizer } from './text/tokenizer.js';

export interface SpokenSegment {
  readonly text: string;
  readonly firstStageIds: Int32Array;
  readonly secondStageIds: Int32Array;
}

/** Letters that are normalised in a few milliseconds. */
const largeText = 50_000;

/**
 * Segments of a text, each judged to fit.
 *
 * @param limit the most ids a segment may have
 * @throws MetaVoiceError ERR_TEXT, ERR_TEXT_TOO_LONG
 */
export function planText(
  text: string,
  firstStage: TokenizerData,
  secondStage: TokenizerData,
  limit: number,
): SpokenSegment[] {
  const first = tokenizerOf(firstStage);
  const second = tokenizerOf(secondStage);
  // A text of megabytes is refused by what it needs at least, not after all of it was read letter by letter.
  const leastTokens = (letters: string) => Math.ceil(letters.length / first.longest) + 1;
  if (text.length > largeText) requireFits(leastTokens(text), limit, text);
  return segmentText(requireSpeakable(normalizeText(text))).map((segment) => {
    requireFits(leastTokens(segment), limit, segment);
    const firstStageIds = first.tokenizer.encode(segment);
    const secondStageIds = second.tokenizer.encode(segment);
    requireFits(Math.max(firstStageIds.length, secondStageIds.length), limit, segment);
    return { text: segment, firstStageIds, secondStageIds };
  });
}

/**
 * Makes the tokenizers of both stages, each in a turn of the event loop of its own, so that the first request finds them.
 *
 * @throws MetaVoiceError ERR_CHECKPOINT for one that is not sound
 */
export async function prepareTokenizers({ firstStage, secondStage }: Manifest): Promise<void> {
  for (const stage of [firstStage, secondStage]) {
    if (!stage) continue;
    await rest();
    // Encoding once compiles the pattern.
    tokenizerOf(stage.tokenizer).tokenizer.encode('');
  }
}

interface Ready {
  tokenizer: Tokenizer;
  /** Bytes of the longest token. */
  longest: number;
}

const ready = new WeakMap<TokenizerData, Ready>();

/** The tokenizer of a checkpoint, made once. */
export function tokenizerOf(data: TokenizerData): Ready {
  const known = ready.get(data);
  if (known) return known;
  const longest = data.ranks.reduce((most, rank) => Math.max(most, Buffer.byteLength(rank, 'base64')), 1);
  const made = { tokenizer: Tokenizer.from(data), longest };
  ready.set(data, made);
  return made;
}

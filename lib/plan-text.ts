/** From a text to the ids that both stages read, segment by segment. */

import { setImmediate as rest } from 'node:timers/promises';
import { type CallSite, fromEngine } from './call-site.js';
import type { Manifest, TokenizerData, TransformerManifest } from './checkpoint/manifest.js';
import type { TextSource } from './options.js';
import type { PlannedSegment, PlannedText } from './stream/plan.js';
import { normalizeText, originalIndex, requireSpeakable } from './text/normalize.js';
import { type Segment, type SegmentLimits, segmentText } from './text/segment.js';
import { SegmentStream } from './text/segment-stream.js';
import { TextReader } from './text/text-reader.js';
import { Tokenizer } from './text/tokenizer.js';

export type SpokenSegment = Segment & Pick<PlannedSegment, 'encode'>;

export interface TextLimits {
  /** Frames that the second stage's window holds beside the text: the longest chunk and its look-ahead. */
  readonly chunkFrames: number;
  /** Frames per second of the codec. */
  readonly frameRate: number;
}

/**
 * Segments of a text, each judged to fit.
 *
 * @throws MetaVoiceError ERR_TEXT, ERR_TEXT_TOO_LONG
 */
export function planText(
  text: string,
  firstStage: TransformerManifest,
  secondStage: TransformerManifest,
  { chunkFrames, frameRate }: TextLimits,
): SpokenSegment[] {
  const { judge, encode, limits } = readersOf(firstStage, secondStage, { chunkFrames, frameRate });
  // The whole is judged first, so that places in refusals are those of the whole.
  requireSpeakable(judge(text, 0));
  return segmentText(text, limits).map((segment) => ({ ...segment, encode: () => encode(segment.text) }));
}

/** What both stages make of a text, and how much of it they hold. */
function readersOf(
  firstStage: TransformerManifest,
  secondStage: TransformerManifest,
  { chunkFrames, frameRate }: TextLimits,
) {
  const first = tokenizerOf(firstStage.tokenizer);
  const second = tokenizerOf(secondStage.tokenizer);
  const limits: SegmentLimits = {
    tokens: Math.min(firstStage.positions - 2, secondStage.positions - 1 - chunkFrames),
    // The first stage takes two tokens per frame.
    seconds: (tokens) => (firstStage.positions - tokens) / 2 / frameRate,
    leastTokens: (letters) => Math.ceil(letters.length / first.longest) + 1,
    countTokens: (letters) =>
      Math.max(first.tokenizer.encode(letters).length, second.tokenizer.encode(letters).length),
  };
  return {
    limits,
    encode: (text: string) => encodeText(text, firstStage, secondStage),
    /** Refuses letters that cannot be spoken (ERR_TEXT), by their places in the text that `text` begins in at `offset`. */
    judge(text: string, offset: number): string {
      const normalized = normalizeText(text, offset);
      const positionOf = (index: number) => offset + originalIndex(text, index);
      for (const { tokenizer } of [first, second]) tokenizer.requireEncodable(normalized, positionOf);
      return normalized;
    },
  };
}

/** The ids that both stages read of a normalised text. */
export const encodeText = (
  text: string,
  firstStage: TransformerManifest,
  secondStage: TransformerManifest,
): ReturnType<PlannedSegment['encode']> => ({
  firstStageIds: tokenizerOf(firstStage.tokenizer).tokenizer.encode(text),
  secondStageIds: tokenizerOf(secondStage.tokenizer).tokenizer.encode(text),
});

/** A text that is there from the beginning. */
export function wholeText(segments: readonly SpokenSegment[]): PlannedText {
  let next = 0;
  const { offset, length } = segments.at(-1)!;
  return {
    async next() {
      const segment = segments[next];
      if (!segment) return null;
      const before = segments[next - 1]?.pause ?? 'none';
      return { ...segment, before, last: ++next === segments.length };
    },
    segments: segments.length,
    length: offset + length,
    cancel() {
      next = segments.length;
    },
  };
}

/**
 * A text that comes in pieces; nothing of it is read before it is asked for.
 *
 * @param options.flushSeconds how long the source may pause before what is there is spoken
 * @param options.site whose stack our own refusals get
 */
export function streamedText(
  source: Exclude<TextSource, string>,
  firstStage: TransformerManifest,
  secondStage: TransformerManifest,
  { flushSeconds, site, ...windows }: TextLimits & { flushSeconds: number; site: CallSite },
): PlannedText {
  const { judge, encode, limits } = readersOf(firstStage, secondStage, windows);
  const segments = new SegmentStream({ ...limits, judge });
  const reader = new TextReader(source, segments, flushSeconds);
  return {
    async next() {
      try {
        const segment = await reader.next();
        return segment && { ...segment, encode: () => encode(segment.text) };
      } catch (error) {
        throw reader.sourceFailed ? error : fromEngine(error, site);
      }
    },
    get segments() {
      return segments.count;
    },
    get length() {
      return segments.length;
    },
    cancel: () => reader.cancel(),
  };
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

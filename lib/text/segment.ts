import { MetaVoiceError } from '../errors.js';

/** The segments of a normalised text, each spoken as one utterance. A request is one segment. */
export function segmentText(normalized: string): string[] {
  return [normalized];
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
    `expected a text of at most ${limit} tokens but "${start}" has ${tokens} (${text.length} letters); ` +
      'speak it in several shorter parts',
    { details: { tokens, limit, length: text.length } },
  );
}

/**
 * The segments of a text that is still being written, each as early as it can be told. Where they are parted depends on
 * the text alone, not on the pieces in which it comes: the text is looked at only where a word ends, and at each of
 * these places what lies before it decides.
 */

import { type Context, type Cut, contextAt, findCut, type View, viewOf } from './first-segment.js';
import { blanked, hasWords } from './letters.js';
import { normalizeText, requireSpeakable } from './normalize.js';
import { type Pause, requireTokens, type Segment, type SegmentLimits } from './segment.js';

export interface StreamedSegment extends Omit<Segment, 'pause'> {
  /** Between the segment before and it. */
  readonly before: Pause;
  /** After it; null after a flush, as it depends on what will follow. */
  readonly pause: Pause | null;
  /** Nothing follows; null after a flush. */
  readonly last: boolean | null;
}

export interface StreamLimits extends SegmentLimits {
  /** Refuses letters that cannot be spoken. `offset` is the place of these in the whole text. */
  judge(text: string, offset: number): void;
}

/** A word and the white space behind it; what has none in sight is looked at, too, so that it cannot grow forever. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: white space as `blanked` knows it
const wordEnd = /[^\t-\r\x1c-\x20\x85\xa0*](?:[\t-\r\x1c-\x20\x85\xa0*]|[^\t-\r\x1c-\x20\x85\xa0*]{511})/g;
const longestWordEnd = 512;

export class SegmentStream {
  readonly #limits: StreamLimits;
  #pending = '';
  /** Of the pending text in the whole. */
  #offset = 0;
  /** How far the pending text was looked at in vain. */
  #seen = 0;
  /** The end of the pending text: before it no further word ends, whatever follows. Short, so that long white space is cheap. */
  #unsearched = '';
  #count = 0;
  #before: Pause = 'none';
  #context: Context | null = null;
  /** White space at the end of what was flushed; null when nothing was. */
  #flushed: string | null = null;
  /** Somebody waits for a sound. */
  #quick = true;

  constructor(limits: StreamLimits) {
    this.#limits = limits;
  }

  /** Segments so far. */
  get count(): number {
    return this.#count;
  }

  /** UTF-16 units so far. */
  get length(): number {
    return this.#offset + this.#pending.length;
  }

  /** Whether a flush would give something to speak. */
  get speakable(): boolean {
    // Half of a pair: what it is will be seen with the other half.
    return hasWords(this.#pending) && !/[\ud800-\udbff]$/.test(this.#pending);
  }

  push(text: string): void {
    this.#pending += text;
    this.#unsearched += text;
  }

  /**
   * The next segment that is certain, whatever follows.
   *
   * @throws {MetaVoiceError} ERR_TEXT, with places in the whole text; ERR_TEXT_TOO_LONG
   */
  next(): StreamedSegment | null {
    for (let end = this.#nextEnd(); end !== null; end = this.#nextEnd()) {
      this.#seen = end;
      const view = this.#view(end);
      const cut = findCut(view, this.#quick, false, this.#limits);
      if (cut) return this.#take(view, cut);
    }
    return null;
  }

  /**
   * Of all that is there, though it may go on, the next segment; null when nothing is left. Throws as `next()`.
   */
  flush(): StreamedSegment | null {
    return this.speakable ? this.#rest(null) : null;
  }

  /** The next segment of the rest of the text. Throws as `next()`, and ERR_TEXT for a text with nothing to speak. */
  end(): StreamedSegment | null {
    if (hasWords(this.#pending) || this.#count === 0) return this.#rest(true);
    // What has no words is not spoken; what could not be is still told.
    this.#limits.judge(this.#pending, this.#offset);
    return null;
  }

  #nextEnd(): number | null {
    const begin = this.#pending.length - this.#unsearched.length;
    wordEnd.lastIndex = Math.max(0, this.#seen - 1 - begin);
    if (wordEnd.test(this.#unsearched)) return begin + wordEnd.lastIndex;
    this.#unsearched = this.#unsearched.slice(1 - longestWordEnd);
    return null;
  }

  #view(end: number): View {
    const read = this.#pending.slice(0, end);
    const start = read.length - blanked(read).trimStart().length;
    // On a new line after a flush, a new block begins.
    const lines = lineEnds((this.#flushed ?? '') + read.slice(0, start));
    return viewOf(read, start, lines > 0 ? null : this.#context, this.#limits);
  }

  #rest(last: true | null): StreamedSegment {
    const certain = this.next();
    if (certain) return certain;
    const view = this.#view(this.#pending.length);
    const cut = findCut(view, false, true, this.#limits);
    return cut ? this.#take(view, cut) : this.#takeAll(view, last);
  }

  #take(view: View, { end, next, pause, context }: Cut): StreamedSegment {
    const segment = this.#segment(view, end, view.start + next, { pause, last: false });
    this.#before = pause;
    this.#context = context;
    this.#flushed = null;
    this.#quick = false;
    return segment;
  }

  #takeAll(view: View, last: true | null): StreamedSegment {
    const { text, sentences } = view;
    const final = sentences.at(-1);
    const end = final?.end ?? text.length;
    const pause = last ? 'none' : null;
    const segment = this.#segment(view, end, this.#pending.length, { pause, last });
    this.#before = pauseAfter(text.slice(0, end));
    this.#context = final ? contextAt(view, final.block, text.length) : null;
    this.#flushed = text.slice(text.trimEnd().length);
    this.#quick = true;
    return segment;
  }

  /** Takes a segment off the pending text. What is spoken ends at `end` of the view; its place is so long. */
  #segment(
    view: View,
    end: number,
    length: number,
    after: Pick<StreamedSegment, 'pause' | 'last'>,
  ): StreamedSegment {
    const place = this.#pending.slice(0, length);
    this.#limits.judge(place, this.#offset);
    const text = requireSpeakable(normalizeText(view.text.slice(view.sentences[0]?.start ?? 0, end)));
    requireTokens(text, this.#limits);
    const lines = this.#flushed === null ? 0 : lineEnds(this.#flushed + place.slice(0, view.start));
    const before = lines > 1 ? 'paragraph' : this.#before;
    const segment = { text, offset: this.#offset, length, before, ...after };
    this.#pending = this.#pending.slice(length);
    this.#offset += length;
    this.#unsearched = this.#pending;
    this.#seen = 0;
    this.#count++;
    return segment;
  }
}

const lineEnds = (space: string): number => space.match(/\r\n|[\n\v\f\r\x85]/g)?.length ?? 0;

/** What the last mark of a flushed text says. */
function pauseAfter(text: string): Pause {
  if (/[.!?…]["'”’»)\]}_*]*$/.test(text)) return 'sentence';
  return /[;:,–—-]["'”’»)\]}_*]*$/.test(text) ? 'clause' : 'none';
}

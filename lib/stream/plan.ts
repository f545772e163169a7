/** What a request comes to once it was judged: everything that speaking it needs, and nothing computed yet. */

import type { CallSite } from '../call-site.js';
import type { Checker } from '../check/checker.js';
import type { NativeEnhancer, NativeLeveller, NativeUtterance } from '../native/contract.js';
import type { CheckMode, OnProgress } from '../options.js';
import type { Pause } from '../text/segment.js';
import type { SpokenContext } from './context.js';

/** A segment whose turn will come. */
export interface PlannedSegment {
  /** Normalised, as it is spoken. */
  readonly text: string;
  /** Its place in the text, in UTF-16 units. */
  readonly offset: number;
  readonly length: number;
  /** Between the segment before and it. */
  readonly before: Pause;
  /** After it; null where nobody knows yet: it is the `before` of the next one. */
  readonly pause: Pause | null;
  /** Nothing follows it; null where nobody knows yet. */
  readonly last: boolean | null;
  /** The ids that both stages read; made when they are asked for, as a long text waits long for its turn. */
  encode(): { firstStageIds: Int32Array; secondStageIds: Int32Array };
}

/** What turns codes into sound, and why that. */
export interface DecoderChoice {
  readonly decoder: 'encodec' | 'diffusion';
  /** In words. */
  readonly reason: string;
}

/** Whether speech goes through the enhancer, and why. */
export interface EnhancerChoice {
  readonly enhanced: boolean;
  /** In words. */
  readonly reason: string;
}

/** A text that is read segment by segment. */
export interface PlannedText {
  /** The next segment; null after the last one, and after `cancel()`. One call at a time. */
  next(): Promise<PlannedSegment | null>;
  /** Of what was read so far: segments, and UTF-16 units. */
  readonly segments: number;
  readonly length: number;
  /** Nothing more is read; a call that waits answers. Idempotent. */
  cancel(): void;
}

/** A request that was judged and waits to be pulled. */
export interface SpeechPlan {
  readonly seed: number;
  readonly decoder: DecoderChoice;
  readonly enhancement: EnhancerChoice;
  /** Of what the engine gives, of that enhanced, and of what is handed out; in Hz. */
  readonly spokenRate: number;
  readonly enhancedRate: number;
  readonly sampleRate: number;
  /** Spoken samples per frame. */
  readonly hop: number;
  /** LKFS that it is brought to. */
  readonly loudness: number | 'off';
  /** Milliseconds that judging the request took. */
  readonly judged: number;
  readonly text: PlannedText;
  /** Spoken samples of silence. */
  pauseSamples(kind: Pause): number;
  /** The most frames of the whole request, pauses counted; Infinity where only the windows limit it. */
  readonly maximumFrames: number;
  /** Segments that may be spoken at the same time. */
  readonly concurrent: number;
  /** Each segment goes on from the sound of the one before. */
  readonly continues: boolean;
  readonly signal: AbortSignal | null;
  readonly onProgress: OnProgress | null;
  readonly site: CallSite;
  /** Called with the first chunk that something was done again for. */
  onRedone(): void;
  /** Called with the time of the first sound, in milliseconds since the request began. */
  onFirstAudio(milliseconds: number): void;
  /** Throws ERR_DISPOSED once the model is. */
  requireOpen(): void;
  /** Cancels it when the model is disposed of, if somebody still holds it; returns how to forget that. */
  cancelOnDispose(run: { cancel(): void }): () => void;
  /** The embedding of the voice; computed now if it is a recording. */
  speaker(signal: AbortSignal): Promise<Float32Array>;
  /**
   * @param ahead it is not read yet, and may be spoken to its end all the same
   * @param attempt how often it was spoken before
   * @param before what it goes on from
   */
  start(
    segment: PlannedSegment,
    index: number,
    speaker: Float32Array,
    ahead: boolean,
    attempt: number,
    before: SpokenContext | null,
  ): NativeUtterance;
  /** For the whole speech; null where its loudness is left, or is that of each segment on its own. */
  leveller(): NativeLeveller | null;
  /** For the whole speech; null where it is not enhanced. */
  enhancer(): NativeEnhancer | null;
  readonly check: CheckMode;
  /** What listens to an attempt. */
  checker(segment: PlannedSegment, index: number, speaker: Float32Array, attempt: number): Checker;
}

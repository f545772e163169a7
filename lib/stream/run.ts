/** One request being spoken: from what the engine gives, segment after segment, to the chunks of one speech. */

import { asking, fromEngine } from '../call-site.js';
import { MetaVoiceError } from '../errors.js';
import type { NativeChunk } from '../native/contract.js';
import { CheckedUtterance } from './checked-utterance.js';
import type { AudioChunk, SpeechHealth, Tally } from './chunks.js';
import { type Codes, splitCodes } from './codes.js';
import { ContextKeeper } from './context.js';
import { Enhancement } from './enhancement.js';
import { cutChunk, fadeIn, fadeOut, withSilence } from './joins.js';
import { Levelling } from './levelling.js';
import type { PlannedSegment, SpeechPlan } from './plan.js';
import { RateChange } from './rate-change.js';
import { type BegunSegment, SegmentsAhead, type SpokenUtterance } from './segments-ahead.js';
import { unlessAborted } from './unless-aborted.js';

export class Run {
  readonly #plan: SpeechPlan;
  readonly #tally: Tally;
  readonly #clock: () => number;
  readonly #ahead: SegmentsAhead;
  readonly #context: ContextKeeper | null;
  readonly #levelling: Levelling;
  readonly #enhancement: Enhancement;
  readonly #rateChange: RateChange;
  #speaker: Float32Array | null = null;
  #current: BegunSegment | null = null;
  #index = 0;
  #codebooks = 0;
  #frames = 0;
  /** Samples that were spoken, and that were handed out. */
  #samples = 0;
  #handedOut = 0;
  /** Where the segment in hand begins. */
  #startSeconds = 0;
  #cut = false;
  #segmentDone = false;
  #finished = false;
  #health: SpeechHealth = { redoneSteps: 0, redoneWindows: 0 };

  /** @param clock milliseconds since the request began */
  constructor(plan: SpeechPlan, tally: Tally, clock: () => number) {
    this.#plan = plan;
    this.#tally = tally;
    this.#clock = clock;
    this.#context = plan.continues ? new ContextKeeper() : null;
    this.#levelling = new Levelling(plan.leveller);
    this.#enhancement = new Enhancement(plan.enhancer);
    this.#rateChange = new RateChange(plan.enhancedRate, plan.sampleRate);
    this.#ahead = new SegmentsAhead(plan.text, (...segment) => this.#start(...segment), plan.concurrent);
  }

  /** Reads the beginning of the text, while the voice is still being made. */
  read(): void {
    this.#ahead.ask();
  }

  begin(speaker: Float32Array): void {
    this.#speaker = speaker;
  }

  /** The next chunk; null after the last one. */
  async next(halted: AbortSignal): Promise<AudioChunk | null> {
    if (this.#finished) return null;
    if (!this.#current || this.#segmentDone) {
      const between = await this.#enter(halted);
      if (between) return between;
    }
    this.#plan.requireOpen();
    const { utterance } = this.#current!;
    const native = await asking(this.#plan.site, () => utterance.next());
    halted.throwIfAborted();
    if (native) return this.#accept(native, halted);
    this.#plan.requireOpen();
    throw internal('a last chunk but the utterance ended without one');
  }

  /** Called with every chunk. */
  widen(): void {
    this.#ahead.widen();
  }

  cancel(): void {
    this.#ahead.cancel();
    this.#enhancement.cancel();
    this.#tally.checks.cancel();
  }

  #start(segment: PlannedSegment, index: number, ahead: boolean): SpokenUtterance {
    const { check, site, requireOpen } = this.#plan;
    const speaker = this.#speaker!;
    const before = this.#context?.spoken ?? null;
    const start = (attempt: number) =>
      this.#plan.start(segment, index, speaker, ahead || attempt > 0, attempt, before);
    requireOpen();
    try {
      if (check === 'off') return start(0);
      const checker = (attempt: number) => this.#plan.checker(segment, index, speaker, attempt);
      return new CheckedUtterance({ mode: check, segment: index, start, checker });
    } catch (error) {
      throw fromEngine(error, site);
    }
  }

  /** On to the next segment. Gives what lies between where that was not known before: a pause, or the end. */
  async #enter(halted: AbortSignal): Promise<AudioChunk | null> {
    const before = this.#current?.segment;
    const next = await this.#ahead.take();
    halted.throwIfAborted();
    this.#plan.requireOpen();
    if (!next && before?.last !== null) throw internal('a segment but the text ended without one');
    if (!next) return this.#end(halted);
    const pause = before?.last === null ? this.#plan.pauseSamples(next.segment.before) : 0;
    const silence = new Float32Array(Math.min(pause, this.#roomSamples()));
    const chunk = silence.length > 0 ? await this.#silent(silence, halted) : null;
    this.#current = next;
    this.#context?.begin(next.segment.text);
    this.#startSeconds = this.#samples / this.#plan.spokenRate;
    this.#segmentDone = false;
    this.#health = { redoneSteps: 0, redoneWindows: 0 };
    return chunk;
  }

  /** The pause after a segment, as a chunk of its own. */
  #silent(samples: Float32Array, halted: AbortSignal): Promise<AudioChunk> {
    this.#samples += samples.length;
    this.#finished = this.#roomFrames() < 1;
    this.#cut ||= this.#finished;
    return this.#chunk(samples, this.#frames, this.#noCodes(), halted);
  }

  /** Nothing came after all: an empty chunk, of what is left of the text. */
  async #end(halted: AbortSignal): Promise<AudioChunk> {
    this.#finished = true;
    const { offset, length } = this.#current!.segment;
    const chunk = await this.#chunk(new Float32Array(0), this.#frames, this.#noCodes(), halted);
    const textOffset = offset + length;
    return { ...chunk, textOffset, textLength: this.#plan.text.length - textOffset };
  }

  async #accept(whole: NativeChunk, halted: AbortSignal): Promise<AudioChunk> {
    this.#context?.add(whole);
    const cut = cutChunk(whole, this.#roomFrames(), this.#plan.hop);
    const levelling = () => unlessAborted(halted, this.#levelling.convert(cut.samples));
    const native = { ...cut, samples: await asking(this.#plan.site, levelling) };
    const { last } = this.#current!.segment;
    const firstFrame = this.#frames;
    this.#frames += native.frames;
    this.#countHealth(native.health);
    if (native.endReason) this.#endSegment(native);
    const samples = this.#joined(native);
    this.#samples += samples.length;
    const full = this.#roomFrames() < 1;
    this.#finished = this.#segmentDone && (last === true || full);
    this.#cut ||= this.#finished && last !== true;
    const codes = splitCodes(native.codes, native.frames);
    this.#codebooks = codes.codebooks.length;
    return this.#chunk(samples, firstFrame, codes, halted);
  }

  #noCodes(): Codes {
    return { codebooks: Array.from({ length: this.#codebooks }, () => new Uint16Array(0)), frames: 0 };
  }

  /** @param spoken ends where the speech is now */
  async #chunk(
    spoken: Float32Array,
    firstFrame: number,
    codes: Codes,
    halted: AbortSignal,
  ): Promise<AudioChunk> {
    const { sampleRate, onProgress, text, site } = this.#plan;
    const { index: segment, segment: place } = this.#current!;
    const enhancing = () => unlessAborted(halted, this.#enhancement.convert(spoken, this.#finished));
    const enhanced = await asking(site, enhancing);
    this.#tally.enhancer = this.#enhancement.spent;
    const samples = await this.#rateChange.convert(enhanced, this.#finished, halted);
    const startSeconds = this.#handedOut / sampleRate;
    this.#handedOut += samples.length;
    const seconds = this.#handedOut / sampleRate;
    const readyMilliseconds = this.#clock();
    onProgress?.({ phase: 'speak', seconds, segment, segments: text.segments });
    return {
      samples,
      sampleRate,
      index: this.#index++,
      segment,
      textOffset: place.offset,
      textLength: place.length,
      startSeconds,
      durationSeconds: samples.length / sampleRate,
      readyMilliseconds,
      firstFrame,
      codes,
      last: this.#finished,
      endReason: this.#finished ? (this.#cut ? 'limit' : 'end') : null,
    };
  }

  /** What `maxSeconds` leaves, in samples and in whole frames. */
  #roomSamples(): number {
    return this.#plan.maximumFrames * this.#plan.hop - this.#samples;
  }

  #roomFrames(): number {
    return Math.floor(this.#roomSamples() / this.#plan.hop);
  }

  /** The samples of a chunk as they are handed out: where segments meet, faded and followed by the pause. */
  #joined({ samples, firstFrame, endReason }: NativeChunk): Float32Array {
    const { spokenRate, hop } = this.#plan;
    const { index, segment } = this.#current!;
    if (index > 0 && firstFrame === 0) fadeIn(samples, spokenRate);
    const room = this.#roomSamples() - samples.length;
    // Where nothing more can follow, nothing is changed.
    if (!endReason || segment.last || room < hop) return samples;
    fadeOut(samples, spokenRate);
    if (segment.pause === null) return samples;
    return withSilence(samples, Math.min(this.#plan.pauseSamples(segment.pause), room));
  }

  /** Native counts are of the segment so far. */
  #countHealth(now: SpeechHealth): void {
    const { health } = this.#tally;
    const before = health.redoneSteps + health.redoneWindows;
    health.redoneSteps += now.redoneSteps - this.#health.redoneSteps;
    health.redoneWindows += now.redoneWindows - this.#health.redoneWindows;
    this.#health = now;
    if (before === 0 && health.redoneSteps + health.redoneWindows > 0) this.#plan.onRedone();
  }

  #endSegment({ endReason, timings }: NativeChunk): void {
    this.#segmentDone = true;
    this.#cut ||= endReason === 'limit';
    this.#tally.prefill += timings.prefill;
    this.#tally.firstStage += timings.firstStage;
    this.#tally.secondStage += timings.secondStage;
    this.#tally.decoder += timings.decoder;
    this.#tally.steps += timings.steps;
    const { utterance } = this.#current!;
    if (utterance.checks)
      this.#tally.checks.add(utterance.checks, this.#startSeconds, () => utterance.cancel());
  }
}

const internal = (expected: string) => new MetaVoiceError('ERR_INTERNAL', `expected ${expected}`);

/** A model held open: the heart of the public API. */

import { asking, type CallSite, callSite } from './call-site.js';
import { requirePart } from './describe-model.js';
import type { MemoryPlan } from './device/plan.js';
import { MetaVoiceError } from './errors.js';
import { expectedRange } from './is.js';
import { type LoadedModel, loadModel } from './load-model.js';
import type { Dtype, Quantization } from './native/contract.js';
import { copyOptions, signalOf } from './option-values.js';
import type { LoadOptions, SpeakOptions, TextSource, VoiceSource } from './options.js';
import { planSpeech } from './plan-speech.js';
import { prepareTokenizers } from './plan-text.js';
import { RecentTimes } from './recent-times.js';
import {
  type ResolvedLoadOptions,
  type ResolvedSpeakOptions,
  resolveLoadOptions,
  resolveSpeakOptions,
} from './resolve-options.js';
import { type ModelStatistics, statisticsOf } from './statistics.js';
import type { Speech } from './stream/collect.js';
import type { SpeechPlan } from './stream/plan.js';
import { createSpeechStream, type SpeechStream } from './stream/speech-stream.js';
import { requireTextSource } from './text-source.js';
import type { Voice } from './voice/voice.js';
import { requireVoiceSource } from './voice-source.js';
import { Voices } from './voices.js';
import { WeakListeners } from './weak-listeners.js';

/** Options of loading that requests still ask for. */
type HeldOptions = Pick<ResolvedLoadOptions, 'batchSize' | 'maxSeconds' | 'logger'>;

/** Makes the object around a model that is loaded; users call `MetaVoice.load`. */
export let create: (model: LoadedModel, options: HeldOptions) => MetaVoice;

/** `stream()` for options that are judged already. */
export let speakResolved: (
  tts: MetaVoice,
  text: TextSource,
  options: ResolvedSpeakOptions,
  site: CallSite,
  called: number,
) => SpeechStream;

/**
 * A loaded model. It keeps its memory until `dispose()`.
 *
 * @example
 * await using tts = await MetaVoice.load({ model: 'models/metavoice-1B' });
 * const speech = await tts.synthesize('Hello there.', { voice: 'reference.mp3' });
 * await speech.save('hello.wav');
 */
export class MetaVoice implements AsyncDisposable {
  readonly #model: LoadedModel;
  readonly #options: HeldOptions;
  readonly #voices: Voices;
  readonly #sampleRate: number;
  /** What is being spoken. A stream that its reader forgot is not held. */
  readonly #spoken = new WeakListeners<{ cancel(): void }>();
  #disposed: Promise<void> | null = null;
  readonly #firstAudio = new RecentTimes();
  #toldOfRedoing = false;

  private constructor(model: LoadedModel, options: HeldOptions) {
    const { manifest, source, native } = model;
    requirePart(manifest, 'firstStage', source);
    requirePart(manifest, 'secondStage', source);
    const { sampleRate } = requirePart(manifest, 'codec', source);
    this.#model = model;
    this.#options = options;
    this.#voices = new Voices(native, manifest, model);
    this.#sampleRate = manifest.enhancer?.sampleRate ?? sampleRate;
  }

  /**
   * Loads a model. Published files are converted into the cache the first time; nothing is downloaded unless `download`
   * says so.
   *
   * @throws TypeError, RangeError for options; MetaVoiceError ERR_RUNTIME_NOT_FOUND, ERR_CUDA_UNAVAILABLE,
   * ERR_DTYPE_UNSUPPORTED, ERR_MODEL_NOT_FOUND, ERR_DOWNLOAD, ERR_CHECKPOINT, ERR_OUT_OF_MEMORY; the signal's own
   * reason.
   */
  static async load(options?: LoadOptions): Promise<MetaVoice> {
    return await openMetaVoice(resolveLoadOptions(options), callSite(MetaVoice.load));
  }

  /** `cpu` or `cuda:N`. */
  get device(): string {
    return this.#model.policy.device;
  }

  /** Numbers of the language models. */
  get dtype(): Dtype {
    return this.#model.policy.dtype;
  }

  /** What the matrices of the first stage are held as. */
  get quantization(): Quantization {
    return this.#model.policy.quantization;
  }

  /** Why this device and dtype, in words. */
  get reason(): string {
    return this.#model.policy.reason;
  }

  /** Of speech, unless a request asks for another; with `enhance: false` it is the codec's. In Hz. */
  get sampleRate(): number {
    return this.#sampleRate;
  }

  /** Folder of the model. */
  get model(): string {
    return this.#model.folder;
  }

  /** Names of the speakers that ship with the model. */
  get speakers(): readonly string[] {
    return this.#voices.names;
  }

  /** The memory that was planned for when the model was loaded, part by part, with the decoder that `'auto'` takes. */
  get plan(): MemoryPlan {
    return this.#model.plan;
  }

  /**
   * Bytes that the model took at the highest so far, to be held against `plan.total`. On the CPU it is what the resident
   * size of the whole process rose to, so other work in it counts, too; on a GPU what libtorch held of it.
   *
   * @throws MetaVoiceError ERR_DISPOSED.
   */
  async peakMemory(): Promise<number> {
    this.#requireOpen();
    const { native, residentBefore } = this.#model;
    const onDevice = await native.peakDeviceBytes();
    return onDevice ?? Math.max(0, process.resourceUsage().maxRSS * 1024 - residentBefore);
  }

  /**
   * What the model is doing, and has done since it was loaded: load, memory of keys and values, rates, times to first audio.
   *
   * @throws MetaVoiceError ERR_DISPOSED.
   */
  stats(): ModelStatistics {
    this.#requireOpen();
    return statisticsOf(this.#model.native.statistics(), this.#firstAudio.percentiles());
  }

  /** The libtorch that computes: its version, its folder and where that was found. */
  get libtorch(): { readonly version: string; readonly directory: string; readonly source: string } {
    return this.#model.libtorch;
  }

  /**
   * The voice of a recording, or of a speaker that ships with the model. A `Voice` is given back as it is.
   *
   * @throws MetaVoiceError ERR_REFERENCE_AUDIO, ERR_MODEL_NOT_FOUND (no speaker encoder), ERR_VOICE_REQUIRED,
   * ERR_DISPOSED; TypeError, RangeError; the signal's own reason.
   */
  async voice(source: VoiceSource, options?: { signal?: AbortSignal }): Promise<Voice> {
    const judged = requireVoiceSource(source, 'voice');
    const signal = signalOf(copyOptions(options, 'options', ['signal']).signal);
    signal?.throwIfAborted();
    this.#requireOpen();
    const site = callSite(this.voice);
    return asking(site, () => this.#voices.voice(judged, signal));
  }

  /**
   * Speaks the text and gives the whole of it.
   *
   * @throws as `stream` and its reading, and what fails while speaking: ERR_REFERENCE_AUDIO, ERR_NO_AUDIO, ERR_NUMERIC,
   * ERR_OUT_OF_MEMORY, ERR_QUEUE_FULL; the signal's own reason.
   */
  async synthesize(text: TextSource, options?: SpeakOptions): Promise<Speech> {
    const called = performance.now();
    return this.#plan(text, resolveSpeakOptions(options), callSite(this.synthesize), called).collect();
  }

  /**
   * Speaks the text in chunks, as they are read; a long one in segments with pauses between. Text and options are judged
   * now; nothing is computed before the first pull.
   *
   * A text that comes in pieces (an iterable of strings, such as the tokens of a language model) is spoken as it arrives: from
   * its first clause on, then by sentences, and what is there when the source pauses. It is read from the first pull
   * on, and no further than a few segments ahead; reading the speech rejects with what the source throws, ERR_TEXT and
   * ERR_TEXT_TOO_LONG with places in the whole text, and TypeError for a piece that is no string.
   *
   * @throws TypeError, RangeError for options; MetaVoiceError ERR_TEXT, ERR_TEXT_TOO_LONG, ERR_VOICE_REQUIRED,
   * ERR_UNSUPPORTED, ERR_DISPOSED.
   */
  stream(text: TextSource, options?: SpeakOptions): SpeechStream {
    const called = performance.now();
    return this.#plan(text, resolveSpeakOptions(options), callSite(this.stream), called);
  }

  static {
    create = (model, options) => new MetaVoice(model, options);
    speakResolved = (tts, text, options, site, called) => tts.#plan(text, options, site, called);
  }

  /** Stops what is being spoken and frees the memory. Idempotent; later use, and streams in flight, get ERR_DISPOSED. */
  dispose(): Promise<void> {
    if (!this.#disposed) {
      this.#disposed = this.#model.native.dispose();
      for (const run of this.#spoken) run.cancel();
    }
    return this.#disposed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #requireOpen(): void {
    if (!this.#disposed) return;
    throw new MetaVoiceError('ERR_DISPOSED', 'expected an open model but it was disposed; load it again');
  }

  /** The memory was planned for utterances of the model's own `maxSeconds`. */
  #limitSeconds(asked: number | null): number | null {
    const { maxSeconds: most } = this.#options;
    if (asked !== null && most !== null && asked > most)
      throw expectedRange(`at most ${most} seconds, which the model was loaded for,`, 'maxSeconds', asked);
    return asked ?? most;
  }

  #tellOfRedoing(): void {
    if (this.#toldOfRedoing) return;
    this.#toldOfRedoing = true;
    const { device, dtype } = this.#model.policy;
    this.#options.logger.warn?.(
      { device, dtype },
      `${dtype} overflowed on this model and a step was done again in float32, which is slow; dtype 'float32' avoids it`,
    );
  }

  /** @param called when the user called, by `performance.now()` */
  #plan(text: TextSource, options: ResolvedSpeakOptions, site: CallSite, called: number): SpeechStream {
    requireTextSource(text);
    this.#requireOpen();
    const { batchSize } = this.#options;
    const limits = { maxSeconds: this.#limitSeconds(options.maxSeconds), batchSize, site };
    const facts = planSpeech(this.#model, text, options, limits);
    const plan: SpeechPlan = {
      ...facts,
      judged: performance.now() - called,
      signal: options.signal,
      onProgress: options.onProgress,
      site,
      onRedone: () => this.#tellOfRedoing(),
      onFirstAudio: (milliseconds) => this.#firstAudio.add(milliseconds),
      requireOpen: () => this.#requireOpen(),
      cancelOnDispose: (run) => this.#spoken.add(run),
      speaker: this.#voices.choose(options.voice),
    };
    return createSpeechStream(plan);
  }
}

/** The steps behind `MetaVoice.load`, for options that are judged already. */
export async function openMetaVoice(options: ResolvedLoadOptions, site: CallSite): Promise<MetaVoice> {
  return asking(site, async () => {
    const model = await loadModel(options, site);
    try {
      await prepareTokenizers(model.manifest);
      return create(model, options);
    } catch (error) {
      await model.native.dispose();
      throw error;
    }
  });
}

/**
 * Each network on its own, for research, tests and tools: nothing is masked, and nothing is refused for taste.
 * Arrays are row-major.
 */

import { asking, type CallSite, callSite } from './call-site.js';
import type { Manifest } from './checkpoint/manifest.js';
import type { PartName } from './checkpoint/part.js';
import { firstStageCodebook, requirePart, secondStageCodebook } from './describe-model.js';
import { MetaVoiceError } from './errors.js';
import { handOver } from './hand-over.js';
import { expectedRange, expectedType, isString } from './is.js';
import { type LoadedModel, loadModel } from './load-model.js';
import type { Dtype, RunningWork } from './native/contract.js';
import { copyOptions, integerOf, numberOf, signalOf } from './option-values.js';
import type { DeviceOption } from './options.js';
import { tokenizerOf } from './plan-text.js';
import { resolveLoadOptions } from './resolve-options.js';
import {
  type DiffusionSettings,
  requireAllCodes,
  requireCodes,
  requireDiffusion,
  required,
  requireFloats,
  requireIds,
  requirePieces,
  requireSpeaker,
} from './stage-arguments.js';
import { type Codes, splitCodes } from './stream/codes.js';
import { unlessAborted } from './stream/unless-aborted.js';
import { normalizeText } from './text/normalize.js';
import { requireSampleRate } from './voice-source.js';

/** Options of `Stages.open`, as in `MetaVoice.load`. */
export interface StagesOptions {
  /** @default environment `METAVOICE_DEVICE`, else 'auto' */
  device?: DeviceOption;
  /** @default environment `METAVOICE_DTYPE`, else 'auto' */
  dtype?: 'auto' | Dtype;
  deterministic?: boolean;
  /** Folder of libtorch. */
  libtorch?: string;
  signal?: AbortSignal;
}

export interface TokenizedText {
  /** The text as the model reads it. */
  normalized: string;
  /** Ids of both stages, each with its own offset, ending with end of text. */
  firstStage: Int32Array;
  secondStage: Int32Array;
}

/** Settings of a draw; an omitted one is off (temperature: 1). */
export interface DistributionSettings {
  temperature?: number;
  topP?: number;
  topK?: number;
}

/** Makes the object around a model that is loaded; not in the package's entry, where users call `Stages.open`. */
export let createStages: (model: LoadedModel) => Stages;

export class Stages implements AsyncDisposable {
  readonly #model: LoadedModel;
  #disposed: Promise<void> | null = null;

  private constructor(model: LoadedModel) {
    this.#model = model;
  }

  static {
    createStages = (model) => new Stages(model);
  }

  /**
   * Opens the parts that a folder has: of published files, or one that `metavoice convert` made. A part that is absent
   * is refused when it is used (ERR_MODEL_NOT_FOUND). A hub id opens what `metavoice download` has fetched.
   */
  static async open(modelFolder: string, options?: StagesOptions): Promise<Stages> {
    if (!isString(modelFolder) || modelFolder === '')
      throw expectedType('a folder', 'modelFolder', modelFolder);
    const known = ['device', 'dtype', 'deterministic', 'libtorch', 'signal'];
    const copy = { ...copyOptions(options, 'options', known), model: modelFolder };
    const site = callSite(Stages.open);
    return createStages(await asking(site, () => loadModel(resolveLoadOptions(copy), site)));
  }

  /** `cpu` or `cuda:N`. */
  get device(): string {
    return this.#model.policy.device;
  }

  /** Numbers of the language models. */
  get dtype(): Dtype {
    return this.#model.policy.dtype;
  }

  /** What the model folder says of itself: sizes, rates, tokenizers. */
  get manifest(): Manifest {
    return this.#model.manifest;
  }

  /** The text normalised, and the ids of both stages. `''` gives just end of text. Throws ERR_TEXT. */
  tokenize(text: string): TokenizedText {
    this.#requireOpen();
    const first = tokenizerOf(this.#part('firstStage').tokenizer).tokenizer;
    const second = tokenizerOf(this.#part('secondStage').tokenizer).tokenizer;
    const normalized = normalizeText(text);
    return { normalized, firstStage: first.encode(normalized), secondStage: second.encode(normalized) };
  }

  /**
   * One pass of the first stage over ids [T].
   *
   * @param speaker [speaker embedding]
   * @returns [2, T, vocabulary]: row 0 with the speaker, row 1 without.
   */
  async firstStageLogits(ids: Int32Array, speaker: Float32Array): Promise<Float32Array> {
    const site = callSite(this.firstStageLogits);
    this.#requirePrompt(ids, speaker);
    return asking(site, () => this.#model.native.firstStageLogits(ids, speaker));
  }

  /**
   * Unmasked arg-max through the key-value cache. Includes end of audio, and stops there.
   *
   * @returns At most `steps` ids, fewer where the window ends.
   */
  async firstStageGreedy(
    ids: Int32Array,
    speaker: Float32Array,
    settings: { guidance: number; steps: number },
  ): Promise<Int32Array> {
    const site = callSite(this.firstStageGreedy);
    const { positions } = this.#requirePrompt(ids, speaker);
    const { guidance, steps } = copyOptions(settings, 'settings', ['guidance', 'steps']);
    const scale = numberOf(required(guidance, 'guidance'), 'guidance', -Infinity, Infinity, 0);
    const asked = integerOf(required(steps, 'steps'), 'steps', 1, Number.MAX_SAFE_INTEGER);
    const most = Math.min(asked, positions);
    return asking(site, () => this.#model.native.firstStageGreedy(ids, speaker, scale, most));
  }

  /**
   * One whole pass of the second stage over text, both coarse codebooks [frames] and the padding.
   *
   * @returns [predicted codebooks, frames, codebookSize + 1]: the audio columns.
   */
  async secondStageLogits(
    text: string,
    coarse: [Uint16Array, Uint16Array],
    speaker: Float32Array,
  ): Promise<Float32Array> {
    const site = callSite(this.secondStageLogits);
    this.#requireOpen();
    const stage = this.#part('secondStage');
    const size = secondStageCodebook(this.#model.folder, this.#model.manifest, stage);
    if (!Array.isArray(coarse) || coarse.length !== 2)
      throw expectedType('two Uint16Arrays', 'coarse', coarse);
    const codes = requireCodes(coarse, 'coarse', size);
    requireSpeaker(speaker, stage.speakerEmbedding);
    const ids = tokenizerOf(stage.tokenizer).tokenizer.encode(normalizeText(text));
    const frames = codes.length / 2;
    const room = stage.positions - ids.length;
    if (frames > room)
      throw expectedRange(
        `at most ${Math.max(0, room)} frames beside ${ids.length} text ids`,
        'coarse[0].length',
        frames,
      );
    return asking(site, () => this.#model.native.secondStageLogits(ids, codes, speaker));
  }

  /**
   * Probabilities before the draw: temperature, then top-k, then top-p.
   *
   * @param logits [vocabulary]
   * @returns [vocabulary]
   */
  sampleDistribution(logits: Float32Array, settings?: DistributionSettings): Float32Array {
    this.#requireOpen();
    requireFloats(logits, 'logits');
    const copy = copyOptions(settings, 'settings', ['temperature', 'topP', 'topK']);
    return this.#model.engine.sampleDistribution(logits, {
      temperature: numberOf(copy.temperature, 'temperature', 0, Infinity, 1),
      topP: numberOf(copy.topP, 'topP', 0, 1, 1),
      topK: copy.topK === undefined ? 0 : integerOf(copy.topK, 'topK', 1, Number.MAX_SAFE_INTEGER),
    });
  }

  /**
   * The speaker embedding of a recording: resampled to 16 kHz, trimmed, cut into partials, averaged.
   *
   * @param samples Mono.
   * @param sampleRate Hz
   */
  async embedSpeaker(samples: Float32Array, sampleRate: number): Promise<Float32Array> {
    const site = callSite(this.embedSpeaker);
    this.#requireOpen();
    this.#part('speakerEncoder');
    requireFloats(samples, 'samples');
    requireSampleRate(sampleRate, 'sampleRate');
    const { native } = this.#model;
    const { embedding } = await asking(site, async () =>
      native.embedSpeaker(await handOver(native, samples), sampleRate),
    );
    return embedding;
  }

  /** Codes of a recording at 6 kbit/s. */
  async encode(samples: Float32Array, sampleRate: number): Promise<Codes> {
    const site = callSite(this.encode);
    this.#requireOpen();
    if (!this.#part('codec').encoder) {
      throw new MetaVoiceError(
        'ERR_MODEL_NOT_FOUND',
        `expected the encoder of the EnCodec codec in the model ${this.#model.source} but its file has only the decoder; convert the published encodec_24khz*.th`,
        { details: { part: 'codec' } },
      );
    }
    requireFloats(samples, 'samples');
    requireSampleRate(sampleRate, 'sampleRate');
    const { native } = this.#model;
    const { codes, frames } = await asking(site, async () =>
      native.encode(await handOver(native, samples), sampleRate),
    );
    return splitCodes(codes, frames);
  }

  /**
   * The EnCodec decoder: frames · hop samples at the codec's rate.
   *
   * @param options.pieces Frames per piece, for the streaming form with carried state; they add up to all frames, and
   * the first has at least 7 in the published codec. Whole when omitted.
   */
  async decode(codes: Codes, options?: { pieces?: readonly number[] }): Promise<Float32Array> {
    const site = callSite(this.decode);
    this.#requireOpen();
    const { pieces } = copyOptions(options, 'options', ['pieces']);
    const flat = this.#requireCodes(codes);
    const cut =
      pieces === undefined
        ? null
        : requirePieces(pieces, 'pieces', codes.frames, this.#model.native.facts.firstFrames ?? 1);
    return asking(site, () => this.#model.native.decode(flat, cut));
  }

  /**
   * The multi-band diffusion decoder, levels set by the EnCodec decoder's in 32 bands: frames · hop samples at the codec's
   * rate, before loudness.
   *
   * @param options.seed Of the noise, drawn by band, step and sample. Integer from 0.
   * @param options.noise Given instead, [bands, steps, frames · hop]: the first of each band is the start.
   * @param options.steps Evaluations of each network, up to as many as it was trained on. More are slower and finer.
   * @default 20
   * @param options.chunkEnds Ends of chunks in frames, growing: in windows that follow them, as a stream speaks. The whole
   * at once when omitted.
   * @param options.signal Stops it within an evaluation of a network; the promise rejects with the signal's own reason.
   */
  async diffuse(codes: Codes, options: DiffusionSettings): Promise<Float32Array> {
    const site = callSite(this.diffuse);
    this.#requireOpen();
    const diffusion = this.#part('diffusion');
    const flat = this.#requireCodes(codes);
    const { native } = this.#model;
    const samples = codes.frames * (native.facts.hop ?? 0);
    const { seed, noise, steps, chunkEnds, signal } = requireDiffusion(options, diffusion, samples);
    return this.#running(site, signal, async () =>
      native.diffuse(flat, seed, noise && (await handOver(native, noise)), steps, chunkEnds),
    );
  }

  /**
   * DeepFilterNet3 over a whole signal: as long as it was, at the enhancer's rate (48 kHz in the published one). Samples are
   * held between -1 and 1.
   *
   * @param samples Mono, at any usual rate: other ones than the enhancer's are resampled as the reference does it (a sinc under a Hann
   * window). ERR_UNSUPPORTED for a rate that has hardly a divisor in common with it.
   * @param sampleRate Hz
   * @param options.signal Stops it within a second of the signal; the promise rejects with the signal's own reason.
   */
  async enhance(
    samples: Float32Array,
    sampleRate: number,
    options?: { signal?: AbortSignal },
  ): Promise<{ samples: Float32Array; sampleRate: number }> {
    const site = callSite(this.enhance);
    this.#requireOpen();
    this.#part('enhancer');
    requireFloats(samples, 'samples');
    requireSampleRate(sampleRate, 'sampleRate');
    const signal = signalOf(copyOptions(options, 'options', ['signal']).signal);
    const { native } = this.#model;
    return this.#running(site, signal, async () =>
      native.enhance(await handOver(native, samples), sampleRate),
    );
  }

  /**
   * The enhancer's network alone, on what `libdf` computes of a signal: its spectrum [frames, 481, 2] (real, imaginary) and
   * the features of it, [frames, 32] and [frames, 96, 2].
   *
   * @param options.signal Stops it within a frame; the promise rejects with the signal's own reason.
   * @returns The spectrum enhanced [frames, 481, 2], and the gains of the bands [frames, 32].
   */
  async enhanceSpectrum(
    features: { spec: Float32Array; featErb: Float32Array; featSpec: Float32Array },
    options?: { signal?: AbortSignal },
  ): Promise<{ enhanced: Float32Array; mask: Float32Array }> {
    const site = callSite(this.enhanceSpectrum);
    this.#requireOpen();
    const { window, bands, deepBins } = this.#part('enhancer');
    const { spec, featErb, featSpec } = copyOptions(features, 'features', ['spec', 'featErb', 'featSpec']);
    const row = window + 2;
    const frames = Math.ceil(requireFloats(spec, 'features.spec').length / row);
    requireFloats(spec, 'features.spec', frames * row);
    const levels = requireFloats(featErb, 'features.featErb', frames * bands);
    const bins = requireFloats(featSpec, 'features.featSpec', frames * deepBins * 2);
    const signal = signalOf(copyOptions(options, 'options', ['signal']).signal);
    const { native } = this.#model;
    return this.#running(site, signal, async () =>
      native.enhanceSpectrum(spec as Float32Array, levels, bins),
    );
  }

  /** Stops what is being computed and frees the memory. Idempotent; later use, and what waits, get ERR_DISPOSED. */
  dispose(): Promise<void> {
    this.#disposed ??= this.#model.native.dispose();
    return this.#disposed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** Work that takes long, until the signal aborts. */
  #running<T>(site: CallSite, signal: AbortSignal | null, begin: () => Promise<RunningWork<T>>): Promise<T> {
    return asking(site, async () => {
      signal?.throwIfAborted();
      const { done, cancel } = await begin();
      return signal ? unlessAborted(signal, done, cancel) : done;
    });
  }

  #requireOpen(): void {
    if (!this.#disposed) return;
    throw new MetaVoiceError('ERR_DISPOSED', 'expected open stages but they were disposed; open them again');
  }

  #part<P extends PartName>(part: P): NonNullable<Manifest[P]> {
    const { manifest, source, leftOut } = this.#model;
    return requirePart(manifest, part, source, leftOut);
  }

  #requireCodes(codes: Codes): Uint16Array {
    return requireAllCodes(codes, this.#part('codec'));
  }

  #requirePrompt(ids: Int32Array, speaker: Float32Array) {
    this.#requireOpen();
    const stage = this.#part('firstStage');
    firstStageCodebook(this.#model.folder, this.#model.manifest, stage);
    requireIds(ids, 'ids', stage.vocabularies[0]!, stage.positions);
    requireSpeaker(speaker, stage.speakerEmbedding);
    return stage;
  }
}

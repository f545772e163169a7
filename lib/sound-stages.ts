/** The stages that turn sound into codes, codes into sound, and sound into clearer sound. */

import { asking, type CallSite, callSite } from './call-site.js';
import type { Manifest } from './checkpoint/manifest.js';
import type { PartName } from './checkpoint/part.js';
import { requirePart } from './describe-model.js';
import { MetaVoiceError } from './errors.js';
import { handOver } from './hand-over.js';
import type { LoadedModel } from './load-model.js';
import type { Dtype, Quantization, RunningWork } from './native/contract.js';
import { copyOptions, signalOf } from './option-values.js';
import {
  type DiffusionSettings,
  requireAllCodes,
  requireDiffusion,
  requireFloats,
  requirePieces,
} from './stage-arguments.js';
import { type Codes, splitCodes } from './stream/codes.js';
import { unlessAborted } from './stream/unless-aborted.js';
import { requireSampleRate } from './voice-source.js';

/** The model behind the stages, for those of text and voice. Throws ERR_DISPOSED. */
export let openModelOf: (stages: SoundStages) => LoadedModel;

/** A part of the model, or ERR_MODEL_NOT_FOUND, ERR_CHECKPOINT. */
export function partOf<P extends PartName>(
  { manifest, source, leftOut }: LoadedModel,
  part: P,
): NonNullable<Manifest[P]> {
  return requirePart(manifest, part, source, leftOut);
}

export abstract class SoundStages implements AsyncDisposable {
  readonly #model: LoadedModel;
  #disposed: Promise<void> | null = null;

  protected constructor(model: LoadedModel) {
    this.#model = model;
  }

  static {
    openModelOf = (stages) => {
      stages.#requireOpen();
      return stages.#model;
    };
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

  /** What the model folder says of itself: sizes, rates, tokenizers. */
  get manifest(): Manifest {
    return this.#model.manifest;
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
    return partOf(this.#model, part);
  }

  #requireCodes(codes: Codes): Uint16Array {
    return requireAllCodes(codes, this.#part('codec'));
  }
}

/**
 * Each network on its own, for research, tests and tools: nothing is masked, and nothing is refused for taste.
 * Arrays are row-major.
 */

import { asking, callSite } from './call-site.js';
import { firstStageCodebook, secondStageCodebook } from './describe-model.js';
import { handOver } from './hand-over.js';
import { expectedRange, expectedType, isString } from './is.js';
import { type LoadedModel, loadModel } from './load-model.js';
import type { Dtype } from './native/contract.js';
import { copyOptions, integerOf, numberOf, orDefault } from './option-values.js';
import type { DeviceOption, Quantization } from './options.js';
import { tokenizerOf } from './plan-text.js';
import { resolveLoadOptions } from './resolve-options.js';
import { openModelOf, partOf, SoundStages } from './sound-stages.js';
import { requireCodes, required, requireFloats, requireIds, requireSpeaker } from './stage-arguments.js';
import { normalizeText } from './text/normalize.js';
import { requireSampleRate } from './voice-source.js';

/** Options of `Stages.open`, as in `MetaVoice.load`. */
export interface StagesOptions {
  /** @default environment `METAVOICE_DEVICE`, else 'auto' */
  device?: DeviceOption;
  /** @default environment `METAVOICE_DTYPE`, else 'auto' */
  dtype?: 'auto' | Dtype;
  /** @default as the model is stored */
  quantization?: Quantization;
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

export class Stages extends SoundStages {
  private constructor(model: LoadedModel) {
    super(model);
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
    const known = ['device', 'dtype', 'quantization', 'deterministic', 'libtorch', 'signal'];
    const copy = { ...copyOptions(options, 'options', known), model: modelFolder };
    const site = callSite(Stages.open);
    return createStages(await asking(site, () => loadModel(resolveLoadOptions(copy), site)));
  }

  /** The text normalised, and the ids of both stages. `''` gives just end of text. Throws ERR_TEXT. */
  tokenize(text: string): TokenizedText {
    const model = openModelOf(this);
    const first = tokenizerOf(partOf(model, 'firstStage').tokenizer).tokenizer;
    const second = tokenizerOf(partOf(model, 'secondStage').tokenizer).tokenizer;
    const normalized = normalizeText(text);
    return { normalized, firstStage: first.encode(normalized), secondStage: second.encode(normalized) };
  }

  /**
   * The first stage over ids [T]: in one pass, or the first `prompt` of them in one pass and the others one by one over the
   * key-value cache, by the same steps as speech.
   *
   * @param speaker [speaker embedding]
   * @returns [2, T, vocabulary]: row 0 with the speaker, row 1 without.
   */
  async firstStageLogits(
    ids: Int32Array,
    speaker: Float32Array,
    settings?: { prompt?: number },
  ): Promise<Float32Array> {
    const site = callSite(this.firstStageLogits);
    const { native } = this.#requirePrompt(ids, speaker);
    const { prompt } = copyOptions(settings, 'settings', ['prompt']);
    const first = integerOf(orDefault(prompt, ids.length), 'prompt', 1, ids.length);
    return asking(site, () => native.firstStageLogits(ids, speaker, first));
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
    const { native, positions } = this.#requirePrompt(ids, speaker);
    const { guidance, steps } = copyOptions(settings, 'settings', ['guidance', 'steps']);
    const scale = numberOf(required(guidance, 'guidance'), 'guidance', -Infinity, Infinity, 0);
    const asked = integerOf(required(steps, 'steps'), 'steps', 1, Number.MAX_SAFE_INTEGER);
    const most = Math.min(asked, positions);
    return asking(site, () => native.firstStageGreedy(ids, speaker, scale, most));
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
    const model = openModelOf(this);
    const stage = partOf(model, 'secondStage');
    const size = secondStageCodebook(model.folder, model.manifest, stage);
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
    return asking(site, () => model.native.secondStageLogits(ids, codes, speaker));
  }

  /**
   * Probabilities before the draw: temperature, then top-k, then top-p.
   *
   * @param logits [vocabulary]
   * @returns [vocabulary]
   */
  sampleDistribution(logits: Float32Array, settings?: DistributionSettings): Float32Array {
    const { engine } = openModelOf(this);
    requireFloats(logits, 'logits');
    const copy = copyOptions(settings, 'settings', ['temperature', 'topP', 'topK']);
    return engine.sampleDistribution(logits, {
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
    const model = openModelOf(this);
    partOf(model, 'speakerEncoder');
    requireFloats(samples, 'samples');
    requireSampleRate(sampleRate, 'sampleRate');
    const { native } = model;
    const { embedding } = await asking(site, async () =>
      native.embedSpeaker(await handOver(native, samples), sampleRate),
    );
    return embedding;
  }

  #requirePrompt(ids: Int32Array, speaker: Float32Array) {
    const model = openModelOf(this);
    const stage = partOf(model, 'firstStage');
    firstStageCodebook(model.folder, model.manifest, stage);
    requireIds(ids, 'ids', stage.vocabularies[0]!, stage.positions);
    requireSpeaker(speaker, stage.speakerEmbedding);
    return { native: model.native, positions: stage.positions };
  }
}

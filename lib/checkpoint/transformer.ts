import { expectedRange, isBoolean, isFiniteNumber, isInteger } from '../is.js';
import type { Dtype } from '../native/contract.js';
import { compareTensors, equal, refuseUnknown } from './compare.js';
import { parseLayers } from './keep-layers.js';
import type { TransformerManifest } from './manifest.js';
import { publishedName, transformerName, transformerTensors } from './names.js';
import { countOf, type PlannedPart, requireFloats, shapesOf } from './part.js';
import { few, nameOfKey, refuseCheckpoint, shown } from './refuse.js';
import { largestId, readTokenizer } from './tokenizer-data.js';
import type { SourceTensor, TorchFile } from './torch-file.js';

export type Stage = 'first' | 'second';

/**
 * Reads the structure of `first_stage.pt` or `second_stage.pt`: names, shapes and vocabularies, each held against the
 * others and against the stored arguments. Throws ERR_CHECKPOINT with file, tensor, expected and found.
 *
 * @param keepLayers layers to keep, such as `0-11,18-23`; RangeError when the file has not got them
 */
export function planTransformer(
  file: TorchFile,
  stage: Stage,
  dtype: Dtype,
  keepLayers?: string,
): PlannedPart<TransformerManifest> {
  const root = requireMap(file, file.value, 'a dictionary with model, model_args, config and meta');
  const state = requireMap(file, root.get('model'), 'the weights under `model`');
  const meta = requireMap(file, root.get('meta'), 'the tokenizer under `meta`');
  const args = new Arguments(file.path, root.get('model_args'));
  requireStage(file.path, stage, args, root.get('config'));

  const { tensors, publishedNames } = readState(file, state);
  const manifest = measure(file, tensors, args, meta, dtype);
  const nameOf = (name: string) => publishedNames.get(name) ?? publishedName(name, manifest.activation);
  if (manifest.tied) tensors.delete('heads.0.weight');
  compareTensors(file.path, transformerTensors(manifest), shapesOf(tensors), nameOf);
  requireVocabulary(file.path, stage, manifest);
  for (const [name, tensor] of tensors) requireFloats(file.path, nameOf(name), tensor);
  if (keepLayers === undefined) return planned(manifest, tensors);
  const kept = parseLayers(keepLayers);
  if (kept.at(-1)! >= manifest.layers)
    throw expectedRange(`layers below ${manifest.layers}, which the model has`, 'keepLayers', keepLayers);
  return planned({ ...manifest, layers: kept.length }, renumber(tensors, kept));
}

const planned = (
  manifest: Omit<TransformerManifest, 'file' | 'bytes'>,
  tensors: Map<string, SourceTensor>,
): PlannedPart<TransformerManifest> => ({
  manifest,
  dtype: manifest.dtype,
  tensors: [...tensors].map(([name, source]) => ({ name, source })),
});

function requireMap(file: TorchFile, value: unknown, what: string): Map<unknown, unknown> {
  if (value instanceof Map) return value;
  const root = file.value;
  const found = root instanceof Map ? few([...root.keys()].map(nameOfKey)) : 'something else';
  throw refuseCheckpoint(file.path, `expected ${what}; its top level has ${found || 'nothing'}`);
}

/** `model_args`, with the defaults of the reference where a field is absent. */
class Arguments {
  readonly #file: string;
  readonly #fields: ReadonlyMap<unknown, unknown>;

  constructor(file: string, fields: unknown) {
    this.#file = file;
    if (!(fields instanceof Map))
      throw refuseCheckpoint(file, 'expected the sizes of the model under `model_args`');
    this.#fields = fields;
  }

  get(name: string): unknown {
    return this.#fields.get(name) ?? null;
  }

  /** Refuses when the field is there and says something else. */
  agree(name: string, found: number | boolean | string): void {
    const stored = this.get(name);
    if (stored === null || stored === found) return;
    throw this.refuse(name, found, stored, 'the tensors of the file');
  }

  refuse(name: string, expected: unknown, found: unknown, by: string): Error {
    return refuseCheckpoint(
      this.#file,
      `model_args.${name} is ${shown(found)}, expected ${shown(expected)} by ${by}`,
      { argument: name, expected, found },
    );
  }
}

function requireStage(file: string, stage: Stage, args: Arguments, config: unknown): void {
  const configured = config instanceof Map ? config.get('causal') : undefined;
  const causal = args.get('causal') ?? configured ?? true;
  if (causal !== (stage === 'first'))
    throw refuseCheckpoint(
      file,
      `expected the ${stage} stage, a ${stage === 'first' ? 'causal' : 'non-causal'} model, but this one is ${causal === true ? 'causal' : 'not'}; are first_stage.pt and second_stage.pt exchanged?`,
      { expected: stage === 'first', found: causal },
    );
  const onText = args.get('spk_emb_on_text') ?? true;
  if (onText !== true) throw args.refuse('spk_emb_on_text', true, onText, 'what this version can compute');
}

function readState(file: TorchFile, state: Map<unknown, unknown>) {
  const tensors = new Map<string, SourceTensor>();
  const publishedNames = new Map<string, string>();
  const unknown: string[] = [];
  const stored = file.locateAll(state, (name) => {
    throw refuseCheckpoint(file.path, `expected a tensor for ${name} of the model`, { tensor: name });
  });
  for (const [published, tensor] of stored) {
    const name = transformerName(published);
    if (name === null) {
      unknown.push(published);
      continue;
    }
    if (tensors.has(name))
      throw refuseCheckpoint(file.path, `has tensor ${published} twice, with and without a prefix`, {
        tensor: published,
      });
    tensors.set(name, tensor);
    publishedNames.set(name, published);
  }
  if (unknown.length > 0) throw refuseUnknown(file.path, unknown);
  return { tensors, publishedNames };
}

/** Sizes from the tensors, held against `model_args`. Shapes that disagree are found afterwards. */
function measure(
  file: TorchFile,
  tensors: Map<string, SourceTensor>,
  args: Arguments,
  meta: Map<unknown, unknown>,
  dtype: Dtype,
): Omit<TransformerManifest, 'file' | 'bytes'> {
  const size = (name: string, d: number) => tensors.get(name)?.shape[d] ?? 0;
  const rows = (expression: RegExp, path: string) =>
    Array.from({ length: countOf(tensors.keys(), expression) }, (_, n) => size(`${path}.${n}.weight`, 0));
  const vocabularies = rows(/^tokens\.(\d+)\./, 'tokens');
  const outputs = rows(/^heads\.(\d+)\./, 'heads');
  const layers = countOf(tensors.keys(), /^layers\.(\d+)\./);
  const width = size('tokens.0.weight', 1);
  const activation = tensors.has('layers.0.feed_forward.gate.weight') ? 'swiglu' : 'gelu';
  const norm = readNorm(args);
  const head = tensors.get('heads.0.weight');

  args.agree('n_layer', layers);
  args.agree('n_embd', width);
  args.agree('block_size', size('positions.weight', 0));
  args.agree('nonlinearity_type', activation);
  agreeOnRows(args, 'vocab_sizes', vocabularies);
  agreeOnRows(args, 'target_vocab_sizes', outputs);
  return {
    dtype,
    layers,
    heads: readHeads(args, width),
    width,
    feedForward: size('layers.0.feed_forward.up.weight', 0),
    positions: size('positions.weight', 0),
    vocabularies,
    outputs,
    tied: head !== undefined && head.identity === tensors.get('tokens.0.weight')?.identity,
    speakerEmbedding: readSpeaker(file, tensors, meta),
    ...norm,
    activation,
    tokenizer: readTokenizer(file.path, meta.get('tokenizer')),
  };
}

function agreeOnRows(args: Arguments, name: string, rows: number[]): void {
  const stored = args.get(name);
  if (stored === null || (Array.isArray(stored) && equal(stored, rows))) return;
  throw args.refuse(name, rows, stored, 'the tensors of the file');
}

function readHeads(args: Arguments, width: number): number {
  const heads = args.get('n_head') ?? 12;
  if (!isInteger(heads) || heads < 1 || width % heads !== 0)
    throw args.refuse('n_head', `a divisor of the width ${width}`, heads, 'the tensors of the file');
  return heads;
}

function readNorm(args: Arguments): Pick<TransformerManifest, 'norm' | 'normEpsilon'> {
  const norm = args.get('norm_type') ?? 'layernorm';
  if (norm === 'layernorm') return { norm, normEpsilon: 1e-5 };
  if (norm !== 'rmsnorm')
    throw args.refuse('norm_type', 'rmsnorm or layernorm', norm, 'what this version can compute');
  const normEpsilon = args.get('rmsnorm_eps') ?? 1e-5;
  if (!isFiniteNumber(normEpsilon) || normEpsilon <= 0)
    throw args.refuse('rmsnorm_eps', 'a positive number', normEpsilon, 'its meaning');
  return { norm, normEpsilon };
}

/** Width of the speaker embedding; 0, and the projection left out, where the model is not to use it. */
function readSpeaker(
  file: TorchFile,
  tensors: Map<string, SourceTensor>,
  meta: Map<unknown, unknown>,
): number {
  const found = tensors.get('speaker.weight');
  const wanted = meta.get('speaker_cond');
  if (isBoolean(wanted) && !wanted) {
    tensors.delete('speaker.weight');
    return 0;
  }
  const stored = meta.get('speaker_emb_size');
  const embedding = found?.shape[1] ?? (wanted === true && isInteger(stored) ? stored : 0);
  if (wanted === true && isInteger(stored) && stored !== embedding)
    throw refuseCheckpoint(
      file.path,
      `meta.speaker_emb_size is ${stored} but speaker_cond_pos.weight takes ${embedding}`,
      { tensor: 'speaker_cond_pos.weight', expected: stored, found: embedding },
    );
  return embedding;
}

/** Codes, marks and text share the tables: offset, end of text and rows must add up. */
function requireVocabulary(
  file: string,
  stage: Stage,
  manifest: Omit<TransformerManifest, 'file' | 'bytes'>,
): void {
  const { vocabularies, outputs, tokenizer } = manifest;
  const refuse = (message: string, expected: unknown, found: unknown) =>
    refuseCheckpoint(file, message, { expected, found });
  const { offset } = tokenizer;
  const rows = offset + largestId(tokenizer) + 1;
  // A table may be longer than its tokens, for alignment; then the codebooks alone tell a wrong offset.
  const codes = stage === 'first' ? (offset - 1) / 2 : offset - 1;
  const padded = vocabularies[0]! > rows && Number.isInteger(Math.log2(codes));
  if (vocabularies[0] !== rows && !padded)
    throw refuse(
      `its token table has ${vocabularies[0]} rows but offset ${offset} and ${rows - offset} text tokens make ${rows}`,
      rows,
      vocabularies[0],
    );
  if (stage === 'first') {
    if (offset < 3 || offset % 2 === 0)
      throw refuse(
        `its tokenizer offset is ${offset}, expected two codebooks and the end of audio`,
        2049,
        offset,
      );
    if (vocabularies.length !== 1 || outputs.length !== 1 || outputs[0] !== vocabularies[0])
      throw refuse('expected one token table and one head of as many rows', vocabularies, outputs);
    return;
  }
  if (offset < 2)
    throw refuse(`its tokenizer offset is ${offset}, expected the codes and the padding`, 1025, offset);
  const wrong = [...vocabularies.slice(1), ...outputs].find((size) => size !== offset);
  if (vocabularies.length < 2 || outputs.length < 1 || wrong !== undefined)
    throw refuse(
      `expected at least two token tables and one head, of ${offset} rows each (the codes and the padding) after the first; found ${few([...vocabularies.slice(1), ...outputs].map(String), 16)}`,
      offset,
      wrong,
    );
}

/** Keeps some layers, numbered anew from 0. */
function renumber(tensors: Map<string, SourceTensor>, kept: number[]): Map<string, SourceTensor> {
  const places = new Map(kept.map((layer, index) => [String(layer), index]));
  const result = new Map<string, SourceTensor>();
  for (const [name, tensor] of tensors) {
    const match = /^layers\.(\d+)\.(.*)$/.exec(name);
    const place = match ? places.get(match[1]!) : undefined;
    if (!match) result.set(name, tensor);
    else if (place !== undefined) result.set(`layers.${place}.${match[2]}`, tensor);
  }
  return result;
}

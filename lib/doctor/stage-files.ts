/** The two language models: tensors, the arguments stored with them, and the tokenizer (language model, section 14). */

import { basename } from 'node:path';
import type { FirstStageManifest, TokenizerData } from '../checkpoint/manifest.js';
import { publishedName } from '../checkpoint/names.js';
import { readTokenizer } from '../checkpoint/tokenizer-data.js';
import { TorchFile } from '../checkpoint/torch-file.js';
import { Tokenizer } from '../text/tokenizer.js';
import { type Check, inWords, settle } from './check.js';
import { type Comparison, compare, type Difference, type FoundTensor } from './compare.js';
import { describe, shown } from './describe.js';
import { entriesOf, plainEntries, plainValue } from './plain-values.js';
import { tokenVectors } from './published.js';
import { renamed, safetensorsOf, stateOf } from './read-tensors.js';
import type { PublishedStage } from './table.js';

/** `first_stage.pt` or `second_stage.pt`. Rejects with ERR_CHECKPOINT for a file that cannot be read. */
export async function checkStageFile(name: string, part: PublishedStage, path: string): Promise<Check> {
  const file = await TorchFile.read(path);
  const state = stateOf(file, file.value, /^(_orig_mod\.)?transformer\.wtes\.0\.weight$/);
  const tensors = renamed(state, (tensor) => tensor.replace(/^_orig_mod\./, ''));
  const root = file.value instanceof Map ? file.value : new Map();
  const args = plainEntries(root.get('model_args'));
  const meta = entriesOf(root.get('meta'));
  const tokenizer = await settle(() => readTokenizer(path, meta.tokenizer));
  const values = [
    ...Object.entries(part.values).flatMap(([key, expected]) =>
      differ(`model_args.${key}`, expected, args[key] ?? expected),
    ),
    ...differ('meta.speaker_cond', true, plainValue(meta.speaker_cond ?? true)),
    ...('value' in tokenizer ? tokenizerDifferences(part, tokenizer.value) : []),
  ];
  const check = report(name, path, compare(part, tensors, { values }), {
    arguments: args,
    tokenizer: 'value' in tokenizer ? tokenizerFacts(tokenizer.value) : null,
  });
  if ('value' in tokenizer) return check;
  const { found } = inWords(tokenizer.error);
  return { ...check, status: 'problem', details: [found, ...(check.details ?? [])] };
}

/** A language model of a converted folder. */
export async function checkStageManifest(
  name: string,
  part: PublishedStage,
  path: string,
  manifest: FirstStageManifest,
): Promise<Check> {
  const { heads, norm, activation, dtype, quantization = 'none', tokenizer } = manifest;
  const stored = dequantized(await safetensorsOf(path));
  const tensors = renamed(stored, (ours) => publishedName(ours, activation));
  const { n_head, norm_type, nonlinearity_type } = part.values;
  const values = [
    ...differ('heads', n_head, heads),
    ...differ('norm', norm_type, norm),
    ...differ('activation', nonlinearity_type, activation),
    ...tokenizerDifferences(part, tokenizer),
  ];
  return report(name, path, compare(part, tensors, { converted: true, values }), {
    arguments: { heads, norm, activation, dtype, ...(quantization !== 'none' && { quantization }) },
    tokenizer: tokenizerFacts(tokenizer),
  });
}

/** Quantised matrices as the whole ones that they stand for. */
function dequantized(tensors: ReadonlyMap<string, FoundTensor>): Map<string, FoundTensor> {
  const whole = new Map(tensors);
  for (const [name, tensor] of tensors) {
    const { dtype, shape } = tensor;
    if (!name.endsWith('.weight') || (dtype !== 'int8' && dtype !== 'uint8')) continue;
    const [out = 0, bytes = 0] = shape;
    whole.set(name, { ...tensor, dtype: 'bfloat16', shape: [out, dtype === 'int8' ? bytes : 2 * bytes] });
    whole.delete(name.replace(/weight$/, 'scale'));
  }
  return whole;
}

interface StageFacts {
  arguments: Record<string, unknown>;
  tokenizer: ReturnType<typeof tokenizerFacts> | null;
}

function report(name: string, path: string, comparison: Comparison, facts: StageFacts): Check {
  const { status, found, details } = describe(basename(path), comparison);
  // A tokenizer of its own belongs to another model; beside the published sizes it is a contradiction.
  const contradicts =
    comparison.sizes.length === 0 && comparison.values.some(({ name: what }) => /^ids of/.test(what));
  const args = Object.entries(facts.arguments).map(([key, value]) => `${key} ${shown(value)}`);
  const { tokenizer } = facts;
  return {
    name,
    status: contradicts ? 'problem' : status,
    found,
    details: [
      ...details,
      ...(args.length > 0 ? [`arguments: ${args.join(', ')}`] : []),
      ...(tokenizer ? [`tokenizer ${tokenizer.name}, pattern ${tokenizer.pattern}`] : []),
    ],
    facts: { file: path, ...comparison, ...facts },
  };
}

const tokenizerFacts = ({ name, pattern, ranks, special, offset }: TokenizerData) => ({
  name,
  pattern,
  ranks: ranks.length,
  special,
  offset,
});

/** Offset, ranks and end of text; bytes in their natural order; and both texts whose ids are known. */
function tokenizerDifferences(part: PublishedStage, data: TokenizerData): Difference[] {
  const { offset, ranks, endOfText } = part.tokenizer;
  const bytes = Array.from({ length: 256 }, (_, byte) => Buffer.from([byte]).toString('base64'));
  const inOrder = bytes.every((byte, rank) => data.ranks[rank] === byte);
  return [
    ...differ('tokenizer offset', offset, data.offset),
    ...differ('tokenizer ranks', ranks, data.ranks.length),
    ...differ('id of <|endoftext|>', endOfText, data.special['<|endoftext|>']),
    ...differ('ids 0 to 255', 'the bytes in order', inOrder ? 'the bytes in order' : 'another order'),
    ...tokenVectors.flatMap(({ text, ids }) => {
      const expected = ids.map((id) => id - firstStageOffset + offset);
      const found = encode(data, text);
      return JSON.stringify(found) === JSON.stringify(expected)
        ? []
        : [{ name: `ids of "${text.slice(0, 20)}"`, expected, found }];
    }),
  ];
}

/** The ids of `tokenVectors` are of the first stage. */
const firstStageOffset = 2049;

function encode(data: TokenizerData, text: string): number[] | string {
  try {
    return [...Tokenizer.from(data).encode(text)];
  } catch (error) {
    return inWords(error).found;
  }
}

export const differ = (name: string, expected: unknown, found: unknown): Difference[] =>
  JSON.stringify(expected) === JSON.stringify(found) ? [] : [{ name, expected, found: found ?? null }];

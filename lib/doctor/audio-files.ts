/** Speaker encoder and EnCodec (audio, sections 1.6 and 2). */

import { basename } from 'node:path';
import type { Check } from './check.js';
import { type CompareOptions, compare, type FoundTensor } from './compare.js';
import { describe } from './describe.js';
import { codec, speakerEncoder } from './published.js';
import { renamed, safetensorsOf, torchState } from './read-tensors.js';
import type { PublishedPart } from './table.js';

type Tensors = ReadonlyMap<string, FoundTensor>;

/** `speaker_encoder.pt`, or its file in a converted folder. Rejects with ERR_CHECKPOINT. */
export async function checkSpeakerEncoder(name: string, path: string): Promise<Check> {
  const tensors = path.endsWith('.safetensors')
    ? await safetensorsOf(path)
    : await torchState(path, /^lstm\.weight_ih_l0$/);
  return report(name, speakerEncoder, path, tensors);
}

/** `encodec_24khz*.th`, Hugging Face's safetensors file, or the file in a converted folder. Rejects with ERR_CHECKPOINT. */
export async function checkCodec(name: string, path: string, converted = false): Promise<Check> {
  const stored = path.endsWith('.safetensors')
    ? await safetensorsOf(path)
    : await torchState(path, /^decoder\.(model|layers)\.0\./);
  const spelling = [...stored.keys()].some((tensor) => /^decoder\.layers\./.test(tensor))
    ? "Hugging Face's"
    : converted
      ? "a converted folder's"
      : "the original's";
  const tensors = renamed(stored, converted ? originalOfOurs : originalOfHuggingFace);
  const check = report(name, codec, path, tensors, { converted });
  return {
    ...check,
    details: [...(check.details ?? []), `names in ${spelling} spelling`],
    facts: { ...check.facts, spelling },
  };
}

function report(
  name: string,
  part: PublishedPart,
  path: string,
  tensors: Tensors,
  options?: CompareOptions,
): Check {
  const comparison = compare(part, tensors, options);
  return { name, ...describe(basename(path), comparison), facts: { file: path, ...comparison } };
}

/** EnCodec's names in the original's spelling, of Hugging Face's or the original's own. */
export function originalOfHuggingFace(name: string): string {
  const original = name
    .replace('parametrizations.weight.original0', 'weight_g')
    .replace('parametrizations.weight.original1', 'weight_v')
    .replace(/^quantizer\.layers\.(\d+)\.codebook\./, 'quantizer.vq.layers.$1._codebook.');
  const match = /^(encoder|decoder)\.layers\.(\d+)\.(.+)$/.exec(original);
  if (!match) return original;
  const [, side, index, rest] = match as unknown as [string, string, string, string];
  return `${side}.model.${index}.${rest.replace(/(^|\.)conv\./, `$1${convolutionOf(side, index)}.`)}`;
}

/** EnCodec's names in the original's spelling, of those in a converted folder. */
export function originalOfOurs(name: string): string {
  const book = /^quantizer\.(\d+)\.embed$/.exec(name);
  if (book) return `quantizer.vq.layers.${book[1]}._codebook.embed`;
  const match = /^(encoder|decoder)\.(\d+)\.(block\.[13]\.|shortcut\.)?(weight_g|weight_v|bias)$/.exec(name);
  if (!match) return name.replace(/^(encoder|decoder)\.(\d+)\.lstm\./, '$1.model.$2.lstm.');
  const [, side, index, inner = '', leaf] = match as unknown as [
    string,
    string,
    string,
    string | undefined,
    string,
  ];
  return `${side}.model.${index}.${inner}${inner === '' ? convolutionOf(side, index) : 'conv.conv'}.${leaf}`;
}

/** The decoder's four upsampling layers are transposed convolutions. */
const convolutionOf = (side: string, index: string): string =>
  side === 'decoder' && ['3', '6', '9', '12'].includes(index) ? 'convtr.convtr' : 'conv.conv';

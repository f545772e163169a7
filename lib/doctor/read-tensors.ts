/** The tensors of a part, by their published names, from whatever file they lie in. */

import { findState } from '../checkpoint/find-state.js';
import { readSafetensors } from '../checkpoint/safetensors.js';
import { TorchFile } from '../checkpoint/torch-file.js';
import { MetaVoiceError } from '../errors.js';
import type { FoundTensor } from './compare.js';

/**
 * The weights in a value of a file of `torch.save`: the first dictionary, at most three levels down, that has a tensor
 * of such a name. Throws ERR_CHECKPOINT where there is none, and for numbers that are not in the file.
 */
export function stateOf(file: TorchFile, value: unknown, name: RegExp): Map<string, FoundTensor> {
  const state = findState(value, name);
  if (state) return file.locateAll(state, () => {});
  throw new MetaVoiceError(
    'ERR_CHECKPOINT',
    `expected weights with names like ${name.source} but found none`,
    {
      details: { file: file.path },
    },
  );
}

/** The weights of a file, wherever they lie in it. Rejects with ERR_CHECKPOINT. */
export async function torchState(path: string, name: RegExp): Promise<Map<string, FoundTensor>> {
  const file = await TorchFile.read(path);
  return stateOf(file, file.value, name);
}

/** The tensors of a safetensors file. */
export async function safetensorsOf(path: string): Promise<Map<string, FoundTensor>> {
  const { tensors } = await readSafetensors(path);
  return new Map(
    [...tensors].map(([name, { shape, dtype, offset }]) => [name, { shape, dtype, identity: `${offset}` }]),
  );
}

/** The same tensors under other names. One whose new name is taken keeps its own, and shows as unexpected. */
export function renamed(
  tensors: ReadonlyMap<string, FoundTensor>,
  rename: (name: string) => string,
): Map<string, FoundTensor> {
  const result = new Map<string, FoundTensor>();
  for (const [name, tensor] of tensors) {
    const other = rename(name);
    result.set(result.has(other) ? name : other, tensor);
  }
  return result;
}

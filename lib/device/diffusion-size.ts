import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readingFile } from '../checkpoint/byte-reader.js';
import { PickleTensor } from '../checkpoint/pickle-values.js';
import { readSync } from '../checkpoint/reading.js';
import { product, TorchFile } from '../checkpoint/torch-file.js';

/**
 * Parameters of the diffusion networks of `mbd_comp_8.pt` in a folder, all bands together, from its header; null where
 * there is no such file. Throws ERR_CHECKPOINT for one that is damaged.
 */
export function countDiffusion(folder: string): { parameters: number } | null {
  const path = join(folder, 'mbd_comp_8.pt');
  if (!existsSync(path)) return null;
  const { value } = readSync(readingFile(path, TorchFile.reading));
  const bands = value instanceof Map ? [...value.values()] : [];
  const states = bands.map((band) => (band instanceof Map ? band.get('model_state') : null));
  const tensors = states.flatMap((state) => (state instanceof Map ? [...state.values()] : []));
  const parameters = tensors.reduce(
    (sum: number, tensor) => sum + (tensor instanceof PickleTensor ? product(tensor.shape) : 0),
    0,
  );
  return { parameters };
}

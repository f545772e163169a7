import { compareTensors, refuseUnknown } from './compare.js';
import type { SpeakerEncoderManifest } from './manifest.js';
import { speakerEncoderTensors } from './names.js';
import { countOf, type PlannedPart, requireFloats, shapesOf } from './part.js';
import { refuseCheckpoint } from './refuse.js';
import { product, type SourceTensor, type TorchFile } from './torch-file.js';

/**
 * Reads the structure of `speaker_encoder.pt`: only `model_state` is looked at, whatever else was saved with it, and
 * single numbers in it (the similarity of its training) are left out. Throws ERR_CHECKPOINT.
 */
export function planSpeakerEncoder(file: TorchFile): PlannedPart<SpeakerEncoderManifest> {
  const root = file.value instanceof Map ? file.value : new Map();
  const state = root.get('model_state') ?? (root.has('lstm.weight_ih_l0') ? root : undefined);
  if (!(state instanceof Map))
    throw refuseCheckpoint(file.path, 'expected the weights of the speaker encoder under `model_state`');

  const tensors = new Map<string, SourceTensor>();
  const unknown: string[] = [];
  for (const [name, tensor] of file.locateAll(state, () => {})) {
    if (/^(lstm|linear)\./.test(name)) tensors.set(name, tensor);
    else if (product(tensor.shape) !== 1) unknown.push(name);
  }
  if (unknown.length > 0) throw refuseUnknown(file.path, unknown);

  const size = (name: string, d: number) => tensors.get(name)?.shape[d] ?? 0;
  const manifest = {
    layers: Math.max(1, countOf(tensors.keys(), /^lstm\.\w+_l(\d+)$/)),
    hidden: size('lstm.weight_hh_l0', 1),
    mels: size('lstm.weight_ih_l0', 1),
    embedding: size('linear.weight', 0),
  };
  compareTensors(file.path, speakerEncoderTensors(manifest), shapesOf(tensors));
  for (const [name, tensor] of tensors) requireFloats(file.path, name, tensor);
  return { manifest, dtype: 'float32', tensors: [...tensors].map(([name, source]) => ({ name, source })) };
}

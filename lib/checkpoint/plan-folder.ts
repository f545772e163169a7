/** A model folder as something that is written anew: with its first stage quantised. */

import { join } from 'node:path';
import { MetaVoiceError } from '../errors.js';
import type { Dtype } from '../native/contract.js';
import { isStatistic } from './diffusion.js';
import type { PartManifest } from './manifest.js';
import { checkModelFolder } from './model-folder.js';
import type { PlannedPart } from './part.js';
import type { ModelPlan } from './plan-model.js';
import { readSafetensors } from './safetensors.js';

/**
 * What a model folder holds, to be cast to a dtype. Rejects like `checkModelFolder`, and with ERR_UNSUPPORTED where its
 * first stage is quantised already: what that lost does not come back.
 */
export async function planModelFolder(folder: string, dtype: Dtype): Promise<ModelPlan> {
  const { speakers, sampling, provenance, ...parts } = await checkModelFolder(folder);
  const { firstStage, secondStage, speakerEncoder, codec, diffusion, enhancer } = parts;
  const stored = firstStage?.quantization ?? 'none';
  if (stored !== 'none')
    throw new MetaVoiceError(
      'ERR_UNSUPPORTED',
      `expected a model whose weights are whole in ${folder} but its first stage is stored in ${stored}; convert from the published files, or from a folder that was made of them without \`quantization\``,
      { details: { model: folder, expected: 'none', found: stored } },
    );
  const plan = <M extends PartManifest>(part: M | null | undefined, of: Dtype) =>
    part ? planPart(folder, part, of) : null;
  return {
    firstStage: await plan(firstStage && { ...firstStage, dtype }, dtype),
    secondStage: await plan(secondStage && { ...secondStage, dtype }, dtype),
    speakerEncoder: await plan(speakerEncoder, 'float32'),
    codec: await plan(codec, 'float32'),
    diffusion: await plan(diffusion && { ...diffusion, dtype }, dtype),
    enhancer: await plan(enhancer, 'float32'),
    speakers,
    ...(sampling && { sampling }),
    provenance,
  };
}

async function planPart<M extends PartManifest>(
  folder: string,
  { file, bytes: _, ...manifest }: M,
  dtype: Dtype,
): Promise<PlannedPart<M>> {
  const path = join(folder, file);
  const { tensors } = await readSafetensors(path);
  return {
    manifest,
    dtype,
    tensors: [...tensors].map(([name, { dtype: stored, shape, offset }]) => ({
      name,
      source: { file: path, dtype: stored, offset, shape, strides: null, identity: name },
      ...(isStatistic(name) && { dtype: 'float32' as const }),
    })),
  };
}

/** A model folder of the published size that costs no disk: headers are real, numbers are holes in the files. */

import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { manifestFile } from '../../dist/checkpoint/manifest.js';
import { transformerTensors } from '../../dist/checkpoint/names.js';
import { planSafetensors } from '../../dist/checkpoint/safetensors.js';
import { publishedSizes, type StageSizes } from '../../dist/device/model-sizes.js';
import type { Dtype } from '../../dist/native/contract.js';
import { fakeManifest } from './fake-metavoice.js';

/** Both language models of MetaVoice-1B as published, or with fewer layers in the first, without the other parts. */
export async function writeSparseModel(folder: string, dtype: Dtype, layers?: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  const stage = async (file: string, sizes: StageSizes) => {
    const expected = [...transformerTensors(sizes)].filter(([, { optional }]) => !optional);
    const tensors = expected.map(([name, { shape }]) => ({ name, dtype, shape }));
    const { header, size } = planSafetensors(tensors, {});
    const handle = await open(join(folder, file), 'wx');
    await handle.write(header);
    await handle.truncate(size);
    await handle.close();
    return { file, bytes: size, dtype, ...sizes };
  };
  const fake = fakeManifest();
  const { secondStage } = publishedSizes;
  const firstStage = { ...publishedSizes.firstStage!, ...(layers !== undefined && { layers }) };
  const manifest = {
    ...fake,
    firstStage: { ...fake.firstStage, ...(await stage('first_stage.safetensors', firstStage)), heads: 16 },
    secondStage: {
      ...fake.secondStage,
      ...(await stage('second_stage.safetensors', secondStage!)),
      heads: 6,
    },
    speakerEncoder: null,
    codec: null,
    diffusion: undefined,
    speakers: [],
  };
  await writeFile(join(folder, manifestFile), JSON.stringify(manifest));
}

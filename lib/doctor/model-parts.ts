/** A model folder, part by part, held against the published files. What cannot be read does not hide the others. */

import { basename, join } from 'node:path';
import { type Manifest, manifestFile, readManifest } from '../checkpoint/manifest.js';
import { checkCodec, checkSpeakerEncoder } from './audio-files.js';
import { attempt, type Check, inWords } from './check.js';
import { checkDiffusion } from './diffusion-file.js';
import { checkEnhancer } from './enhancer-files.js';
import { list, locate } from './locate.js';
import { firstStage, secondStage } from './published.js';
import { checkStageFile, checkStageManifest } from './stage-files.js';

type Part = 'firstStage' | 'secondStage' | 'speakerEncoder' | 'codec' | 'diffusion' | 'enhancer';
type Job = readonly [part: Part, path: string | null, work: (path: string) => Promise<Check>];

/** One check for each part. A model without a part has a note or a problem in its place. */
export async function checkModelParts(folder: string, signal?: AbortSignal): Promise<Check[]> {
  if ((await list(folder)).includes(manifestFile)) return checkConverted(folder, signal);
  const { damaged, ...files } = await locate(folder);
  const jobs: Job[] = [
    ['firstStage', files.firstStage, (path) => checkStageFile('firstStage', firstStage, path)],
    ['secondStage', files.secondStage, (path) => checkStageFile('secondStage', secondStage, path)],
    ['speakerEncoder', files.speakerEncoder, (path) => checkSpeakerEncoder('speakerEncoder', path)],
    ['codec', files.codec, (path) => checkCodec('codec', path)],
    ['diffusion', files.diffusion, (path) => checkDiffusion('diffusion', path)],
    ['enhancer', files.enhancer, (path) => checkEnhancer('enhancer', path)],
  ];
  const checks = await run(jobs, folder, signal);
  return [
    ...checks,
    ...damaged.map(
      ({ file, error }): Check => ({ name: basename(file), status: 'problem', ...inWords(error) }),
    ),
  ];
}

async function checkConverted(folder: string, signal?: AbortSignal): Promise<Check[]> {
  let manifest: Manifest;
  try {
    manifest = await readManifest(folder);
  } catch (error) {
    return [{ name: 'manifest', status: 'problem', ...inWords(error) }];
  }
  const { firstStage: first, secondStage: second, speakerEncoder, codec, enhancer = null } = manifest;
  const path = (part: { file: string } | null): string | null => part && join(folder, part.file);
  const jobs: Job[] = [
    ['firstStage', path(first), (file) => checkStageManifest('firstStage', firstStage, file, first!)],
    ['secondStage', path(second), (file) => checkStageManifest('secondStage', secondStage, file, second!)],
    ['speakerEncoder', path(speakerEncoder), (file) => checkSpeakerEncoder('speakerEncoder', file)],
    ['codec', path(codec), (file) => checkCodec('codec', file, true)],
    ['enhancer', path(enhancer), (file) => checkEnhancer('enhancer', file, true)],
  ];
  const entries: Partial<Record<string, unknown>> = { ...manifest };
  const checks = await run(jobs, folder, signal);
  const diffusion = entries.diffusion ? notCompared('diffusion') : absent('diffusion', folder);
  return [...checks.slice(0, 4), diffusion, ...checks.slice(4)];
}

const notCompared = (name: Part): Check => ({
  name,
  status: 'note',
  found: 'there, and compared only in its published form: give the folder of published files',
  facts: { file: null },
});

async function run(jobs: readonly Job[], folder: string, signal?: AbortSignal): Promise<Check[]> {
  const checks: Check[] = [];
  for (const [part, path, work] of jobs)
    checks.push(path === null ? absent(part, folder) : await attempt(part, signal, () => work(path)));
  return checks;
}

const files: Record<Part, string> = {
  firstStage: 'first_stage.pt',
  secondStage: 'second_stage.pt',
  speakerEncoder: 'speaker_encoder.pt',
  codec: 'encodec_24khz*.th, or a safetensors file with the tensors of EnCodec,',
  diffusion: 'mbd_comp_8.pt',
  enhancer: 'DeepFilterNet3',
};

/** Speech needs three parts; without the others it has fewer voices, or sounds plainer. */
const without: Partial<Record<Part, string>> = {
  speakerEncoder: 'only speakers that ship with the model, and saved voices, can speak',
  diffusion: "EnCodec's own decoder speaks",
  enhancer: 'speech is not enhanced',
};

function absent(part: Part, folder: string): Check {
  const consequence = without[part];
  return {
    name: part,
    status: consequence ? 'note' : 'problem',
    found: `absent${consequence ? `: ${consequence}` : ', and nothing can be spoken without it'}`,
    ...(!consequence && { advice: `put ${files[part]} into ${folder}` }),
    facts: { file: null },
  };
}

/** Which files of the hub a model consists of, under which licences. */

import type { HubName } from './cache.js';

/** The repository of the published model. */
export const publishedModel = 'metavoiceio/metavoice-1B-v0.1';

/** What speaks in this version. */
export const spokenParts = ['firstStage', 'secondStage', 'speakerEncoder', 'codec'] as const;
/** What is fetched when it is asked for. */
export const extraParts = ['diffusion', 'enhancer'] as const;
/** Of these, what this version has a use for where it is there. */
export const usedExtras = ['diffusion', 'enhancer'] as const;

export type SpokenPart = (typeof spokenParts)[number];
export type ExtraPart = (typeof extraParts)[number];

export interface Licence {
  readonly name: string;
  /** Whether it lets the weights be used commercially. */
  readonly commercial: boolean;
}

export interface HubFile extends HubName {
  readonly part: SpokenPart | ExtraPart;
  /** Inside the repository, with slashes. */
  readonly path: string;
  /** As published; the hub says it exactly. */
  readonly approximateBytes: number;
  /** Null where only the repository's page can tell. */
  readonly licence: Licence | null;
  /** Content that is known beforehand, whatever the hub says. */
  readonly sha256: string | null;
}

const free = (name: string): Licence => ({ name, commercial: true });

interface Source extends HubName {
  readonly licence: Licence | null;
  readonly sha256?: string;
}

const codec: Source = {
  repository: 'facebook/encodec_24khz',
  revision: 'main',
  licence: free('MIT (of the code; the weights have no statement of their own)'),
};

const diffusion: Source = {
  repository: 'facebook/multiband-diffusion',
  revision: 'main',
  licence: { name: 'CC-BY-NC-4.0', commercial: false },
};

const enhancer: Source = {
  repository: 'mlx-community/DeepFilterNet-mlx',
  revision: '220d5dfb7266352272d74c2a7d2025c59e07b391',
  licence: free('MIT or Apache-2.0 (of the code; the weights have no statement of their own)'),
  sha256: 'fca0af2f25cad49d74fc9ac5f9155813416e4b350ec344bb433b4a48a9a76d38',
};

/** The files of the model of a name: its own three, EnCodec's, and those of the extra parts that are asked for. */
export function filesOf(name: HubName, extras: readonly ExtraPart[] = []): HubFile[] {
  const licence = name.repository === publishedModel ? free('Apache-2.0') : null;
  const model: Source = { ...name, licence };
  const files = [
    file('firstStage', model, 'first_stage.pt', 4_970_000_000),
    file('secondStage', model, 'second_stage.pt', 57_900_000),
    file('speakerEncoder', model, 'speaker_encoder.pt', 17_100_000),
    file('codec', codec, 'model.safetensors', 93_100_000),
    file('codec', codec, 'config.json', 1_000),
  ];
  if (extras.includes('diffusion')) files.push(file('diffusion', diffusion, 'mbd_comp_8.pt', 4_580_000_000));
  if (extras.includes('enhancer')) files.push(file('enhancer', enhancer, 'v3/model.safetensors', 8_682_709));
  return files;
}

function file(part: HubFile['part'], source: Source, path: string, approximateBytes: number): HubFile {
  const { repository, revision, licence, sha256 = null } = source;
  return { part, repository, revision, path, approximateBytes, licence, sha256 };
}

/** Where the parts of a model lie in a folder: by their names, and by the tensors in safetensors files. */

import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isCodecHeader } from '../checkpoint/codec.js';
import { isEnhancerHeader } from '../checkpoint/enhancer-file.js';
import { readSafetensors, type SafetensorsHeader } from '../checkpoint/safetensors.js';
import { type Outcome, settle } from './check.js';

export interface Located {
  readonly firstStage: string | null;
  readonly secondStage: string | null;
  readonly speakerEncoder: string | null;
  readonly codec: string | null;
  readonly diffusion: string | null;
  /** A folder with `config.ini` and `checkpoints/`, its zip, or a safetensors file. */
  readonly enhancer: string | null;
  /** Safetensors files that could not be read, with the reason. */
  readonly damaged: readonly { readonly file: string; readonly error: unknown }[];
}

export const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (facts) => facts.isDirectory(),
    () => false,
  );
const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (facts) => facts.isFile(),
    () => false,
  );

/** Names in a folder, sorted; none where there is no folder. */
export const list = async (folder: string): Promise<string[]> =>
  (await readdir(folder).catch(() => [])).sort();

/** Looks in a folder of published files, and in those folders in it that are named for their network. */
export async function locate(folder: string): Promise<Located> {
  const names = await list(folder);
  const inner = names.filter((name) => /encodec|deepfilter/i.test(name));
  const files = names.map((name) => join(folder, name));
  for (const name of inner)
    files.push(...(await list(join(folder, name))).map((file) => join(folder, name, file)));

  const named = async (pattern: RegExp): Promise<string | null> => {
    for (const file of files) if (pattern.test(basename(file)) && (await isFile(file))) return file;
    return null;
  };
  const headers = await readHeaders(files);
  const holding = (holds: (header: SafetensorsHeader) => boolean): string | null =>
    headers.find(({ header }) => 'value' in header && holds(header.value))?.file ?? null;
  return {
    firstStage: await named(/^first_stage\.pt$/),
    secondStage: await named(/^second_stage\.pt$/),
    speakerEncoder: await named(/^speaker_encoder\.pt$/),
    codec: (await named(/^encodec_24khz.*\.th$/)) ?? holding(isCodecHeader),
    diffusion: await named(/^mbd_comp_8\.pt$/),
    enhancer:
      (await enhancerFolder(folder, inner)) ??
      (await named(/^deepfilternet3\.zip$/i)) ??
      holding(isEnhancerHeader),
    damaged: headers.flatMap(({ file, header }) =>
      'error' in header ? [{ file, error: header.error }] : [],
    ),
  };
}

async function readHeaders(
  files: readonly string[],
): Promise<{ file: string; header: Outcome<SafetensorsHeader> }[]> {
  const read: { file: string; header: Outcome<SafetensorsHeader> }[] = [];
  for (const file of files)
    if (file.endsWith('.safetensors') && (await isFile(file)))
      read.push({ file, header: await settle(() => readSafetensors(file)) });
  return read;
}

/** The model folder itself may be the enhancer's, and then has all that it needs. */
async function enhancerFolder(folder: string, inner: readonly string[]): Promise<string | null> {
  const signs = (candidate: string): Promise<boolean[]> =>
    Promise.all([isFile(join(candidate, 'config.ini')), isFolder(join(candidate, 'checkpoints'))]);
  for (const candidate of inner.map((name) => join(folder, name)))
    if ((await signs(candidate)).some(Boolean)) return candidate;
  return (await signs(folder)).every(Boolean) ? folder : null;
}

/** DeepFilterNet3 as it comes: a folder with `config.ini` and `checkpoints/`, its zip, or a safetensors file with its names. */

import { createHash } from 'node:crypto';
import { basename, join } from 'node:path';
import { MetaVoiceError } from '../errors.js';
import { type ByteReader, MemoryReader, readingFile, readingText } from './byte-reader.js';
import { namesIn, statOf } from './file-asks.js';
import { findState } from './find-state.js';
import { readingPackedZip } from './packed-zip.js';
import { ask, type Reading } from './reading.js';
import { refuseCheckpoint } from './refuse.js';
import { readingSafetensors, type SafetensorsHeader } from './safetensors.js';
import { type SourceTensor, TorchFile } from './torch-file.js';

/** Values of a configuration by section and name, in small letters. */
export type Sections = Record<string, Record<string, string>>;

export interface EnhancerFile {
  /** The file that was read: the checkpoint in the folder, the zip, or the safetensors file. */
  readonly file: string;
  readonly bytes: number;
  readonly tensors: ReadonlyMap<string, SourceTensor>;
  /** The checkpoint out of a zip: the tensors lie in it. */
  readonly unpacked: Buffer | null;
  /** Null where the form has no `config.ini`. */
  readonly config: Sections | null;
  /** Changes with the content. */
  readonly fingerprint: string;
}

export const isEnhancerHeader = ({ tensors }: SafetensorsHeader): boolean =>
  tensors.has('enc.erb_conv0.1.weight') && tensors.has('df_dec.df_convp.1.weight');

/** Fails with ERR_MODEL_NOT_FOUND for a folder without a checkpoint, and with ERR_CHECKPOINT for what can't be read. */
export function* readingEnhancer(path: string): Reading<EnhancerFile> {
  if (path.endsWith('.safetensors')) return yield* readingFile(path, (reader) => fromSafetensors(reader));
  if ((yield* ask(statOf(path))).isDirectory()) return yield* fromFolder(path);
  return yield* readingFile(path, readingEnhancerZip);
}

function* fromSafetensors(reader: ByteReader): Reading<EnhancerFile> {
  const { path: file } = reader;
  const header = yield* readingSafetensors(reader);
  const tensors = new Map(
    [...header.tensors].map(([name, { dtype, shape, offset }]): [string, SourceTensor] => [
      name,
      { file, dtype, offset, shape, strides: null, identity: `${offset}` },
    ]),
  );
  const fingerprint = `${header.size}:${header.modified}:${digest(header.text)}`;
  return { file, bytes: header.size, tensors, unpacked: null, config: null, fingerprint };
}

function* fromFolder(folder: string): Reading<EnhancerFile> {
  const checkpoints = join(folder, 'checkpoints');
  const best = newest(yield* names(checkpoints));
  if (best === null)
    throw new MetaVoiceError(
      'ERR_MODEL_NOT_FOUND',
      `expected a file *.ckpt.best in ${checkpoints} but there is none; unpack DeepFilterNet3.zip there`,
      { details: { folder } },
    );
  const text = (yield* names(folder)).includes('config.ini')
    ? yield* readingText(join(folder, 'config.ini'))
    : '';
  const torch = yield* readingFile(join(checkpoints, best), TorchFile.reading);
  return { file: torch.path, bytes: torch.size, unpacked: null, ...parts(torch, text) };
}

/** `DeepFilterNet3.zip`. Fails like `readingEnhancer`. */
export function* readingEnhancerZip(reader: ByteReader): Reading<EnhancerFile> {
  const { path: file, size: bytes } = reader;
  const members = yield* readingPackedZip(reader, /(^|\/)(config\.ini|[^/]+\.ckpt\.best)$/);
  const best = newest([...members.keys()]);
  if (best === null) throw refuseCheckpoint(file, 'expected a member *.ckpt.best, as in DeepFilterNet3.zip');
  const config = [...members.keys()].find((name) => basename(name) === 'config.ini');
  const unpacked = members.get(best)!;
  const torch = yield* TorchFile.reading(new MemoryReader(file, unpacked));
  return { file, bytes, unpacked, ...parts(torch, config ? members.get(config)!.toString('utf8') : '') };
}

function parts(torch: TorchFile, config: string) {
  const state = findState(torch.value, /^enc\.erb_conv0\.1\.weight$/);
  if (!state)
    throw refuseCheckpoint(torch.path, 'expected the weights of DeepFilterNet3 (enc.erb_conv0.1.weight …)');
  const tensors = torch.locateAll(state, () => {});
  return { tensors, config: parseIni(config), fingerprint: `${torch.fingerprint}:${digest(config)}` };
}

/** Names in a folder; none where there is no folder. */
function* names(folder: string): Reading<string[]> {
  try {
    return yield* ask(namesIn(folder));
  } catch {
    return [];
  }
}

/** The best checkpoint of the last epoch. */
function newest(files: readonly string[]): string | null {
  const epoch = (name: string): number => Number(/_(\d+)\.ckpt\.best$/.exec(name)?.[1] ?? -1);
  const best = files.filter((name) => name.endsWith('.ckpt.best'));
  return best.sort((a, b) => epoch(b) - epoch(a))[0] ?? null;
}

/** What does not look like a section or a value is passed over. */
export function parseIni(text: string): Sections {
  const sections: Sections = Object.create(null);
  let section: Record<string, string> = Object.create(null);
  for (const line of text.split('\n').map((each) => each.trim())) {
    const equals = line.indexOf('=');
    const name = line.slice(0, equals).trim().toLowerCase();
    if (line.startsWith('[') && line.endsWith(']'))
      section = sections[line.slice(1, -1).toLowerCase()] ??= Object.create(null) as Record<string, string>;
    else if (equals > 0 && !/^[;#]/.test(line)) section[name] = line.slice(equals + 1).trim();
  }
  return sections;
}

const digest = (text: string): string => createHash('sha256').update(text).digest('hex');

/** DeepFilterNet3 (audio, sections 5.8 and 5.9): a folder, its zip, or a safetensors file with the same names. */

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { MetaVoiceError } from '../errors.js';
import type { Check } from './check.js';
import { compare, type Difference, type FoundTensor } from './compare.js';
import { describe } from './describe.js';
import { isFolder, list } from './locate.js';
import { enhancer, enhancerConfig } from './published.js';
import { safetensorsOf, torchState } from './read-tensors.js';
import { readZip } from './zip.js';

interface Found {
  readonly tensors: ReadonlyMap<string, FoundTensor>;
  /** Text of `config.ini`; null where the form has none. */
  readonly config: string | null;
}

/** Rejects with ERR_CHECKPOINT or ERR_MODEL_NOT_FOUND for what cannot be read. */
export async function checkEnhancer(name: string, path: string): Promise<Check> {
  const { tensors, config } = path.endsWith('.safetensors')
    ? { tensors: await safetensorsOf(path), config: null }
    : (await isFolder(path))
      ? await fromFolder(path)
      : await fromZip(path);
  const sections = config === null ? null : parseIni(config);
  const comparison = compare(enhancer, tensors, {
    // Conversions to safetensors leave the counters out.
    withoutCounters: ![...tensors.keys()].some((tensor) => tensor.endsWith('.num_batches_tracked')),
    values: sections ? configDifferences(sections) : [],
  });
  const { status, found, details } = describe(basename(path), comparison);
  return {
    name,
    status,
    found,
    details: sections ? details : [...details, 'no config.ini in this form: its values are not compared'],
    facts: { file: path, ...comparison, config: sections },
  };
}

async function fromFolder(folder: string): Promise<Found> {
  const checkpoints = join(folder, 'checkpoints');
  const best = newest(await list(checkpoints));
  if (best === null)
    throw new MetaVoiceError(
      'ERR_MODEL_NOT_FOUND',
      `expected a file *.ckpt.best in ${checkpoints} but there is none; unpack DeepFilterNet3.zip there`,
      { details: { folder } },
    );
  const config = await readFile(join(folder, 'config.ini'), 'utf8').catch(() => '');
  return { tensors: await tensorsOf(join(checkpoints, best)), config };
}

/** Torch files are read where they lie, so the weights get a file for a moment. */
async function fromZip(path: string): Promise<Found> {
  const members = await readZip(path, /(^|\/)(config\.ini|[^/]+\.ckpt\.best)$/);
  const names = [...members.keys()];
  const best = newest(names);
  if (best === null)
    throw new MetaVoiceError(
      'ERR_CHECKPOINT',
      `${basename(path)}: expected a member *.ckpt.best, as in DeepFilterNet3.zip`,
      { details: { file: path } },
    );
  const config = names.find((name) => basename(name) === 'config.ini');
  const folder = await mkdtemp(join(tmpdir(), 'metavoice-doctor-'));
  try {
    const file = join(folder, basename(best));
    await writeFile(file, members.get(best)!);
    return { tensors: await tensorsOf(file), config: config ? members.get(config)!.toString('utf8') : '' };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const tensorsOf = (file: string): Promise<Map<string, FoundTensor>> =>
  torchState(file, /^enc\.erb_conv0\.1\.weight$/);

/** The best checkpoint of the last epoch. */
function newest(names: readonly string[]): string | null {
  const epoch = (name: string): number => Number(/_(\d+)\.ckpt\.best$/.exec(name)?.[1] ?? -1);
  const best = names.filter((name) => name.endsWith('.ckpt.best'));
  return best.sort((a, b) => epoch(b) - epoch(a))[0] ?? null;
}

type Sections = Record<string, Record<string, string>>;

function parseIni(text: string): Sections {
  const sections: Sections = Object.create(null);
  let section: Record<string, string> = Object.create(null);
  for (const line of text.split(/\r?\n/)) {
    const head = /^\s*\[(.+)\]\s*$/.exec(line);
    const pair = /^\s*([^=;#]+?)\s*=\s*(.*?)\s*$/.exec(line);
    if (head) section = sections[head[1]!.toLowerCase()] ??= Object.create(null) as Record<string, string>;
    else if (pair) section[pair[1]!.toLowerCase()] = pair[2]!;
  }
  return sections;
}

function configDifferences(sections: Sections): Difference[] {
  return Object.entries(enhancerConfig).flatMap(([section, text]) =>
    text.split(';').flatMap((pair) => {
      const [key = '', expected = ''] = pair.trim().split(' ');
      const found = sections[section]?.[key];
      const same = found === expected || (found !== undefined && Number(found) === Number(expected));
      return same ? [] : [{ name: `config.ini, ${section}.${key}`, expected, found: found ?? null }];
    }),
  );
}

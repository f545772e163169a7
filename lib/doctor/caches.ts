/** What is kept on this machine: our own cache, and that of the Hugging Face hub. */

import { readdir, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { manifestFile } from '../checkpoint/manifest.js';
import { cacheDirectory } from '../runtime/paths.js';
import { sizeWords } from '../size-words.js';
import type { Check } from './check.js';
import { isFolder, list } from './locate.js';
import { repositories } from './published.js';

/** Converted models, copies of libtorch and voices, and what they take. */
export async function checkCache(): Promise<Check> {
  const folder = cacheDirectory();
  const there = await isFolder(folder);
  const models: string[] = [];
  for (const name of await list(join(folder, 'models')))
    if ((await list(join(folder, 'models', name))).includes(manifestFile)) models.push(name);
  const libtorch = (await list(join(folder, 'libtorch'))).filter((name) => !name.startsWith('.'));
  const voices = (await list(join(folder, 'voices'))).filter((name) => name.endsWith('.json')).length;
  const bytes = there ? await sizeOf(folder) : 0;
  const counted = [
    many(models.length, 'converted model', 'converted models'),
    `libtorch ${libtorch.length === 0 ? 'none' : libtorch.join(', ')}`,
    many(voices, 'voice', 'voices'),
  ];
  return {
    name: 'cache',
    status: 'ok',
    found: there ? `${folder}, ${sizeWords(bytes)}: ${counted.join('; ')}` : `${folder}, not made yet`,
    facts: { folder, exists: there, bytes, models, libtorch, voices },
  };
}

const many = (count: number, one: string, more: string): string => `${count} ${count === 1 ? one : more}`;

/** Bytes of all files below a folder; links are not followed. */
async function sizeOf(folder: string): Promise<number> {
  let sum = 0;
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) sum += await sizeOf(path);
    else if (entry.isFile()) sum += (await stat(path).catch(() => null))?.size ?? 0;
  }
  return sum;
}

/** Where the hub's own tools keep what they fetched, by the variables that they heed. */
export function hubCacheDirectory(env: NodeJS.ProcessEnv = process.env): string {
  if (env.HF_HUB_CACHE) return env.HF_HUB_CACHE;
  if (env.HF_HOME) return join(env.HF_HOME, 'hub');
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface', 'hub');
}

/** Which of the published repositories are in the hub's cache. */
export async function checkHub(): Promise<Check> {
  const folder = hubCacheDirectory();
  const found: { repository: string; holds: string; files: string[] }[] = [];
  for (const [repository, holds] of Object.entries(repositories)) {
    const snapshots = join(folder, `models--${repository.replace('/', '--')}`, 'snapshots');
    const files = new Set<string>();
    for (const revision of await list(snapshots))
      for (const file of await list(join(snapshots, revision))) files.add(file);
    if (files.size > 0) found.push({ repository, holds, files: [...files].sort() });
  }
  const there = await isFolder(folder);
  return {
    name: 'hub',
    status: 'ok',
    found: there
      ? `${folder}: ${found.length} of ${Object.keys(repositories).length} published repositories`
      : `${folder}, not there`,
    details: found.map(({ repository, holds, files }) => `${repository} (${holds}): ${files.join(', ')}`),
    facts: { folder, exists: there, repositories: found },
  };
}

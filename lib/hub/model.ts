/** Models by name: what the cache has of one, and the words for what it has not. */

import { join, resolve } from 'node:path';
import { MetaVoiceError } from '../errors.js';
import { cachedCommit, parseHubName, repositoryFolder, sizeOf, snapshotFolder } from './cache.js';
import {
  type ExtraPart,
  filesOf,
  type HubFile,
  type SpokenPart,
  spokenParts,
  usedExtras,
} from './catalogue.js';
import { type Environment, type HubCache, hubCache } from './environment.js';

/** The file of each part; null where the cache has not got it whole. */
export type HubPaths = { readonly [part in SpokenPart | (typeof usedExtras)[number]]: string | null };

export interface HubModel {
  /** As it was asked for: `org/name` or `org/name@revision`. */
  readonly name: string;
  readonly paths: HubPaths;
  /** In the cache, with where it was looked for. */
  readonly missing: readonly { readonly file: HubFile; readonly place: string }[];
  readonly cache: HubCache;
}

/**
 * Looks a model up in the Hugging Face cache, without network and at once; null when `name` is no hub id. Whoever takes
 * paths, too, looks for those first: a folder `models/anna` is also a hub id by its form.
 */
export function findHubModel(name: string, environment: Environment = process.env): HubModel | null {
  const hubName = parseHubName(name);
  if (!hubName) return null;
  const cache = hubCache(environment);
  const missing: { file: HubFile; place: string }[] = [];
  const found = new Map<SpokenPart | ExtraPart, string>();
  for (const file of filesOf(hubName, usedExtras)) {
    const { path, place } = findFile(cache.folder, file);
    const extra = usedExtras.some((part) => part === file.part);
    if (path === null && extra) continue;
    if (path === null) missing.push({ file, place });
    // A part is named by its first file; EnCodec's configuration lies beside its weights.
    else if (!found.has(file.part)) found.set(file.part, path);
  }
  for (const { file } of missing) found.delete(file.part);
  const paths = Object.fromEntries(
    [...spokenParts, ...usedExtras].map((part) => [part, found.get(part) ?? null]),
  ) as HubPaths;
  return { name, paths, missing, cache };
}

/** The path of a file in the cache, or null and the words where it would be. */
export function findFile(
  cache: string,
  file: HubFile,
): { path: string | null; place: string; commit: string | null } {
  const commit = cachedCommit(cache, file);
  if (commit === null)
    return {
      path: null,
      commit,
      place: `${file.path} of ${file.repository}: no ${join('refs', file.revision)} in ${repositoryFolder(cache, file.repository)}`,
    };
  const path = join(snapshotFolder(cache, file.repository, commit), ...file.path.split('/'));
  return { path: sizeOf(path) === null ? null : path, place: path, commit };
}

const sizeWords = (bytes: number): string =>
  bytes < 1e9 ? `${Math.ceil(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;

/** What was looked for, where, and the command that mends it. */
export function hubModelNotFound({ name, missing, cache }: HubModel): MetaVoiceError {
  const places = [`${resolve(name)} (a folder)`, ...missing.map(({ place }) => place)];
  const command = `npx metavoice download ${name}`;
  const decides = cache.variable
    ? `The cache is where ${cache.variable} says`
    : 'None of HF_HUB_CACHE, HF_HOME and XDG_CACHE_HOME is set, so the cache is in the home folder';
  const bytes = missing.reduce((sum, { file }) => sum + file.approximateBytes, 0);
  const parts = [...new Set(missing.map(({ file }) => file.path))];
  return new MetaVoiceError(
    'ERR_MODEL_NOT_FOUND',
    `no model at ${name}: there is no such folder, and the Hugging Face cache lacks ${parts.join(', ')}. Looked for:${places.map((place) => `\n  ${place}`).join('')}\n${decides} (${cache.folder}). Fetch what is missing (about ${sizeWords(bytes)}) with \`${command}\`, or load with \`download: true\`.`,
    {
      details: {
        model: name,
        places,
        cache: cache.folder,
        missing: missing.map(({ file }) => `${file.repository}/${file.path}`),
        command,
      },
    },
  );
}

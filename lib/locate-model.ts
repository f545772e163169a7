/** What the name of a model stands for: a folder, or files of the hub in the Hugging Face cache. */

import { existsSync } from 'node:fs';
import { parseHubName } from './hub/cache.js';
import { filesOf } from './hub/catalogue.js';
import { planDownload, runDownload } from './hub/download.js';
import { findHubModel, type HubModel, type HubPaths, hubModelNotFound } from './hub/model.js';
import type { OnProgress } from './options.js';

/** A path that is there is a path; else a hub id is what the cache has of it. Without network, at once. */
export function locateModel(model: string): string | HubModel {
  return existsSync(model) ? model : (findHubModel(model) ?? model);
}

/**
 * The folder, or the files of a hub id; what is missing of them is fetched only with `download`.
 *
 * Rejects with ERR_MODEL_NOT_FOUND, ERR_DOWNLOAD, the signal's own reason.
 */
export async function findModel(
  model: string,
  options: { download: boolean; signal: AbortSignal | null; onProgress: OnProgress | null },
): Promise<string | HubPaths> {
  const located = locateModel(model);
  if (typeof located === 'string') return located;
  if (located.missing.length === 0) return located.paths;
  if (!options.download) throw hubModelNotFound(located);
  await fetchModel(located, options);
  const fetched = findHubModel(model)!;
  // Somebody else may have cleared the cache meanwhile.
  if (fetched.missing.length > 0) throw hubModelNotFound(fetched);
  return fetched.paths;
}

/** Repositories that the cache has whole are not asked about. */
async function fetchModel(
  { name, missing }: HubModel,
  { signal, onProgress }: { signal: AbortSignal | null; onProgress: OnProgress | null },
): Promise<void> {
  const options = {
    ...(signal && { signal }),
    ...(onProgress && {
      onProgress: (progress: { file: string; bytes: number; totalBytes: number }) =>
        onProgress({ phase: 'download', ...progress }),
    }),
  };
  const wanted = new Set(missing.map(({ file }) => file.repository));
  const files = filesOf(parseHubName(name)!).filter(({ repository }) => wanted.has(repository));
  await runDownload(await planDownload(files, options), options);
}

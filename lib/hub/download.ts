/** Fetches the files of a model from the hub into the Hugging Face cache. */

import { mkdir, rename, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MetaVoiceError } from '../errors.js';
import { cachedCommit, repositoryFolder, sizeOf, snapshotFolder } from './cache.js';
import type { HubFile } from './catalogue.js';
import { type Content, describeFiles } from './describe.js';
import { hubCache, isOffline } from './environment.js';
import { fetchContent } from './fetch-content.js';
import { withLock } from './lock.js';
import { findFile } from './model.js';
import { HubSession, type SessionOptions } from './session.js';
import { placeFile, writeRef } from './snapshot.js';

/** `bytes` of `totalBytes`, over all files that are fetched; `file` is the one in hand. */
export interface DownloadProgress {
  readonly file: string;
  readonly bytes: number;
  readonly totalBytes: number;
}

export interface DownloadOptions extends SessionOptions {
  onProgress?: ((progress: DownloadProgress) => void) | undefined;
}

export interface PlannedFile {
  readonly file: HubFile;
  readonly bytes: number;
  /** In the snapshot. */
  readonly path: string;
  /** What the hub's page names, where the catalogue names none. */
  readonly licence: string | null;
  readonly commit: string;
  /** Null where nothing need be fetched. */
  readonly content: Content | null;
}

export interface DownloadPlan {
  readonly cache: string;
  readonly files: readonly PlannedFile[];
  /** Of all files, and of those that are not here. */
  readonly bytes: number;
  readonly missingBytes: number;
}

/**
 * Asks the hub for sizes and hashes and looks at what is here. Offline, what is here must be all.
 *
 * Rejects with ERR_DOWNLOAD or the signal's own reason.
 */
export async function planDownload(
  files: readonly HubFile[],
  options: DownloadOptions = {},
): Promise<DownloadPlan> {
  options.signal?.throwIfAborted();
  const { folder: cache } = hubCache(options.environment);
  if (isOffline(options.environment)) return planOffline(files, cache);
  const session = await HubSession.open(options);
  try {
    const planned: PlannedFile[] = [];
    for (const group of byRepository(files)) planned.push(...(await describeGroup(session, group, cache)));
    return withSums(cache, planned);
  } finally {
    await session.close();
  }
}

/** The files of each repository at each revision, in their order. */
export function byRepository(files: readonly HubFile[]): HubFile[][] {
  const groups = new Map<string, HubFile[]>();
  for (const file of files) {
    const key = `${file.repository}@${file.revision}`;
    groups.set(key, [...(groups.get(key) ?? []), file]);
  }
  return [...groups.values()];
}

async function describeGroup(session: HubSession, group: HubFile[], cache: string): Promise<PlannedFile[]> {
  const paths = group.map(({ path }) => path);
  const { commit, licence, contents } = await describeFiles(session, group[0]!, paths);
  return group.map((file) => {
    const content = contents.get(file.path)!;
    requireKnown(file, content);
    const path = join(snapshotFolder(cache, file.repository, commit), ...file.path.split('/'));
    const here = sizeOf(path) === content.bytes;
    return { file, bytes: content.bytes, path, licence, commit, content: here ? null : content };
  });
}

/** A file that is pinned by its hash must be that one, whatever the hub says. */
function requireKnown({ repository, path, revision, sha256 }: HubFile, { hash }: Content): void {
  if (sha256 === null || hash === sha256) return;
  throw new MetaVoiceError(
    'ERR_DOWNLOAD',
    `expected SHA-256 ${sha256} for ${path} of ${repository} at ${revision} but the hub states ${hash}; this version of metavoice takes no other file`,
    { details: { repository, file: path, expected: sha256, found: hash } },
  );
}

function planOffline(files: readonly HubFile[], cache: string): DownloadPlan {
  const found = files.map((file) => ({ file, ...findFile(cache, file) }));
  const missing = found.filter(({ path }) => path === null);
  if (missing.length > 0)
    throw new MetaVoiceError(
      'ERR_DOWNLOAD',
      `expected ${missing.map(({ file }) => `${file.repository}/${file.path}`).join(', ')} in the cache ${cache}, because HF_HUB_OFFLINE forbids to fetch, but found:${missing.map(({ place }) => `\n  nothing at ${place}`).join('')}\nUnset HF_HUB_OFFLINE, or copy the cache of a machine that has the files`,
      { details: { cache, missing: missing.map(({ place }) => place) } },
    );
  const planned = found.map(({ file, path, commit }) => ({
    file,
    bytes: sizeOf(path!) ?? 0,
    path: path!,
    licence: null,
    commit: commit!,
    content: null,
  }));
  return withSums(cache, planned);
}

function withSums(cache: string, files: readonly PlannedFile[]): DownloadPlan {
  const sum = (some: readonly PlannedFile[]) => some.reduce((total, { bytes }) => total + bytes, 0);
  return { cache, files, bytes: sum(files), missingBytes: sum(files.filter(({ content }) => content)) };
}

/**
 * Fetches what a plan lacks. An interrupted download leaves what it has, and the next goes on from there; any number of
 * processes may do so at once.
 *
 * Rejects with ERR_DOWNLOAD, the errors of the file system, or the signal's own reason.
 */
export async function runDownload(plan: DownloadPlan, options: DownloadOptions = {}): Promise<void> {
  options.signal?.throwIfAborted();
  const { cache, files, missingBytes: totalBytes } = plan;
  const missing = files.filter(({ content }) => content !== null);
  if (missing.length > 0) await requireRoom(plan);
  const session = missing.length > 0 ? await HubSession.open(options) : null;
  try {
    let done = 0;
    for (const planned of missing) {
      const file = `${planned.file.repository}/${planned.file.path}`;
      await fetchFile(session!, cache, planned, planned.content!, (bytes) =>
        options.onProgress?.({ file, bytes: done + bytes, totalBytes }),
      );
      done += planned.bytes;
    }
  } finally {
    await session?.close();
  }
  // A cache that nothing is new in may be one that cannot be written.
  for (const { file, commit } of files)
    if (cachedCommit(cache, file) !== commit) await writeRef(cache, file, commit);
}

async function fetchFile(
  session: HubSession,
  cache: string,
  { file, path, commit }: PlannedFile,
  content: Content,
  report: (bytes: number) => void,
): Promise<void> {
  const { repository } = file;
  const blob = blobOf(cache, repository, content);
  const name = file.path.split('/').map(encodeURIComponent).join('/');
  const wanted = {
    name: `${file.path} of ${repository}`,
    url: `${session.endpoint}/${repository}/resolve/${commit}/${name}`,
    content,
  };
  const lockFile = join(cache, '.locks', `models--${repository.replace('/', '--')}`, `${content.hash}.lock`);
  await mkdir(dirname(blob), { recursive: true });
  const aborted = () => session.throwIfAborted();
  for (let placed = false; !placed; ) {
    placed = await withLock(lockFile, blob, aborted, async (lock) => {
      if (sizeOf(path) === content.bytes) return true;
      const fetched = sizeOf(blob) !== content.bytes;
      if (fetched) {
        await fetchContent(session, wanted, `${blob}.incomplete`, report);
        // Who slept so long that another took the lock over leaves the place to that one.
        if (!(await lock.isMine())) return false;
        await rename(`${blob}.incomplete`, blob).catch((error: unknown) => {
          if (sizeOf(blob) !== content.bytes) throw error;
        });
      }
      await placeFile(blob, path, { fetched });
      return true;
    });
  }
  report(content.bytes);
}

const blobOf = (cache: string, repository: string, { hash }: Content): string =>
  join(repositoryFolder(cache, repository), 'blobs', hash);

/** Refuses before the first byte what the disk has no room for. */
async function requireRoom({ cache, files }: DownloadPlan): Promise<void> {
  const needed = files.reduce((total, { file, bytes, content }) => {
    if (content === null) return total;
    const blob = blobOf(cache, file.repository, content);
    return total + bytes - Math.min(bytes, sizeOf(blob) ?? sizeOf(`${blob}.incomplete`) ?? 0);
  }, 0);
  if (needed === 0) return;
  await mkdir(cache, { recursive: true });
  const { bavail, bsize } = await statfs(cache);
  const free = bavail * bsize;
  if (free >= needed) return;
  throw new MetaVoiceError(
    'ERR_DOWNLOAD',
    `expected ${needed} free bytes (${(needed / 1e9).toFixed(1)} GB) in ${cache} but found ${free} (${(free / 1e9).toFixed(1)} GB); make room, or set HF_HUB_CACHE to a folder on another disk`,
    { details: { cache, expected: needed, found: free } },
  );
}

/**
 * The Hugging Face cache as Python's client lays it out, read without network and at once:
 * `models--org--name/refs/<revision>` names a commit, `snapshots/<commit>/<path>` is the file, or a link to
 * `blobs/<hash>`.
 */

import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** A repository at a revision: a branch, a tag, or a commit. */
export interface HubName {
  readonly repository: string;
  readonly revision: string;
}

export const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);

/** Whether the hub would take it as the name of a revision, and a path may be made of it. */
export const isRevision = (revision: string): boolean =>
  /^[A-Za-z0-9_][\w.-]*(?:\/[A-Za-z0-9_][\w.-]*)*$/.test(revision) && !revision.includes('..');

/** Reads `org/name` or `org/name@revision`; null for what is no such name. */
export function parseHubName(name: string): HubName | null {
  const [, repository, revision = 'main'] = /^([\w.-]+\/[\w.-]+)(?:@(.+))?$/.exec(name) ?? [];
  if (repository === undefined || repository.length > 96 || !isRevision(revision)) return null;
  // What the hub itself refuses: `.` and `-` at an end, and signs that the folder's name could not tell apart.
  const sound = repository.split('/').every((word) => /^\w(?:.*\w)?$/.test(word));
  return sound && !/--|\.\./.test(repository) ? { repository, revision } : null;
}

export const repositoryFolder = (cache: string, repository: string): string =>
  join(cache, `models--${repository.replace('/', '--')}`);

export const snapshotFolder = (cache: string, repository: string, commit: string): string =>
  join(repositoryFolder(cache, repository), 'snapshots', commit);

export const refFile = (cache: string, { repository, revision }: HubName): string =>
  join(repositoryFolder(cache, repository), 'refs', revision);

/** The commit that a revision stands for in the cache; null where the cache does not know. */
export function cachedCommit(cache: string, name: HubName): string | null {
  if (isCommit(name.revision)) return name.revision;
  try {
    const commit = readFileSync(refFile(cache, name), 'utf8').trim();
    return isCommit(commit) ? commit : null;
  } catch {
    return null;
  }
}

/** The size of a file in bytes, links followed; null where there is none. */
export function sizeOf(path: string): number | null {
  try {
    const facts = statSync(path);
    return facts.isFile() ? facts.size : null;
  } catch {
    return null;
  }
}

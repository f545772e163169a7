/** What the hub states about files: their commit, their lengths and their hashes. */

import { MetaVoiceError } from '../errors.js';
import { type HubName, isCommit } from './cache.js';
import { type HubSession, lost, Passing } from './session.js';

/** The content that a file must have. Its hash is also the name of the blob in the cache. */
export interface Content {
  readonly bytes: number;
  /** `git` is the SHA-1 of a git blob, which the hub states for small files; large ones have their SHA-256. */
  readonly algorithm: 'sha256' | 'git';
  readonly hash: string;
}

export interface Described {
  readonly commit: string;
  /** As the repository's page has it, such as `apache-2.0`; null where it has none. */
  readonly licence: string | null;
  readonly contents: ReadonlyMap<string, Content>;
}

/** Asks the hub for a repository's commit at a revision and for files of it. Rejects with ERR_DOWNLOAD, the signal's reason. */
export async function describeFiles(
  session: HubSession,
  name: HubName,
  paths: readonly string[],
): Promise<Described> {
  const { repository, revision } = name;
  const hub = await import('@huggingface/hub');
  const common = { hubUrl: session.endpoint, fetch: fetchOf(session) };
  const what = `${repository} at ${revision}`;
  const { sha, cardData } = await ask(session, what, () =>
    hub.modelInfo({ ...common, name: repository, revision, additionalFields: ['sha', 'cardData'] }),
  );
  // What follows is asked of the commit, so that all of it is of one state of the repository.
  if (typeof sha !== 'string' || !isCommit(sha)) throw unclear(session, what, 'the commit', sha);
  const found = await ask(session, what, () =>
    hub.pathsInfo({
      ...common,
      repo: { type: 'model', name: repository },
      paths: [...paths],
      revision: sha,
    }),
  );
  const contents = new Map<string, Content>();
  for (const path of paths) {
    const entry = found.find((item) => item.path === path && item.type === 'file');
    if (!entry) throw noSuchFile(name, path, sha);
    contents.set(path, contentOf(session, `${path} of ${what}`, entry));
  }
  const licence = cardData?.license;
  return { commit: sha, licence: typeof licence === 'string' ? licence : null, contents };
}

/** The hub client's own fetch would know neither token nor proxy, and its errors not what to do. */
function fetchOf(session: HubSession): typeof fetch {
  const send = (
    url: unknown,
    init: { method?: string; headers?: Record<string, string>; body?: string } = {},
  ) => session.send(String(url), { method: init.method, headers: init.headers, body: init.body });
  return send as unknown as typeof fetch;
}

function ask<T>(session: HubSession, what: string, question: () => Promise<T>): Promise<T> {
  return session.retry(`what ${session.endpoint} states about ${what}`, async () => {
    try {
      return await question();
    } catch (error) {
      session.throwIfAborted();
      if (error instanceof Passing || MetaVoiceError.isInstance(error)) throw error;
      // A connection cut inside the answer is a TypeError; the rest is an answer that is none.
      if (error instanceof TypeError && error.cause) throw lost(session.endpoint, error);
      throw unclear(session, what, 'an answer in JSON', (error as Error).message);
    }
  });
}

interface Entry {
  readonly oid?: string | undefined;
  readonly size: number;
  readonly lfs?: { readonly oid: string; readonly size: number } | undefined;
}

/** Checked strictly: a hash becomes the name of a file. */
function contentOf(session: HubSession, what: string, { oid, size, lfs }: Entry): Content {
  const bytes = lfs ? lfs.size : size;
  const hash = String(lfs ? lfs.oid : oid).replace(/^sha256:/, '');
  if (!Number.isSafeInteger(bytes) || bytes < 0) throw unclear(session, what, 'a length in bytes', bytes);
  if (!(lfs ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(hash))
    throw unclear(session, what, `a ${lfs ? 'SHA-256' : 'git'} hash`, hash);
  return { bytes, algorithm: lfs ? 'sha256' : 'git', hash };
}

function unclear(session: HubSession, what: string, expected: string, found: unknown): MetaVoiceError {
  return new MetaVoiceError(
    'ERR_DOWNLOAD',
    `expected ${expected} for ${what} from ${session.endpoint} but found ${String(found).slice(0, 100)}; is HF_ENDPOINT a hub, and no proxy in between that answers itself?`,
    { details: { expected, found, endpoint: session.endpoint } },
  );
}

function noSuchFile({ repository, revision }: HubName, path: string, commit: string): MetaVoiceError {
  return new MetaVoiceError(
    'ERR_DOWNLOAD',
    `expected the file ${path} in ${repository} at ${revision} but it is not among the files of commit ${commit.slice(0, 8)}; is that a MetaVoice model?`,
    { details: { repository, revision, file: path, commit } },
  );
}

/** One file from the hub, whole and checked, or not at all; an interrupted one goes on where it was. */

import { rm } from 'node:fs/promises';
import type { Response } from 'undici';
import { MetaVoiceError } from '../errors.js';
import type { Content } from './describe.js';
import { PartialFile } from './partial-file.js';
import { type HubSession, lost, Passing } from './session.js';

/** An attempt that gets no further than this counts as failed, so that a server of one byte a time comes to an end. */
const worthwhile = 1 << 20;

export interface Wanted {
  /** In words: `first_stage.pt of org/name`. */
  readonly name: string;
  readonly url: string;
  readonly content: Content;
}

/**
 * Fills `path` with the content, resuming what is there, and leaves it complete and checked. What is not what the hub
 * states is removed. `onBytes` learns how many bytes of the file are there.
 *
 * Rejects with ERR_DOWNLOAD or the signal's own reason.
 */
export async function fetchContent(
  session: HubSession,
  wanted: Wanted,
  path: string,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const partial = await PartialFile.open(path, wanted.content, () => session.throwIfAborted());
  let wrong = false;
  try {
    onBytes(partial.position);
    await fill(session, wanted, partial, onBytes);
    await partial.settle();
  } catch (error) {
    wrong = error instanceof Wrong;
    throw error instanceof Wrong ? error.error : asDownloadError(error, path);
  } finally {
    await partial.close();
    if (wrong || (partial.position === 0 && !partial.isWhole)) await rm(path, { force: true });
  }
}

/** What came is not what the hub states: nothing of it may stay. */
class Wrong extends Error {
  readonly error: MetaVoiceError;

  constructor(name: string, expected: string, found: string) {
    super();
    this.error = new MetaVoiceError(
      'ERR_DOWNLOAD',
      `expected ${expected} for ${name}, as the hub states, but received ${found}; what came was removed: try again, and look for a proxy or mirror (HF_ENDPOINT) that alters files if it stays so`,
      { details: { file: name, expected, found } },
    );
  }
}

/** Told before anything of it is written: what is here stays. */
const wrongLength = (name: string, expected: number, found: string) =>
  new MetaVoiceError(
    'ERR_DOWNLOAD',
    `expected ${expected} bytes for ${name}, as the hub states, but the server offers ${found}; a proxy, a mirror (HF_ENDPOINT) or a sign-in page in between alters files: try again without it`,
    { details: { file: name, expected, found: Number(found) } },
  );

async function fill(
  session: HubSession,
  wanted: Wanted,
  partial: PartialFile,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const { name, content } = wanted;
  let again = true;
  let furthest = partial.position;
  for (let failures = 0; ; ) {
    try {
      if (!partial.isWhole) await transfer(session, wanted, partial, onBytes);
      if (partial.hash() === content.hash) return;
    } catch (error) {
      failures = partial.position - furthest >= worthwhile ? 1 : failures + 1;
      furthest = Math.max(furthest, partial.position);
      await session.recover(error, failures, `${name} (${content.bytes} bytes)`);
      continue;
    }
    // Pieces of different times may not belong together, so they are fetched once more in one go.
    const kind = content.algorithm === 'sha256' ? 'SHA-256' : 'git hash';
    if (partial.inOneGo || !again) throw new Wrong(name, `${kind} ${content.hash}`, partial.hash());
    again = false;
    furthest = 0;
    await partial.restart();
  }
}

/** One answer of the server, as far as it goes. */
async function transfer(
  session: HubSession,
  wanted: Wanted,
  partial: PartialFile,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const { url, content } = wanted;
  const range: Record<string, string> = partial.position > 0 ? { range: `bytes=${partial.position}-` } : {};
  const response = await session.send(url, { headers: { 'accept-encoding': 'identity', ...range } });
  const reader = response.body?.getReader();
  const read = async (): Promise<Uint8Array | undefined> => {
    try {
      return (await reader?.read())?.value;
    } catch (error) {
      session.throwIfAborted();
      throw lost(response.url || url, error);
    }
  };
  try {
    await agreeOnStart(response, wanted, partial);
    if (partial.position > 0) partial.inOneGo = false;
    await receive(session, wanted, partial, read, onBytes);
  } catch (error) {
    await reader?.cancel().catch(() => {});
    throw error;
  }
  if (!partial.isWhole)
    throw new Passing(
      `${new URL(url).host} ended the answer at byte ${partial.position} of ${content.bytes}`,
    );
}

async function receive(
  session: HubSession,
  { name, content }: Wanted,
  partial: PartialFile,
  read: () => Promise<Uint8Array | undefined>,
  onBytes: (bytes: number) => void,
): Promise<void> {
  let reported = partial.position;
  for (let bytes = await read(); bytes; bytes = await read()) {
    if (!partial.hasRoomFor(bytes.length))
      throw new Wrong(name, `${content.bytes} bytes`, `at least ${partial.position + bytes.length}`);
    await partial.write(bytes);
    session.throwIfAborted();
    if (partial.position - reported < worthwhile && !partial.isWhole) continue;
    reported = partial.position;
    onBytes(reported);
  }
}

/** Where the answer begins and how long the file is by it; a server that knows no ranges begins at the start. */
async function agreeOnStart(
  response: Response,
  { name, content }: Wanted,
  partial: PartialFile,
): Promise<void> {
  const { status, headers } = response;
  const lie = (found: string) => wrongLength(name, content.bytes, found);
  if (status === 206) {
    const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get('content-range') ?? '') ?? [];
    if (total !== undefined && total !== '*' && Number(total) !== content.bytes) throw lie(`${total}`);
    if (Number(start) === partial.position) return;
  }
  if (status === 200) {
    const encoded = (headers.get('content-encoding') ?? 'identity') !== 'identity';
    const length = headers.get('content-length');
    if (!encoded && length !== null && Number(length) !== content.bytes) throw lie(length);
    if (partial.position > 0) await partial.restart();
    return;
  }
  // 416, or a range that nobody asked for: what is here does not fit there.
  await partial.restart();
  throw new Passing(`the server answered ${status} with ${headers.get('content-range') ?? 'no range'}`);
}

function asDownloadError(error: unknown, path: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  return new MetaVoiceError(
    'ERR_DOWNLOAD',
    `expected room for ${path} but the disk is full; what came so far is kept: make room, or set HF_HUB_CACHE to a folder on another disk`,
    { cause: error, details: { file: path } },
  );
}

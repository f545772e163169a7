/**
 * One process at a time fetches a file. The lock lies where Python's client has its own, `.locks/<repository>/<hash>.lock`,
 * but Python's is a `flock`, which Node cannot take: ours is what is written in the file. Two that fetch the same at once
 * do no harm, only work twice; what is put into place is checked by each.
 */

import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** The holder shows every so often (ms) that it lives. */
const beat = 10_000;
/** One that has not for so long (ms) is dead, or as good as dead. */
const stale = 60_000;
/** A lock without words counts for so long after it was made (ms), */
const fresh = 1_000;
/** and while a file beside the blob has grown within so long (ms). */
const quiet = 5_000;
const poll = 100;

export interface Lock {
  /** Whether nobody took it over meanwhile, believing us dead. */
  isMine(): Promise<boolean>;
}

interface Holder {
  pid: number;
  host: string;
  id: string;
}

/**
 * Waits for the lock, works, gives it back. A lock of a dead process is taken over.
 *
 * @param blob what is being fetched; `<blob>*.incomplete` beside it grows meanwhile
 */
export async function withLock<T>(
  path: string,
  blob: string,
  throwIfAborted: () => void,
  work: (lock: Lock) => Promise<T>,
): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  const mine = JSON.stringify({ pid: process.pid, host: hostname(), id: randomUUID() } satisfies Holder);
  while (!(await create(path, mine))) {
    throwIfAborted();
    const found = await look(path);
    if (found && !(await isHeld(found, blob))) await takeAway(path, found.text);
    else await sleep(poll);
  }
  const show = () => utimes(path, new Date(), new Date()).catch(() => {});
  const heart = setInterval(show, beat);
  heart.unref();
  // Python empties the file when it locks it, too; only another holder's words mean that it is lost.
  const isMine = async () => [mine, '', undefined].includes((await look(path))?.text);
  try {
    return await work({ isMine });
  } finally {
    clearInterval(heart);
    if ((await look(path))?.text === mine) await rm(path, { force: true });
  }
}

async function create(path: string, text: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx');
    try {
      await file.writeFile(text);
    } finally {
      await file.close();
    }
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

interface Found {
  text: string;
  modified: number;
}

async function look(path: string): Promise<Found | null> {
  try {
    const [text, { mtimeMs }] = await Promise.all([readFile(path, 'utf8'), stat(path)]);
    return { text, modified: mtimeMs };
  } catch {
    return null;
  }
}

async function isHeld({ text, modified }: Found, blob: string): Promise<boolean> {
  const holder = parseHolder(text);
  const now = Date.now();
  // An empty file is Python's, held or left behind, or one of ours in the moment before it is written.
  if (!holder) return now - modified < fresh || now - (await lastGrowth(blob)) < quiet;
  if (holder.host === hostname() && !isAlive(holder.pid)) return false;
  return now - modified < stale;
}

function parseHolder(text: string): Holder | null {
  try {
    const holder = JSON.parse(text) as Holder | null;
    return Number.isInteger(holder?.pid) && typeof holder?.host === 'string' ? holder : null;
  } catch {
    return null;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** When bytes were last written for a blob; its file has a name of its own in each version of Python's client. */
async function lastGrowth(blob: string): Promise<number> {
  const names = await readdir(dirname(blob)).catch(() => []);
  const growing = names.filter((name) => name.startsWith(basename(blob)) && name.endsWith('.incomplete'));
  const times = await Promise.all(
    growing.map((name) =>
      stat(join(dirname(blob), name)).then(
        ({ mtimeMs }) => mtimeMs,
        () => 0,
      ),
    ),
  );
  return Math.max(0, ...times);
}

/** Removes the lock that was seen, and no other: one that came between is put back. */
async function takeAway(path: string, seen: string): Promise<void> {
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
    if ((await look(aside))?.text !== seen) await link(aside, path);
  } catch {
    // Somebody else was faster.
  } finally {
    await rm(aside, { force: true });
  }
}

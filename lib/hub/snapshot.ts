/** Puts what was fetched into its place in the cache, as Python's client does. */

import { copyFile, mkdir, rename, rm, symlink } from 'node:fs/promises';
import { dirname, relative } from 'node:path';
import { writeAtomically } from '../files.js';
import { type HubName, isCommit, refFile, sizeOf } from './cache.js';

/**
 * Makes the snapshot's file point at its blob. Where links cannot be made the file itself lies there: moved when it was
 * just fetched, copied when another snapshot may have it.
 */
export async function placeFile(
  blob: string,
  pointer: string,
  options: { fetched: boolean; link?: typeof symlink },
): Promise<void> {
  const { fetched, link = symlink } = options;
  await mkdir(dirname(pointer), { recursive: true });
  const bytes = sizeOf(blob);
  for (let attempt = 0; ; attempt++) {
    try {
      return await link(relative(dirname(pointer), blob), pointer, 'file');
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EEXIST') return putThere(blob, pointer, fetched);
      // Another process may have made it; what points nowhere, or at other bytes, gives way.
      if (sizeOf(pointer) === bytes) return;
      if (attempt > 0) throw error;
      await rm(pointer, { force: true });
    }
  }
}

async function putThere(blob: string, pointer: string, fetched: boolean): Promise<void> {
  if (fetched) return rename(blob, pointer);
  const temporary = `${pointer}.${process.pid}.incomplete`;
  await copyFile(blob, temporary);
  await rename(temporary, pointer);
}

/** Remembers which commit a branch or a tag stands for. Written last: whoever follows it finds the files. */
export async function writeRef(cache: string, name: HubName, commit: string): Promise<void> {
  if (isCommit(name.revision)) return;
  const path = refFile(cache, name);
  await mkdir(dirname(path), { recursive: true });
  await writeAtomically(path, async (file) => {
    await file.writeFile(commit);
  });
}

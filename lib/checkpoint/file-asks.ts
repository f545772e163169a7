/** What readers ask of the file system. Answers fail with its errno errors. */

import { readdirSync, type Stats, statSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import type { Ask } from './reading.js';

export const statOf = (path: string): Ask<Stats> => ({ sync: () => statSync(path), async: () => stat(path) });

export const namesIn = (folder: string): Ask<string[]> => ({
  sync: () => readdirSync(folder),
  async: () => readdir(folder),
});

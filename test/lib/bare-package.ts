/** The package without the model that ships with it, as whoever repacks it may leave it. */

import { cpSync, existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Makes it in `folder`: compiled code copied, so that it looks for `voices` beside itself; all else linked. */
export function barePackage(folder: string): {
  file: (name: string) => string;
  url: (name: string) => string;
} {
  mkdirSync(folder, { recursive: true });
  for (const name of ['dist', 'package.json'])
    cpSync(join(root, name), join(folder, name), { recursive: true });
  for (const name of ['lib', 'node_modules', 'build', 'prebuilds'])
    if (existsSync(join(root, name))) symlinkSync(join(root, name), join(folder, name), 'dir');
  const file = (name: string) => join(folder, name);
  return { file, url: (name) => pathToFileURL(file(name)).href };
}

/** The package's own resolver, from the sources in a clone and from dist in an installed package. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Complaint, root, say } from './log.mjs';

/** @param {string} name */
const load = (name) => {
  const source = join(root, 'lib', 'runtime', name);
  return import(pathToFileURL(existsSync(source) ? source : join(root, 'dist', 'runtime', name)).href);
};

/**
 * A libtorch to build against; fetched into the cache when there is none and nobody ordered a special one.
 *
 * @param {string} [option]
 * @returns {Promise<{ directory: string, version: string, cuda: boolean, source: string }>}
 */
export async function findLibtorch(option) {
  const { explainRefusals, pinnedVersion, resolveLibtorch } = await load('libtorch.js');
  const { found, refused } = await resolveLibtorch(option === undefined ? {} : { option });
  if (found) return found;
  if (option !== undefined || process.env.METAVOICE_LIBTORCH)
    throw new Complaint(`the libtorch that was asked for cannot be used:\n${explainRefusals(refused)}`);

  say(`no libtorch found:\n${explainRefusals(refused)}`);
  say(`fetching libtorch ${pinnedVersion} (CPU) with pip, about 200 MB; it is kept for all projects`);
  const { installManaged } = await load('install.js');
  try {
    return await installManaged({ onProgress: progressLine() });
  } catch (error) {
    throw new Complaint(error instanceof Error ? error.message : String(error));
  }
}

/** Each message once, and the share of a download in steps of ten percent. */
export function progressLine() {
  let last = '';
  /** @param {{ message: string, loaded?: number, total?: number }} progress */
  return ({ message, loaded, total }) => {
    const share = loaded !== undefined && total ? ` ${Math.floor((loaded / total) * 10) * 10} %` : '';
    const line = `${message}${share}`;
    if (line !== last) say(`  ${line}`);
    last = line;
  };
}

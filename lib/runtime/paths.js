import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * The folder for everything that can be made or fetched again: libtorch, converted models, voices.
 * `METAVOICE_CACHE` wins, then `XDG_CACHE_HOME`, then the habit of the platform. It need not exist yet.
 *
 * @param {Record<string, string | undefined>} [env]
 * @returns {string}
 */
export function cacheDirectory(env = process.env) {
  if (env.METAVOICE_CACHE) return env.METAVOICE_CACHE;
  if (env.XDG_CACHE_HOME) return join(env.XDG_CACHE_HOME, 'metavoice');
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Caches', 'metavoice');
  if (process.platform === 'win32')
    return join(env.LOCALAPPDATA ?? join(homedir(), 'AppData', 'Local'), 'metavoice', 'Cache');
  return join(homedir(), '.cache', 'metavoice');
}

/** The environment variables of the Hugging Face clients, read as Python's client reads them. An empty one is absent. */

import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { MetaVoiceError } from '../errors.js';

export type Environment = Readonly<Record<string, string | undefined>>;

/** The folder of the cache, and which variable says so; null where none does. */
export interface HubCache {
  readonly folder: string;
  readonly variable: string | null;
}

/** `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME/hub`, `XDG_CACHE_HOME/huggingface/hub`, `~/.cache/huggingface/hub`. */
export function hubCache(environment: Environment = process.env): HubCache {
  for (const variable of ['HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE']) {
    const folder = environment[variable];
    if (folder) return { folder: expandHome(folder), variable };
  }
  const variable = ['HF_HOME', 'XDG_CACHE_HOME'].find((name) => environment[name]) ?? null;
  return { folder: join(hubHome(environment), 'hub'), variable };
}

function hubHome(environment: Environment): string {
  if (environment.HF_HOME) return expandHome(environment.HF_HOME);
  const caches = environment.XDG_CACHE_HOME
    ? expandHome(environment.XDG_CACHE_HOME)
    : join(homedir(), '.cache');
  return join(caches, 'huggingface');
}

const expandHome = (path: string): string => path.replace(/^~(?=$|[/\\])/, () => homedir());

/** `HF_HUB_OFFLINE` as Python understands it: 1, ON, YES or TRUE. */
export const isOffline = (environment: Environment = process.env): boolean =>
  /^(?:1|on|yes|true)$/i.test(environment.HF_HUB_OFFLINE ?? '');

/** The address of the hub, without a slash at the end: `HF_ENDPOINT`, else huggingface.co. Throws ERR_DOWNLOAD. */
export function hubEndpoint(environment: Environment = process.env): string {
  const given = environment.HF_ENDPOINT;
  if (!given) return 'https://huggingface.co';
  const url = URL.canParse(given) ? new URL(given) : null;
  if (url && /^https?:$/.test(url.protocol) && !url.username && !url.password && !url.search && !url.hash)
    return given.trim().replace(/\/+$/, '');
  throw new MetaVoiceError(
    'ERR_DOWNLOAD',
    'expected an address such as https://huggingface.co, without a user name, in HF_ENDPOINT; correct the variable or unset it',
    { details: { variable: 'HF_ENDPOINT' } },
  );
}

export interface HubToken {
  readonly value: string;
  /** Where it was found, for messages; the token itself is in none. */
  readonly source: string;
}

/** `HF_TOKEN`, else the file of `HF_TOKEN_PATH`, else `HF_HOME/token`. Throws ERR_DOWNLOAD for what can be no token. */
export function hubToken(environment: Environment = process.env): HubToken | null {
  const given = environment.HF_TOKEN?.trim();
  const path = environment.HF_TOKEN_PATH
    ? expandHome(environment.HF_TOKEN_PATH)
    : join(hubHome(environment), 'token');
  const source = given ? 'HF_TOKEN' : path;
  const value = given || readToken(path);
  if (!value) return null;
  // Anything else cannot be sent in a header, and the refusal of it would show the secret.
  if (/^[\x21-\x7e]+$/.test(value)) return { value, source };
  throw new MetaVoiceError(
    'ERR_DOWNLOAD',
    `expected a token of letters, digits and signs without spaces in ${source} but found other characters; make it hold the token alone`,
    { details: { source } },
  );
}

function readToken(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

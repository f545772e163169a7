/** One conversation with the hub: token, proxies, timeouts, and what its refusals mean. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Dispatcher, Response } from 'undici';
import { MetaVoiceError } from '../errors.js';
import { type Environment, type HubToken, hubEndpoint, hubToken } from './environment.js';

/** Attempts in a row that may bring nothing before it is given up. */
export const attempts = 5;

export interface SessionOptions {
  environment?: Environment | undefined;
  signal?: AbortSignal | undefined;
  /** Pause before the second attempt, doubled before each further one. In milliseconds. */
  pause?: number | undefined;
  /** No headers or no bytes for so long, in milliseconds: the connection is given up. */
  silence?: number | undefined;
}

/** A failure that another attempt may mend. */
export class Passing extends Error {
  /** How long the server asks to wait, in milliseconds. */
  readonly wait: number | null;

  constructor(message: string, options: { cause?: unknown; wait?: number | null } = {}) {
    super(message, { cause: options.cause });
    this.wait = options.wait ?? null;
  }
}

export interface SendOptions {
  method?: string | undefined;
  headers?: Record<string, string> | undefined;
  body?: string | undefined;
}

export class HubSession {
  readonly endpoint: string;
  readonly #token: HubToken | null;
  readonly #pause: number;
  readonly #undici: typeof import('undici');
  readonly #dispatcher: Dispatcher;
  // An AbortSignal of another realm is no AbortSignal to fetch, so one of ours follows it.
  readonly #control = new AbortController();
  readonly #unfollow: () => void;

  private constructor(undici: typeof import('undici'), options: SessionOptions) {
    const { environment = process.env, signal, pause = 500, silence = 60_000 } = options;
    this.endpoint = hubEndpoint(environment);
    this.#token = hubToken(environment);
    this.#pause = pause;
    this.#undici = undici;
    this.#dispatcher = makeDispatcher(undici, environment, silence);
    const follow = () => this.#control.abort(signal?.reason);
    signal?.addEventListener('abort', follow, { once: true });
    this.#unfollow = () => signal?.removeEventListener('abort', follow);
    if (signal?.aborted) follow();
  }

  /** Nothing is sent yet. Throws ERR_DOWNLOAD for a token, an endpoint or a proxy that can be none. */
  static async open(options: SessionOptions): Promise<HubSession> {
    return new HubSession(await import('undici'), options);
  }

  throwIfAborted(): void {
    if (this.#control.signal.aborted) throw this.#control.signal.reason;
  }

  /**
   * One attempt. Redirects are followed, and the token stays with the hub. Throws Passing, ERR_DOWNLOAD, the signal's
   * own reason.
   */
  async send(url: string, { method = 'GET', headers = {}, body }: SendOptions = {}): Promise<Response> {
    this.throwIfAborted();
    const authorization = this.#token && this.#isHub(url) ? `Bearer ${this.#token.value}` : null;
    const response = await this.#undici
      .fetch(url, {
        method,
        headers: { 'user-agent': 'metavoice', ...headers, ...(authorization && { authorization }) },
        ...(body !== undefined && { body }),
        dispatcher: this.#dispatcher,
        signal: this.#control.signal,
      })
      .catch((error: unknown) => {
        this.throwIfAborted();
        throw lost(url, error);
      });
    if (response.ok || response.status === 416) return response;
    await response.body?.cancel().catch(() => {});
    throw refusal(response, url, this.#token, this.#isHub(response.url || url));
  }

  #isHub(url: string): boolean {
    return new URL(url).origin === new URL(this.endpoint).origin;
  }

  /** Waits before the next attempt; throws ERR_DOWNLOAD when there have been enough, and what no attempt can mend. */
  async recover(error: unknown, failures: number, what: string): Promise<void> {
    this.throwIfAborted();
    if (!(error instanceof Passing)) throw error;
    if (failures >= attempts) throw gaveUp(what, error);
    const wait = Math.min(error.wait ?? this.#pause * 2 ** (failures - 1), 60_000);
    await sleep(wait, undefined, { signal: this.#control.signal }).catch(() => this.throwIfAborted());
  }

  /** The work again and again, while it fails with Passing. */
  async retry<T>(what: string, work: () => Promise<T>): Promise<T> {
    for (let failures = 1; ; failures++) {
      try {
        return await work();
      } catch (error) {
        await this.recover(error, failures, what);
      }
    }
  }

  async close(): Promise<void> {
    this.#unfollow();
    await this.#dispatcher.destroy();
  }
}

/** Goes through the proxies of the environment, and gives a silent connection up. */
function makeDispatcher(
  { EnvHttpProxyAgent }: typeof import('undici'),
  environment: Environment,
  silence: number,
): Dispatcher {
  const variable = (name: string) => environment[name.toLowerCase()] || environment[name] || '';
  try {
    return new EnvHttpProxyAgent({
      httpProxy: variable('HTTP_PROXY'),
      httpsProxy: variable('HTTPS_PROXY'),
      noProxy: variable('NO_PROXY'),
      headersTimeout: silence,
      bodyTimeout: silence,
      connect: { timeout: silence / 2 },
    });
  } catch (cause) {
    throw new MetaVoiceError(
      'ERR_DOWNLOAD',
      'expected an address such as http://host:port in HTTP_PROXY and HTTPS_PROXY; correct the variables or unset them',
      { cause },
    );
  }
}

/** The connection failed: undici's own message is but `fetch failed`, the reason lies below. */
export function lost(url: string, error: unknown): Passing {
  let deepest = error;
  while (deepest instanceof Error && deepest.cause instanceof Error) deepest = deepest.cause;
  const { message, code } = deepest as NodeJS.ErrnoException;
  const words = message || code || String(deepest);
  return new Passing(`the connection to ${new URL(url).host} failed (${words})`, { cause: error });
}

function gaveUp(what: string, error: Passing): MetaVoiceError {
  return new MetaVoiceError(
    'ERR_DOWNLOAD',
    `expected ${what} but after ${attempts} attempts ${error.message}; what came so far is kept: check the network (HTTPS_PROXY, HF_ENDPOINT) and try again`,
    { cause: error },
  );
}

/** Turns a status into words. A storage server's refusal may be a link that has run out: the hub gives a new one. */
function refusal(response: Response, url: string, token: HubToken | null, fromHub: boolean): Error {
  const { status, statusText, headers } = response;
  const { host, pathname } = new URL(url);
  const said = (headers.get('x-error-message') ?? '').replace(/[^\x20-\x7e]+/g, ' ').slice(0, 200);
  const answer = `${host} answered ${status}${statusText ? ` ${statusText}` : ''}${said ? ` (${said})` : ''} for ${pathname}`;
  const passing = status === 408 || status === 429 || status >= 500;
  if (passing || (!fromHub && [401, 403].includes(status)))
    return new Passing(answer, { wait: retryAfter(headers.get('retry-after')) });
  const advice = {
    401: signInAdvice(token),
    403: signInAdvice(token),
    404: `${notFoundWords(headers.get('x-error-code'))}; check the name and the revision, and HF_ENDPOINT if it is set`,
  }[status];
  return new MetaVoiceError(
    'ERR_DOWNLOAD',
    `${answer}: ${advice ?? 'that was not expected; is HF_ENDPOINT a hub?'}`,
    {
      details: { status, url },
    },
  );
}

const signInAdvice = (token: HubToken | null): string =>
  token
    ? `the token in ${token.source} may not read it; accept the repository's conditions on its page with that account, or set HF_TOKEN to another token (https://huggingface.co/settings/tokens)`
    : 'the repository is not there, private, or gated; accept its conditions on its page and set HF_TOKEN to a token that may read it (https://huggingface.co/settings/tokens)';

function notFoundWords(code: string | null): string {
  if (code === 'RevisionNotFound') return 'the repository has no such revision';
  return code === 'EntryNotFound' ? 'the repository has no such file' : 'there is no such repository';
}

/** `Retry-After` in milliseconds; only its form in seconds is read. */
function retryAfter(header: string | null): number | null {
  const seconds = header === null || header.trim() === '' ? Number.NaN : Number(header);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : null;
}

/** A hub of our own on 127.0.0.1, with a storage server beside it, both of which can be told to misbehave. */

import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
export const gitHash = (bytes: Buffer): string =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

export interface HubFixture {
  commit: string;
  licence?: string;
  /** Content by path. Those that end with `.json` are small files, the others lie in the storage. */
  files: Record<string, Buffer>;
  /** What the hub states instead of the truth. */
  stated?: Record<string, { bytes?: number; hash?: string }>;
}

/** How the next answer with content is wrong. */
export interface Fault {
  status?: number;
  headers?: Record<string, string>;
  /** The connection ends after so many bytes of the body. */
  cutAfter?: number;
  /** The whole file, whatever range was asked for. */
  ignoreRange?: boolean;
  /** Other content. */
  bytes?: (asked: Buffer) => Buffer;
  /** No Content-Length, so that the end is where the connection says so. */
  chunked?: boolean;
  /** Called when half of the body was sent; the rest waits for it. */
  half?: () => Promise<void>;
}

export interface LoggedRequest {
  server: 'hub' | 'storage';
  method: string;
  path: string;
  range: string | undefined;
  authorization: string | undefined;
  sent: number;
}

export interface TestHub {
  endpoint: string;
  storage: string;
  repositories: Map<string, HubFixture>;
  /** Of content, one an answer; then it behaves. */
  faults: Fault[];
  /** Of everything else the hub is asked. */
  apiFaults: Fault[];
  log: LoggedRequest[];
  /** Requests for content. */
  contents(): LoggedRequest[];
  close(): Promise<void>;
}

export async function startHub(repositories: Record<string, HubFixture>): Promise<TestHub> {
  const log: LoggedRequest[] = [];
  const serve = (name: LoggedRequest['server'], answer: Answer) =>
    createServer((request, response) => {
      const entry: LoggedRequest = {
        server: name,
        method: request.method!,
        path: request.url!,
        range: request.headers.range,
        authorization: request.headers.authorization,
        sent: 0,
      };
      log.push(entry);
      void answer(request, response, entry).catch((error) => response.destroy(error));
    });
  const hub: TestHub = {
    endpoint: '',
    storage: '',
    repositories: new Map(Object.entries(repositories)),
    faults: [],
    apiFaults: [],
    log,
    contents: () => log.filter(({ server, path }) => server === 'storage' || path.endsWith('.json')),
    close: async () => {
      for (const server of [front, back]) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    },
  };
  const front = serve('hub', (request, response, entry) => answerHub(hub, request, response, entry));
  const back = serve('storage', (request, response, entry) => answerStorage(hub, request, response, entry));
  hub.endpoint = await listen(front);
  hub.storage = await listen(back);
  return hub;
}

type Answer = (request: IncomingMessage, response: ServerResponse, entry: LoggedRequest) => Promise<void>;

export async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function answerHub(
  hub: TestHub,
  request: IncomingMessage,
  response: ServerResponse,
  entry: LoggedRequest,
): Promise<void> {
  const { pathname } = new URL(request.url!, hub.endpoint);
  const [, repository = '', rest = ''] = /^(?:\/api\/models)?\/([^/]+\/[^/]+)\/(.*)$/.exec(pathname) ?? [];
  const fixture = hub.repositories.get(repository);
  const fault = pathname.startsWith('/api/') ? hub.apiFaults.shift() : undefined;
  if (fault) return refuse(response, fault.status ?? 500, fault.headers);
  if (!fixture) return refuse(response, 404, { 'x-error-code': 'RepoNotFound' });
  const [verb, revision = '', ...path] = rest.split('/').map(decodeURIComponent);
  if (revision !== 'main' && revision !== fixture.commit)
    return refuse(response, 404, { 'x-error-code': 'RevisionNotFound', 'x-error-message': 'Invalid rev id' });
  if (verb === 'revision') return json(response, info(repository, fixture));
  if (verb === 'paths-info') return json(response, describe(fixture, await bodyOf(request)));
  const name = path.join('/');
  const bytes = fixture.files[name];
  if (verb !== 'resolve' || !bytes) return refuse(response, 404, { 'x-error-code': 'EntryNotFound' });
  if (name.endsWith('.json')) return send(hub, request, response, entry, bytes);
  const location = `${hub.storage}/${repository}/${name}?signature=${sha256(bytes).slice(0, 8)}`;
  response.writeHead(302, { location, 'x-linked-etag': `"${sha256(bytes)}"` }).end();
}

async function answerStorage(
  hub: TestHub,
  request: IncomingMessage,
  response: ServerResponse,
  entry: LoggedRequest,
): Promise<void> {
  const [, repository = '', path = ''] = /^\/([^/]+\/[^/]+)\/([^?]+)/.exec(request.url!) ?? [];
  await send(hub, request, response, entry, hub.repositories.get(repository)!.files[path]!);
}

async function send(
  hub: TestHub,
  request: IncomingMessage,
  response: ServerResponse,
  entry: LoggedRequest,
  whole: Buffer,
): Promise<void> {
  const fault = hub.faults.shift() ?? {};
  if (fault.status) return refuse(response, fault.status, fault.headers);
  const start = fault.ignoreRange ? 0 : Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  if (start >= whole.length) return refuse(response, 416, { 'content-range': `bytes */${whole.length}` });
  const asked = whole.subarray(start);
  const body = fault.bytes ? fault.bytes(asked) : asked;
  const headers = {
    ...(!fault.chunked && { 'content-length': body.length }),
    ...(start > 0 && { 'content-range': `bytes ${start}-${whole.length - 1}/${whole.length}` }),
    ...fault.headers,
  };
  response.writeHead(start > 0 ? 206 : 200, headers);
  const half = fault.half ? body.length >> 1 : 0;
  if (fault.half) {
    await write(response, body.subarray(0, half));
    entry.sent = half;
    await fault.half();
  }
  const rest = body.subarray(half, fault.cutAfter ?? body.length);
  await write(response, rest);
  entry.sent += rest.length;
  if (fault.cutAfter === undefined) response.end();
  else response.socket?.destroySoon();
}

const write = (response: ServerResponse, bytes: Buffer): Promise<void> =>
  new Promise((resolve) => {
    response.once('close', resolve);
    response.write(bytes, () => resolve());
  });

function refuse(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'text/plain', ...headers }).end('no');
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

const info = (repository: string, { commit, licence }: HubFixture) => ({
  _id: '1',
  id: repository,
  sha: commit,
  private: false,
  gated: false,
  downloads: 0,
  likes: 0,
  lastModified: '2024-01-01T00:00:00.000Z',
  ...(licence && { cardData: { license: licence } }),
});

async function bodyOf(request: IncomingMessage): Promise<{ paths: string[] }> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString());
}

const describe = ({ files, stated }: HubFixture, { paths }: { paths: string[] }) =>
  paths.flatMap((path) => {
    const bytes = files[path];
    if (!bytes) return [];
    const { bytes: size = bytes.length, hash } = stated?.[path] ?? {};
    const lfs = path.endsWith('.json')
      ? {}
      : { lfs: { oid: hash ?? sha256(bytes), size, pointerSize: 130 }, xetHash: '0'.repeat(64) };
    return [{ type: 'file', path, size, oid: (lfs.lfs ? undefined : hash) ?? gitHash(bytes), ...lfs }];
  });

/** Content that is no pattern. */
export function someBytes(length: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

import { once } from 'node:events';
import { createServer, request as httpRequest, type Server } from 'node:http';
import { connect } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test } from 'vitest';
import { planDownload } from '../../../dist/hub/download.js';
import { allFiles, contents, makePlace, onlyFile, type Place, startModelHub } from './download-helpers.js';
import { type Fault, listen, type TestHub } from './hub-server.js';

let hub: TestHub;
let place: Place;
beforeAll(async () => {
  hub = await startModelHub();
});
afterAll(() => hub.close());
beforeEach(() => {
  hub.log.length = 0;
  place = makePlace(hub);
});
afterEach(() => {
  hub.faults.length = 0;
  hub.apiFaults.length = 0;
  place.remove();
});

const file = onlyFile('second_stage.pt');
const code = (name: string) => ({ 'x-error-code': name });

describe('a refusal says what to do', () => {
  const token = { HF_TOKEN: 'hf_secret' };
  test.each<[string, Fault, Record<string, string>, RegExp]>([
    ['401 without a token', { status: 401 }, {}, /401 Unauthorized.*private, or gated.*set HF_TOKEN/],
    ['401 with a token', { status: 401 }, token, /the token in HF_TOKEN may not read it/],
    [
      '403 of a gated repository',
      { status: 403, headers: { ...code('GatedRepo'), 'x-error-message': 'Access is restricted' } },
      {},
      /403 Forbidden \(Access is restricted\).*accept its conditions.*set HF_TOKEN/,
    ],
    [
      '404 of a repository',
      { status: 404, headers: code('RepoNotFound') },
      {},
      /no such repository.*HF_ENDPOINT/,
    ],
    ['404 of a revision', { status: 404, headers: code('RevisionNotFound') }, {}, /no such revision/],
    ['404 of a file', { status: 404, headers: code('EntryNotFound') }, {}, /no such file/],
    ['another status', { status: 418 }, {}, /418 .*is HF_ENDPOINT a hub\?/],
  ])('%s', async (_, fault, environment, message) => {
    hub.apiFaults.push(fault);
    const all = { ...place.environment, ...environment };
    const refused = await planDownload(file, { environment: all, pause: 1 }).catch((error) => error);
    expect(refused).toMatchObject({
      code: 'ERR_DOWNLOAD',
      details: { status: fault.status, url: expect.stringContaining(hub.endpoint) },
    });
    expect(refused.message).toMatch(message);
    expect(refused.message).not.toContain('secret');
    expect(hub.log).toHaveLength(1);
  });

  it('for a repository and a revision that are not there', async () => {
    const at = (change: object) =>
      planDownload([{ ...file[0]!, ...change }], { environment: place.environment });
    await expect(at({ repository: 'anna/none' })).rejects.toThrow(/no such repository/);
    await expect(at({ revision: 'v9' })).rejects.toThrow(/\(Invalid rev id\).*no such revision/);
  });
});

describe('a passing failure is tried again', () => {
  test.each([[429], [500], [502], [503], [408]])('of status %d', async (status) => {
    hub.apiFaults.push({ status }, { status, headers: { 'retry-after': '0' } });
    hub.faults.push({ status }, { status });
    await place.fetch(file);
    expect(place.read('second_stage.pt').equals(contents['second_stage.pt'])).toBe(true);
    expect(hub.contents()).toHaveLength(3);
  });

  it('of the storage, whose links run out: the hub is asked for a new one', async () => {
    hub.faults.push({ status: 403 });
    await place.fetch(file);
    expect(hub.log.filter(({ path }) => path.includes('/resolve/'))).toHaveLength(2);
  });

  it('for as long as the server asks', async () => {
    hub.apiFaults.push({ status: 429, headers: { 'retry-after': '0.3' } });
    const started = performance.now();
    await planDownload(file, { environment: place.environment, pause: 1 });
    expect(performance.now() - started).toBeGreaterThan(290);
  });

  it('until there have been five', async () => {
    hub.apiFaults.push(...Array.from({ length: 5 }, () => ({ status: 500 })));
    await expect(planDownload(file, { environment: place.environment, pause: 1 })).rejects.toMatchObject({
      code: 'ERR_DOWNLOAD',
      message: expect.stringMatching(/anna\/voice at main but after 5 attempts .* answered 500/),
    });
    expect(hub.log).toHaveLength(5);
  });

  it('where nobody listens, with the reason', async () => {
    const server = createServer();
    const environment = { ...place.environment, HF_ENDPOINT: await listen(server) };
    server.close();
    await expect(planDownload(file, { environment, pause: 1 })).rejects.toThrow(
      /the connection to 127\.0\.0\.1:\d+ failed \(.*ECONNREFUSED/,
    );
  });
});

test.each([
  ['no JSON', 'text/html', '<html>welcome</html>'],
  ['JSON of something else', 'application/json', '{"sha": "main"}'],
  ['a commit that is a path', 'application/json', '{"sha": "../../../x"}'],
])('a server that answers with %s is no hub', async (_, type, body) => {
  const server = createServer((_, response) => response.writeHead(200, { 'content-type': type }).end(body));
  const environment = { ...place.environment, HF_ENDPOINT: await listen(server) };
  await expect(planDownload(file, { environment, pause: 1 })).rejects.toMatchObject({
    code: 'ERR_DOWNLOAD',
    message: expect.stringMatching(/^expected .* for anna\/voice at main from http.*HF_ENDPOINT/),
  });
  server.close();
});

describe('the token', () => {
  it('goes to the hub with every request, and to no other host', async () => {
    place = makePlace(hub, { HF_TOKEN: 'hf_secret' });
    await place.fetch();
    const [toHub, toStorage] = ['hub', 'storage'].map((name) =>
      hub.log.filter(({ server }) => server === name),
    );
    expect(toHub!.length).toBeGreaterThan(5);
    expect(toHub!.every(({ authorization }) => authorization === 'Bearer hf_secret')).toBe(true);
    expect(toStorage!.length).toBe(4);
    expect(toStorage!.every(({ authorization }) => authorization === undefined)).toBe(true);
  });

  it('need not look like one of huggingface.co', async () => {
    place = makePlace(hub, { HF_TOKEN: 'org_token' });
    await place.fetch(file);
    expect(hub.log[0]!.authorization).toBe('Bearer org_token');
  });

  it('is not sent when there is none', async () => {
    await place.fetch(file);
    expect(hub.log.every(({ authorization }) => authorization === undefined)).toBe(true);
  });
});

describe('a proxy', () => {
  let proxy: Server;
  let address: string;
  const seen: string[] = [];

  beforeAll(async () => {
    proxy = createServer((request, response) => {
      seen.push(request.url!);
      const onward = httpRequest(
        request.url!,
        { method: request.method, headers: request.headers },
        (answer) => {
          response.writeHead(answer.statusCode!, answer.headers);
          answer.pipe(response);
        },
      );
      request.pipe(onward);
    });
    proxy.on('connect', (request, socket, head) => {
      seen.push(`${request.headers['proxy-authorization'] ?? ''} CONNECT ${request.url}`.trim());
      const [host, port] = request.url!.split(':');
      const onward = connect(Number(port), host, () => {
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
        onward.write(head);
        onward.pipe(socket).pipe(onward);
      });
      onward.on('error', () => socket.destroy());
      socket.on('error', () => onward.destroy());
    });
    address = await listen(proxy);
  });
  afterAll(async () => {
    proxy.closeAllConnections();
    proxy.close();
    await once(proxy, 'close');
  });
  beforeEach(() => seen.splice(0));

  const hosts = () => [hub.endpoint, hub.storage].map((url) => new URL(url).host);

  it('of the environment is gone through, for hub and storage', async () => {
    place = makePlace(hub, { HTTP_PROXY: address });
    await place.fetch(file);
    for (const host of hosts()) expect(seen.some((line) => line.includes(host))).toBe(true);
    expect(place.read('second_stage.pt').equals(contents['second_stage.pt'])).toBe(true);
  });

  it('gets the name and password in its address', async () => {
    place = makePlace(hub, { http_proxy: address.replace('//', '//me:pass@') });
    await planDownload(allFiles(), { environment: place.environment });
    expect(seen[0]).toContain(`Basic ${Buffer.from('me:pass').toString('base64')}`);
  });

  it('is not gone through for the hosts of NO_PROXY', async () => {
    place = makePlace(hub, { HTTP_PROXY: address, NO_PROXY: `example.com,${hosts()[0]}` });
    await place.fetch(file);
    expect(seen.some((line) => line.includes(hosts()[0]!))).toBe(false);
    expect(seen.some((line) => line.includes(hosts()[1]!))).toBe(true);
  });

  it('that is none is told', async () => {
    const environment = { ...place.environment, HTTP_PROXY: 'proxy' };
    await expect(planDownload(file, { environment })).rejects.toMatchObject({
      code: 'ERR_DOWNLOAD',
      message: expect.stringContaining('HTTP_PROXY'),
    });
  });
});

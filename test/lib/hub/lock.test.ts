import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test } from 'vitest';
import { withLock } from '../../../dist/hub/lock.js';
import { contents, makePlace, onlyFile, type Place, startModelHub } from './download-helpers.js';
import { sha256, type TestHub } from './hub-server.js';

let hub: TestHub;
let place: Place;
let lock: string;
let blob: string;
const first = contents['first_stage.pt'];
const files = onlyFile('first_stage.pt');

beforeAll(async () => {
  hub = await startModelHub();
});
afterAll(() => hub.close());
beforeEach(() => {
  hub.log.length = 0;
  place = makePlace(hub);
  lock = join(place.hub, '.locks', 'models--anna--voice', `${sha256(first)}.lock`);
  blob = join(place.hub, 'models--anna--voice', 'blobs', sha256(first));
  for (const path of [lock, blob]) mkdirSync(dirname(path), { recursive: true });
});
afterEach(() => place.remove());

const child = fileURLToPath(new URL('lock-child.mjs', import.meta.url));
const runChild = (work: object) => promisify(execFile)(process.execPath, [child, JSON.stringify(work)]);
const never = () => {};
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('the same file is fetched once', () => {
  it('by calls at the same time', async () => {
    await Promise.all(Array.from({ length: 5 }, () => place.fetch(files)));
    expect(hub.contents()).toHaveLength(1);
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
    expect(readdirSync(dirname(lock))).toEqual([]);
  });

  it('by processes at the same time', async () => {
    let release = () => {};
    hub.faults.push({ half: () => new Promise<void>((resolve) => (release = resolve)) });
    const children = [1, 2].map(() => runChild({ files, environment: place.environment }));
    while (hub.log.filter(({ path }) => path.includes('paths-info')).length < 2) await wait(10);
    await wait(200);
    expect(hub.contents()).toHaveLength(1);
    release();
    await Promise.all(children);
    expect(hub.contents()).toHaveLength(1);
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
  });

  it('though the one that began it is aborted: another goes on', async () => {
    const control = new AbortController();
    hub.faults.push({ half: () => new Promise<void>(() => {}) });
    const one = place.fetch(files, { signal: control.signal });
    while (!hub.contents()[0]?.sent) await wait(10);
    const two = place.fetch(files);
    await wait(150);
    control.abort(new Error('enough'));
    await expect(one).rejects.toThrow('enough');
    await two;
    expect(hub.contents()[1]!.range).toMatch(/^bytes=\d+-$/);
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
  });
});

describe('a lock', () => {
  const holder = (pid: number, host = hostname()) => JSON.stringify({ pid, host, id: 'x' });

  it('of a process that died is taken over', async () => {
    await runChild({ lock });
    expect(readFileSync(lock, 'utf8')).toContain('"pid"');
    await place.fetch(files);
    expect(existsSync(lock)).toBe(false);
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
  });

  it('that has not been seen alive for a minute is taken over, wherever its holder was', async () => {
    writeFileSync(lock, holder(process.pid, 'elsewhere'));
    const old = new Date(Date.now() - 61_000);
    utimesSync(lock, old, old);
    await place.fetch(files);
    expect(existsSync(lock)).toBe(false);
  });

  test.each([
    ['of a living process', () => holder(process.pid)],
    ['of another machine', () => holder(1, 'elsewhere')],
  ])('%s is waited for, and an abort ends that', async (_, text) => {
    writeFileSync(lock, text());
    const control = new AbortController();
    const running = place.fetch(files, { signal: control.signal });
    setTimeout(() => control.abort(new Error('enough')), 300);
    await expect(running).rejects.toThrow('enough');
    expect(hub.contents()).toEqual([]);
    expect(readFileSync(lock, 'utf8')).toBe(text());
  });

  it('that Python left behind is taken over', async () => {
    writeFileSync(lock, '');
    const before = new Date(Date.now() - 2000);
    utimesSync(lock, before, before);
    await place.fetch(files);
    expect(hub.contents()).toHaveLength(1);
  });

  it('of Python counts while its file grows', async () => {
    writeFileSync(lock, '');
    const before = new Date(Date.now() - 2000);
    utimesSync(lock, before, before);
    const growing = `${blob}.5f3a.incomplete`;
    writeFileSync(growing, 'x');
    const running = place.fetch(files);
    await wait(300);
    expect(hub.contents()).toEqual([]);
    // Python is done: the blob is there.
    writeFileSync(blob, first);
    utimesSync(growing, 0, 0);
    await running;
    expect(hub.contents()).toEqual([]);
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
  });

  it('is one at a time, and knows when it was lost', async () => {
    let inside = 0;
    const work = async ({ isMine }: { isMine(): Promise<boolean> }) => {
      expect(++inside).toBe(1);
      await wait(20);
      expect(await isMine()).toBe(true);
      inside--;
      return 7;
    };
    expect(await Promise.all([1, 2, 3].map(() => withLock(lock, blob, never, work)))).toEqual([7, 7, 7]);
    await withLock(lock, blob, never, async ({ isMine }) => {
      writeFileSync(lock, '');
      expect(await isMine()).toBe(true);
      writeFileSync(lock, holder(1));
      expect(await isMine()).toBe(false);
    });
    // It is another's now.
    expect(readFileSync(lock, 'utf8')).toBe(holder(1));
  });

  it('is given back when the work fails', async () => {
    const fails = withLock(lock, blob, never, async () => {
      throw new Error('no');
    });
    await expect(fails).rejects.toThrow('no');
    expect(existsSync(lock)).toBe(false);
  });
});

import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test } from 'vitest';
import { type DownloadProgress, planDownload, runDownload } from '../../../dist/hub/download.js';
import { findHubModel } from '../../../dist/hub/model.js';
import { placeFile } from '../../../dist/hub/snapshot.js';
import {
  allFiles,
  codec,
  commit,
  contents,
  makePlace,
  onlyFile,
  type Place,
  repository,
  startModelHub,
} from './download-helpers.js';
import { type Fault, gitHash, sha256, someBytes, type TestHub } from './hub-server.js';

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
  expect(hub.faults.splice(0)).toEqual([]);
  expect(hub.apiFaults.splice(0)).toEqual([]);
  place.remove();
});

const first = contents['first_stage.pt'];
const firstHash = sha256(first);
const fetchFirst = () => place.fetch(onlyFile('first_stage.pt'));
const partial = () => join(place.hub, 'models--anna--voice', 'blobs', `${firstHash}.incomplete`);

/** What a failed download leaves: nothing that is taken for good. */
function expectNothing(): void {
  expect(place.has('first_stage.pt')).toBe(false);
  expect(place.blobs().filter((name) => !name.endsWith('.incomplete'))).toEqual([]);
  expect(existsSync(join(place.hub, 'models--anna--voice', 'refs', 'main'))).toBe(false);
  expect(readdirSync(join(place.hub, '.locks', 'models--anna--voice'))).toEqual([]);
}

describe('a download', () => {
  it('leaves the cache as Python does: blobs by hash, links from the snapshot, the branch last', async () => {
    await place.fetch();
    const base = join(place.hub, 'models--anna--voice');
    expect(place.blobs()).toEqual(Object.values(contents).map(sha256).sort());
    for (const [path, bytes] of Object.entries(contents)) {
      const pointer = join(base, 'snapshots', commit, path);
      expect(readlinkSync(pointer)).toBe(join('..', '..', 'blobs', sha256(bytes)));
      expect(readFileSync(pointer).equals(bytes)).toBe(true);
    }
    expect(readFileSync(join(base, 'refs', 'main'), 'utf8')).toBe(commit);
    const codecBase = join(place.hub, 'models--facebook--encodec_24khz');
    expect(readdirSync(join(codecBase, 'blobs')).sort()).toEqual(
      [sha256(codec['model.safetensors']), gitHash(codec['config.json'])].sort(),
    );
    expect(findHubModel(repository, place.environment)!.missing).toEqual([]);
  });

  it('plans with the sizes of the hub, what is here, and the licence of a page', async () => {
    await fetchFirst();
    const plan = await planDownload(allFiles(), { environment: place.environment });
    expect(plan.cache).toBe(place.hub);
    expect(plan.files.map(({ bytes, content }) => [bytes, content === null])).toEqual([
      [3_000_003, true],
      [70_001, false],
      [65_536, false],
      [123_457, false],
      [25, false],
    ]);
    expect(plan.files[0]!.licence).toBe('apache-2.0');
    expect(plan.bytes - plan.missingBytes).toBe(3_000_003);
  });

  it('fetches nothing that is here, and writes nothing', async () => {
    await place.fetch();
    hub.log.length = 0;
    await place.fetch();
    expect(hub.contents()).toEqual([]);
  });

  it('tells bytes of all files together', async () => {
    const seen: DownloadProgress[] = [];
    await place.fetch(allFiles(), { onProgress: (progress) => seen.push(progress) });
    const total = 3_000_003 + 70_001 + 65_536 + 123_457 + 25;
    expect(seen.length).toBeGreaterThan(7);
    expect(seen.every(({ totalBytes }) => totalBytes === total)).toBe(true);
    expect(seen.map(({ bytes }) => bytes)).toEqual(seen.map(({ bytes }) => bytes).sort((a, b) => a - b));
    expect(seen[0]).toEqual({ file: `${repository}/first_stage.pt`, bytes: 0, totalBytes: total });
    expect(seen.at(-1)).toEqual({
      file: 'facebook/encodec_24khz/config.json',
      bytes: total,
      totalBytes: total,
    });
  });

  it('of a new commit shares what has not changed', async () => {
    await place.fetch();
    const fixture = hub.repositories.get(repository)!;
    const [before, newer] = [{ ...fixture }, 'f'.repeat(40)];
    Object.assign(fixture, {
      commit: newer,
      files: { ...contents, 'second_stage.pt': someBytes(70_001, 9) },
    });
    try {
      hub.log.length = 0;
      await place.fetch();
      expect(hub.contents().map(({ path }) => path.split('?')[0])).toEqual([
        `/${repository}/second_stage.pt`,
      ]);
      const base = join(place.hub, 'models--anna--voice');
      expect(readFileSync(join(base, 'refs', 'main'), 'utf8')).toBe(newer);
      expect(readFileSync(join(base, 'snapshots', newer, 'first_stage.pt')).equals(first)).toBe(true);
      expect(place.read('second_stage.pt').equals(contents['second_stage.pt'])).toBe(true);
    } finally {
      Object.assign(fixture, before);
    }
  });

  it('mends a blob that was cut, and a link that points nowhere', async () => {
    await place.fetch();
    const base = join(place.hub, 'models--anna--voice', 'blobs');
    writeFileSync(join(base, firstHash), first.subarray(0, 1000));
    rmSync(join(base, sha256(contents['second_stage.pt'])));
    await place.fetch();
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
    expect(place.read('second_stage.pt').equals(contents['second_stage.pt'])).toBe(true);
  });
});

describe('a connection that is cut', () => {
  it('is resumed with a range, and no byte is fetched twice', async () => {
    hub.faults.push({ cutAfter: 1_300_000 }, { cutAfter: 1_200_000 });
    await fetchFirst();
    const [one, two, three, ...none] = hub.contents();
    expect(none).toEqual([]);
    expect(one!.range).toBeUndefined();
    const resumed = [two, three].map((entry) => Number(/^bytes=(\d+)-$/.exec(entry!.range!)![1]));
    expect(resumed[0]).toBeGreaterThan(0);
    expect(resumed[0]).toBeLessThanOrEqual(1_300_000);
    expect(three!.sent).toBe(first.length - resumed[1]!);
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
  });

  it('without a stated length is resumed, too', async () => {
    hub.faults.push(
      { cutAfter: 900_000, chunked: true },
      { bytes: (asked) => asked.subarray(0, 9), chunked: true },
    );
    await fetchFirst();
    expect(hub.contents()).toHaveLength(3);
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
  });

  it('may be resumed by a server that knows no ranges: from the start', async () => {
    hub.faults.push({ cutAfter: 1_300_000 }, { ignoreRange: true });
    await fetchFirst();
    expect(hub.contents()[1]).toMatchObject({ range: expect.any(String), sent: first.length });
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
  });

  it('need not be cut: a server that falls silent is as good as gone', async () => {
    let release = () => {};
    hub.faults.push({ half: () => new Promise<void>((resolve) => (release = resolve)) });
    await place.fetch(onlyFile('first_stage.pt'), { silence: 400 });
    release();
    const [one, two] = hub.contents();
    expect(two!.range).toBe(`bytes=${first.length - two!.sent}-`);
    expect(one!.sent + two!.sent).toBeLessThanOrEqual(first.length + 65_536);
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
  });

  it('is given up after five attempts that bring nothing, and goes on the next time', async () => {
    hub.faults.push({ cutAfter: 2_000_000 }, ...Array.from({ length: 5 }, () => ({ cutAfter: 10 })));
    await expect(fetchFirst()).rejects.toMatchObject({
      code: 'ERR_DOWNLOAD',
      message: expect.stringMatching(/first_stage\.pt of anna\/voice \(3000003 bytes\) but after 5 attempts/),
    });
    // Counted are those after the last that brought something: the last fault was not met.
    expect(hub.faults.splice(0)).toHaveLength(1);
    expectNothing();
    hub.log.length = 0;
    await fetchFirst();
    expect(hub.contents()).toHaveLength(1);
    expect(hub.contents()[0]!.sent).toBeLessThan(1_100_000);
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
  });

  it('goes on from what Python left, and past a piece that belongs to something else', async () => {
    mkdirSync(join(place.hub, 'models--anna--voice', 'blobs'), { recursive: true });
    writeFileSync(partial(), first.subarray(0, 2_999_000));
    await fetchFirst();
    expect(hub.contents()[0]).toMatchObject({ range: 'bytes=2999000-', sent: 1003 });

    for (const left of [someBytes(5000, 77), someBytes(first.length, 77), someBytes(first.length + 5, 77)]) {
      rmSync(join(place.hub, 'models--anna--voice'), { recursive: true });
      mkdirSync(join(place.hub, 'models--anna--voice', 'blobs'), { recursive: true });
      writeFileSync(partial(), left);
      await fetchFirst();
      expect(place.read('first_stage.pt').equals(first)).toBe(true);
      expect(place.blobs()).toEqual([firstHash]);
    }
  });

  it('does not fetch what was whole already but for its name', async () => {
    mkdirSync(join(place.hub, 'models--anna--voice', 'blobs'), { recursive: true });
    writeFileSync(partial(), first);
    await fetchFirst();
    expect(hub.contents()).toEqual([]);
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
  });
});

describe('a server that lies', () => {
  test.each<[string, Fault, RegExp]>([
    ['a length that is too short', { bytes: (all) => all.subarray(1) }, /3000003 bytes .* offers 3000002/],
    ['a length that is too long', { bytes: (all) => Buffer.concat([all, all]) }, /offers 6000006/],
    [
      'more bytes than stated',
      { bytes: (all) => Buffer.concat([all, Buffer.from('x')]), chunked: true },
      /3000003 bytes .* received at least 3000004/,
    ],
    [
      'other bytes of the right length',
      { bytes: (all) => Buffer.from(all).fill(7, 5, 6) },
      new RegExp(`expected SHA-256 ${firstHash} .* received [0-9a-f]{64}`),
    ],
    [
      'a page of a sign-in portal',
      { bytes: () => Buffer.from('<html>pay here</html>') },
      /the server offers 21/,
    ],
  ])('about %s is refused, and nothing of it stays', async (_, fault, message) => {
    hub.faults.push(fault);
    await expect(fetchFirst()).rejects.toMatchObject({
      code: 'ERR_DOWNLOAD',
      message: expect.stringMatching(message),
      details: { file: 'first_stage.pt of anna/voice' },
    });
    expectNothing();
    expect(place.blobs()).toEqual([]);
    await fetchFirst();
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
  });

  it('about a small file is refused by its git hash', async () => {
    hub.faults.push({ bytes: (all) => Buffer.from(all).fill(32) });
    await expect(place.fetch(onlyFile('config.json'))).rejects.toMatchObject({
      code: 'ERR_DOWNLOAD',
      message: expect.stringMatching(new RegExp(`git hash ${gitHash(codec['config.json'])}`)),
    });
  });

  it('after a resumption is given one more chance, from the start', async () => {
    hub.faults.push({ cutAfter: 1_200_000 }, { bytes: (rest) => Buffer.from(rest).fill(0) });
    await fetchFirst();
    expect(hub.contents().map(({ range }) => range === undefined)).toEqual([true, false, true]);
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
  });

  it('about where a range begins, or answers 416, makes it begin again', async () => {
    const elsewhere = { 'content-range': `bytes 5-${first.length - 1}/${first.length}` };
    hub.faults.push(
      { cutAfter: 1_200_000 },
      { headers: elsewhere },
      { cutAfter: 1_200_000 },
      { status: 416 },
    );
    await fetchFirst();
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
    expect(hub.contents()).toHaveLength(5);
  });

  it('in turns, so that nothing ever gets further, is given up', async () => {
    const turn = [{ cutAfter: 1_200_000 }, { status: 416 }];
    hub.faults.push(...turn, ...turn, ...turn);
    await expect(fetchFirst()).rejects.toThrow(/after 5 attempts/);
    expect(hub.faults.splice(0)).toHaveLength(1);
  });

  it('about the whole length in a range is refused, and the piece that is here stays', async () => {
    const other = { 'content-range': 'bytes 1200000-4999999/5000000' };
    mkdirSync(join(place.hub, 'models--anna--voice', 'blobs'), { recursive: true });
    writeFileSync(partial(), first.subarray(0, 1_200_000));
    hub.faults.push({ headers: other });
    await expect(fetchFirst()).rejects.toThrow(/3000003 bytes .* offers 5000000/);
    expectNothing();
    expect(readFileSync(partial())).toHaveLength(1_200_000);
  });

  it('about a pinned file is refused before anything of it is fetched', async () => {
    const [file] = onlyFile('first_stage.pt');
    const pinned = { ...file!, sha256: '0'.repeat(64) };
    await expect(planDownload([pinned], { environment: place.environment })).rejects.toThrow(
      new RegExp(`expected SHA-256 0{64} .* the hub states ${firstHash}`),
    );
    expect(hub.contents()).toEqual([]);
  });

  test.each<[string, { bytes?: number; hash?: string }]>([
    ['a hash that climbs out of the folder', { hash: '../../../../x' }],
    ['a length that is none', { bytes: -5 }],
  ])('with %s is not believed', async (_, stated) => {
    const fixture = hub.repositories.get(repository)!;
    fixture.stated = { 'first_stage.pt': stated };
    try {
      await expect(fetchFirst()).rejects.toMatchObject({ code: 'ERR_DOWNLOAD' });
      expect(hub.contents()).toEqual([]);
    } finally {
      delete fixture.stated;
    }
  });
});

describe('before the first byte', () => {
  it('the room on the disk is looked at', async () => {
    const fixture = hub.repositories.get(repository)!;
    fixture.stated = { 'first_stage.pt': { bytes: 9e15 } };
    try {
      await expect(fetchFirst()).rejects.toMatchObject({
        code: 'ERR_DOWNLOAD',
        message: expect.stringMatching(
          /9000000000000000 free bytes \(9000000\.0 GB\) .* found \d+ .*HF_HUB_CACHE/,
        ),
        details: { expected: 9e15, found: expect.any(Number) },
      });
      expect(hub.contents()).toEqual([]);
    } finally {
      delete fixture.stated;
    }
  });

  it('a file that the repository has not got is told', async () => {
    const [file] = onlyFile('first_stage.pt');
    await expect(
      planDownload([{ ...file!, path: 'third_stage.pt' }], { environment: place.environment }),
    ).rejects.toThrow(/expected the file third_stage\.pt in anna\/voice at main/);
  });
});

describe('offline', () => {
  it('nothing is asked: what is here is planned, what is not is refused', async () => {
    await place.fetch();
    hub.log.length = 0;
    const environment = { ...place.environment, HF_HUB_OFFLINE: '1' };
    const plan = await planDownload(allFiles(), { environment });
    expect(plan).toMatchObject({ missingBytes: 0, bytes: 3_259_022 });
    await runDownload(plan, { environment });
    rmSync(join(place.hub, 'models--anna--voice/snapshots', commit, 'second_stage.pt'));
    await expect(planDownload(allFiles(), { environment })).rejects.toMatchObject({
      code: 'ERR_DOWNLOAD',
      message: expect.stringMatching(/anna\/voice\/second_stage\.pt .*HF_HUB_OFFLINE[\s\S]*nothing at/),
    });
    expect(hub.log).toEqual([]);
  });
});

describe('a cache that can have no links', () => {
  const broken = async () => {
    throw Object.assign(new Error('no links here'), { code: 'EPERM' });
  };

  it('gets a fetched file moved into the snapshot, another one copied', async () => {
    const blob = join(place.folder, 'blob');
    const pointer = join(place.folder, 'snapshots/x/v3/model.bin');
    writeFileSync(blob, 'bytes');
    await placeFile(blob, pointer, { fetched: false, link: broken });
    expect(readFileSync(pointer, 'utf8')).toBe('bytes');
    expect(existsSync(blob)).toBe(true);
    rmSync(pointer);
    await placeFile(blob, pointer, { fetched: true, link: broken });
    expect(readFileSync(pointer, 'utf8')).toBe('bytes');
    expect(existsSync(blob)).toBe(false);
    expect(readdirSync(join(place.folder, 'snapshots/x/v3'))).toEqual(['model.bin']);
  });

  it('is read without fetching again', async () => {
    await place.fetch();
    const base = join(place.hub, 'models--anna--voice');
    for (const path of Object.keys(contents)) {
      const pointer = join(base, 'snapshots', commit, path);
      const bytes = readFileSync(pointer);
      rmSync(pointer);
      writeFileSync(pointer, bytes);
    }
    rmSync(join(base, 'blobs'), { recursive: true });
    hub.log.length = 0;
    await place.fetch();
    expect(hub.contents()).toEqual([]);
  });

  it('a link that points elsewhere gives way', async () => {
    const blob = join(place.folder, 'blob');
    const pointer = join(place.folder, 'pointer');
    writeFileSync(blob, 'bytes');
    await symlink('nowhere', pointer);
    await placeFile(blob, pointer, { fetched: false });
    expect(readFileSync(pointer, 'utf8')).toBe('bytes');
  });
});

describe('an abort', () => {
  it('in the middle rejects with the reason, keeps what came, and the next call goes on', async () => {
    const control = new AbortController();
    const reason = new Error('enough');
    let release = () => {};
    hub.faults.push({ half: () => new Promise<void>((resolve) => (release = resolve)) });
    const onProgress = ({ bytes }: DownloadProgress) => {
      if (bytes > 1_000_000) control.abort(reason);
    };
    const running = place.fetch(onlyFile('first_stage.pt'), { signal: control.signal, onProgress });
    await expect(running).rejects.toBe(reason);
    release();
    expectNothing();
    const kept = readFileSync(partial()).length;
    expect(kept).toBeGreaterThan(1_000_000);
    hub.log.length = 0;
    await fetchFirst();
    expect(hub.contents()[0]).toMatchObject({ range: `bytes=${kept}-`, sent: first.length - kept });
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
  });

  it('before the beginning asks nothing', async () => {
    const reason = { my: 'reason' };
    await expect(place.fetch(allFiles(), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(hub.log).toEqual([]);
  });

  it('while it waits for the next attempt is heard at once', async () => {
    const control = new AbortController();
    hub.faults.push({ status: 503, headers: { 'retry-after': '40' } });
    const running = place.fetch(onlyFile('first_stage.pt'), { signal: control.signal });
    while (hub.contents().length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    setTimeout(() => control.abort(new Error('enough')), 20);
    await expect(running).rejects.toThrow('enough');
  });

  it('is what a throwing onProgress amounts to', async () => {
    const reason = new Error('mine');
    const onProgress = () => {
      throw reason;
    };
    await expect(place.fetch(onlyFile('first_stage.pt'), { onProgress })).rejects.toBe(reason);
    expectNothing();
    appendFileSync(partial(), '');
    await fetchFirst();
    expect(place.read('first_stage.pt').equals(first)).toBe(true);
  });
});

import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { afterAll, describe, expect, it, test } from 'vitest';
import { parseHubName } from '../../../dist/hub/cache.js';
import { filesOf, publishedModel } from '../../../dist/hub/catalogue.js';
import { findHubModel, hubModelNotFound } from '../../../dist/hub/model.js';

const folder = mkdtempSync(join(tmpdir(), 'metavoice-hub-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let count = 0;
const freshHome = (): string => join(folder, `home-${count++}`);

/** A file of a repository as Python's client leaves it; without links as it does on Windows. */
function put(home: string, repository: string, commit: string, path: string, links = true): string {
  const base = join(home, 'hub', `models--${repository.replace('/', '--')}`);
  const pointer = join(base, 'snapshots', commit, path);
  mkdirSync(dirname(pointer), { recursive: true });
  if (!links) {
    writeFileSync(pointer, path);
    return pointer;
  }
  const blob = join(base, 'blobs', Buffer.from(path).toString('hex'));
  mkdirSync(dirname(blob), { recursive: true });
  writeFileSync(blob, path);
  symlinkSync(relative(dirname(pointer), blob), pointer);
  return pointer;
}

function ref(home: string, repository: string, revision: string, commit: string): void {
  const path = join(home, 'hub', `models--${repository.replace('/', '--')}`, 'refs', revision);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, commit);
}

const one = '1'.repeat(40);
const two = '2'.repeat(40);
const encodec = 'facebook/encodec_24khz';
const own = ['first_stage.pt', 'second_stage.pt', 'speaker_encoder.pt'];

function wholeModel({ links = true, revision = 'main' } = {}): { home: string; pointers: string[] } {
  const home = freshHome();
  const pointers = own.map((path) => put(home, publishedModel, one, path, links));
  ref(home, publishedModel, revision, one);
  pointers.push(put(home, encodec, two, 'model.safetensors', links));
  put(home, encodec, two, 'config.json', links);
  ref(home, encodec, 'main', `${two}\n`);
  return { home, pointers };
}

describe('a hub id', () => {
  test.each([
    ['a/b', 'a/b', 'main'],
    ['metavoiceio/metavoice-1B-v0.1', 'metavoiceio/metavoice-1B-v0.1', 'main'],
    ['a/b@refs/pr/1', 'a/b', 'refs/pr/1'],
    ['a/b@v1.0', 'a/b', 'v1.0'],
    [`_a/b_@${one}`, '_a/b_', one],
  ])('is %s', (name, repository, revision) => {
    expect(parseHubName(name)).toEqual({ repository, revision });
  });

  test.each([
    ...['', 'bundled', 'a', 'a/b/c', '/a/b', './b', '../b', 'a/..', 'a/.b', 'a/b.', 'a/-b', 'a/b-', '~/b'],
    ...['a--b/c', 'a/b..c', 'a\\b', 'C:/b', 'a/b@', 'a/b@../x', 'a/b@x/', 'a/b@x//y', 'a/b@x..y', 'a/b@-x'],
    ...['a/b@x y', 'a/b\n', 'a b/c', `a/${'b'.repeat(96)}`, 'https://huggingface.co/a/b'],
  ])('is not %j', (name) => {
    expect(parseHubName(name)).toBeNull();
    expect(findHubModel(name, { HF_HOME: folder })).toBeNull();
  });
});

describe('a model in the cache', () => {
  test.each([[true], [false]])('is found at once, with links: %s', (links) => {
    const { home, pointers } = wholeModel({ links });
    const found = findHubModel(publishedModel, { HF_HOME: home })!;
    expect(found.missing).toEqual([]);
    expect(Object.values(found.paths)).toEqual([...pointers, null, null]);
    expect(readFileSync(found.paths.codec!, 'utf8')).toBe('model.safetensors');
  });

  it('is found at a revision: a branch, or a commit without a branch', () => {
    const { home } = wholeModel({ revision: 'refs/pr/7' });
    const environment = { HF_HOME: home };
    expect(findHubModel(`${publishedModel}@refs/pr/7`, environment)!.missing).toEqual([]);
    expect(findHubModel(`${publishedModel}@${one}`, environment)!.missing).toEqual([]);
    expect(findHubModel(publishedModel, environment)!.missing).toHaveLength(3);
    expect(findHubModel(`${publishedModel}@${two}`, environment)!.missing).toHaveLength(3);
  });

  it('of another name has its own three files and the same codec', () => {
    const { home } = wholeModel();
    for (const path of own) put(home, 'anna/voice', two, path);
    ref(home, 'anna/voice', 'main', two);
    const { paths, missing } = findHubModel('anna/voice', { HF_HOME: home })!;
    expect(missing).toEqual([]);
    expect(paths.firstStage).toContain('models--anna--voice');
    expect(paths.codec).toContain('models--facebook--encodec_24khz');
  });

  it('lacks a part whose link points nowhere, or that is a folder, or of which one file of two is there', () => {
    const { home, pointers } = wholeModel();
    rmSync(join(dirname(dirname(dirname(pointers[0]!))), 'blobs'), { recursive: true });
    rmSync(pointers[2]!);
    mkdirSync(pointers[2]!);
    rmSync(join(dirname(pointers[3]!), 'config.json'));
    const { paths, missing } = findHubModel(publishedModel, { HF_HOME: home })!;
    expect(paths).toEqual({
      diffusion: null,
      enhancer: null,
      firstStage: null,
      secondStage: null,
      speakerEncoder: null,
      codec: null,
    });
    expect(missing.map(({ file }) => file.path)).toEqual([...own, 'config.json']);
  });

  it('has the enhancer where that was fetched, and does not miss it elsewhere', () => {
    const { home } = wholeModel();
    const [file] = filesOf({ repository: publishedModel, revision: 'main' }, ['enhancer']).slice(-1);
    const pointer = put(home, file!.repository, file!.revision, file!.path);
    const { paths, missing } = findHubModel(publishedModel, { HF_HOME: home })!;
    expect(missing).toEqual([]);
    expect(paths.enhancer).toBe(pointer);
  });

  it('is not found by a branch file that holds no commit', () => {
    const { home } = wholeModel();
    for (const content of ['', '../../../x', 'main', one.slice(1)]) {
      ref(home, publishedModel, 'main', content);
      expect(findHubModel(publishedModel, { HF_HOME: home })!.missing).toHaveLength(3);
    }
  });
});

describe('what is not there', () => {
  it('is told with every place, what decides them, and the command', () => {
    const home = freshHome();
    put(home, publishedModel, one, 'first_stage.pt');
    ref(home, publishedModel, 'main', one);
    const error = hubModelNotFound(findHubModel(publishedModel, { HF_HOME: home })!);
    expect(error.code).toBe('ERR_MODEL_NOT_FOUND');
    for (const words of [
      `${join(process.cwd(), publishedModel)} (a folder)`,
      join(home, `hub/models--metavoiceio--metavoice-1B-v0.1/snapshots/${one}/second_stage.pt`),
      `model.safetensors of ${encodec}: no refs/main in ${join(home, 'hub/models--facebook--encodec_24khz')}`,
      'HF_HOME',
      '169 MB',
      `npx metavoice download ${publishedModel}`,
      'download: true',
    ])
      expect(error.message).toContain(words);
    expect(error.message).not.toContain('first_stage.pt,');
    expect(error.details).toMatchObject({
      model: publishedModel,
      cache: join(home, 'hub'),
      missing: [
        `${publishedModel}/second_stage.pt`,
        `${publishedModel}/speaker_encoder.pt`,
        `${encodec}/model.safetensors`,
        `${encodec}/config.json`,
      ],
      command: `npx metavoice download ${publishedModel}`,
    });
  });
});

describe('the catalogue', () => {
  it('names licences, and which of them are not commercial', () => {
    const files = filesOf({ repository: publishedModel, revision: 'main' }, ['diffusion', 'enhancer']);
    expect(files.filter(({ licence }) => !licence!.commercial).map(({ path }) => path)).toEqual([
      'mbd_comp_8.pt',
    ]);
    expect(files.map(({ part }) => part)).toEqual([
      'firstStage',
      'secondStage',
      'speakerEncoder',
      'codec',
      'codec',
      'diffusion',
      'enhancer',
    ]);
    expect(files.at(-1)).toMatchObject({ path: 'v3/model.safetensors', approximateBytes: 8_682_709 });
  });

  it('claims nothing about the licence of other repositories', () => {
    expect(filesOf({ repository: 'anna/voice', revision: 'main' })[0]!.licence).toBeNull();
  });
});

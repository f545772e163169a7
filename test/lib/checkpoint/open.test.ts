import { fork } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { convertModel } from '../../../dist/checkpoint/convert.js';
import { type Manifest, readManifest } from '../../../dist/checkpoint/manifest.js';
import { openModel } from '../../../dist/checkpoint/open.js';
import { makeFolder, published } from './model-files.js';

const folder = mkdtempSync(join(tmpdir(), 'metavoice-open-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let count = 0;
const fresh = (name: string): string => join(folder, `${name}-${count++}`);
const small = ['speaker_encoder.pt'];

async function model(files = small): Promise<string> {
  const target = fresh('model');
  await convertModel(await makeFolder(fresh('source'), files), target, { dtype: 'float32' });
  return target;
}

const sampling = { temperature: 0.7, topP: 0.9, topK: 80, guidance: { speaker: 2, prompt: 1.25 } };
const speaker = (name: string) => ({
  name,
  embedding: Buffer.from(new Float32Array(256).fill(0.0625).buffer).toString('base64'),
});

const open = (path: string) => openModel(path, { dtype: 'float32', cacheDirectory: join(folder, 'cache') });

describe('a model is refused', () => {
  test('when nothing is there, with every place that was looked at', async () => {
    const missing = fresh('missing');
    await expect(open(missing)).rejects.toMatchObject({
      code: 'ERR_MODEL_NOT_FOUND',
      message: expect.stringMatching(
        /no such folder[\s\S]*metavoice\.json[\s\S]*first_stage\.pt[\s\S]*metavoice convert/,
      ),
      details: { model: missing, places: expect.arrayContaining([join(missing, 'metavoice.json')]) },
    });
    await expect(open(await makeFolder(fresh('empty'), []))).rejects.toMatchObject({
      code: 'ERR_MODEL_NOT_FOUND',
      message: expect.stringMatching(/none of the files/),
    });
    await expect(open(fileURLToPath(import.meta.url))).rejects.toMatchObject({
      code: 'ERR_MODEL_NOT_FOUND',
      message: expect.stringMatching(/a file, not a folder/),
    });
    await expect(open(3 as never)).rejects.toThrow(TypeError);
  });

  test('when a file of it is missing, cut, or of another model', async () => {
    const target = await model(['speaker_encoder.pt', 'second_stage.pt']);
    const file = join(target, 'speaker_encoder.safetensors');
    const bytes = await readFile(file);
    await writeFile(file, bytes.subarray(0, -4));
    await expect(open(target)).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      details: { file, expected: bytes.length, found: bytes.length - 4 },
    });
    const other = Buffer.from(bytes);
    other.write('linear.wEight', other.indexOf('linear.weight'));
    await writeFile(file, other);
    await expect(open(target)).rejects.toMatchObject({
      message: expect.stringMatching(/lacks the tensor linear\.weight/),
    });
    await rm(file);
    await expect(open(target)).rejects.toMatchObject({ code: 'ERR_MODEL_NOT_FOUND', details: { file } });
  });

  test('when any field of its manifest is missing or of another kind', async () => {
    const target = await model(published);
    const manifest: Manifest = { ...(await readManifest(target)), speakers: [speaker('ada')], sampling };
    const file = join(target, 'metavoice.json');
    const broken = await Promise.all(fields(manifest).map(async (edit) => edit));
    expect(broken.length).toBeGreaterThan(60);
    for (const { path, value } of broken) {
      await writeFile(file, JSON.stringify(value));
      await expect(readManifest(target), path).rejects.toMatchObject({
        code: 'ERR_CHECKPOINT',
        message: expect.stringContaining('expected'),
      });
    }
    await writeFile(file, '{');
    await expect(readManifest(target)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT' });
  });

  test.each([
    [
      'a path out of the folder',
      (m: Manifest) => Object.assign(m.speakerEncoder!, { file: '../x.safetensors' }),
    ],
    ['another version', (m: Manifest) => Object.assign(m, { version: 2 })],
    ['text ids past the table', (m: Manifest) => Object.assign(m.firstStage!.tokenizer, { offset: 2050 })],
    ['more codebooks than stored', (m: Manifest) => Object.assign(m.codec!, { codebooks: 11 })],
    ['a rate below that of sound', (m: Manifest) => Object.assign(m.codec!, { sampleRate: 2 })],
    ['heads that do not divide', (m: Manifest) => Object.assign(m.firstStage!, { heads: 3 })],
    [
      'no part at all',
      (m: Manifest) =>
        Object.assign(m, { firstStage: null, secondStage: null, speakerEncoder: null, codec: null }),
    ],
    ['two speakers of one name', (m: Manifest) => m.speakers.push(speaker('ada'), speaker('ada'))],
    ['a speaker without a name', (m: Manifest) => m.speakers.push(speaker(' '))],
    ['a speaker of another size', (m: Manifest) => m.speakers.push({ name: 'a', embedding: 'AAAAAA==' })],
  ])('when its manifest has %s', async (_, edit) => {
    const target = await model(published);
    const manifest = await readManifest(target);
    edit(manifest);
    await writeFile(join(target, 'metavoice.json'), JSON.stringify(manifest));
    await expect(open(target)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT' });
  });
});

describe('a model folder', () => {
  test('is used as it is', async () => {
    const target = await model();
    const opened = await open(target);
    expect(opened.folder).toBe(target);
    expect(opened.manifest).toEqual(await readManifest(target));
  });

  test('may have speakers', async () => {
    const target = await model();
    const manifest = await readManifest(target);
    manifest.speakers.push(speaker('bria'), speaker('ada'));
    await writeFile(join(target, 'metavoice.json'), JSON.stringify(manifest));
    expect((await open(target)).manifest.speakers).toEqual([speaker('bria'), speaker('ada')]);
  });

  test.each<[unknown]>([
    [{}],
    ...Object.entries(sampling).map(([name, value]): [unknown] => [{ [name]: value }]),
    [{ guidance: 1.5 }],
    [{ guidance: { prompt: 2 } }],
    [sampling],
    [{ temperature: 0, topP: 0, topK: 1, guidance: 0 }],
    [{ temperature: 1e6, topP: 1, topK: Number.MAX_SAFE_INTEGER, guidance: 1000 }],
  ])('may advise the sampling %j', async (advice) => {
    const target = await model();
    const manifest = await readManifest(target);
    // Converting knows no advice.
    expect(manifest).not.toHaveProperty('sampling');
    await writeFile(join(target, 'metavoice.json'), JSON.stringify({ ...manifest, sampling: advice }));
    expect((await open(target)).manifest.sampling).toEqual(advice);
  });

  test.each<[string, unknown]>([
    ['sampling', null],
    ['sampling', 0.7],
    ['sampling.temperature', -0.1],
    ['sampling.temperature', 1e7],
    ['sampling.temperature', null],
    ['sampling.topP', 1.01],
    ['sampling.topP', '0.9'],
    ['sampling.topK', 0],
    ['sampling.topK', 2.5],
    ['sampling.guidance', -1],
    ['sampling.guidance', 1001],
    ['sampling.guidance', [3]],
    ['sampling.guidance.speaker', 1001],
    ['sampling.guidance.prompt', 0.5],
    ['sampling.guidance.text', 2],
    ['sampling.topp', 0.9],
    ['sampling.constrain', true],
  ])('may not advise %s: %j', async (field, value) => {
    const target = await model();
    const path = field.split('.');
    const advice = path.slice(1).reduceRight((inner: unknown, name) => ({ [name]: inner }), value);
    const manifest = { ...(await readManifest(target)), sampling: advice };
    await writeFile(join(target, 'metavoice.json'), JSON.stringify(manifest));
    await expect(open(target)).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      message: expect.stringContaining(`for \`${field}\``),
      details: { field },
    });
  });
});

describe('published files', () => {
  test('are converted once, into the cache', async () => {
    const cacheDirectory = fresh('cache');
    const source = await makeFolder(fresh('source'), published);
    let calls = 0;
    const options = { dtype: 'bfloat16', cacheDirectory, onProgress: () => calls++ } as const;
    const first = await openModel(source, options);
    expect(calls).toBeGreaterThan(0);
    expect(first.folder.startsWith(join(cacheDirectory, 'models'))).toBe(true);
    expect(first.manifest.firstStage!.dtype).toBe('bfloat16');
    calls = 0;
    const again = await openModel(source, options);
    expect(again).toEqual(first);
    expect(calls).toBe(0);
    const other = await openModel(source, { ...options, dtype: 'float16' });
    expect(other.folder).not.toBe(first.folder);
    expect(await readdir(source)).toEqual(published.toSorted());
  });

  test('are converted anew when one of them changed or the conversion is damaged', async () => {
    const cacheDirectory = fresh('cache');
    const options = { dtype: 'float32', cacheDirectory } as const;
    const source = await makeFolder(fresh('source'), small);
    const first = await openModel(source, options);
    await rm(join(first.folder, 'speaker_encoder.safetensors'));
    expect((await openModel(source, options)).folder).toBe(first.folder);
    await stat(join(first.folder, 'speaker_encoder.safetensors'));
    const edited = await makeFolder(fresh('edited'), small, {
      'speaker_encoder.pt': ({ storages }) => {
        storages[13] = Buffer.from(storages[13]!).fill(1);
      },
    });
    expect((await openModel(edited, options)).folder).not.toBe(first.folder);
  });

  test('are converted by two processes at once, and both succeed', async () => {
    const cacheDirectory = fresh('cache');
    const source = await makeFolder(fresh('source'), published);
    const script = fresh('open.mjs').replace(/\.mjs-\d+$/, '.mjs');
    const module = new URL('../../../dist/checkpoint/open.js', import.meta.url).href;
    writeFileSync(
      script,
      `import { openModel } from ${JSON.stringify(module)};
       const { folder } = await openModel(${JSON.stringify(source)}, { dtype: 'float32', cacheDirectory: ${JSON.stringify(cacheDirectory)} });
       process.send(folder);`,
    );
    const folders = await Promise.all([1, 2, 3].map(() => answer(script)));
    expect(new Set(folders).size).toBe(1);
    const [kept] = folders;
    expect(await readdir(join(cacheDirectory, 'models'))).toEqual([kept!.split(/[/\\]/).at(-1)]);
  });

  test('leave no unfinished conversion behind: not one of a day ago, nor one that is aborted', async () => {
    const cacheDirectory = fresh('cache');
    const source = await makeFolder(fresh('source'), small);
    const models = join(cacheDirectory, 'models');
    await mkdir(join(models, 'old.1-2.partial'), { recursive: true });
    await mkdir(join(models, 'new.1-2.partial'));
    const yesterday = Date.now() / 1000 - 25 * 3600;
    await utimes(join(models, 'old.1-2.partial'), yesterday, yesterday);
    const control = new AbortController();
    const options = { dtype: 'float32', cacheDirectory, signal: control.signal } as const;
    const opening = openModel(source, { ...options, onProgress: () => control.abort() });
    await expect(opening).rejects.toMatchObject({ name: 'AbortError' });
    expect(await readdir(models)).toEqual(['new.1-2.partial']);
  });
});

/** What a process says that runs a script. */
function answer(script: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = fork(script, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    child.once('message', (message) => resolve(String(message)));
    child.once('error', reject);
    child.once('exit', (code) => code && reject(new Error(`exit code ${code}`)));
  });
}

/** A manifest with each of its fields taken away, and with each replaced by something strange. */
function fields(manifest: Manifest): { path: string; value: unknown }[] {
  const found: { path: string; value: unknown }[] = [];
  const visit = (path: (string | number)[], value: unknown) => {
    if (path.length > 0) {
      found.push({ path: path.join('.'), value: changed(manifest, path, { strange: [] }) });
      if (typeof path.at(-1) === 'string' && !optional(path))
        found.push({ path: path.join('.'), value: changed(manifest, path, undefined) });
    }
    if (Array.isArray(value)) visit([...path, 0], value[0]);
    else if (typeof value === 'object' && value !== null)
      for (const [key, item] of Object.entries(value)) visit([...path, key], item);
  };
  visit([], manifest);
  return found;
}

/** Ids of special tokens, the layers of the provenance, and all that may be advised. */
const optional = (path: (string | number)[]): boolean =>
  path.at(-2) === 'special' || path.at(-1) === 'layers' || path[0] === 'sampling';

function changed(manifest: Manifest, path: (string | number)[], value: unknown): unknown {
  const copy = structuredClone(manifest) as unknown as Record<string | number, unknown>;
  let place = copy;
  for (const key of path.slice(0, -1)) place = place[key] as Record<string | number, unknown>;
  place[path.at(-1)!] = value;
  return copy;
}

/** From the hub to speech: the test checkpoints as if they were the published ones, on a hub of our own. */

import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it, test } from 'vitest';
import { planPathsSync } from '../../../dist/checkpoint/convert.js';
import { MetaVoice, type Progress, synthesize } from '../../../dist/index.js';
import { locateModel } from '../../../dist/locate-model.js';
import { loadEngine } from '../../../dist/runtime/load.js';
import { huggingFace } from '../checkpoint/model-files.js';
import { fixture } from '../fixtures.js';
import { startHub, type TestHub } from './hub-server.js';

const model = 'metavoiceio/metavoice-1B-v0.1';
const encodec = 'facebook/encodec_24khz';
const bria = fixture('voices/bria.mp3');
const program = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));
const before = { ...process.env };
let folder: string;
let hub: TestHub;
let libtorch: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-hub-'));
  libtorch = (await loadEngine()).libtorch.directory;
  const published = ['first_stage.pt', 'second_stage.pt', 'speaker_encoder.pt'];
  const files = Object.fromEntries(published.map((name) => [name, readFileSync(fixture(`model/${name}`))]));
  hub = await startHub({
    [model]: { commit: '1'.repeat(40), files },
    [encodec]: {
      commit: '2'.repeat(40),
      files: {
        'model.safetensors': await huggingFace(false),
        'config.json': Buffer.from(JSON.stringify({ model_type: 'encodec', sampling_rate: 24000 })),
      },
    },
    'facebook/multiband-diffusion': {
      commit: '3'.repeat(40),
      licence: 'cc-by-nc-4.0',
      files: { 'mbd_comp_8.pt': readFileSync(fixture('model/mbd_comp_8.pt')) },
    },
  });
});
afterAll(async () => {
  await hub.close();
  await rm(folder, { recursive: true, force: true });
});

let home: string;
beforeEach(async () => {
  for (const name of Object.keys(process.env))
    if (/^HF_|^HUGGING|_PROXY$/i.test(name)) delete process.env[name];
  home = await mkdtemp(join(folder, 'home-'));
  Object.assign(process.env, {
    HF_HOME: home,
    HF_ENDPOINT: hub.endpoint,
    METAVOICE_CACHE: join(home, 'metavoice'),
  });
  hub.log.length = 0;
  return () => {
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
    Object.assign(process.env, before);
  };
});

const options = { model, device: 'cpu', dtype: 'float32' } as const;
const speaking = { voice: bria, seed: 4, maxSeconds: 0.3 };

describe('a model by name', () => {
  it('is fetched when that is asked for, converted, and speaks; then it needs no network', async () => {
    const phases: Progress[] = [];
    const tts = await MetaVoice.load({ ...options, download: true, onProgress: (step) => phases.push(step) });
    const speech = await tts.synthesize('hi', speaking);
    await tts.dispose();
    expect(speech.samples.length).toBeGreaterThan(2000);
    const seen = phases.map((step) => (step.phase === 'load' ? step.part : step.phase));
    expect([...new Set(seen)]).toEqual(['runtime', 'download', 'convert', 'model']);
    const fetched = phases.filter((step) => step.phase === 'download');
    expect(fetched.at(-1)).toMatchObject({ bytes: fetched[0]!.totalBytes, file: `${encodec}/config.json` });

    hub.log.length = 0;
    process.env.HF_HUB_OFFLINE = '1';
    for (const download of [false, true]) {
      const again = await MetaVoice.load({ ...options, download });
      const same = await again.synthesize('hi', speaking);
      expect(again.model).toBe(tts.model);
      await again.dispose();
      expect(same.samples).toEqual(speech.samples);
    }
    expect(hub.log).toEqual([]);
  });

  it('speaks as the same files in a folder do', async () => {
    const one = await synthesize('hi', { ...options, ...speaking, download: true });
    // The folder has an enhancer, too.
    const two = await synthesize('hi', { ...options, ...speaking, model: fixture('model'), enhance: false });
    expect(one.sampleRate).toBe(two.sampleRate);
    expect(one.samples).toEqual(two.samples);
  });

  it('is never fetched otherwise, and the refusal names each place and the command', async () => {
    await expect(MetaVoice.load(options)).rejects.toMatchObject({
      code: 'ERR_MODEL_NOT_FOUND',
      message: expect.stringMatching(
        /Looked for:\n.*\(a folder\)\n.*first_stage\.pt of[\s\S]*config\.json of[\s\S]*HF_HOME says[\s\S]*`npx metavoice download metavoiceio\/metavoice-1B-v0\.1`/,
      ),
    });
    expect(hub.log).toEqual([]);
  });

  it('gives way to a folder of that name', async () => {
    await mkdir(join(home, 'a', 'b'), { recursive: true });
    const path = join(home, 'a', 'b');
    expect(locateModel(path)).toBe(path);
    expect(locateModel('test/lib')).toBe('test/lib');
    expect(locateModel('test/nothing')).toMatchObject({ name: 'test/nothing' });
    expect(locateModel('./test/nothing')).toBe('./test/nothing');
  });

  it('asks only about repositories that the cache has not got whole', async () => {
    await MetaVoice.load({ ...options, download: true }).then((tts) => tts.dispose());
    await rm(join(home, 'hub/models--facebook--encodec_24khz/refs/main'));
    hub.log.length = 0;
    await MetaVoice.load({ ...options, download: true }).then((tts) => tts.dispose());
    expect(hub.log.length).toBe(2);
    expect(hub.log.every(({ path }) => path.includes(encodec))).toBe(true);
  });

  it('is planned at once, without network', async () => {
    await MetaVoice.load({ ...options, download: true }).then((tts) => tts.dispose());
    const located = locateModel(model);
    if (typeof located === 'string') throw new Error('expected a model of the hub');
    const plan = planPathsSync(located.paths, 'float32');
    expect(plan.codec!.manifest).toMatchObject({ sampleRate: 24000, codebooks: 8 });
    expect(plan.provenance.sources.map(({ file }) => file)).toEqual([
      'first_stage.pt',
      'second_stage.pt',
      'speaker_encoder.pt',
      'model.safetensors',
    ]);
  });

  it('can be aborted while it is fetched, with the reason', async () => {
    const control = new AbortController();
    const reason = new Error('enough');
    const onProgress = ({ phase }: Progress) => {
      if (phase === 'download') control.abort(reason);
    };
    const loading = MetaVoice.load({ ...options, download: true, signal: control.signal, onProgress });
    await expect(loading).rejects.toBe(reason);
  });
});

interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

function run(...args: string[]): Promise<Outcome> {
  const environment = { ...process.env, METAVOICE_LIBTORCH: libtorch };
  const child = spawn(process.execPath, [program, ...args], { cwd: home, env: environment });
  const outcome = { stdout: '', stderr: '' };
  child.stdout.on('data', (data) => (outcome.stdout += data));
  child.stderr.on('data', (data) => (outcome.stderr += data));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, ...outcome })));
}

describe('metavoice download', () => {
  it('says what it fetches, how large, under which licence, and fetches it', async () => {
    const { code, stdout, stderr } = await run('download');
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^metavoiceio\/metavoice-1B-v0\.1 at main \(11111111\)\n {2}licence: Apache-2\.0\n/,
    );
    expect(stdout).toMatch(/ {2}first_stage\.pt +[\d.]+ MB\n/);
    expect(stdout).toMatch(/facebook\/encodec_24khz at main \(22222222\)\n {2}licence: MIT/);
    expect(stdout).toMatch(/\n[\d.]+ MB of [\d.]+ MB to fetch into .*hub\nall of it is in .*hub\n$/);
    const again = await run('download', model);
    expect(again.stdout).toMatch(/first_stage\.pt +[\d.]+ MB {2}here\n/);
    expect(again.stdout).toMatch(/all here already/);
    const said = await run('say', 'hi', '-m', model, '--voice', bria, '--max-seconds', '0.3');
    expect(said).toMatchObject({ code: 0, stderr: '' });
    const converted = await run('convert', model, 'out', '--dtype', 'float32');
    expect(converted).toMatchObject({ code: 0, stderr: '' });
    expect(readdirSync(join(home, 'out'))).toContain('metavoice.json');
  });

  it('names weights that are not for commercial use, and fetches nothing in a dry run', async () => {
    const { code, stdout } = await run('download', '--with', 'diffusion', '--dry-run');
    expect(code).toBe(0);
    expect(stdout).toMatch(/licence: CC-BY-NC-4\.0: NOT FOR COMMERCIAL USE\n {2}mbd_comp_8\.pt/);
    expect(stdout).not.toContain('all of it is in');
    expect(hub.contents()).toEqual([]);
  });

  it('tells it in JSON', async () => {
    const { stdout } = await run('download', '--with', 'diffusion', '--json');
    const told = JSON.parse(stdout);
    expect(told).toMatchObject({ id: model, revision: 'main', cache: join(home, 'hub'), missingBytes: 0 });
    expect(told.fetchedBytes).toBe(told.bytes);
    expect(told.files).toHaveLength(6);
    for (const file of told.files) expect((await readFile(file.path)).length).toBe(file.bytes);
    expect(told.files.at(-1)).toMatchObject({
      part: 'diffusion',
      repository: 'facebook/multiband-diffusion',
      licence: 'CC-BY-NC-4.0',
      commercialUse: false,
      here: true,
    });
  });

  it('fails with 1 and one sentence', async () => {
    const { code, stdout, stderr } = await run('download', 'nobody/nothing');
    expect(code).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^metavoice: 127\.0\.0\.1:\d+ answered 404 .*no such repository.*\n$/);
  });

  it('is what say --download does before it speaks', async () => {
    const { code, stderr } = await run(
      'say',
      'hi',
      '-m',
      model,
      '--download',
      '--voice',
      bria,
      '--max-seconds',
      '0.3',
    );
    expect(stderr).toBe('');
    expect(code).toBe(0);
    const without = await run('say', 'hi', '-m', 'anna/none', '--voice', bria);
    expect(without.code).toBe(1);
    expect(without.stderr).toContain('npx metavoice download anna/none');
  });
});

test("nothing imports the hub's client or undici before they are needed", () => {
  const built = fileURLToPath(new URL('../../../dist/', import.meta.url));
  const names = readdirSync(built, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.js'),
  );
  expect(names.length).toBeGreaterThan(50);
  for (const name of names)
    expect(readFileSync(join(built, name), 'utf8'), name).not.toMatch(
      /^(?:import|export) [^;]*from '(?:undici|@huggingface\/hub)'/m,
    );
});

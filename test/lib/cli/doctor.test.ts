/** `metavoice doctor` as a process: its exit codes, its words and its JSON. */

import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addonFile, loadEngine } from '../../../dist/runtime/load.js';
import { barePackage } from '../bare-package.js';
import { makeFolder } from '../checkpoint/model-files.js';
import { fixture } from '../fixtures.js';
import { fakeLibtorch } from '../runtime/fakes.js';

const program = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));
let environment: NodeJS.ProcessEnv;
let libtorch: string;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
  libtorch = (await loadEngine()).libtorch.directory;
  environment = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(METAVOICE_|HF_|LIBTORCH$|XDG_)/.test(name)),
  );
  environment.METAVOICE_LIBTORCH = libtorch;
  environment.METAVOICE_CACHE = join(folder, 'cache');
  environment.HF_HUB_CACHE = join(folder, 'hub');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function run(
  args: string[],
  changes: NodeJS.ProcessEnv = {},
  command = program,
): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [command, 'doctor', ...args],
      { cwd: folder, env: { ...environment, ...changes }, maxBuffer: 1 << 26 },
      (error, stdout, stderr) => resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

async function json(args: string[], changes?: NodeJS.ProcessEnv) {
  const { code, stdout, stderr } = await run(['--json', ...args], changes);
  expect(stderr).toBe('');
  expect(stdout.endsWith('}\n')).toBe(true);
  return { code, report: JSON.parse(stdout) };
}

const checks = [
  'node',
  'addon',
  'libtorch',
  'engine',
  'devices',
  'auto',
  'kernels',
  'memory',
  'plan',
  'cache',
  'hub',
  'environment',
  'speech',
  'networks',
];
const parts = ['firstStage', 'secondStage', 'speakerEncoder', 'codec', 'diffusion', 'enhancer'];

/** What each entry has, whatever it says. */
function expectStable(report: { checks: object; model: { parts: object } | null }): void {
  expect(Object.keys(report)).toEqual(['version', 'speaks', 'reason', 'checks', 'model']);
  expect(Object.keys(report.checks)).toEqual(checks);
  for (const check of [...Object.values(report.checks), ...Object.values(report.model?.parts ?? {})]) {
    expect(Object.keys(check)).toEqual(['status', 'found', 'details', 'advice', 'facts']);
    expect(['ok', 'note', 'problem']).toContain(check.status);
    expect(check.found).toMatch(/\S/);
  }
}

describe('a machine that speaks', () => {
  it('ends with 0, and tells what was spoken and what differs from the published model', async () => {
    const { code, report } = await json(['--model', fixture('model'), '--device', 'auto']);
    expectStable(report);
    expect(report).toMatchObject({ speaks: true, reason: null });
    expect(report.checks).toMatchObject({
      libtorch: { status: 'ok', facts: { found: { directory: libtorch, source: 'METAVOICE_LIBTORCH' } } },
      engine: { status: 'ok', facts: { libtorchVersion: expect.stringMatching(/^\d+\.\d+\.\d+/) } },
      kernels: { status: 'note', facts: { files: [] } },
      hub: { facts: { exists: false } },
      speech: {
        status: 'ok',
        facts: { voice: 'a synthetic recording', device: expect.any(String), sampleRate: 48000 },
      },
      networks: { status: 'ok' },
    });
    const { seconds, realTimeFactor, peak } = report.checks.speech.facts;
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThanOrEqual(1.001);
    expect(realTimeFactor).toBeGreaterThan(0);
    expect(peak).toBeGreaterThan(0.001);
    expect(Object.keys(report.model.parts)).toEqual(parts);
    expect(report.model.parts.firstStage.facts).toMatchObject({
      tensors: { expected: 173, found: 19 },
      sizes: [{ name: 'layers', expected: 24, found: 2 }, {}, {}],
      missing: [],
    });
    expect(code).toBe(0);
  });

  it('is told in lines of one column each, the model named by the environment', async () => {
    const { code, stdout, stderr } = await run([], { METAVOICE_MODEL: fixture('model') });
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^metavoice \d+\.\d+\.\d+\n\nok {7}node {12}Node /);
    expect(stdout).toMatch(
      /^ok {7}speech +1\.00 s of audio at 48000 Hz on \S+ in \w+, real-time factor [\d.]+/m,
    );
    expect(stdout).toMatch(
      /^note {5}firstStage +first_stage\.pt: 173 tensors expected, 19 found: layers 24 → 2/m,
    );
    expect(stdout).toMatch(/\n\nSpeech works\.\n$/);
    const columns = [...stdout.matchAll(/^(?:ok|note|problem) +\w+ +/gm)].map(([start]) => start.length);
    expect(new Set(columns).size).toBe(1);
    expect(code).toBe(0);
  });

  it('speaks with the model that ships where none is named, and compares it with no other', async () => {
    const { code, report } = await json([]);
    expectStable(report);
    expect(report).toMatchObject({ speaks: true, model: null });
    expect(report.checks).toMatchObject({
      plan: { status: 'ok', facts: { model: 'bundled', fits: true } },
      speech: { status: 'ok', facts: { voice: 'its speaker slt' } },
      networks: { status: 'ok' },
    });
    expect(code).toBe(0);
  });

  it('says what a device or a dtype that was asked for comes to', async () => {
    const { code, report } = await json(['-m', fixture('model'), '--device', 'cpu', '--dtype', 'bfloat16']);
    expect(report.checks.request).toMatchObject({
      status: 'ok',
      facts: { device: 'cpu', dtype: 'bfloat16' },
    });
    expect(report.checks.speech.facts).toMatchObject({ device: 'cpu', dtype: 'bfloat16' });
    expect(code).toBe(0);
  });
});

describe('a machine that can not speak ends with 1', () => {
  it('without an addon, and tells the rest', async () => {
    const { code, report } = await json(['-m', fixture('model')], {
      METAVOICE_ADDON: join(folder, 'none.node'),
    });
    expectStable(report);
    expect(report).toMatchObject({ speaks: false, reason: expect.stringMatching(/the addon is not open/) });
    expect(report.checks).toMatchObject({
      node: { status: 'ok' },
      addon: { status: 'problem', advice: expect.stringMatching(/METAVOICE_ADDON/), facts: { file: null } },
      libtorch: { status: 'note', facts: { found: { directory: libtorch } } },
      engine: { status: 'problem' },
      memory: { facts: { total: expect.any(Number) } },
      speech: { status: 'problem' },
      networks: { status: 'note' },
    });
    expect(report.model.parts.codec.status).toBe('note');
    expect(code).toBe(1);
  });

  it('with an addon whose engine is gone, and finds the kernels that lie beside it', async () => {
    const folderOfAddon = join(folder, 'addon');
    await mkdir(folderOfAddon);
    const addon = join(folderOfAddon, 'metavoice.node');
    await cp(addonFile(), addon);
    await writeFile(join(folderOfAddon, 'libmetavoice_cuda12.so'), '');
    const { code, report } = await json([], { METAVOICE_ADDON: addon });
    expect(report.checks).toMatchObject({
      addon: { status: 'ok', facts: { file: addon, origin: 'named by METAVOICE_ADDON' } },
      libtorch: { status: 'note', facts: { found: { directory: libtorch } } },
      engine: {
        status: 'problem',
        found: expect.stringMatching(/the engine of metavoice is not where it belongs/),
      },
      kernels: { status: 'ok', facts: { files: ['libmetavoice_cuda12.so'] } },
    });
    expect(report.reason).toMatch(/the engine is not open/);
    expect(code).toBe(1);
  });

  it('with a libtorch that is none, and tells why each was refused', async () => {
    const wrong = join(folder, 'libtorch');
    await mkdir(join(wrong, 'lib'), { recursive: true });
    const { code, report } = await json([], { METAVOICE_LIBTORCH: wrong });
    expect(report.checks.libtorch).toMatchObject({
      status: 'problem',
      advice: expect.stringMatching(/metavoice setup/),
      facts: {
        found: null,
        refused: [
          { source: 'METAVOICE_LIBTORCH', directory: wrong, reason: expect.stringMatching(/^has no lib/) },
        ],
      },
    });
    expect(report.checks.auto).toMatchObject({ status: 'ok', facts: { byCapability: true } });
    expect(report.reason).toMatch(/libtorch is not open/);
    expect(code).toBe(1);
  });

  it('with offers that will not do, each with its reason', async () => {
    const { code, report } = await json([], {
      METAVOICE_LIBTORCH: '',
      LIBTORCH: join(folder, 'nowhere'),
      PYTHON: join(folder, 'no-python'),
      PATH: folder,
    });
    const { refused } = report.checks.libtorch.facts;
    expect(refused.map(({ source }: { source: string }) => source)).toEqual([
      'LIBTORCH',
      join(folder, 'no-python'),
      'python3',
      'python',
      'managed copy',
    ]);
    for (const { reason } of refused) expect(reason).toMatch(/\S/);
    expect(report.checks.libtorch.details).toHaveLength(5);
    expect(code).toBe(1);
  });

  it('with a libtorch that looks right and does not open', async () => {
    const { version } = (await loadEngine()).libtorch;
    const broken = fakeLibtorch(join(folder, 'broken'), { version });
    const { code, report } = await json([], { METAVOICE_LIBTORCH: broken });
    expect(report.checks.libtorch).toMatchObject({
      status: 'problem',
      found: expect.stringMatching(/could not be opened: /),
      facts: { found: { directory: broken } },
    });
    expect(code).toBe(1);
  });

  it('with a libtorch that is cut short, which would kill the process', async () => {
    const { version } = (await loadEngine()).libtorch;
    const short = fakeLibtorch(join(folder, 'short'), { version });
    const head = (await readFile(join(libtorch, 'lib', 'libc10.so'))).subarray(0, 4096);
    for (const name of ['libc10.so', 'libtorch_cpu.so']) await writeFile(join(short, 'lib', name), head);
    const { code, report } = await json([], { METAVOICE_LIBTORCH: short });
    expect(report.checks.libtorch.details.join()).toMatch(/libc10\.so that is cut short/);
    expect(code).toBe(1);
  });

  it('without a model, and says what to do', async () => {
    const bare = barePackage(join(folder, 'bare'));
    const { code, stdout } = await run([], {}, bare.file('dist/cli/main.js'));
    expect(stdout).toMatch(/^(?:ok|note) +plan +MetaVoice-1B as published on /m);
    expect(stdout).toMatch(/^ok +engine +libtorch .* runs, .* draws as it should$/m);
    expect(stdout).toMatch(/no model was given and none was found/);
    expect(stdout).toMatch(/→ give the folder of a model with --model or METAVOICE_MODEL/);
    expect(code).toBe(1);
  });

  it('with a model that is not there', async () => {
    const { code, stdout } = await run(['-m', 'nowhere']);
    expect(stdout).toMatch(/^problem +speech +no model at nowhere/m);
    expect(stdout).toMatch(/\nSpeech can't work: no model at nowhere: there is no such folder\.\n$/);
    expect(code).toBe(1);
  });

  it('with a damaged file, and checks the others', async () => {
    const model = await makeFolder(join(folder, 'damaged'), [
      'first_stage.pt',
      'second_stage.pt',
      'encodec_24khz.th',
    ]);
    await writeFile(
      join(model, 'encodec_24khz.th'),
      (await readFile(join(model, 'encodec_24khz.th'))).subarray(0, 50_000),
    );
    const { code, report } = await json(['-m', model]);
    expect(report.model.parts.codec).toMatchObject({
      status: 'problem',
      found: expect.stringMatching(/encodec_24khz\.th: .*truncated/),
    });
    expect(report.model.parts.firstStage.found).toMatch(/names and structure agree/);
    expect(report.checks.speech).toMatchObject({ status: 'problem' });
    expect(code).toBe(1);
  });

  it('for a device that is not there', async () => {
    const { code, report } = await json(['-m', fixture('model'), '--device', 'cuda:77']);
    expect(report.checks.request).toMatchObject({
      status: 'problem',
      facts: { code: 'ERR_CUDA_UNAVAILABLE' },
    });
    expect(report.checks.auto.status).not.toBe('problem');
    expect(code).toBe(1);
  });
});

describe('a model without a part', () => {
  it('that speech can do without still speaks', async () => {
    const model = await makeFolder(join(folder, 'without'), [
      'first_stage.pt',
      'second_stage.pt',
      'encodec_24khz.th',
      'speaker_encoder.pt',
    ]);
    const { code, report } = await json(['-m', model]);
    expect(report.model.parts.diffusion).toMatchObject({
      status: 'note',
      found: expect.stringMatching(/^absent/),
    });
    expect(code).toBe(0);
  });

  it('that speech needs does not', async () => {
    const model = await makeFolder(join(folder, 'mute'), ['first_stage.pt', 'speaker_encoder.pt']);
    const { code, report } = await json(['-m', model]);
    expect(report.model.parts.codec).toMatchObject({ status: 'problem', advice: expect.any(String) });
    expect(report.reason).toMatch(/second stage/);
    expect(code).toBe(1);
  });
});

it('wrong usage ends with 2', async () => {
  for (const args of [['x'], ['--deeper'], ['--dtype', 'fp8'], ['--device', 'gpu']]) {
    const { code, stdout, stderr } = await run(args);
    expect(stderr).toMatch(/^metavoice: [\s\S]*Try `metavoice doctor --help`\.\n$/);
    expect(stdout).toBe('');
    expect(code).toBe(2);
  }
});

it('help says what it does', async () => {
  expect(await run(['--help'])).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/--deep[\s\S]*--json/),
  });
});

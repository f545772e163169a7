import { cp, mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { examine } from '../../../dist/doctor/doctor.js';
import { checkModelParts } from '../../../dist/doctor/model-parts.js';
import { loadEngine } from '../../../dist/runtime/load.js';
import { fixture } from '../checkpoint/torch-save.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
  await loadEngine();
  vi.stubEnv('METAVOICE_CACHE', join(folder, 'cache'));
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

it('names each check before it runs, and speaks', async () => {
  const names: string[] = [];
  const report = await examine({ model: fixture('.'), device: 'cpu', onCheck: (name) => names.push(name) });
  expect(report).toMatchObject({ speaks: true, reason: null });
  expect(names[0]).toBe('node');
  expect(names).toEqual(expect.arrayContaining(report.checks.map(({ name }) => name)));
});

it('stops with the reason of the signal, at once or on the way', async () => {
  const reason = new Error('enough');
  await expect(examine({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  const control = new AbortController();
  const stopped = examine({
    model: fixture('.'),
    signal: control.signal,
    onCheck: (name) => name === 'speech' && control.abort(reason),
  });
  await expect(stopped).rejects.toBe(reason);
});

it('refuses wrong options', async () => {
  await expect(examine({ dtype: 'fp8' as never })).rejects.toThrow(/for `dtype`/);
});

it('computes with a large model only when told to', async () => {
  const large = join(folder, 'large');
  await mkdir(large);
  const file = await open(join(large, 'second_stage.pt'), 'w');
  await file.truncate(600e6);
  await file.close();
  const { checks, model, speaks } = await examine({ model: large });
  const networks = checks.find(({ name }) => name === 'networks');
  expect(networks).toMatchObject({ status: 'note', found: expect.stringMatching(/600 MB; --deep/) });
  expect(model?.parts.find(({ name }) => name === 'secondStage')).toMatchObject({ status: 'problem' });
  expect(speaks).toBe(false);
  const deep = await examine({ model: large, deep: true });
  expect(deep.checks.find(({ name }) => name === 'networks')).toMatchObject({ status: 'problem' });
});

it('finds an enhancer in a folder of its own, and takes no other folder for one', async () => {
  const status = async (path: string) =>
    (await checkModelParts(path)).find(({ name }) => name === 'enhancer')?.found;
  expect(await status(fixture('DeepFilterNet3'))).toMatch(/^DeepFilterNet3: 133 tensors as expected/);
  const other = join(folder, 'other');
  await mkdir(join(other, 'checkpoints'), { recursive: true });
  expect(await status(other)).toMatch(/^absent/);
  await cp(fixture('DeepFilterNet3'), join(other, 'DeepFilterNet3'), { recursive: true });
  expect(await status(other)).toMatch(/133 tensors as expected/);
});

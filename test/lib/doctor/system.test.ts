import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it, test, vi } from 'vitest';
import { checkCache, checkHub, hubCacheDirectory } from '../../../dist/doctor/caches.js';
import { attempt } from '../../../dist/doctor/check.js';
import { checkPlan } from '../../../dist/doctor/memory.js';
import { plainValue } from '../../../dist/doctor/plain-values.js';
import { judge } from '../../../dist/doctor/speech.js';
import { checkEnvironment, checkMemory, checkNode } from '../../../dist/doctor/system.js';
import { testSpeaker } from '../../../dist/doctor/test-speaker.js';
import { loadDoor } from '../../../dist/runtime/load.js';
import { barePackage } from '../bare-package.js';
import { fixture } from '../fixtures.js';

afterEach(() => vi.unstubAllEnvs());

test.each([
  [{ HF_HUB_CACHE: '/a', HF_HOME: '/b', XDG_CACHE_HOME: '/c' }, '/a'],
  [{ HF_HOME: '/b', XDG_CACHE_HOME: '/c' }, join('/b', 'hub')],
  [{ XDG_CACHE_HOME: '/c' }, join('/c', 'huggingface', 'hub')],
  [{}, join(homedir(), '.cache', 'huggingface', 'hub')],
])('the cache of the hub by %j', (env, expected) => {
  expect(hubCacheDirectory(env)).toBe(expected);
});

it('the environment keeps its secrets', () => {
  const { details, facts } = checkEnvironment({
    METAVOICE_DEVICE: 'cpu',
    HF_TOKEN: 'hf_abc',
    METAVOICE_API_KEY: 'k',
    HTTPS_PROXY: 'http://user:word@proxy:3128',
    HOME: '/home/me',
    LIBTORCH: '',
  });
  expect(details).toEqual([
    'HF_TOKEN=(set)',
    'HTTPS_PROXY=http://(set)@proxy:3128',
    'METAVOICE_API_KEY=(set)',
    'METAVOICE_DEVICE=cpu',
  ]);
  expect(Object.keys((facts as { variables: object }).variables)).toHaveLength(4);
});

it('Node and memory are told without an addon', () => {
  expect(checkNode()).toMatchObject({ status: 'ok', facts: { version: process.versions.node } });
  const { found, facts } = checkMemory(null);
  expect(found).toMatch(/^[\d.]+ \w+ of [\d.]+ \w+ free/);
  expect(facts).toMatchObject({ total: expect.any(Number), free: expect.any(Number) });
});

it('a model that does not fit is a problem when it is named or ships, a note when it is the published one', async () => {
  vi.stubEnv('METAVOICE_MODEL', '');
  const folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
  const bare = barePackage(join(folder, 'bare'));
  const { checkPlan: withoutModel } = await import(bare.url('dist/doctor/memory.js'));
  const { loadDoor: otherDoor } = await import(bare.url('dist/runtime/load.js'));
  expect(withoutModel({ device: 'cpu' })).toMatchObject({
    name: 'plan',
    found: expect.stringMatching(/^MetaVoice-1B as published on cpu, [\d.]+ GB: /),
    facts: { fits: expect.any(Boolean), total: expect.any(Number), parts: { runtime: expect.any(Number) } },
  });
  expect(checkPlan({ model: fixture('model'), device: 'cpu' })).toMatchObject({ status: 'ok' });
  expect(checkPlan({ device: 'cpu' })).toMatchObject({ status: 'ok', facts: { model: 'bundled' } });
  const little = { ...loadDoor().cpuFacts(), freeMemory: 1e8 };
  for (const door of [loadDoor(), otherDoor()]) vi.spyOn(door, 'cpuFacts').mockReturnValue(little);
  expect(checkPlan({ device: 'cpu' })).toMatchObject({ status: 'problem' });
  expect(withoutModel({ device: 'cpu' })).toMatchObject({
    status: 'note',
    advice: expect.stringMatching(/free some/),
  });
  expect(checkPlan({ model: fixture('model'), device: 'cpu' })).toMatchObject({ status: 'problem' });
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

it('caches are counted', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
  try {
    vi.stubEnv('METAVOICE_CACHE', join(folder, 'ours'));
    vi.stubEnv('HF_HUB_CACHE', join(folder, 'hub'));
    expect(await checkCache()).toMatchObject({ status: 'ok', facts: { exists: false, bytes: 0 } });
    expect(await checkHub()).toMatchObject({ status: 'ok', facts: { exists: false, repositories: [] } });

    for (const inner of [
      'models/a',
      'models/b.partial',
      'voices',
      'libtorch/2.13.0-cpu',
      'libtorch/.making-1',
    ])
      await mkdir(join(folder, 'ours', inner), { recursive: true });
    await writeFile(join(folder, 'ours/models/a/metavoice.json'), '{}');
    await writeFile(join(folder, 'ours/voices/x.json'), '12345');
    const snapshot = join(folder, 'hub/models--facebook--encodec_24khz/snapshots/abc');
    await mkdir(snapshot, { recursive: true });
    await writeFile(join(snapshot, 'model.safetensors'), '');
    const cache = await checkCache();
    expect(cache.facts).toMatchObject({ bytes: 7, models: ['a'], libtorch: ['2.13.0-cpu'], voices: 1 });
    expect(cache.found).toMatch(/1 converted model; libtorch 2\.13\.0-cpu; 1 voice$/);
    const hub = await checkHub();
    expect(hub.found).toMatch(/1 of 3 published repositories$/);
    expect(hub.details).toEqual(['facebook/encodec_24khz (EnCodec codec): model.safetensors']);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

it('a check that throws is a problem, and one that is aborted is none', async () => {
  const throwing = () => {
    throw new Error('no luck:\n  here\n\n  nor there');
  };
  expect(await attempt('x', undefined, throwing)).toEqual({
    name: 'x',
    status: 'problem',
    found: 'no luck:',
    details: ['here', 'nor there'],
    facts: { code: null },
  });
  const control = new AbortController();
  const aborting = () => {
    control.abort(new Error('stop'));
    throw new Error('torn');
  };
  await expect(attempt('x', control.signal, aborting)).rejects.toThrow('stop');
});

it('values of a pickle become JSON, however odd', () => {
  const circle: unknown[] = [];
  circle.push(circle);
  const value = new Map<unknown, unknown>([
    ['big', 2n ** 70n],
    [1, Number.NaN],
    ['bytes', new Uint8Array(3)],
    ['circle', circle],
    ['set', new Set([1])],
    ['none', undefined],
  ]);
  expect(JSON.parse(JSON.stringify(plainValue(value)))).toMatchObject({
    big: '1180591620717411303424',
    1: 'NaN',
    bytes: '3 bytes',
    set: 'Set',
    none: null,
  });
});

it('the made-up recording is the same each time, within bounds and not silent', () => {
  const { samples, sampleRate } = testSpeaker();
  expect(Buffer.from(testSpeaker().samples.buffer).equals(Buffer.from(samples.buffer))).toBe(true);
  expect(samples.length / sampleRate).toBeGreaterThan(1.6);
  const peak = samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  expect(peak).toBeGreaterThan(0.05);
  expect(peak).toBeLessThanOrEqual(1);
});

test.each<[string, Float32Array, string, RegExp]>([
  ['heard', new Float32Array([0, 0.5, -0.25]), 'ok', /real-time factor 0\.50, with a voice, peak 0\.500$/],
  ['no number', new Float32Array([0.5, Number.NaN, 0.5]), 'problem', /not numbers$/],
  ['infinite', new Float32Array([0.5, Number.POSITIVE_INFINITY]), 'problem', /not numbers$/],
  ['silent', new Float32Array([0, 1e-5, -1e-4]), 'problem', /but silent \(peak 1\.0e-4\)$/],
  ['empty', new Float32Array(0), 'problem', /but silent/],
])('speech that is %s', (_, samples, status, found) => {
  const model = {
    device: 'cpu',
    dtype: 'float32' as const,
    quantization: 'none' as const,
    reason: 'r',
    model: 'm',
  };
  const timings = { realTimeFactor: 0.5 } as Parameters<typeof judge>[1]['timings'];
  const speech = { samples, sampleRate: 24000, durationSeconds: 1, endReason: 'end' as const, timings };
  const check = judge(model, speech, 'a voice');
  expect(check.status).toBe(status);
  expect(check.found).toMatch(found);
});

import { copyFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { MetaVoiceError } from '../../../dist/errors.js';
import { libraryFile, resolveLibtorch } from '../../../dist/runtime/libtorch.js';
import { loadDoor, loadEngine, outsideArchive, setupRuntime } from '../../../dist/runtime/load.js';
import { fakeLibtorch, temporaryFolder, write } from './fakes.js';

const loader = resolve(import.meta.dirname, '../../../dist/runtime/load.js');

/** Runs code in a new thread; its `answer(value)` ends it. */
function inWorker<T>(code: string): Promise<T> {
  return new Promise((settle, fail) => {
    const worker = new Worker(
      `const { parentPort } = require('node:worker_threads');
       const answer = (value) => parentPort.postMessage(value);
       import(${JSON.stringify(loader)}).then(async ({ loadDoor, loadEngine }) => { ${code} });`,
      { eval: true },
    );
    let result: T;
    worker.on('message', (value) => {
      result = value;
    });
    worker.on('error', fail);
    worker.on('exit', (exit) =>
      exit === 0 ? settle(result) : fail(new Error(`the worker ended with ${exit}`)),
    );
  });
}

async function libtorchFile(name: string): Promise<string> {
  const { found } = await resolveLibtorch({ required: loadDoor().libtorchVersion });
  if (!found) throw new Error('these tests need the libtorch of the build');
  return join(found.directory, 'lib', libraryFile(name));
}

afterEach(() => vi.unstubAllEnvs());

describe('the engine', () => {
  const notFound = async (promise: Promise<unknown>): Promise<MetaVoiceError> => {
    const error = await promise.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(MetaVoiceError.isInstance(error)).toBe(true);
    expect(error).toMatchObject({ code: 'ERR_RUNTIME_NOT_FOUND' });
    return error as MetaVoiceError;
  };

  test('is refused with a libtorch of another version, which the message names', async () => {
    vi.stubEnv('METAVOICE_LIBTORCH', fakeLibtorch(temporaryFolder(), { version: '2.12.0+cpu' }));
    const error = await notFound(loadEngine());
    expect(error.message).toMatch(/METAVOICE_LIBTORCH.*2\.12\.0\+cpu[\s\S]*npx metavoice setup/);
    expect(error.details.refused).toHaveLength(1);
  });

  test('is refused with the words of the loader when a library is not one', async () => {
    const folder = fakeLibtorch(temporaryFolder(), { version: `${loadDoor().libtorchVersion}+cpu` });
    const error = await notFound(loadEngine({ libtorch: folder }));
    expect(error.message).toMatch(/cannot open .*c10/);
  });

  test('is loaded once, and a second libtorch in the process is refused', async () => {
    const { engine, libtorch } = await loadEngine();
    expect(engine.libtorchVersion).toContain(loadDoor().libtorchVersion);
    expect((await loadEngine()).engine).toBe(engine);
    expect((await loadEngine({ libtorch: libtorch.directory })).engine).toBe(engine);
    const other = fakeLibtorch(temporaryFolder(), { version: libtorch.version });
    const error = await notFound(loadEngine({ libtorch: other }));
    expect(error.message).toMatch(/already uses/);
  });

  test('loads in worker threads, again after one has ended', async () => {
    const ask = 'answer((await loadEngine()).engine.libtorchVersion)';
    const first = await inWorker<string>(ask);
    expect(first).toContain(loadDoor().libtorchVersion);
    expect(await Promise.all([inWorker<string>(ask), inWorker<string>(ask)])).toEqual([first, first]);
  });

  test('does not hold the event loop while libtorch is opened', async () => {
    const gap = await inWorker<number>(`
      let longest = 0, last = performance.now();
      const timer = setInterval(() => { longest = Math.max(longest, performance.now() - last); last = performance.now(); }, 1);
      await loadEngine();
      clearInterval(timer);
      answer(longest);`);
    expect(gap).toBeLessThan(150);
  });
});

describe('the door', () => {
  test('refuses libraries by relative path, and files that are not there', async () => {
    const door = loadDoor();
    await expect(door.openLibraries(['lib/libother.so'])).rejects.toMatchObject({
      code: 'ERR_RUNTIME_NOT_FOUND',
      message: expect.stringContaining('absolute path'),
    });
    await expect(door.openLibraries(['/nowhere/libother.so'])).rejects.toThrow(/No such file/);
    expect(() => door.openEngine(['/nowhere/libother.so'], '/nowhere/engine.so')).toThrow(
      expect.objectContaining({ code: 'ERR_RUNTIME_NOT_FOUND' }),
    );
  });

  test('refuses what is not a library, and a library that is not an engine', async () => {
    const file = join(temporaryFolder(), 'libtext.so');
    write(file, 'not a library');
    expect(() => loadDoor().openEngine([], file)).toThrow(/cannot open .*libtext/);
    const c10 = await libtorchFile('c10');
    expect(() => loadDoor().openEngine([], c10)).toThrow(/not an engine/);
  });

  test.runIf(process.platform === 'linux')('refuses a second copy of a library that is open', async () => {
    const c10 = await libtorchFile('c10');
    const copy = join(temporaryFolder(), libraryFile('c10'));
    copyFileSync(c10, copy);
    await loadDoor().openLibraries([c10]);
    await loadDoor().openLibraries([c10]);
    await expect(loadDoor().openLibraries([copy])).rejects.toThrow(/already uses another copy/);
  });

  test('refuses arguments of the wrong type', () => {
    const door = loadDoor() as unknown as { openEngine(...values: unknown[]): unknown };
    expect(() => door.openEngine()).toThrow(TypeError);
    expect(() => door.openEngine([1], '/x')).toThrow(TypeError);
    expect(() => door.openEngine([], 7)).toThrow(TypeError);
  });

  test('tells processor, cores and memory as the system does', () => {
    const facts = loadDoor().cpuFacts();
    expect(facts.name.length).toBeGreaterThan(2);
    expect(facts.cores).toBeGreaterThanOrEqual(1);
    expect(facts.cores).toBeLessThanOrEqual(cpus().length);
    expect(facts.physicalCores).toBeGreaterThanOrEqual(1);
    expect(facts.physicalCores).toBeLessThanOrEqual(facts.cores);
    if (facts.limits.cpus !== null) expect(facts.cores).toBeLessThanOrEqual(Math.max(1, facts.limits.cpus));
    if (facts.limits.memory !== null) expect(facts.totalMemory).toBeLessThanOrEqual(facts.limits.memory);
    expect(facts.totalMemory).toBeLessThanOrEqual(totalmem());
    expect(facts.freeMemory).toBeGreaterThan(0);
    expect(facts.freeMemory).toBeLessThanOrEqual(facts.totalMemory);
    for (const feature of facts.features) expect(feature).toMatch(/^[a-z0-9_]+$/);
  });

  test('tells CUDA devices, or null without a driver', () => {
    const facts = loadDoor().cudaFacts();
    if (facts === null) return;
    expect(facts.driverCuda).toMatch(/^\d+\.\d+$/);
    for (const [index, device] of facts.devices.entries()) {
      expect(device).toMatchObject({ index, name: expect.any(String) });
      expect(device.computeCapability).toMatch(/^\d+\.\d+$/);
      expect(device.totalMemory).toBeGreaterThan(0);
      if (device.freeMemory !== null) expect(device.freeMemory).toBeLessThanOrEqual(device.totalMemory);
    }
  });

  test('makes OpenMP rest between operations, unless told otherwise', () => {
    loadDoor();
    expect(process.env.OMP_WAIT_POLICY).toBeDefined();
  });

  test('opens in worker threads, beside the main one', async () => {
    const names = await Promise.all([1, 2].map(() => inWorker<string>('answer(loadDoor().cpuFacts().name)')));
    expect(new Set([...names, loadDoor().cpuFacts().name]).size).toBe(1);
  });

  test('is looked for where METAVOICE_ADDON says', async () => {
    vi.stubEnv('METAVOICE_ADDON', '/nowhere/metavoice.node');
    const message = await inWorker<string>(`
      process.env.METAVOICE_ADDON = '/nowhere/metavoice.node';
      try { loadDoor(); } catch (error) { answer(error.code + ' ' + error.message); }`);
    expect(message).toMatch(/^ERR_RUNTIME_NOT_FOUND METAVOICE_ADDON is `\/nowhere\/metavoice\.node`/);
  });
});

test('a path in an archive of Electron is mapped to the unpacked file', () => {
  expect(outsideArchive('/a/app.asar/node_modules/x.node')).toBe('/a/app.asar.unpacked/node_modules/x.node');
  expect(outsideArchive('/a/app.asar.unpacked/x.node')).toBe('/a/app.asar.unpacked/x.node');
  expect(outsideArchive('/a/b/x.node')).toBe('/a/b/x.node');
});

test('setup with CUDA is refused where no CUDA build serves', async () => {
  if (loadDoor().cudaFacts() !== null) return;
  await expect(setupRuntime({ cuda: true })).rejects.toMatchObject({ code: 'ERR_CUDA_UNAVAILABLE' });
});

/**
 * The kernels of the GPU on the CPU: compiled for the host over test/native/kernels/emulator.h, their own tests are run, and
 * those native tests of the engine that go through them. It shows the logic, and nothing of speed, memory models or races.
 *
 *   node scripts/emulated-kernels.mjs     needs CUDA's headers and the native tests (`npm run build -- --tests`)
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { testsFile } from './build.mjs';
import { Complaint, program, root, run, say } from './log.mjs';
import { nativeModel } from './native-model.mjs';

const folder = join(root, 'build-cmake', 'emulated');
const kernelTests = join(folder, 'kernel_tests');
/** The same with what compute capability 7.5 has in place of the asynchronous copies. */
const turingTests = join(folder, 'kernel_tests_turing');
const library = join(folder, 'libmetavoice_cuda.so');
const compiler = process.env.CXX ?? 'c++';

/** Suites of the native tests that step, draw and speak by kernels where there are some. */
const suites = ['models/decode_runner', 'engine/batch_step', 'engine/first_stage_run', 'engine/stages'];

/** The folder of CUDA's headers, or null. @returns {Promise<string | null>} */
async function cudaHeaders() {
  const onPath = (process.env.PATH ?? '').split(delimiter).filter((place) => existsSync(join(place, 'nvcc')));
  const local = existsSync('/usr/local') ? await readdir('/usr/local') : [];
  const places = [
    process.env.CUDA_HOME,
    process.env.CUDA_PATH,
    ...onPath.map(dirname),
    ...local.filter((name) => name.startsWith('cuda')).map((name) => join('/usr/local', name)),
  ];
  for (const place of places) {
    const headers = place && join(place, 'include');
    if (headers && existsSync(join(headers, 'cuda_runtime.h'))) return headers;
  }
  return null;
}

/**
 * Compiles as many at once as there are cores.
 *
 * @param {string} headers @param {readonly string[]} sources @param {readonly string[]} definitions
 * @returns {Promise<string[]>} Their objects.
 */
async function compile(headers, sources, definitions = []) {
  const emulator = join(root, 'test', 'native', 'kernels', 'emulator.h');
  // Jumps between fibers are what a fortified libc takes for a broken stack.
  const flags = ['-std=c++20', '-O2', '-fPIC', '-U_FORTIFY_SOURCE', '-DMETAVOICE_EMULATED'];
  const settings = [...flags, ...definitions, '-include', emulator];
  const includes = ['-I', join(root, 'native'), '-I', dirname(emulator), '-isystem', headers];
  const objects = sources.map((source) =>
    join(folder, `${[source, ...definitions].join('_').replaceAll('/', '_')}.o`),
  );
  const left = [...sources.entries()];
  const worker = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const [index, source] = next;
      const output = ['-x', 'c++', '-c', join(root, source), '-o', objects[index] ?? ''];
      await run(compiler, [...settings, ...includes, ...output]);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  return objects;
}

/** Whether nothing that they are made of, and by, has changed since. */
async function isBuilt() {
  const made = [library, kernelTests, turingTests];
  if (!made.every((file) => existsSync(file))) return false;
  const times = async (/** @type {readonly string[]} */ paths) =>
    (await Promise.all(paths.map((path) => stat(path)))).map(({ mtimeMs }) => mtimeMs);
  const places = ['native/core', 'native/ops', 'test/native/kernels'].map((place) => join(root, place));
  const sources = await Promise.all(
    places.map(async (place) => (await readdir(place)).map((name) => join(place, name))),
  );
  const changed = await times([...sources.flat(), fileURLToPath(import.meta.url)]);
  return Math.max(...changed) < Math.min(...(await times(made)));
}

/** @param {string} headers */
async function build(headers) {
  if (await isBuilt()) return;
  say('building the kernels for the emulation');
  await mkdir(folder, { recursive: true });
  const names = async (/** @type {string} */ place, /** @type {RegExp} */ pattern) =>
    (await readdir(join(root, place))).filter((name) => pattern.test(name)).map((name) => `${place}/${name}`);
  const kernels = await names('native/ops', /^decode_.*\.cu$/);
  // What times kernels has nothing to time here.
  const cases = await names('test/native/kernels', /^decode_(step_main|.*_cases)\.cu$/);
  const graph = 'test/native/kernels/emulated_graph.cc';
  const host = ['native/ops/sampling.cc', 'native/core/random.cc'];
  const sources = [graph, ...kernels, ...cases, ...host];
  const objects = await compile(headers, sources);
  const shared = objects.slice(0, 1 + kernels.length);
  await run(compiler, ['-shared', ...shared, '-o', library]);
  await run(compiler, [...objects, '-o', kernelTests]);
  await run(compiler, [...(await compile(headers, sources, ['-DMETAVOICE_TURING'])), '-o', turingTests]);
}

/**
 * Builds all of it.
 *
 * @returns {Promise<{ kernelTests: string[], turingTests: string[], nativeTests: string[], env: NodeJS.ProcessEnv } | null>} The
 * commands, and the environment of the last one; null without CUDA's headers
 */
export async function emulatedKernels() {
  const headers = await cudaHeaders();
  if (headers === null) return null;
  await build(headers);
  return {
    kernelTests: [kernelTests, '--small'],
    turingTests: [turingTests, '--small'],
    nativeTests: [testsFile, `--model=${await nativeModel()}`, `--test-suite=${suites.join(',')}`],
    env: { ...process.env, METAVOICE_EMULATED_KERNELS: library, METAVOICE_TEST_PATIENCE: '600' },
  };
}

/** Why there is no emulation. */
export const noHeaders =
  'CUDA’s headers are neither in $CUDA_HOME/include, nor beside nvcc, nor in /usr/local/cuda*';

if (process.argv[1] === fileURLToPath(import.meta.url))
  program(async () => {
    const ready = await emulatedKernels();
    if (ready === null) throw new Complaint(noHeaders);
    const { env } = ready;
    for (const [command = '', ...rest] of [ready.kernelTests, ready.turingTests, ready.nativeTests])
      await run(command, rest, { env, stdout: 'stdout' });
  });

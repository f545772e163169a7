/**
 * `npm test`: bootstrap, lint, types, native tests, the GPU's kernels in an emulation where CUDA's headers are, tests through
 * the API, and the shape of the package.
 * `npm test -- <arguments>` passes the arguments to vitest and runs nothing else after the bootstrap.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { bootstrap } from './bootstrap.mjs';
import { testsFile } from './build.mjs';
import { emulatedKernels, noHeaders } from './emulated-kernels.mjs';
import { Complaint, root, say, tool } from './log.mjs';
import { nativeModel } from './native-model.mjs';
import { prebuild } from './prebuild.mjs';
import { findPackages } from './python.mjs';

/** @typedef {{ name: string, passed: number, failed: number, seconds: number, complaints?: string[] }} Result */

const work = join(root, 'build', 'test');

/**
 * Runs a command with its output shown; what it said on standard output is kept, too.
 *
 * @param {string} command
 * @param {string[]} commandArguments
 * @param {{ env?: NodeJS.ProcessEnv, quiet?: boolean }} [options]
 * @returns {Promise<{ code: number, output: string }>}
 */
function capture(command, commandArguments, options = {}) {
  return new Promise((settle) => {
    const child = spawn(command, commandArguments, {
      cwd: root,
      env: options.env ?? process.env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.setEncoding('utf8');
    child.stdout.on('data', (text) => {
      output += text;
      if (!options.quiet) process.stdout.write(text);
    });
    child.on('error', (error) => settle({ code: 1, output: error.message }));
    child.on('close', (code) => settle({ code: code ?? 1, output }));
  });
}

/** A check that passes or fails as a whole. @param {string} name @param {string[]} commandArguments @returns {Promise<Result>} */
async function check(name, commandArguments) {
  const started = Date.now();
  say(name);
  const { code } = await capture(process.execPath, commandArguments);
  return {
    name,
    passed: code === 0 ? 1 : 0,
    failed: code === 0 ? 0 : 1,
    seconds: (Date.now() - started) / 1000,
  };
}

/**
 * A program that says how many of its cases passed and failed.
 *
 * @param {string} name @param {readonly string[]} command @param {RegExp} counts @param {{ env?: NodeJS.ProcessEnv, quiet?: boolean }} [options]
 * @returns {Promise<Result>}
 */
async function counted(name, [program = '', ...rest], counts, options) {
  const started = Date.now();
  say(name);
  const { code, output } = await capture(program, rest, options);
  const [, passed = '0', failed = '0'] = [...output.matchAll(counts)].at(-1) ?? [];
  // A crash leaves no count.
  const failures = Math.max(Number(failed), code === 0 ? 0 : 1);
  if (failures > 0 && options?.quiet) process.stdout.write(output);
  return { name, passed: Number(passed), failed: failures, seconds: (Date.now() - started) / 1000 };
}

const doctestCounts = /test cases:\s*\d+\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed/g;

/** @returns {Promise<Result[]>} */
async function emulatedTests() {
  try {
    const emulated = await emulatedKernels();
    if (emulated === null) {
      say(`the kernels of the GPU are not tried: ${noHeaders}`);
      return [];
    }
    const { kernelTests, turingTests, nativeTests, env } = emulated;
    const counts = /(\d+) passed, (\d+) failed/g;
    return [
      await counted('kernels, emulated', kernelTests, counts, { quiet: true }),
      await counted('kernels of 7.5, emulated', turingTests, counts, { quiet: true }),
      await counted('native, emulated', nativeTests, doctestCounts, { env }),
    ];
  } catch (error) {
    // A compiler or headers that don't fit: everything else is still tried.
    if (!(error instanceof Complaint)) throw error;
    return [{ name: 'kernels, emulated', passed: 0, failed: 1, seconds: 0, complaints: [error.message] }];
  }
}

/** @returns {Promise<Result[]>} */
async function nativeTests() {
  const whole = await counted('native tests', [testsFile, `--model=${await nativeModel()}`], doctestCounts);
  return [whole, ...(await emulatedTests())];
}

/** @param {string[]} extra @param {NodeJS.ProcessEnv} env @returns {Promise<Result>} */
async function vitest(extra, env) {
  const started = Date.now();
  say('vitest');
  const report = join(work, 'vitest.json');
  await rm(report, { force: true });
  const { code } = await capture(
    process.execPath,
    [
      tool('vitest', 'vitest.mjs'),
      'run',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
      ...extra,
    ],
    { env },
  );
  const counts = existsSync(report) ? JSON.parse(await readFile(report, 'utf8')) : {};
  const failed = Math.max(counts.numFailedTests ?? 0, code === 0 ? 0 : 1);
  return {
    name: 'vitest',
    passed: counts.numPassedTests ?? 0,
    failed,
    seconds: (Date.now() - started) / 1000,
    complaints: complaintsOf(counts),
  };
}

/**
 * A line for each test that failed, to stand at the end of a long log.
 *
 * @param {any} report vitest's JSON
 * @returns {string[]}
 */
function complaintsOf(report) {
  /** @type {string[]} */
  const complaints = [];
  for (const file of report.testResults ?? []) {
    const name = relative(root, file.name);
    const failed = file.assertionResults.filter((/** @type {any} */ test) => test.status === 'failed');
    for (const test of failed) {
      const [reason = ''] = String(test.failureMessages?.[0] ?? '').split('\n');
      complaints.push(`${name}: ${test.fullName}: ${reason}`);
    }
    if (file.status === 'failed' && failed.length === 0)
      complaints.push(`${name}: ${String(file.message ?? '').split('\n')[0]}`);
  }
  return complaints;
}

/** The recogniser that listens to the bundled voice. Without it that test is skipped, and tells why. */
async function recognizer() {
  try {
    await findPackages('recognizer');
  } catch (error) {
    if (!(error instanceof Complaint)) throw error;
    process.env.METAVOICE_NO_RECOGNIZER = error.message;
  }
}

/** The package as npm would publish it, made once for all who look at it. @returns {Promise<string>} */
async function pack() {
  await prebuild();
  const folder = join(work, 'package');
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  say('packing');
  await capture('npm', ['pack', '--ignore-scripts', '--pack-destination', folder, '--silent'], {
    quiet: true,
  });
  const [file] = (await readdir(folder)).filter((name) => name.endsWith('.tgz'));
  if (file === undefined) throw new Error('npm pack made no package');
  return join(folder, file);
}

/** @returns {Promise<Result[]>} */
async function everything() {
  const results = [
    await check('biome', [tool('@biomejs/biome', 'bin/biome'), 'check', '.']),
    await check('types', [tool('typescript', 'bin/tsc'), '-p', 'tsconfig.json', '--noEmit']),
    ...(await nativeTests()),
  ];
  const tarball = await pack();
  results.push(await vitest([], { ...process.env, METAVOICE_TEST_PACKAGE: tarball }));
  results.push(await check('publint', [tool('publint', 'src/cli.js'), tarball, '--strict']));
  results.push(
    await check('attw', [
      tool('@arethetypeswrong/cli', 'dist/index.js'),
      tarball,
      '--profile',
      'esm-only',
      '--no-emoji',
    ]),
  );
  return results;
}

/** @param {string[]} extra */
async function main(extra) {
  /** @type {Result[]} */
  let results;
  try {
    await bootstrap({ tests: extra.length === 0 });
    await recognizer();
    await mkdir(work, { recursive: true });
    results = extra.length === 0 ? await everything() : [await vitest(extra, process.env)];
  } catch (error) {
    process.stderr.write(`\n${error instanceof Error ? error.message : error}\n`);
    results = [{ name: 'bootstrap', passed: 0, failed: 1, seconds: 0 }];
  }
  console.log('');
  for (const { name, passed, failed, seconds } of results)
    console.log(
      `${failed === 0 ? 'ok  ' : 'FAIL'} ${name.padEnd(18)}${passed} passed, ${failed} failed, ${seconds.toFixed(1)} s`,
    );
  const complaints = results.flatMap((result) => result.complaints ?? []);
  if (complaints.length > 0) console.log(`\n${complaints.join('\n')}`);
  const total = (/** @type {'passed' | 'failed'} */ key) =>
    results.reduce((sum, result) => sum + result[key], 0);
  console.log(`\n${total('passed')} passed, ${total('failed')} failed`);
  process.exitCode = total('failed') === 0 ? 0 : 1;
}

main(process.argv.slice(2));

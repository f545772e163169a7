/**
 * `node test/fuzz/native/run.mjs [--inputs 1000000] [--seed N]`: builds the fuzzer of the native safetensors reader with
 * clang, AddressSanitizer and UndefinedBehaviorSanitizer, and runs it on the corpus. Needs clang and its runtime
 * (Debian: clang, libclang-rt-14-dev) and a libtorch, whose headers name the types of numbers.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { findLibtorch } from '../../../scripts/libtorch.mjs';

const { values } = parseArgs({
  options: { inputs: { type: 'string', default: '1000000' }, seed: { type: 'string', default: '1' } },
});

const root = fileURLToPath(new URL('../../../', import.meta.url));
const out = join(root, 'build', 'fuzz', 'native');
const corpus = join(out, 'corpus');
const binary = join(out, 'safetensors_fuzz');

/** @param {string} command @param {string[]} given */
function run(command, given) {
  const { status, error } = spawnSync(command, given, { stdio: 'inherit', cwd: out });
  if (error) process.stderr.write(`expected ${command} to run but found: ${error.message}\n`);
  if (status !== 0) process.exit(1);
}

mkdirSync(corpus, { recursive: true });
cpSync(join(root, 'test', 'fuzz', 'corpus', 'safetensors'), corpus, { recursive: true });
const { directory: libtorch } = await findLibtorch();
const flags = [
  '-std=c++20',
  '-O1',
  '-g',
  '-fno-omit-frame-pointer',
  '-fsanitize=fuzzer,address,undefined',
  '-fno-sanitize-recover=all',
];
const sources = [
  'native/core/safetensors.cc',
  'native/core/mapped_file.cc',
  'test/fuzz/native/safetensors_fuzz.cc',
];
run('clang++', [
  ...flags,
  `-I${join(root, 'native')}`,
  `-isystem${join(libtorch, 'include')}`,
  ...sources.map((file) => join(root, file)),
  join(libtorch, 'lib', 'libc10.so'),
  `-Wl,-rpath,${join(libtorch, 'lib')}`,
  '-o',
  binary,
]);
run(binary, [
  corpus,
  `-runs=${values.inputs}`,
  `-seed=${values.seed}`,
  `-dict=${join(root, 'test', 'fuzz', 'native', 'safetensors.dict')}`,
  '-max_len=4096',
  '-timeout=20',
  '-rss_limit_mb=1024',
  '-malloc_limit_mb=256',
  '-print_final_stats=1',
  `-artifact_prefix=${out}/`,
]);

/**
 * The native tests under the sanitizers of the compiler, each kind built in a folder of its own: `memory` finds bad
 * addresses and undefined behaviour, `thread` races.
 *
 *   node scripts/sanitize.mjs [memory] [thread] [-- --ts=engine/scheduler …]
 *
 * libtorch itself is not instrumented: what happens within it is not judged, and `thread` runs one thread per operation, as
 * the barriers of its OpenMP are invisible.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { findLibtorch } from './libtorch.mjs';
import { Complaint, program, root, run, say } from './log.mjs';
import { nativeModel } from './native-model.mjs';

/** @type {Record<string, string>} */
const kinds = { memory: 'address,undefined', thread: 'thread' };

/** What the uninstrumented libraries do among themselves. */
const suppressions = [
  'called_from_lib:libtorch_cpu',
  'called_from_lib:libc10',
  'called_from_lib:libgomp',
].join('\n');

/** @param {string} kind @param {string[]} rest */
async function sanitize(kind, rest) {
  const folder = join(root, `build-sanitize-${kind}`);
  const { directory } = await findLibtorch();
  await mkdir(folder, { recursive: true });
  say(`${kind}: building`);
  const settings = [
    `-DMETAVOICE_LIBTORCH=${directory}`,
    `-DMETAVOICE_SANITIZE=${kinds[kind]}`,
    '-DMETAVOICE_ADDON=OFF',
    '-DMETAVOICE_TESTS=ON',
  ];
  await run('cmake', ['-S', root, '-B', folder, ...settings]);
  await run('cmake', [
    '--build',
    folder,
    '--target',
    'metavoice_tests',
    '-j',
    String(availableParallelism()),
  ]);
  await writeFile(join(folder, 'suppressions'), `${suppressions}\n`);
  say(`${kind}: running`);
  const env = {
    ...process.env,
    OMP_WAIT_POLICY: 'PASSIVE',
    ...(kind === 'thread' && { OMP_NUM_THREADS: '1' }),
    // Leaks are libtorch's singletons; a failed allocation must come back as null, as it does without a sanitizer.
    ASAN_OPTIONS: 'detect_leaks=0:allocator_may_return_null=1:detect_odr_violation=0',
    UBSAN_OPTIONS: 'print_stacktrace=1',
    TSAN_OPTIONS: `suppressions=${join(folder, 'suppressions')}:ignore_noninstrumented_modules=1`,
  };
  await run(join(folder, 'metavoice_tests'), [`--model=${await nativeModel()}`, ...rest], {
    env,
    stdout: 'stdout',
  });
}

program(async () => {
  const words = process.argv.slice(2);
  const end = words.includes('--') ? words.indexOf('--') : words.length;
  const asked = words.slice(0, end);
  for (const kind of asked)
    if (!Object.hasOwn(kinds, kind))
      throw new Complaint(`expected ${Object.keys(kinds).join(' or ')} but received ${kind}`);
  for (const kind of asked.length > 0 ? asked : Object.keys(kinds))
    await sanitize(kind, words.slice(end + 1));
});

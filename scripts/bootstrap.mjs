/**
 * From a fresh clone to something that runs: npm packages, libtorch, native code, TypeScript. Each step is skipped when
 * nothing changed, so the second time takes a second or two. Plain Node, no dependencies.
 *
 *   node scripts/bootstrap.mjs [--tests]
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from './build.mjs';
import { findLibtorch } from './libtorch.mjs';
import { Complaint, program, root, run, say, tool } from './log.mjs';

/** @param {{ tests?: boolean }} [options] With `tests`, the native tests are built too. */
export async function bootstrap(options = {}) {
  requireNode();
  // The two downloads do not need each other.
  const [, libtorch] = await settleBoth(installPackages(), findLibtorch());
  await build({ tests: options.tests ?? false, known: libtorch });
  await compileTypeScript();
}

function requireNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19))
    throw new Complaint(`Node 20.19 or newer is needed, and this is ${process.versions.node}`);
}

/** Both are waited for, so that a failure of one does not leave the other at work unseen. @template A, B @param {Promise<A>} a @param {Promise<B>} b @returns {Promise<[A, B]>} */
async function settleBoth(a, b) {
  await Promise.allSettled([a, b]);
  return Promise.all([a, b]);
}

async function installPackages() {
  if (await packagesAreFresh()) return;
  say('installing npm packages');
  await run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund']);
}

/** Whether node_modules holds what the lock names; packages for other platforms may be absent. */
async function packagesAreFresh() {
  const [wanted, installed] = await Promise.all(
    ['package-lock.json', join('node_modules', '.package-lock.json')].map((file) =>
      readFile(join(root, file), 'utf8').then(JSON.parse, () => null),
    ),
  );
  if (!wanted || !installed) return false;
  return Object.entries(wanted.packages).every(([name, { version, optional }]) => {
    if (name === '') return true;
    const found = installed.packages[name];
    return found ? found.version === version : optional === true;
  });
}

async function compileTypeScript() {
  const sources = await filesUnder(join(root, 'lib'));
  const hash = createHash('sha256');
  for (const file of [...sources, join(root, 'tsconfig.json'), join(root, 'tsconfig.build.json')].sort()) {
    const { size, mtimeMs } = await stat(file);
    hash.update(`${relative(root, file)} ${size} ${mtimeMs}\n`);
  }
  const stamp = hash.digest('hex');
  const stampFile = join(root, 'dist', '.stamp');
  if ((await readFile(stampFile, 'utf8').catch(() => null)) === stamp)
    return say('TypeScript is compiled already');
  say('compiling TypeScript');
  await removeOrphans(sources);
  await run(process.execPath, [tool('typescript', 'bin/tsc'), '-p', 'tsconfig.build.json']);
  await writeFile(stampFile, stamp);
}

/** What a source that is gone had left in dist would still be found by an import. @param {string[]} sources */
async function removeOrphans(sources) {
  const stems = new Set(sources.map((file) => relative(join(root, 'lib'), file).replace(/\.(ts|js)$/, '')));
  for (const file of await filesUnder(join(root, 'dist'))) {
    const stem = relative(join(root, 'dist'), file).replace(/(\.d\.ts|\.js)(\.map)?$/, '');
    if (/\.(js|ts|map)$/.test(file) && !stems.has(stem)) await rm(file);
  }
}

/** @param {string} folder */
async function filesUnder(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href)
  program(() => bootstrap({ tests: process.argv.includes('--tests') }));

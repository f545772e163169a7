/**
 * `npm run build`: builds metavoice.node and libmetavoice into build/Release, and nothing when nothing changed.
 *
 *   node scripts/build.mjs [--libtorch FOLDER] [--tests] [--out FOLDER] [--arch ARCH] [--force]
 *
 * `--tests` builds the native tests too. Works in a clone and in an installed package; the build tools that a package
 * does not bring are fetched with npm into the build folder.
 */
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

import { availableParallelism, freemem } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { findLibtorch } from './libtorch.mjs';
import { Complaint, program, root, run, say } from './log.mjs';

const buildFolder = join(root, 'build-cmake');
const engineFile = process.platform === 'darwin' ? 'libmetavoice.dylib' : 'libmetavoice.so';
export const testsFile = join(
  buildFolder,
  process.platform === 'win32' ? 'metavoice_tests.exe' : 'metavoice_tests',
);

/**
 * `cuda` builds the kernels, too, where nvcc is: libmetavoice_cuda, which the engine takes on GPUs.
 *
 * @param {{ libtorch?: string, cuda?: boolean, known?: { directory: string, version: string }, tests?: boolean, out?: string, arch?: string, force?: boolean }} [options]
 * @returns {Promise<{ directory: string, version: string, stamp: string }>} The libtorch it was built against, and the
 *   fingerprint of everything that went into it.
 */
export async function build(options = {}) {
  const out = resolve(options.out ?? join(root, 'build', 'Release'));
  const libtorch = options.known ?? (await findLibtorch(options.libtorch));
  const settings = {
    METAVOICE_LIBTORCH: libtorch.directory,
    METAVOICE_TESTS: (await exists(join(root, 'test', 'native'))) ? 'ON' : 'OFF',
    METAVOICE_CUDA: options.cuda ? 'ON' : 'OFF',
  };
  const facts = { settings, version: libtorch.version, arch: options.arch ?? process.arch };
  const stamp = await fingerprint(facts, ['native']);
  const binaries = ['metavoice.node', engineFile, ...(options.cuda ? ['libmetavoice_cuda.so'] : [])];
  // The stamps lie with the products, so that each folder knows what it holds.
  const products = [
    { stampFile: join(out, '.stamp'), stamp, files: binaries.map((file) => join(out, file)) },
  ];
  if (options.tests)
    products.push({
      stampFile: join(buildFolder, 'metavoice_tests.stamp'),
      stamp: await fingerprint(facts, ['native', join('test', 'native')]),
      files: [testsFile],
    });
  if (!options.force && (await areFresh(products))) {
    say('native code is built already');
    return { ...libtorch, stamp };
  }

  say(`building native code against libtorch ${libtorch.version} (${libtorch.directory})`);
  await compile({ settings, arch: options.arch, tests: options.tests ?? false });
  await mkdir(out, { recursive: true });
  for (const file of binaries) await replace(join(buildFolder, 'Release', file), join(out, file));
  for (const product of products) await writeFile(product.stampFile, product.stamp);
  say(`built ${relative(process.cwd(), out) || out}`);
  return { ...libtorch, stamp };
}

/** @param {{ settings: Record<string, string>, arch: string | undefined, tests: boolean }} job */
async function compile({ settings, arch, tests }) {
  const cmake = await run('cmake', ['--version'], { allowFailure: true, quiet: true }).catch(() => 1);
  if (cmake !== 0)
    throw new Complaint(
      'CMake 3.22 or newer is needed to build the native code: `apt install cmake`, `brew install cmake` or `pip install cmake`',
    );
  // A folder that moved is no use to CMake.
  const settingsFile = join(buildFolder, 'settings.json');
  const known = await readFile(settingsFile, 'utf8').catch(() => null);
  if (known !== null && JSON.parse(known).root !== root)
    await rm(buildFolder, { recursive: true, force: true });
  const tools = await buildTools();
  const defines = { ...settings, METAVOICE_NODE_INCLUDE: tools.includes.join(';') };
  const common = [
    tools.cmakeJs,
    ...['--directory', root, '--out', buildFolder, '--config', 'Release', '--log-level', 'warn'],
    ...(arch ? ['--arch', arch] : []),
    ...Object.entries(defines).map(([key, value]) => `--CD${key}=${value}`),
  ];

  // cmake-js configures a fresh folder only; CMake itself notices changed sources, but not changed settings.
  const wanted = JSON.stringify({ defines, arch: arch ?? process.arch, root });
  if (known !== wanted || !(await exists(join(buildFolder, 'CMakeCache.txt')))) {
    await run(process.execPath, [...common, 'configure']);
    await writeFile(settingsFile, wanted);
  }

  const parallel = ['--parallel', String(jobs())];
  await run(process.execPath, [...common, ...parallel, 'build']);
  if (tests) await run(process.execPath, [...common, ...parallel, '--target', 'metavoice_tests', 'build']);
}

/** ATen's headers want about 1.5 GB for each compiler. */
const jobs = () => Math.max(1, Math.min(availableParallelism(), Math.floor(freemem() / 1.5e9)));

/** cmake-js and the headers of Node-API: from node_modules, or fetched for an installed package. */
async function buildTools() {
  const own = createRequire(join(root, 'package.json'));
  const fetched = createRequire(join(buildFolder, 'tools', 'package.json'));
  /** @param {string} name */
  const find = (name) => {
    for (const require of [own, fetched]) {
      try {
        return dirname(require.resolve(`${name}/package.json`));
      } catch {}
    }
    return null;
  };
  if (!find('cmake-js') || !find('node-addon-api')) await fetchTools();
  const cmakeJs = /** @type {string} */ (find('cmake-js'));
  const addonApi = /** @type {string} */ (find('node-addon-api'));
  const nodeApi = dirname(
    createRequire(join(cmakeJs, 'package.json')).resolve('node-api-headers/package.json'),
  );
  return { cmakeJs: join(cmakeJs, 'bin', 'cmake-js'), includes: [join(nodeApi, 'include'), addonApi] };
}

async function fetchTools() {
  const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  const wanted = ['cmake-js', 'node-addon-api'].map((name) => `${name}@${manifest.devDependencies[name]}`);
  const folder = join(buildFolder, 'tools');
  say(`fetching the build tools ${wanted.join(' and ')}`);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'package.json'), '{"private":true}');
  await run(
    'npm',
    ['install', '--no-package-lock', '--ignore-scripts', '--no-audit', '--no-fund', ...wanted],
    { cwd: folder },
  );
}

/**
 * Everything that decides the binaries: the settings, and sizes and times of the sources.
 *
 * @param {object} facts
 * @param {string[]} folders
 */
async function fingerprint(facts, folders) {
  const hash = createHash('sha256').update(JSON.stringify(facts));
  const entries = await Promise.all(
    folders.map((folder) =>
      readdir(join(root, folder), { recursive: true, withFileTypes: true }).catch(() => []),
    ),
  );
  const files = entries
    .flat()
    .filter((entry) => entry.isFile() && /\.(cc|h|cu|cuh|map)$/.test(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  for (const file of [...files, join(root, 'CMakeLists.txt'), join(root, 'scripts', 'build.mjs')].sort()) {
    const { size, mtimeMs } = await stat(file);
    hash.update(`${relative(root, file)} ${size} ${mtimeMs}\n`);
  }
  return hash.digest('hex');
}

/** A running process may have the old file mapped, so it is replaced, never written over. @param {string} from @param {string} to */
async function replace(from, to) {
  await copyFile(from, `${to}.new`);
  await rename(`${to}.new`, to);
}

/** @param {string} path */
const exists = (path) =>
  stat(path).then(
    () => true,
    () => false,
  );

/** @param {{ stampFile: string, stamp: string, files: string[] }[]} products */
async function areFresh(products) {
  for (const { stampFile, stamp, files } of products) {
    if ((await readFile(stampFile, 'utf8').catch(() => null)) !== stamp) return false;
    for (const file of files) if (!(await exists(file))) return false;
  }
  return true;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  program(async () => {
    const { values } = parseArgs({
      options: {
        libtorch: { type: 'string' },
        out: { type: 'string' },
        arch: { type: 'string' },
        tests: { type: 'boolean' },
        cuda: { type: 'boolean' },
        force: { type: 'boolean' },
      },
    });
    await build(values);
  });
}

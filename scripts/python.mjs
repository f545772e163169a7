/** Python packages for our own tools, fetched with pip by name into the cache; nothing of them ships. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheDirectory } from '../lib/runtime/paths.js';
import { Complaint, say } from './log.mjs';

/** Sets of packages. `module` is what must be importable for the set to be whole. */
export const packageSets = {
  // Its microphone support would want sounddevice; files do not.
  recognizer: {
    module: 'pocketsphinx',
    packages: ['pocketsphinx==5.1.1'],
    dependencies: false,
    size: '30 MB',
  },
  figures: {
    module: 'matplotlib',
    packages: ['matplotlib==3.10.9', 'numpy==2.2.6'],
    dependencies: true,
    size: '60 MB',
  },
};

/** @typedef {keyof typeof packageSets} SetName @typedef {{ command: string, env: NodeJS.ProcessEnv }} Python */

/** The commands under which a Python 3 may be found. */
const commands = () => [...new Set([process.env.PYTHON, 'python3', 'python'])].filter((name) => name);

/** @param {string} command @param {string[]} commandArguments @param {NodeJS.ProcessEnv} [env] */
const ask = async (command, commandArguments, env = process.env) =>
  (await promisify(execFile)(command, commandArguments, { env, windowsHide: true })).stdout.trim();

/** The first Python that runs, and what compiled packages depend on. @returns {Promise<{ command: string, tag: string } | null>} */
async function findPython() {
  const tag = 'import sys, sysconfig; print(sys.implementation.cache_tag, sysconfig.get_platform())';
  for (const command of commands()) {
    const found = await ask(String(command), ['-c', tag]).catch(() => null);
    if (found?.startsWith('cpython-3'))
      return { command: String(command), tag: found.replaceAll(/[^\w.]+/g, '-') };
  }
  return null;
}

/** @param {string} tag @param {SetName} name */
function folderOf(tag, name) {
  const key = createHash('sha256').update(packageSets[name].packages.join(' ')).digest('hex').slice(0, 8);
  return join(cacheDirectory(), 'python', `${name}-${key}-${tag}`);
}

/** @param {string} command @param {string} folder @returns {Python} */
const pythonWith = (command, folder) => ({
  command,
  env: { ...process.env, PYTHONPATH: folder, PYTHONNOUSERSITE: '1', PYTHONDONTWRITEBYTECODE: '1' },
});

/**
 * A Python that can import the set, if one was made before. Asks nobody outside.
 *
 * @param {SetName} name
 * @returns {Promise<Python | null>}
 */
export async function knownPackages(name) {
  const python = await findPython();
  const folder = python && folderOf(python.tag, name);
  return folder && existsSync(folder) ? pythonWith(python.command, folder) : null;
}

/**
 * A Python that can import the set; fetched now where it is not in the cache.
 *
 * @param {SetName} name
 * @returns {Promise<Python>}
 * @throws {Complaint} Without Python 3 with pip, or where pip cannot fetch.
 */
export async function findPackages(name) {
  const known = await knownPackages(name);
  if (known) return known;
  const { packages, size } = packageSets[name];
  const python = await findPython();
  const pip = python && (await ask(python.command, ['-m', 'pip', '--version']).catch(() => null));
  if (!python || !pip)
    throw new Complaint(
      `expected Python 3 with pip, for ${packages.join(' and ')}, but ${python ? `${python.command} has no pip` : `none of ${commands().join(', ')} runs`}; install it (\`apt install python3-pip\`) or name one in PYTHON`,
    );
  say(`fetching ${packages.join(' and ')} with pip, about ${size}; kept in the cache`);
  const folder = folderOf(python.tag, name);
  await install(python.command, name, folder);
  return pythonWith(python.command, folder);
}

/**
 * Fills a folder of its own and puts it into place in one step: a half-made one is never found.
 *
 * @param {string} command @param {SetName} name @param {string} folder
 */
async function install(command, name, folder) {
  const { module, packages, dependencies } = packageSets[name];
  const parent = join(cacheDirectory(), 'python');
  await mkdir(parent, { recursive: true });
  const made = await mkdtemp(join(parent, '.making-'));
  try {
    const options = [
      '--target',
      made,
      '--no-compile',
      '--no-input',
      '--quiet',
      '--retries',
      '1',
      '--disable-pip-version-check',
    ];
    const env = { ...process.env, PIP_USER: '0', PIP_REQUIRE_VIRTUALENV: '0' };
    const rest = [...(dependencies ? [] : ['--no-deps']), ...packages];
    await ask(command, ['-m', 'pip', 'install', ...options, ...rest], env);
    await ask(command, ['-c', `import ${module}`], pythonWith(command, made).env);
    await rename(made, folder);
  } catch (error) {
    if (existsSync(folder)) return; // another process was faster
    const words = /** @type {{ stderr?: string, message: string }} */ (error);
    const last = (words.stderr || words.message).trim().split('\n').slice(-4).join('\n  ');
    throw new Complaint(`pip could not bring ${packages.join(' and ')}; its last words:\n  ${last}`);
  } finally {
    await rm(made, { recursive: true, force: true });
  }
}

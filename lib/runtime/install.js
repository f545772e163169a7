/**
 * Fetches a libtorch with pip into the user's cache. Plain JavaScript without dependencies, like `libtorch.js`.
 */
import { execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { inspect, managedFolder, pinnedVersion } from './libtorch.js';

const wheels = 'https://download.pytorch.org/whl';

/** Free bytes wanted while it is unpacked: the archives and their contents. */
const roomWanted = { cpu: 2e9, cuda: 9e9 };

/**
 * @typedef {object} Progress
 * @property {string} message What happens now.
 * @property {number} [loaded] Bytes of the download in hand.
 * @property {number} [total]
 *
 * @typedef {object} Installation
 * @property {string | null} [cuda] `cu126` or `cu130`; without it the CPU build.
 * @property {string} [version] Pinned unless given.
 * @property {Record<string, string | undefined>} [env]
 * @property {(progress: Progress) => void} [onProgress]
 * @property {AbortSignal} [signal]
 */

/**
 * Fetches libtorch and puts it into the cache in one step, so that a half-made copy is never found. Two processes may do
 * it at once: the first to finish wins, the other one's work is thrown away.
 *
 * @param {Installation} [options]
 * @returns {Promise<import('./libtorch.js').Libtorch>}
 * @throws {Error} With code `ERR_RUNTIME_NOT_FOUND`; the signal's own reason when aborted.
 */
export async function installManaged(options = {}) {
  const { cuda = null, version = pinnedVersion, env = process.env, onProgress = () => {}, signal } = options;
  signal?.throwIfAborted();
  const variant = cuda ?? 'cpu';
  const folder = managedFolder(env);
  const target = join(folder, `${version}-${variant}`);
  const source = `managed copy ${variant}`;

  const known = await inspect(target, version);
  if (typeof known !== 'string') return { ...known, source };

  await mkdir(folder, { recursive: true });
  await sweep(folder);
  await requireRoom(folder, cuda ? roomWanted.cuda : roomWanted.cpu);
  const python = await findPip(env);
  const work = await mkdtemp(join(folder, `.making-${process.pid}-`));
  try {
    await mkdir(join(work, 'tmp'), { recursive: true });
    const made = join(work, 'made');
    const job = { python, made, temporary: join(work, 'tmp'), env, onProgress, signal };
    await fetchTorch(job, version, cuda);
    if (cuda) {
      const needed = await cudaPackages(made);
      if (needed.length > 0) await pip(job, [...needed, '--upgrade', ...indexes(variant)]);
    }
    onProgress({ message: 'checking it' });
    const fresh = await inspect(made, version);
    if (typeof fresh === 'string') throw failure(`pip brought a torch that ${fresh}`);
    if (fresh.cuda !== (cuda !== null))
      throw failure(
        `pip brought torch ${fresh.version}, which is ${fresh.cuda ? 'a CUDA' : 'a CPU'} build, but the ${variant} build is wanted; is ${wheels}/${variant} reachable?`,
      );
    await trim(made);
    await moveIntoPlace(made, target, version);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const result = await inspect(target, version);
  if (typeof result === 'string') throw failure(`the copy in ${target} ${result}`);
  return { ...result, source };
}

// ------------------------------------------------------------------------------------------ pip

/**
 * @typedef {object} Job
 * @property {{ command: string, rawProgress: boolean }} python
 * @property {string} made Folder that pip fills.
 * @property {string} temporary On the same disk, so that pip need not copy.
 * @property {Record<string, string | undefined>} env
 * @property {(progress: Progress) => void} onProgress
 * @property {AbortSignal | undefined} signal
 */

/**
 * PyTorch's own index beside the user's settings. Without retries an unreachable one costs nothing.
 * @param {string} variant
 */
const indexes = (variant) => ['--extra-index-url', `${wheels}/${variant}`, '--retries', '0'];

/** @param {Record<string, string | undefined>} env */
async function findPip(env) {
  const tried = [];
  for (const command of new Set([env.PYTHON, 'python3', 'python'])) {
    if (!command) continue;
    try {
      const { stdout } = await promisify(execFile)(command, ['-m', 'pip', '--version'], {
        env: /** @type {NodeJS.ProcessEnv} */ (env),
        timeout: 20_000,
        windowsHide: true,
      });
      const [, major = '0', minor = '0'] = stdout.match(/^pip (\d+)\.(\d+)/) ?? [];
      return { command, rawProgress: Number(major) * 100 + Number(minor) >= 2401 };
    } catch (error) {
      const { code, stderr } = /** @type {{ code?: string, stderr?: string }} */ (error);
      tried.push(
        code === 'ENOENT'
          ? `${command} is not installed`
          : `${command}: ${stderr?.trim().split('\n').pop() || 'failed'}`,
      );
    }
  }
  throw failure(
    `Python 3 with pip is needed to fetch libtorch (${tried.join('; ')}). Install it (\`apt install python3-pip\`), or unpack a libtorch ${pinnedVersion} yourself and set METAVOICE_LIBTORCH to its folder.`,
  );
}

/**
 * @param {Job} job
 * @param {string} version
 * @param {string | null} cuda
 */
async function fetchTorch(job, version, cuda) {
  const rest = ['--no-deps', ...indexes(cuda ?? 'cpu')];
  if (cuda === null) return pip(job, [`torch==${version}`, ...rest]);
  try {
    await pip(job, [`torch==${version}+${cuda}`, ...rest]);
  } catch (error) {
    // The build without a local part is the CUDA 13 one on Linux. `===` keeps pip from taking `+cpu` for it.
    if (cuda !== 'cu130' || job.signal?.aborted) throw error;
    await pip(job, [`torch===${version}`, ...rest]);
  }
}

/**
 * @param {Job} job
 * @param {string[]} wanted
 * @returns {Promise<void>}
 */
function pip(job, wanted) {
  const { python, made, temporary, env, onProgress, signal } = job;
  const commandArguments = [
    ...['-m', 'pip', 'install', '--target', made, '--no-compile', '--no-warn-script-location'],
    ...['--disable-pip-version-check', '--no-input', '--progress-bar', python.rawProgress ? 'raw' : 'off'],
    ...wanted,
  ];
  return new Promise((settle, fail) => {
    const child = spawn(python.command, commandArguments, {
      // Settings for another target would contradict ours.
      env: { ...env, TMPDIR: temporary, PIP_USER: '0', PIP_REQUIRE_VIRTUALENV: '0', PYTHONUNBUFFERED: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
      windowsHide: true,
    });
    /** @type {string[]} */
    const last = [];
    let message = 'asking pip';
    /** @param {string} line */
    const read = (line) => {
      const raw = line.match(/^Progress (\d+) of (\d+)$/);
      if (raw) return onProgress({ message, loaded: Number(raw[1]), total: Number(raw[2]) });
      if (line.trim() === '') return;
      last.push(line.trim());
      if (last.length > 12) last.shift();
      const step = line
        .trim()
        .match(/^(Collecting|Downloading|Processing|Installing collected packages)\b.*/);
      if (step) {
        message = step[0].replace(/\s*\((?:from|\d).*$/, '');
        onProgress({ message });
      }
    };
    eachLine(child.stdout, read);
    eachLine(child.stderr, read);
    const stop = () => child.kill();
    signal?.addEventListener('abort', stop, { once: true });
    child.on('error', (error) => fail(failure(`cannot run ${python.command}: ${error.message}`)));
    child.on('close', (code) => {
      signal?.removeEventListener('abort', stop);
      if (signal?.aborted) fail(signal.reason);
      else if (code === 0) settle();
      else
        fail(
          failure(`pip could not fetch ${wanted[0]} (code ${code}); its last words:\n  ${last.join('\n  ')}`),
        );
    });
  });
}

/**
 * @param {import('node:stream').Readable} stream
 * @param {(line: string) => void} read
 */
function eachLine(stream, read) {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (text) => {
    const lines = (rest + text).split(/\r?\n|\r/);
    rest = lines.pop() ?? '';
    for (const line of lines) read(line);
  });
  stream.on('end', () => rest && read(rest));
}

/**
 * The packages of NVIDIA that the fetched torch asks for; its Python dependencies are of no use here.
 * @param {string} made
 */
async function cudaPackages(made) {
  const names = await readdir(made);
  const info = names.find((name) => /^torch-.*\.dist-info$/.test(name));
  const metadata = info ? await readFile(join(made, info, 'METADATA'), 'utf8') : '';
  return [...metadata.matchAll(/^Requires-Dist:\s*((?:nvidia|cuda)-[^;\n]+?)\s*(?:;.*)?$/gm)].map(
    ([, name]) => String(name).replace(/\s+/g, ''),
  );
}

// ------------------------------------------------------------------------------------------ the cache

/**
 * Only libraries, headers and licences are of use here; the rest is Python.
 * @param {string} made
 */
async function trim(made) {
  const keep = /^(nvidia.*|.*\.dist-info)$/;
  for (const name of await readdir(made)) {
    if (name !== 'torch' && !keep.test(name)) await rm(join(made, name), { recursive: true, force: true });
  }
  const parts = new Set(['lib', 'include', 'share', 'version.py', 'build-version']);
  for (const name of await readdir(join(made, 'torch'))) {
    if (!parts.has(name)) await rm(join(made, 'torch', name), { recursive: true, force: true });
  }
}

/**
 * @param {string} made
 * @param {string} target
 * @param {string} version
 */
async function moveIntoPlace(made, target, version) {
  for (let attempt = 0; ; attempt++) {
    try {
      await rename(made, target);
      return;
    } catch (error) {
      const { code } = /** @type {NodeJS.ErrnoException} */ (error);
      if (attempt > 0 || (code !== 'ENOTEMPTY' && code !== 'EEXIST' && code !== 'EPERM')) throw error;
      if (typeof (await inspect(target, version)) !== 'string') return;
      await rm(target, { recursive: true, force: true });
    }
  }
}

/**
 * Removes what processes that are gone left behind.
 * @param {string} folder
 */
async function sweep(folder) {
  for (const name of await readdir(folder)) {
    const maker = name.match(/^\.making-(\d+)-/);
    if (maker && !isAlive(Number(maker[1]))) await rm(join(folder, name), { recursive: true, force: true });
  }
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}

/**
 * @param {string} folder
 * @param {number} wanted
 */
async function requireRoom(folder, wanted) {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free < wanted)
    throw failure(
      `libtorch needs about ${(wanted / 1e9).toFixed(0)} GB while it is unpacked, and ${folder} has ${(free / 1e9).toFixed(1)} GB free. Make room, or set METAVOICE_CACHE to a folder on another disk.`,
    );
}

/** @param {string} message */
const failure = (message) => Object.assign(new Error(message), { code: 'ERR_RUNTIME_NOT_FOUND' });

/**
 * Finds a libtorch, for the build and for the run, and says why each place that was looked at will not do.
 * Plain JavaScript without dependencies: the bootstrap runs it before anything is installed.
 */
import { execFile } from 'node:child_process';
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { cacheDirectory } from './paths.js';

/** The version that is fetched when none is found, and that the prebuilt binaries want. */
export const pinnedVersion = '2.13.0';

/** Versions the sources compile against: from the first, up to but without the second. */
export const buildRange = /** @type {const} */ (['2.11', '2.15']);

/**
 * @typedef {object} Libtorch
 * @property {string} directory Folder with `lib/` (and, for the build, `include/`).
 * @property {string} version As the copy reports it, local part included: `2.13.0+cpu`.
 * @property {boolean} cuda Whether it has `libtorch_cuda`.
 * @property {string} source Who named it: `METAVOICE_LIBTORCH`, `python3`, `managed copy cpu`…
 *
 * @typedef {object} Refusal
 * @property {string} source
 * @property {string | null} directory
 * @property {string} reason
 *
 * @typedef {object} Search
 * @property {string} [option] Folder given by the caller. Nothing else is looked at.
 * @property {Record<string, string | undefined>} [env]
 * @property {string} [required] Exactly this version, local part aside (run time). Without it the build's range counts.
 * @property {string | null} [cudaVariant] The managed CUDA build that suits this machine (`cu126`); with it, of Python's
 *   torch and the managed copies, one whose CUDA is of use goes before the others.
 * @property {(libtorch: { version: string }) => string | null} [refuseCuda] Why the CUDA of a copy is of no use here;
 *   null when it is.
 */

/** @param {string} name */
export function libraryFile(name) {
  if (process.platform === 'win32') return `${name}.dll`;
  return process.platform === 'darwin' ? `lib${name}.dylib` : `lib${name}.so`;
}

/**
 * Version without its local part: `2.13.0+cpu` → `2.13.0`.
 * @param {string} version
 */
export const baseVersion = (version) => version.split('+', 1)[0] ?? version;

/**
 * Looks in order: option, `METAVOICE_LIBTORCH`, `LIBTORCH`, Python's torch, the managed copy. The first two are orders,
 * so a bad one ends the search; the others are offers.
 *
 * @param {Search} [search]
 * @returns {Promise<{ found: Libtorch | null, refused: Refusal[] }>}
 */
export async function resolveLibtorch(search = {}) {
  const { option, env = process.env, required, cudaVariant = null, refuseCuda = () => null } = search;
  /** @type {Refusal[]} */
  const refused = [];

  /** @param {string} source @param {string} directory */
  const consider = async (source, directory) => {
    const verdict = await inspect(resolve(directory), required);
    if (typeof verdict !== 'string') return { ...verdict, source };
    refused.push({ source, directory: resolve(directory), reason: verdict });
    return null;
  };

  if (option !== undefined) return { found: await consider('option libtorch', option), refused };
  if (env.METAVOICE_LIBTORCH)
    return { found: await consider('METAVOICE_LIBTORCH', env.METAVOICE_LIBTORCH), refused };
  if (env.LIBTORCH) {
    const found = await consider('LIBTORCH', env.LIBTORCH);
    if (found) return { found, refused };
  }

  /** @param {Libtorch} offer */
  const serves = (offer) => offer.cuda && refuseCuda(offer) === null;
  /** @type {Libtorch[]} */
  const offers = [];
  for (const { source, directory, reason } of [
    ...(await askPythons(env)),
    ...(await managedCopies(env, required ?? pinnedVersion, cudaVariant)),
  ]) {
    if (directory === null) {
      refused.push({ source, directory, reason });
      continue;
    }
    const offer = await consider(source, directory);
    if (offer) offers.push(offer);
    if (offer && (!cudaVariant || serves(offer))) break;
  }
  const found = (cudaVariant && offers.find(serves)) || offers[0] || null;
  for (const { source, directory, version, cuda } of offers) {
    if (!found || directory === found.directory) continue;
    const why = cuda ? refuseCuda({ version }) : 'has no CUDA';
    const instead = serves(found) ? 'serves' : 'comes first';
    refused.push({ source, directory, reason: `${why}, and ${found.directory} ${instead}` });
  }
  return { found, refused };
}

/**
 * The sentences that explain an empty result.
 * @param {Refusal[]} refused
 */
export const explainRefusals = (refused) =>
  refused
    .map(
      ({ source, directory, reason }) =>
        `  ${source}${directory === null ? '' : ` (${directory})`}: ${reason}`,
    )
    .join('\n');

// ------------------------------------------------------------------------------------------ one candidate

/**
 * What the folder is, or the reason why it will not do.
 *
 * @param {string} given A libtorch, a `torch` package, or a folder that holds one of them.
 * @param {string | undefined} required
 * @returns {Promise<Omit<Libtorch, 'source'> | string>}
 */
export async function inspect(given, required) {
  const core = join('lib', libraryFile('torch_cpu'));
  if (!(await exists(given))) return 'there is no such folder';
  const [directory] = await keepExisting([given, join(given, 'torch'), join(given, 'libtorch')], core);
  if (directory === undefined) return `has no ${core}`;
  const c10 = join(directory, 'lib', libraryFile('c10'));
  if (!(await exists(c10))) return `has no ${join('lib', libraryFile('c10'))}`;

  const version = await readVersion(directory);
  if (version === null) return 'has neither build-version nor version.py to tell its version';
  const wrong = refuseVersion(version, required);
  if (wrong !== null) return wrong;
  if (required === undefined && !(await exists(join(directory, 'include', 'ATen', 'ATen.h'))))
    return 'has no headers (include/ATen/ATen.h)';
  for (const library of [c10, join(directory, core)]) {
    const flaw = await flawOf(library);
    if (flaw !== null) return flaw;
  }
  return { directory, version, cuda: await exists(join(directory, 'lib', libraryFile('torch_cuda'))) };
}

/**
 * @param {string} version
 * @param {string | undefined} required
 * @returns {string | null} The reason to refuse it.
 */
export function refuseVersion(version, required) {
  const base = baseVersion(version);
  if (required !== undefined)
    return base === required ? null : `is version ${version}, and this build of metavoice needs ${required}`;
  const [low, high] = buildRange;
  const minor = base.match(/^(\d+)\.(\d+)\.\d+$/);
  const key = minor ? Number(minor[1]) * 1000 + Number(minor[2]) : Number.NaN;
  if (key >= minorKey(low) && key < minorKey(high)) return null;
  return `is version ${version}; a release from ${low} up to, but without, ${high} is needed`;
}

/** @param {string} text `2.11` */
const minorKey = (text) => {
  const [major = 0, minor = 0] = text.split('.').map(Number);
  return major * 1000 + minor;
};

/** @param {string} directory */
async function readVersion(directory) {
  const plain = await readText(join(directory, 'build-version'));
  if (plain?.trim()) return plain.trim();
  const python = await readText(join(directory, 'version.py'));
  return python?.match(/^__version__\s*=\s*['"]([^'"]+)['"]/m)?.[1] ?? null;
}

/** ELF's `e_machine` for the architectures Node names; other platforms are left to the loader. */
const machines = /** @type {Record<string, number>} */ ({ x64: 62, arm64: 183, riscv64: 243, ppc64: 21 });

/**
 * Why the loader can't take a library. One that is cut short must not come before it: opening it kills the process.
 * @param {string} library
 */
async function flawOf(library) {
  if (process.platform !== 'linux') return null;
  const head = Buffer.alloc(64);
  const file = await open(library, 'r');
  let size;
  try {
    await file.read(head, 0, head.length, 0);
    size = (await file.stat()).size;
  } finally {
    await file.close();
  }
  if (head.readUInt32BE(0) !== 0x7f454c46) return `has a ${basename(library)} that is not an ELF file`;
  const machine = head.readUInt16LE(18);
  const expected = machines[process.arch];
  if (expected !== undefined && machine !== expected) {
    const name = Object.keys(machines).find((key) => machines[key] === machine) ?? `ELF machine ${machine}`;
    return `is built for ${name}, and this Node runs on ${process.arch}`;
  }
  // The table of sections is the last thing in a library: `e_shoff`, `e_shentsize` and `e_shnum` of 64 bits.
  const end = Number(head.readBigUInt64LE(40)) + head.readUInt16LE(58) * head.readUInt16LE(60);
  return end > size ? `has a ${basename(library)} that is cut short` : null;
}

// ------------------------------------------------------------------------------------------ who to ask

/** `find_spec` looks without importing; the working directory is no place for packages. */
const pythonQuestion = `
import sys, json, importlib.util
sys.path[:] = [p for p in sys.path if p]
spec = importlib.util.find_spec('torch')
print(json.dumps(list(spec.submodule_search_locations or []) if spec else []))
`;

/**
 * @param {Record<string, string | undefined>} env
 * @returns {Promise<{ source: string, directory: string | null, reason: string }[]>}
 */
async function askPythons(env) {
  const commands = [...new Set([env.PYTHON, 'python3', 'python'])].filter(
    (name) => name !== undefined && name !== '',
  );
  const answers = await Promise.all(
    commands.map(async (command) => {
      const source = String(command);
      const { output, reason } = await run(source, ['-c', pythonQuestion], env, 8000);
      if (output === null) return { source, directory: null, reason };
      const [directory] = /** @type {string[]} */ (JSON.parse(output.trim().split('\n').pop() || '[]'));
      return { source, directory: directory ?? null, reason: 'has no torch package' };
    }),
  );
  const seen = new Set();
  return answers.filter(({ directory }) => {
    const known = directory !== null && seen.has(directory);
    seen.add(directory);
    return !known;
  });
}

/**
 * @param {string} command
 * @param {string[]} commandArguments
 * @param {Record<string, string | undefined>} env
 * @param {number} timeout In milliseconds.
 * @returns {Promise<{ output: string | null, reason: string }>}
 */
function run(command, commandArguments, env, timeout) {
  return new Promise((settle) => {
    execFile(
      command,
      commandArguments,
      { env: /** @type {NodeJS.ProcessEnv} */ (env), timeout, windowsHide: true },
      (error, stdout, stderr) => {
        if (!error) settle({ output: stdout, reason: '' });
        else if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT')
          settle({ output: null, reason: 'is not installed' });
        else if (error.killed) settle({ output: null, reason: `gave no answer within ${timeout / 1000} s` });
        else
          settle({
            output: null,
            reason: stderr.trim().split('\n').pop() || `ended with code ${error.code}`,
          });
      },
    );
  });
}

/** @param {Record<string, string | undefined>} [env] */
export const managedFolder = (env = process.env) => join(cacheDirectory(env), 'libtorch');

/**
 * Managed copies: the suiting CUDA build first, then the CPU build, then others; the wanted version before others.
 *
 * @param {Record<string, string | undefined>} env
 * @param {string} version
 * @param {string | null} cudaVariant
 * @returns {Promise<{ source: string, directory: string | null, reason: string }[]>}
 */
async function managedCopies(env, version, cudaVariant) {
  const folder = managedFolder(env);
  /** @type {string[]} */
  const names = await readdir(folder).catch(() => []);
  const copies = names.flatMap((name) => {
    const parts = name.match(/^(\d+\.\d+\.\d+)-(cpu|cu\d+)$/);
    return parts ? [{ name, version: parts[1], variant: parts[2] }] : [];
  });
  if (copies.length === 0)
    return [{ source: 'managed copy', directory: null, reason: `there is none in ${folder}` }];
  /** @param {(typeof copies)[number]} copy */
  const rank = (copy) =>
    (copy.version === version ? 0 : 4) + (copy.variant === cudaVariant ? 0 : copy.variant === 'cpu' ? 1 : 2);
  return copies
    .sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name))
    .map(({ name, variant }) => ({
      source: `managed copy ${variant}`,
      directory: join(folder, name, 'torch'),
      reason: '',
    }));
}

// ------------------------------------------------------------------------------------------ files

/** @param {string} path */
const exists = (path) =>
  stat(path).then(
    () => true,
    () => false,
  );

/** @param {string} path */
const readText = (path) => readFile(path, 'utf8').catch(() => null);

/**
 * @param {string[]} folders
 * @param {string} file
 */
async function keepExisting(folders, file) {
  const there = await Promise.all(folders.map((folder) => exists(join(folder, file))));
  return folders.filter((_, index) => there[index]);
}

import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { installManaged, type Progress } from '../../../dist/runtime/install.js';
import { libraryFile } from '../../../dist/runtime/libtorch.js';
import { emptyEnvironment, fakeLibtorch, fakePython, temporaryFolder } from './fakes.js';

/** A pip that "downloads" a prepared package; `$made` is the folder it was told to fill. */
const pipWith = (body: string): string => `
case "$*" in *--version*) echo "pip 24.3 from somewhere (python 3.11)"; exit 0;; esac
all=$*
while [ $# -gt 0 ]; do [ "$1" = --target ] && made=$2; shift; done
${body}`;

const site = (version: string, cuda = false): string => {
  const folder = temporaryFolder();
  fakeLibtorch(join(folder, 'torch'), { python: true, version, cuda });
  mkdirSync(join(folder, 'torch', 'nn'));
  mkdirSync(join(folder, 'functorch'));
  mkdirSync(join(folder, 'torch-2.13.0.dist-info'));
  return folder;
};

const environment = (body: string): Record<string, string> => ({
  ...emptyEnvironment(),
  PATH: fakePython(pipWith(body)),
});

describe('the managed copy', () => {
  test('needs Python with pip, and says what to do without', async () => {
    const failing = installManaged({ env: emptyEnvironment() });
    await expect(failing).rejects.toMatchObject({
      code: 'ERR_RUNTIME_NOT_FOUND',
      message: expect.stringMatching(/python3 is not installed.*METAVOICE_LIBTORCH/),
    });
  });

  test('reports the last words of pip and leaves nothing behind', async () => {
    const env = environment('echo "ERROR: No matching distribution found" >&2; exit 1');
    await expect(installManaged({ env })).rejects.toThrow(/No matching distribution found/);
    expect(readdirSync(join(env.METAVOICE_CACHE as string, 'libtorch'))).toEqual([]);
  });

  test('is refused when pip brings another version, or a CUDA build for the CPU', async () => {
    const other = environment(`mkdir -p "$made" && cp -r ${site('2.12.0+cpu')}/. "$made"`);
    await expect(installManaged({ env: other })).rejects.toThrow(/2\.12\.0/);
    const cuda = environment(`mkdir -p "$made" && cp -r ${site('2.13.0+cu130', true)}/. "$made"`);
    await expect(installManaged({ env: cuda })).rejects.toThrow(/CUDA build.*cpu build is wanted/);
  });

  test('stops pip on abort with the reason of the signal', async () => {
    const env = environment('sleep 30 >/dev/null 2>&1');
    const abort = new AbortController();
    const started = Date.now();
    const failing = installManaged({ env, signal: abort.signal });
    setTimeout(() => abort.abort(new Error('enough')), 300);
    await expect(failing).rejects.toThrow('enough');
    expect(Date.now() - started).toBeLessThan(10_000);
    expect(readdirSync(join(env.METAVOICE_CACHE as string, 'libtorch'))).toEqual([]);
  });

  test('lands in the cache in one piece, without the Python of it, and is found the next time', async () => {
    const env = environment(
      `echo "Collecting torch"; echo "Progress 5 of 10"; mkdir -p "$made" && cp -r ${site('2.13.0+cpu')}/. "$made"`,
    );
    const seen: Progress[] = [];
    const made = await installManaged({ env, onProgress: (progress) => seen.push(progress) });
    const folder = join(env.METAVOICE_CACHE as string, 'libtorch', '2.13.0-cpu');
    expect(made).toEqual({
      directory: join(folder, 'torch'),
      version: '2.13.0+cpu',
      cuda: false,
      source: 'managed copy cpu',
    });
    expect(existsSync(join(folder, 'torch', 'lib', libraryFile('torch_cpu')))).toBe(true);
    expect(readdirSync(folder).sort()).toEqual(['torch', 'torch-2.13.0.dist-info']);
    expect(readdirSync(join(folder, 'torch')).sort()).toEqual(['include', 'lib', 'version.py']);
    expect(seen).toContainEqual({ message: 'Collecting torch', loaded: 5, total: 10 });
    expect(await installManaged({ env: { METAVOICE_CACHE: env.METAVOICE_CACHE, PATH: '/nowhere' } })).toEqual(
      made,
    );
  });

  test('may be made by two at once, and clears what a dead process left', async () => {
    const env = environment(`sleep 0.2; mkdir -p "$made" && cp -r ${site('2.13.0+cpu')}/. "$made"`);
    const folder = join(env.METAVOICE_CACHE as string, 'libtorch');
    mkdirSync(join(folder, '.making-999999999-x', 'made'), { recursive: true });
    const [first, second] = await Promise.all([installManaged({ env }), installManaged({ env })]);
    expect(second).toEqual(first);
    expect(readdirSync(folder)).toEqual(['2.13.0-cpu']);
  });

  test('replaces a copy that is broken', async () => {
    const env = environment(`mkdir -p "$made" && cp -r ${site('2.13.0+cpu')}/. "$made"`);
    mkdirSync(join(env.METAVOICE_CACHE as string, 'libtorch', '2.13.0-cpu', 'torch'), { recursive: true });
    expect(await installManaged({ env })).toMatchObject({ version: '2.13.0+cpu' });
  });

  test('with CUDA asks for that build and for the packages of NVIDIA it names', async () => {
    const folder = site('2.13.0+cu126', true);
    const log = join(temporaryFolder(), 'log');
    const env = environment(`
echo "$all" >> ${log}
mkdir -p "$made/nvidia" && cp -r ${folder}/. "$made"
printf 'Name: torch\\nRequires-Dist: sympy>=1.13\\nRequires-Dist: nvidia-cublas-cu12==12.6.4.1; platform_system == "Linux"\\n' > "$made/torch-2.13.0.dist-info/METADATA"`);
    const made = await installManaged({ env, cuda: 'cu126' });
    expect(made).toMatchObject({ cuda: true, source: 'managed copy cu126' });
    expect(readdirSync(join(env.METAVOICE_CACHE as string, 'libtorch', '2.13.0-cu126'))).toContain('nvidia');
    const [first, second] = readFileSync(log, 'utf8').split('\n');
    expect(first).toMatch(/torch==2\.13\.0\+cu126 --no-deps --extra-index-url \S+\/cu126 --retries 0/);
    expect(second).toMatch(/ nvidia-cublas-cu12==12\.6\.4\.1 --upgrade/);
    expect(second).not.toMatch(/sympy/);
  });
});

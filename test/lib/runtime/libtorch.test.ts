import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  baseVersion,
  explainRefusals,
  inspect,
  libraryFile,
  refuseVersion,
  resolveLibtorch,
} from '../../../dist/runtime/libtorch.js';
import { elf, emptyEnvironment, fakeLibtorch, fakePython, temporaryFolder, write } from './fakes.js';

describe('one folder', () => {
  test('is refused when it is not there', async () => {
    expect(await inspect(join(temporaryFolder(), 'nowhere'), '2.13.0')).toMatch(/no such folder/);
  });

  test('is refused without libtorch_cpu, and without libc10', async () => {
    const folder = temporaryFolder();
    expect(await inspect(folder, '2.13.0')).toContain(libraryFile('torch_cpu'));
    write(join(folder, 'lib', libraryFile('torch_cpu')), elf());
    expect(await inspect(folder, '2.13.0')).toContain(libraryFile('c10'));
  });

  test('is refused when it does not tell its version', async () => {
    const folder = temporaryFolder();
    for (const name of ['torch_cpu', 'c10']) write(join(folder, 'lib', libraryFile(name)), elf());
    expect(await inspect(folder, '2.13.0')).toMatch(/version/);
  });

  test('is refused at run time unless the version is exactly that of the build', async () => {
    const folder = fakeLibtorch(temporaryFolder(), { version: '2.12.1+cpu' });
    expect(await inspect(folder, '2.13.0')).toMatch(/2\.12\.1\+cpu.*needs 2\.13\.0/);
    expect(await inspect(folder, '2.12.1')).toMatchObject({ version: '2.12.1+cpu' });
  });

  test('is refused for the build without headers, but serves the run', async () => {
    const folder = fakeLibtorch(temporaryFolder(), { headers: false });
    expect(await inspect(folder, undefined)).toMatch(/headers/);
    expect(await inspect(folder, '2.13.0')).toMatchObject({ directory: folder });
  });

  test.runIf(process.platform === 'linux')('is refused when it is built for another processor', async () => {
    const folder = fakeLibtorch(temporaryFolder());
    const [other, machine] = process.arch === 'arm64' ? ['x64', 62] : ['arm64', 183];
    write(join(folder, 'lib', libraryFile('c10')), elf(machine as number));
    expect(await inspect(folder, '2.13.0')).toMatch(`built for ${other}`);
  });

  test.runIf(process.platform === 'linux')('is refused when a library is cut short, or none', async () => {
    const folder = fakeLibtorch(temporaryFolder());
    const core = join(folder, 'lib', libraryFile('torch_cpu'));
    // A table of 3 sections of 64 bytes at byte 1000.
    const whole = Buffer.concat([elf(), Buffer.alloc(1000 + 3 * 64 - 64)]);
    whole.writeBigUInt64LE(1000n, 40);
    whole.writeUInt16LE(64, 58);
    whole.writeUInt16LE(3, 60);
    write(core, whole);
    expect(await inspect(folder, '2.13.0')).toMatchObject({ directory: folder });
    write(core, whole.subarray(0, -1));
    expect(await inspect(folder, '2.13.0')).toMatch(/libtorch_cpu\.so that is cut short/);
    write(core, 'version https://git-lfs.github.com/spec/v1');
    expect(await inspect(folder, '2.13.0')).toMatch(/libtorch_cpu\.so that is not an ELF file/);
  });

  test('may be a libtorch, a torch package, or the folder that holds one', async () => {
    const site = temporaryFolder();
    const inside = fakeLibtorch(join(site, 'torch'), { python: true });
    expect(await inspect(site, '2.13.0')).toMatchObject({ directory: inside });
    expect(await inspect(inside, '2.13.0')).toMatchObject({ directory: inside, cuda: false });
    const unpacked = temporaryFolder();
    const plain = fakeLibtorch(join(unpacked, 'libtorch'), { cuda: true, version: '2.13.0+cu126' });
    expect(await inspect(unpacked, '2.13.0')).toEqual({
      directory: plain,
      version: '2.13.0+cu126',
      cuda: true,
    });
  });
});

describe('a version', () => {
  test.each(['2.10.0', '2.15.0', '3.0.0', '1.13.1', '2.13.0a0', 'dev'])(
    '%s is refused for the build',
    (version) => {
      expect(refuseVersion(version, undefined)).toContain('2.11');
    },
  );

  test.each(['2.11.0', '2.13.0+cpu', '2.14.1+cu130'])('%s serves the build', (version) => {
    expect(refuseVersion(version, undefined)).toBeNull();
  });

  test('is compared without its local part', () => {
    expect(baseVersion('2.13.0+cu126')).toBe('2.13.0');
    expect(refuseVersion('2.13.0+cu126', '2.13.0')).toBeNull();
    expect(refuseVersion('2.13.1', '2.13.0')).toMatch('2.13.1');
  });
});

describe('the search', () => {
  test('finds nothing in an empty environment and says where it looked', async () => {
    const { found, refused } = await resolveLibtorch({ env: emptyEnvironment(), required: '2.13.0' });
    expect(found).toBeNull();
    expect(refused.map(({ source }) => source)).toEqual(['python3', 'python', 'managed copy']);
    expect(explainRefusals(refused)).toMatch(
      /python3: is not installed[\s\S]*managed copy: there is none in/,
    );
  });

  test('ends at a bad option, and at a bad METAVOICE_LIBTORCH: these are orders', async () => {
    const good = fakeLibtorch(temporaryFolder());
    const env: Record<string, string> = {
      ...emptyEnvironment(),
      LIBTORCH: good,
      METAVOICE_LIBTORCH: '/nowhere',
    };
    const ordered = await resolveLibtorch({ option: '/neither', env, required: '2.13.0' });
    expect(ordered).toMatchObject({
      found: null,
      refused: [{ source: 'option libtorch', directory: '/neither' }],
    });
    const named = await resolveLibtorch({ env, required: '2.13.0' });
    expect(named).toMatchObject({ found: null, refused: [{ source: 'METAVOICE_LIBTORCH' }] });
  });

  test('goes past a bad LIBTORCH and keeps the reason', async () => {
    const env: Record<string, string> = {
      ...emptyEnvironment(),
      LIBTORCH: fakeLibtorch(temporaryFolder(), { version: '2.10.0' }),
    };
    const managed = fakeLibtorch(join(env.METAVOICE_CACHE as string, 'libtorch', '2.13.0-cpu', 'torch'), {
      python: true,
    });
    const { found, refused } = await resolveLibtorch({ env, required: '2.13.0' });
    expect(found).toMatchObject({ directory: managed, source: 'managed copy cpu' });
    expect(refused[0]).toMatchObject({ source: 'LIBTORCH', reason: expect.stringContaining('2.10.0') });
  });

  test('prefers the option, then METAVOICE_LIBTORCH, then LIBTORCH, then Python, then the managed copy', async () => {
    const site = temporaryFolder();
    const torch = fakeLibtorch(join(site, 'torch'), { python: true });
    const env: Record<string, string> = {
      ...emptyEnvironment(),
      PATH: fakePython(`echo '["${torch}"]'`),
      LIBTORCH: fakeLibtorch(temporaryFolder()),
      METAVOICE_LIBTORCH: fakeLibtorch(temporaryFolder()),
    };
    const managed = fakeLibtorch(join(env.METAVOICE_CACHE as string, 'libtorch', '2.13.0-cpu', 'torch'));
    const option = fakeLibtorch(temporaryFolder());
    const directory = async (search: object) =>
      (await resolveLibtorch({ env, required: '2.13.0', ...search })).found;
    expect(await directory({ option })).toMatchObject({ directory: option });
    expect(await directory({})).toMatchObject({ directory: env.METAVOICE_LIBTORCH });
    delete env.METAVOICE_LIBTORCH;
    expect(await directory({})).toMatchObject({ directory: env.LIBTORCH });
    delete env.LIBTORCH;
    expect(await directory({})).toMatchObject({ directory: torch, source: 'python3' });
    env.PATH = fakePython(`echo '[]'`);
    expect(await directory({})).toMatchObject({ directory: managed });
  });

  test('asks $PYTHON first and keeps the last words of one that fails', async () => {
    const torch = fakeLibtorch(join(temporaryFolder(), 'torch'), { python: true });
    const env: Record<string, string> = { ...emptyEnvironment(), PYTHON: 'mine' };
    env.PATH = fakePython(`echo '["${torch}"]'`, 'mine');
    expect((await resolveLibtorch({ env, required: '2.13.0' })).found).toMatchObject({ source: 'mine' });
    env.PATH = fakePython('echo "Traceback" >&2; echo "it is broken" >&2; exit 1', 'mine');
    const { refused } = await resolveLibtorch({ env, required: '2.13.0' });
    expect(refused[0]).toEqual({ source: 'mine', directory: null, reason: 'it is broken' });
  });

  test('takes the managed copy that suits the devices', async () => {
    const env = emptyEnvironment();
    const folder = (name: string) => join(env.METAVOICE_CACHE as string, 'libtorch', name, 'torch');
    fakeLibtorch(folder('2.12.0-cpu'), { version: '2.12.0' });
    const cpu = fakeLibtorch(folder('2.13.0-cpu'));
    const cuda = fakeLibtorch(folder('2.13.0-cu126'), { version: '2.13.0+cu126', cuda: true });
    const search = async (cudaVariant: string | null) =>
      (await resolveLibtorch({ env, required: '2.13.0', cudaVariant })).found?.directory;
    expect(await search(null)).toBe(cpu);
    expect(await search('cu126')).toBe(cuda);
  });

  test('passes over a Python torch without CUDA where a managed copy has it, and says so', async () => {
    const torch = fakeLibtorch(join(temporaryFolder(), 'torch'), { python: true });
    const env: Record<string, string> = { ...emptyEnvironment(), PATH: fakePython(`echo '["${torch}"]'`) };
    const cuda = fakeLibtorch(join(env.METAVOICE_CACHE as string, 'libtorch', '2.13.0-cu130', 'torch'), {
      cuda: true,
    });
    const { found, refused } = await resolveLibtorch({ env, required: '2.13.0', cudaVariant: 'cu130' });
    expect(found).toMatchObject({ directory: cuda });
    expect(refused.at(-1)).toMatchObject({
      source: 'python3',
      reason: expect.stringContaining('has no CUDA'),
    });
    const without = await resolveLibtorch({ env, required: '2.13.0' });
    expect(without.found).toMatchObject({ directory: torch });
  });

  test('passes over a Python torch whose CUDA is of no use where a managed copy serves, and says why', async () => {
    const torch = fakeLibtorch(join(temporaryFolder(), 'torch'), {
      python: true,
      version: '2.13.0+cu130',
      cuda: true,
    });
    const env: Record<string, string> = { ...emptyEnvironment(), PATH: fakePython(`echo '["${torch}"]'`) };
    const refuseCuda = ({ version }: { version: string }) =>
      version.endsWith('+cu126') ? null : 'needs a newer driver';
    const search = () => resolveLibtorch({ env, required: '2.13.0', cudaVariant: 'cu126', refuseCuda });
    expect((await search()).found).toMatchObject({ directory: torch });
    const copy = join(env.METAVOICE_CACHE as string, 'libtorch', '2.13.0-cu126', 'torch');
    const cuda = fakeLibtorch(copy, { version: '2.13.0+cu126', cuda: true });
    const { found, refused } = await search();
    expect(found).toMatchObject({ directory: cuda });
    expect(refused.at(-1)).toMatchObject({ reason: `needs a newer driver, and ${cuda} serves` });
  });
});

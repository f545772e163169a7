/** Folders that look like libtorch, and Pythons that answer as told, for tests that must not depend on the machine. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll } from 'vitest';
import { libraryFile } from '../../../dist/runtime/libtorch.js';

const made: string[] = [];

afterAll(() => {
  for (const folder of made) rmSync(folder, { recursive: true, force: true });
});

/** A new folder, removed after the tests of the file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'metavoice-runtime-'));
  made.push(folder);
  return folder;
}

export function write(file: string, content: string | Uint8Array): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}

const machines: Record<string, number> = { x64: 62, arm64: 183, riscv64: 243, ppc64: 21 };

/** The first bytes of an ELF file for the machine. */
export function elf(machine: number = machines[process.arch] ?? 0): Buffer {
  const head = Buffer.alloc(64);
  head.writeUInt32BE(0x7f454c46, 0);
  head.writeUInt16LE(machine, 18);
  return head;
}

export interface FakeLibtorch {
  version?: string;
  /** A Python package tells its version otherwise than a plain libtorch. */
  python?: boolean;
  cuda?: boolean;
  headers?: boolean;
}

/** Makes a folder that passes for libtorch and returns it. */
export function fakeLibtorch(folder: string, fake: FakeLibtorch = {}): string {
  const { version = '2.13.0+cpu', python = false, cuda = false, headers = true } = fake;
  const names = ['torch_cpu', 'c10', ...(cuda ? ['torch_cuda', 'c10_cuda'] : [])];
  for (const name of names) write(join(folder, 'lib', libraryFile(name)), elf());
  if (headers) write(join(folder, 'include', 'ATen', 'ATen.h'), '');
  if (python) write(join(folder, 'version.py'), `__all__ = ['x']\n__version__ = '${version}'\n`);
  else write(join(folder, 'build-version'), `${version}\n`);
  return folder;
}

/** A `python3` in a folder of its own; the shell script gets Python's arguments. Returns the PATH that finds it. */
export function fakePython(script: string, name = 'python3'): string {
  const folder = temporaryFolder();
  write(join(folder, name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(folder, name), 0o755);
  return `${folder}:/usr/bin:/bin`;
}

/** An environment in which nothing is found: no variables, an empty cache, no Python. */
export function emptyEnvironment(): Record<string, string> {
  return { PATH: temporaryFolder(), METAVOICE_CACHE: temporaryFolder() };
}

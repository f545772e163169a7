/**
 * NVIDIA drivers that are made up: test/native/fake_driver, built with the C compiler, described in a text file and put
 * before a child process. They lie in temporary folders and answer nobody else.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Device } from '../../../dist/device/devices.js';
import type { CudaFacts } from '../../../dist/native/contract.js';
import { type Card, cards, GiB } from './boxes.js';

const root = resolve(import.meta.dirname, '..', '..', '..');
const sources = join(root, 'test', 'native', 'fake_driver');

export interface FakeGpu {
  card: Card;
  free: number;
  /** NVML counts along the buses. */
  bus: number;
  /** A MIG slice; or a GPU in MIG mode without slices, which CUDA does not show. */
  slice?: 'slice' | 'hidden';
  integrated?: boolean;
  /** CUDA counts it, but does not tell what it is. */
  broken?: boolean;
}

export interface FakeDriver {
  driver?: string;
  /** As cuDriverGetVersion tells it: 12040. */
  cuda?: number;
  gpus?: FakeGpu[];
  /** Functions of either library that answer an error. */
  failing?: Record<string, number>;
  /** Functions that a library lacks. */
  lacking?: string[];
  /** A library that is not there. */
  missing?: ('libcuda.so.1' | 'libnvidia-ml.so.1')[];
  env?: Record<string, string>;
}

const made: string[] = [];

export function removeFakeDrivers(): void {
  for (const folder of made) rmSync(folder, { recursive: true, force: true });
}

const uuid = (first: string, index: number): string => `${first}${index}`.repeat(16);

function describeGpu({ card, free, bus, slice, integrated, broken }: FakeGpu, index: number): string {
  const [name, capability, memory, multiprocessors] = cards[card];
  const own = slice === 'slice' ? uuid('b', index) : (slice ?? '-');
  const numbers = [memory * GiB, free, multiprocessors, integrated ? 1 : 0, bus];
  return ['gpu', name, broken ? '0.0' : capability, ...numbers, uuid('a', index), own].join('\t');
}

const built = new Map<string, string>();

/** The folder with the two libraries, built when they are first asked for. */
function build({ lacking = [], missing = [] }: FakeDriver): string {
  const key = JSON.stringify([lacking, missing]);
  const known = built.get(key);
  if (known) return known;
  const folder = mkdtempSync(join(tmpdir(), 'metavoice-driver-'));
  made.push(folder);
  built.set(key, folder);
  const hidden = join(folder, 'hidden.map');
  writeFileSync(hidden, `{ local: nothing; ${lacking.map((name) => `${name};`).join(' ')} };\n`);
  mkdirSync(join(folder, 'lib'));
  const libraries = { 'libcuda.so.1': 'cuda.c', 'libnvidia-ml.so.1': 'nvml.c' } as const;
  for (const [library, source] of Object.entries(libraries)) {
    const file = join(folder, 'lib', library);
    // A file that is no library ends the search, so that no real one further along is found.
    if (missing.includes(library as keyof typeof libraries)) writeFileSync(file, 'nothing to see here\n');
    else
      execFileSync('cc', [
        ...['-std=c11', '-Wall', '-Wextra', '-Werror', '-O1', '-shared', '-fPIC'],
        ...[`-Wl,--version-script=${hidden}`, '-o', file, join(sources, source)],
      ]);
  }
  return folder;
}

export interface Answer {
  facts: CudaFacts | null;
  devices: Device[];
  output: string;
}

const question = (module: string): string => `
const { loadDoor } = await import(${JSON.stringify(pathToFileURL(join(root, 'dist', 'runtime', 'load.js')).href)});
const { devices } = await import(${JSON.stringify(pathToFileURL(join(root, 'dist', module)).href)});
const facts = loadDoor().cudaFacts();
process.stdout.write('answer ' + JSON.stringify({ facts, devices: devices() }));`;

/** What a process that meets this driver tells. */
export function meet(fake: FakeDriver, described = true): Answer {
  const folder = build(fake);
  const { driver = '550.54.15', cuda = 12040, gpus = [], failing = {}, env = {} } = fake;
  const lines = [
    `driver\t${driver}`,
    `cuda\t${cuda}`,
    ...Object.entries(failing).map(([name, code]) => `fail\t${name}\t${code}`),
    ...gpus.map(describeGpu),
  ];
  const file = join(folder, 'driver.txt');
  writeFileSync(file, `${lines.join('\n')}\n`);
  const { CUDA_VISIBLE_DEVICES: _, ...inherited } = process.env;
  const child = spawnSync(
    process.execPath,
    ['--input-type=module', '--eval', question(join('device', 'devices.js'))],
    {
      encoding: 'utf8',
      env: {
        ...inherited,
        LD_LIBRARY_PATH: join(folder, 'lib'),
        ...(described && { METAVOICE_FAKE_DRIVER: file }),
        ...env,
      },
    },
  );
  const [before = '', answer] = child.stdout.split('answer ');
  if (child.status !== 0 || answer === undefined)
    throw new Error(`the child ended with ${child.status ?? child.signal}: ${child.stderr}`);
  return { ...JSON.parse(answer), output: before + child.stderr };
}

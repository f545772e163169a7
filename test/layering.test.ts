/**
 * Arrows go down only: which file may know of which, in native/ and in lib/, by reading them. The rules are held
 * against a small tree that breaks each of them, so that they are known to bite.
 */

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, posix, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

type Tree = Map<string, string>;

/** Every file below some folders of a tree, by its path from the tree's root with slashes. */
function readTree(base: string, folders: readonly string[]): Tree {
  const tree: Tree = new Map();
  for (const folder of folders)
    for (const entry of readdirSync(join(base, folder), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const file = join(entry.parentPath, entry.name);
      tree.set(
        file
          .slice(base.length + 1)
          .split('\\')
          .join('/'),
        readFileSync(file, 'utf8'),
      );
    }
  return tree;
}

// ------------------------------------------------------------------------------------------ native/

const floors = ['core', 'ops', 'layers', 'models', 'engine', 'binding'];
const libtorch = /^(ATen|c10|torch|caffe2)\//;
const nodeHeaders = new Set(['napi.h', 'node_api.h', 'js_native_api.h', 'node.h', 'v8.h', 'uv.h']);
const speaks =
  /\b(?:std::)?(?:cout|cerr|clog|abort|_?[eE]xit|quick_exit|terminate|perror|v?f?printf|f?puts|putchar|assert|TORCH_WARN\w*)\s*(?:\(|<<)/g;

const isNative = (path: string): boolean => /^native\/.*\.(cc|h|cu|cuh)$/.test(path);

const codeOf = (text: string): string =>
  text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/\/\/.*$/gm, '')
    .replace(/"(?:[^"\\\n]|\\.)*"/g, '""');

const includesOf = (text: string): { name: string; ours: boolean }[] =>
  [...text.matchAll(/^\s*#\s*include\s*(["<])([^">]+)[">]/gm)].map((match) => ({
    name: match[2]!,
    ours: match[1] === '"',
  }));

function includeViolation(path: string, { name, ours }: { name: string; ours: boolean }): string | null {
  const floor = path.split('/')[1]!;
  const target = name.split('/')[0]!;
  if (name.includes('..')) return `${path} climbs to ${name}`;
  if (nodeHeaders.has(name) && floor !== 'binding' && floor !== 'loader')
    return `${path} includes ${name}, which is for binding and loader`;
  if (libtorch.test(name) && floor === 'loader')
    return `${path} includes ${name}, but the loader is free of torch`;
  if (!ours) return null;
  if (floor === 'loader' || target === 'loader')
    return floor === target ? null : `${path} includes ${name}, but the loader stands apart`;
  if (!floors.includes(target)) return `${path} includes ${name}, which lies on no floor`;
  return floors.indexOf(target) <= floors.indexOf(floor)
    ? null
    : `${path} includes ${name} of a higher floor`;
}

function nativeViolations(tree: Tree): string[] {
  const found: string[] = [];
  for (const [path, text] of tree) {
    if (!isNative(path)) continue;
    const floor = path.split('/')[1]!;
    if (!floors.includes(floor) && floor !== 'loader') found.push(`${path} lies on no floor`);
    for (const include of includesOf(text)) {
      const violation = includeViolation(path, include);
      if (violation) found.push(violation);
    }
    for (const [word] of codeOf(text).matchAll(speaks)) found.push(`${path} says or ends: ${word}`);
  }
  return found;
}

/** Sources below `binding` that no native test includes: a source is its header, and that of an op is its kernels', too. */
function untested(tree: Tree): string[] {
  const named = new Set<string>();
  let kernelTests = '';
  for (const [path, text] of tree) {
    const ofKernels = path.startsWith('test/native/kernels/');
    if (ofKernels) kernelTests += text;
    if (ofKernels || /^test\/native\/.*_test\.cc$/.test(path))
      for (const { name } of includesOf(text)) named.add(name);
  }
  return [...tree].flatMap(([path, text]) => {
    // A file of kernels may have no header of its own: then what it offers is called there.
    const doors = path.endsWith('.cu') ? [...text.matchAll(/\bmetavoice_\w+(?=\()/g)] : [];
    if (doors.some(([door]) => kernelTests.includes(door))) return [];
    const match = /^native\/((\w+)\/.+)\.(cc|cu|h)$/.exec(path);
    if (!match || match[2] === 'loader' || floors.indexOf(match[2]!) >= floors.indexOf('binding')) return [];
    // The loops of an operation are tested with it.
    return named.has(`${match[1]!.replace(/_(?:cpu|loops)$/, '')}.h`) ? [] : [`${path} has no native test`];
  });
}

// ------------------------------------------------------------------------------------------ lib/

/** What a lower floor may know of the files at the top of lib/. */
const common = ['errors', 'is', 'options', 'option-values', 'call-site', 'files', 'size-words'];
const folders = [
  'text',
  'audio',
  'voice',
  'device',
  'checkpoint',
  'stream',
  'check',
  'runtime',
  'native',
  'hub',
];
/** Folders that may know each other, beside themselves. */
const neighbours: Readonly<Record<string, readonly string[]>> = {
  text: ['checkpoint'],
  audio: [],
  voice: ['audio', 'runtime', 'checkpoint'],
  device: ['checkpoint', 'runtime'],
  checkpoint: ['runtime'],
  stream: ['audio', 'check'],
  check: [],
  hub: [],
  runtime: [],
  native: [],
};

interface Import {
  from: string;
  to: string;
  type: boolean;
}

const isLib = (path: string): boolean => /^lib\/.*\.(ts|js)$/.test(path);

function importsOf(path: string, text: string): Import[] {
  const statements =
    /(?:^|\n)\s*(?:import|export)\s+(type\s)?[^;'"]*?from\s+'(\.[^']+)'|\bimport\(\s*'(\.[^']+)'|new URL\(\s*'(\.[^']+\.js)'/g;
  return [...text.matchAll(statements)].map((match) => ({
    from: path.replace(/\.[jt]s$/, ''),
    to: posix.join(posix.dirname(path), (match[2] ?? match[3] ?? match[4])!).replace(/\.[jt]s$/, ''),
    type: match[1] !== undefined,
  }));
}

/** `lib/audio/decode` → `audio`; `lib/errors` → `errors`. */
const part = (path: string): string => path.split('/')[1]!;
const isTop = (path: string): boolean => path.split('/').length === 2;

function importViolation({ from, to, type }: Import): string | null {
  const lower = part(from);
  const upper = part(to);
  if (!to.startsWith('lib/')) return `${from} imports ${to} from outside lib`;
  if (upper === 'cli' && lower !== 'cli') return `${from} imports the command line`;
  // It looks at every part from above, so nothing but the command line may lean on it.
  if (upper === 'doctor' && lower !== 'doctor' && lower !== 'cli') return `${from} imports the doctor`;
  if (isTop(to) && upper === 'index') return `${from} imports the index`;
  if (isTop(to) && upper === 'synthesize' && !['index', 'cli'].includes(lower))
    return `${from} imports synthesize`;
  if (isTop(from) && ['errors', 'is'].includes(lower) && upper !== 'errors' && upper !== 'is')
    return `${from} imports ${to}, but lies at the bottom`;
  if (upper === 'native' && lower !== 'native' && !type)
    return `${from} imports ${to} as a value, but it is types alone`;
  // Types describe what passes through, upwards and downwards.
  if (type || isTop(from) || !folders.includes(lower)) return null;
  if (isTop(to)) return common.includes(upper) ? null : `${from} imports ${to} of a higher floor`;
  return upper === lower || neighbours[lower]!.includes(upper)
    ? null
    : `${from} imports ${to}, which is not below it`;
}

function cycles(imports: readonly Import[]): string[] {
  const edges = new Map<string, string[]>();
  for (const { from, to, type } of imports) if (!type) edges.set(from, [...(edges.get(from) ?? []), to]);
  const state = new Map<string, 'open' | 'done'>();
  const found: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    if (state.get(path) === 'done') return;
    if (state.get(path) === 'open') {
      found.push(`a circle: ${[...trail.slice(trail.indexOf(path)), path].join(' → ')}`);
      return;
    }
    state.set(path, 'open');
    for (const next of edges.get(path) ?? []) visit(next, [...trail, path]);
    state.set(path, 'done');
  };
  for (const path of edges.keys()) visit(path, []);
  return found;
}

function libViolations(tree: Tree): string[] {
  const found: string[] = [];
  const imports: Import[] = [];
  for (const [path, text] of tree) {
    if (!isLib(path)) continue;
    imports.push(...importsOf(path, text));
    const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '');
    if (path.startsWith('lib/cli/')) continue;
    for (const [word] of code.matchAll(/\bconsole\.\w+|\bprocess\.(?:stdout|stderr|exit)\b/g))
      found.push(`${path} says or ends: ${word}`);
  }
  for (const each of imports) {
    const violation = importViolation(each);
    if (violation) found.push(violation);
  }
  return [...found, ...cycles(imports)];
}

// ------------------------------------------------------------------------------------------ the tests

const ours = readTree(root, ['native', 'lib', 'test/native']);

describe('this tree', () => {
  test('keeps the floors of native/: each includes itself and lower ones, napi.h only where Node is met', () => {
    expect([...ours.keys()].filter(isNative).length).toBeGreaterThan(40);
    expect(nativeViolations(ours)).toEqual([]);
  });

  test('has a native test for every source below the binding', () => {
    expect(untested(ours)).toEqual([]);
  });

  test('keeps the arrows of lib/, without circles, and prints only in lib/cli', () => {
    expect([...ours.keys()].filter(isLib).length).toBeGreaterThan(40);
    expect(libViolations(ours)).toEqual([]);
  });
});

describe('a tree that breaks the rules', () => {
  const folder = mkdtempSync(join(tmpdir(), 'metavoice-layering-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  let count = 0;
  function made(files: Record<string, string>): Tree {
    const base = join(folder, String(count++));
    for (const part of ['native', 'lib', 'test/native']) mkdirSync(join(base, part), { recursive: true });
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(base, path)), { recursive: true });
      writeFileSync(join(base, path), text);
    }
    return readTree(base, ['native', 'lib', 'test/native']);
  }

  test('is not one that keeps them', () => {
    const tree = made({
      'native/core/a.h': '#include <string>\n// prints with printf("x"), or aborts: abort();\n',
      'native/core/a.cc':
        '#include "core/a.h"\n#include <c10/util/Exception.h>\nauto s = "abort(); std::cerr << 1";\nint n = snprintf(nullptr, 0, "");',
      'native/engine/b.h': '#include "core/a.h"\n#include "models/c.h"\n',
      'native/models/c.h': '/* std::cout << 1 */ #include "layers/no.h"',
      'native/binding/d.cc': '#include <napi.h>\n#include "engine/b.h"\n',
      'native/loader/e.cc': '#include <napi.h>\n#include "loader/e.h"\n',
      'test/native/a_test.cc': '#include "core/a.h"\n#include "engine/b.h"\n#include "models/c.h"\n',
      'lib/errors.ts': '// console.log is for others\n',
      'lib/native/contract.ts': '',
      'lib/audio/decode.ts':
        "import { x } from '../errors.js';\nimport type { Y } from '../native/contract.js';\n",
      'lib/metavoice.ts': "import { decode } from './audio/decode.js';\n",
      'lib/index.ts': "export { MetaVoice } from './metavoice.js';\n",
      'lib/doctor/doctor.ts': "import { MetaVoice } from '../metavoice.js';\n",
      'lib/cli/main.ts':
        "import { MetaVoice } from '../metavoice.js';\nimport { examine } from '../doctor/doctor.js';\nconsole.log(1);\n",
    });
    expect([...nativeViolations(tree), ...untested(tree), ...libViolations(tree)]).toEqual([]);
  });

  const native: [string, string, string, RegExp][] = [
    [
      'a lower floor that includes a higher one',
      'native/ops/a.cc',
      '#include "layers/b.h"',
      /of a higher floor/,
    ],
    ['a floor that includes the loader', 'native/core/a.cc', '#include "loader/b.h"', /stands apart/],
    ['a loader that includes a floor', 'native/loader/a.cc', '#include "core/error.h"', /stands apart/],
    ['a loader with libtorch', 'native/loader/a.cc', '#include <ATen/ATen.h>', /free of torch/],
    ['Node below the binding', 'native/engine/a.h', '#include <napi.h>', /for binding and loader/],
    ['a path that climbs', 'native/ops/a.cc', '#include "../layers/b.h"', /climbs/],
    ['a header of no floor', 'native/ops/a.cc', '#include "elsewhere/b.h"', /lies on no floor/],
    ['a folder of no floor', 'native/helpers/a.cc', '', /lies on no floor/],
    ['output', 'native/core/a.cc', 'void f() { std::cerr << 1; }', /says or ends: std::cerr/],
    ['C output', 'native/binding/a.cc', 'void f() { printf("x"); }', /says or ends: printf/],
    ['an abort', 'native/models/a.cc', 'void f() { std::abort(); }', /says or ends/],
    ['an exit', 'native/engine/a.cc', 'void f() { exit(1); }', /says or ends: exit/],
    ['an assertion', 'native/layers/a.h', 'void f() { assert(1); }', /says or ends: assert/],
    [
      'a warning of libtorch',
      'native/layers/a.h',
      'void f() { TORCH_WARN("x"); }',
      /says or ends: TORCH_WARN/,
    ],
  ];
  test.each(native)('native: %s is found', (_, path, text, words) => {
    expect(nativeViolations(made({ [path]: text })).join('\n')).toMatch(words);
  });

  test('native: a source without a test is found, and one with a test of another name', () => {
    const files = { 'native/core/a.cc': '', 'native/layers/b.h': '', 'native/models/c/d.cc': '' };
    expect(untested(made(files))).toHaveLength(3);
    expect(untested(made({ ...files, 'test/native/core/a_test.cc': '#include "core/a.h"' }))).toHaveLength(2);
    expect(untested(made({ ...files, 'test/native/core/a_test.cc': '// core/a.h' }))).toHaveLength(3);
    expect(untested(made({ ...files, 'test/native/support/a.h': '#include "core/a.h"' }))).toHaveLength(3);
  });

  const lib: [string, Record<string, string>, RegExp][] = [
    ['output', { 'lib/text/a.ts': 'console.warn(1);' }, /says or ends: console\.warn/],
    ['a process that ends', { 'lib/a.ts': 'process.exit(1);' }, /says or ends: process\.exit/],
    [
      'a folder that imports the top',
      { 'lib/audio/a.ts': "import { x } from '../metavoice.js';" },
      /of a higher floor/,
    ],
    [
      'a dynamic import of the top',
      { 'lib/audio/a.ts': "await import('../metavoice.js');" },
      /of a higher floor/,
    ],
    ['folders side by side', { 'lib/audio/a.ts': "import { x } from '../voice/b.js';" }, /not below it/],
    [
      'over several lines',
      { 'lib/audio/a.ts': "import {\n  x,\n  y,\n} from '../voice/b.js';" },
      /not below it/,
    ],
    [
      'the command line from below',
      { 'lib/metavoice.ts': "import { x } from './cli/main.js';" },
      /command line/,
    ],
    [
      'the doctor from below',
      { 'lib/metavoice.ts': "import { x } from './doctor/doctor.js';" },
      /imports the doctor/,
    ],
    ['the index from below', { 'lib/text/a.ts': "import type { X } from '../index.js';" }, /the index/],
    [
      'synthesize from below',
      { 'lib/stream/a.ts': "import type { X } from '../synthesize.js';" },
      /imports synthesize/,
    ],
    ['a bottom that knows more', { 'lib/is.ts': "import { x } from './options.js';" }, /at the bottom/],
    ['the contract as a value', { 'lib/a.ts': "import { x } from './native/contract.js';" }, /types alone/],
    ['a file outside', { 'lib/a.ts': "import { x } from '../scripts/log.mjs';" }, /outside lib/],
    [
      'a circle',
      {
        'lib/text/a.ts': "import { x } from './b.js';",
        'lib/text/b.ts': "import { x } from './c.js';",
        'lib/text/c.ts': "export { x } from './a.js';",
      },
      /a circle: lib\/text\/a → lib\/text\/b → lib\/text\/c → lib\/text\/a/,
    ],
  ];
  test.each(lib)('lib: %s is found', (_, files, words) => {
    expect(libViolations(made(files)).join('\n')).toMatch(words);
  });

  test('lib: types may point anywhere below the index, and in circles', () => {
    const tree = made({
      'lib/text/a.ts': "import type { X } from './b.js';\nimport type { Y } from '../metavoice.js';",
      'lib/text/b.ts': "import type { X } from './a.js';",
    });
    expect(libViolations(tree)).toEqual([]);
  });
});

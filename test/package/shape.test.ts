import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** Files of the package, as npm would take them, with their bytes. */
const files: { path: string; size: number }[] = JSON.parse(
  execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, encoding: 'utf8' }),
)[0].files;
const packed = files.map(({ path }) => path);

describe('the manifest', () => {
  test('has no script that runs on installation, neither written nor implied', () => {
    for (const name of ['preinstall', 'install', 'postinstall', 'prepare'])
      expect(manifest.scripts).not.toHaveProperty(name);
    expect(manifest.gypfile).toBe(false);
    expect(packed).not.toContain('binding.gyp');
  });

  test('is ESM only, with types first', () => {
    expect(manifest.type).toBe('module');
    for (const entry of Object.values<unknown>(manifest.exports)) {
      if (typeof entry === 'string') continue;
      expect(Object.keys(entry as object)).toEqual(['types', 'default']);
    }
  });

  test('names only files that exist', () => {
    const named = [
      ...Object.values<string | Record<string, string>>(manifest.exports).flatMap((entry) =>
        typeof entry === 'string' ? [entry] : Object.values(entry),
      ),
      ...Object.values<string>(manifest.bin),
    ];
    for (const file of named) expect(existsSync(join(root, file)), file).toBe(true);
  });

  test('names exact versions of its tools, and Node-API 9', () => {
    expect(manifest.binary.napi_versions).toEqual([9]);
    expect(manifest.engines.node).toBe('>=20.19');
  });
});

describe('the package', () => {
  test('carries what runs and what builds it', () => {
    for (const file of ['dist/index.js', 'dist/index.d.ts', 'dist/stages.js', 'dist/runtime/load.js'])
      expect(packed).toContain(file);
    for (const file of ['CMakeLists.txt', 'native/loader/door.cc', 'scripts/build.mjs', 'LICENSE'])
      expect(packed).toContain(file);
  });

  test('carries a model that speaks, whole, with its origin and nothing else, in at most 25 MB', () => {
    const voices = files.filter(({ path }) => path.startsWith('voices/'));
    expect(voices.map(({ path }) => path).sort()).toEqual([
      // Where it comes from, and the notices that this asks for.
      'voices/README.md',
      'voices/bundled/codec.safetensors',
      'voices/bundled/first_stage.safetensors',
      'voices/bundled/metavoice.json',
      'voices/bundled/second_stage.safetensors',
      'voices/bundled/speaker_encoder.safetensors',
    ]);
    expect(voices.reduce((sum, { size }) => sum + size, 0)).toBeLessThanOrEqual(25e6);
  });

  test('carries no tests, no other scripts and no leavings of tools', () => {
    expect(packed.filter((file) => /^(test|lib|\.ci|build)/.test(file))).toEqual([]);
    expect(packed.filter((file) => /\.(tsbuildinfo|stamp|wav)$|_test\.cc$/.test(file))).toEqual([]);
    expect(packed.filter((file) => file.startsWith('scripts/')).sort()).toEqual([
      'scripts/build.mjs',
      'scripts/libtorch.mjs',
      'scripts/log.mjs',
    ]);
  });
});

test('the lock names no registry, so that each user asks their own', () => {
  expect(readFileSync(join(root, 'package-lock.json'), 'utf8')).not.toMatch(/"resolved"/);
});

test('no module of the package awaits at its top level, which would break require()', () => {
  for (const file of packed.filter((name) => name.startsWith('dist/') && name.endsWith('.js')))
    expect(readFileSync(join(root, file), 'utf8'), file).not.toMatch(/^(export )?(const .*= )?await /m);
});

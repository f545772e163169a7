/** The package as others get it: packed, installed into a new project, used from ESM, CommonJS and TypeScript. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const model = JSON.stringify(join(root, 'test/fixtures/model'));
const voice = JSON.stringify(join(root, 'test/fixtures/voices/bria.mp3'));
const project = mkdtempSync(join(tmpdir(), 'metavoice-consumer-'));

const npm = (...commandArguments: string[]): string =>
  execFileSync('npm', commandArguments, {
    cwd: project,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });

const node = (...commandArguments: string[]): string =>
  execFileSync(process.execPath, commandArguments, { cwd: project, encoding: 'utf8' });

/** The packed package: made by `npm test` once for all, else here. */
function tarball(): string {
  if (process.env.METAVOICE_TEST_PACKAGE) return process.env.METAVOICE_TEST_PACKAGE;
  execFileSync(process.execPath, [join(root, 'scripts/prebuild.mjs')], { stdio: 'ignore' });
  execFileSync('npm', ['pack', '--ignore-scripts', '--pack-destination', project], {
    cwd: root,
    stdio: 'ignore',
  });
  const [file] = readdirSync(project).filter((name) => name.endsWith('.tgz'));
  return join(project, file ?? '');
}

beforeAll(() => {
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'consumer', private: true }));
  npm('install', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts', tarball());
}, 120_000);

afterAll(() => rmSync(project, { recursive: true, force: true }));

test('the package brings its own binaries, and they are found', () => {
  const [folder] = readdirSync(join(project, 'node_modules/metavoice/prebuilds')).filter(
    (name) => name !== 'README.md',
  );
  expect(folder).toBe(`${process.platform}-${process.arch}`);
  expect(existsSync(join(project, 'node_modules/metavoice/build'))).toBe(false);
});

test('ESM speaks through the installed package', () => {
  writeFileSync(
    join(project, 'speak.mjs'),
    `import { MetaVoice } from 'metavoice';
     const tts = await MetaVoice.load({ model: ${model}, device: 'cpu' });
     const speech = await tts.synthesize('Hello.', { voice: ${voice}, seed: 1 });
     await speech.save('hello.wav');
     await tts.dispose();
     console.log(JSON.stringify({ samples: speech.samples.length, rate: speech.sampleRate }));`,
  );
  const { samples, rate } = JSON.parse(node('speak.mjs'));
  expect(samples).toBeGreaterThan(0);
  expect(rate).toBe(48_000);
  expect(existsSync(join(project, 'hello.wav'))).toBe(true);
}, 60_000);

test('it speaks as installed, with no model named', () => {
  writeFileSync(
    join(project, 'bundled.mjs'),
    `import { synthesize } from 'metavoice';
     delete process.env.METAVOICE_MODEL;
     const speech = await synthesize('Hello.', { device: 'cpu', seed: 1 });
     console.log(JSON.stringify({ samples: speech.samples.length, rate: speech.sampleRate }));`,
  );
  const { samples, rate } = JSON.parse(node('bundled.mjs'));
  expect(samples).toBeGreaterThan(0);
  expect(rate).toBe(16_000);
}, 60_000);

test('CommonJS requires it, and gets the same module', () => {
  writeFileSync(
    join(project, 'use.cjs'),
    `const { devices, MetaVoiceError } = require('metavoice');
     import('metavoice').then((esm) => {
       console.log(JSON.stringify({ same: esm.MetaVoiceError === MetaVoiceError, cpu: devices().at(-1).id }));
     });`,
  );
  // Node 20 still announces require() of ESM as an experiment, on standard error.
  expect(JSON.parse(node('--no-warnings', 'use.cjs'))).toEqual({ same: true, cpu: 'cpu' });
});

test('TypeScript knows its types, strictly', () => {
  writeFileSync(
    join(project, 'use.ts'),
    `import { MetaVoice, MetaVoiceError, synthesize, type Speech } from 'metavoice';
     import { Stages } from 'metavoice/stages';
     export async function speak(text: string): Promise<Float32Array> {
       const speech: Speech = await synthesize(text, { voice: 'reference.wav', signal: AbortSignal.timeout(1000) });
       await using tts = await MetaVoice.load({ model: 'folder', device: 'cpu', dtype: 'float32' });
       for await (const chunk of tts.stream(text)) chunk.samples satisfies Float32Array;
       // @ts-expect-error: an option that does not exist
       await synthesize(text, { vioce: 'x' });
       return speech.samples;
     }
     export const open = (folder: string): Promise<Stages> => Stages.open(folder);
     export const isOurs = (error: unknown): string | undefined =>
       MetaVoiceError.isInstance(error) ? error.code : undefined;`,
  );
  const options = {
    compilerOptions: {
      module: 'nodenext',
      target: 'es2022',
      lib: ['es2023', 'esnext.disposable'],
      strict: true,
      noEmit: true,
      exactOptionalPropertyTypes: true,
      types: ['node'],
      typeRoots: [join(root, 'node_modules/@types')],
    },
    files: ['use.ts'],
  };
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify(options));
  writeFileSync(
    join(project, 'package.json'),
    JSON.stringify({ name: 'consumer', private: true, type: 'module' }),
  );
  expect(node(join(root, 'node_modules/typescript/bin/tsc'), '-p', '.')).toBe('');
}, 60_000);

/**
 * The model of the native tests: test/fixtures/model converted to float32, in `test-model` beside the executable, made
 * anew when the fixtures or the converter changed.
 *
 *   node scripts/native-model.mjs [FOLDER]
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { root, say } from './log.mjs';

const source = join(root, 'test', 'fixtures', 'model');
const converter = join(root, 'dist', 'checkpoint');

/**
 * Needs the compiled package and its addon (`npm run build`, `npm run build:ts`).
 *
 * @param {string} [folder]
 * @returns {Promise<string>} The folder of the model.
 */
export async function nativeModel(folder = join(root, 'build-cmake', 'test-model')) {
  const target = resolve(folder);
  const stampFile = `${target}.stamp`;
  const stamp = await fingerprint();
  const manifest = await readFile(join(target, 'metavoice.json'), 'utf8').catch(() => '');
  if (manifest !== '' && (await readFile(stampFile, 'utf8').catch(() => '')) === stamp) return target;
  say('converting the model of the native tests');
  await rm(target, { recursive: true, force: true });
  /** @type {typeof import('../lib/checkpoint/convert.js')} */
  const { convertModel } = await import(pathToFileURL(join(converter, 'convert.js')).href);
  await convertModel(source, target, { dtype: 'float32' });
  await writeFile(stampFile, stamp);
  return target;
}

async function fingerprint() {
  const hash = createHash('sha256');
  for (const [folder, pattern] of /** @type {const} */ ([
    [source, /\.(pt|th|ini|best)$/],
    [converter, /\.js$/],
  ]))
    for (const name of (await readdir(folder, { recursive: true }))
      .filter((entry) => pattern.test(entry))
      .sort())
      hash.update(`${name}\n`).update(await readFile(join(folder, name)));
  return hash.digest('hex');
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  nativeModel(process.argv[2]).then(
    (folder) => process.stdout.write(`${folder}\n`),
    (error) => {
      process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
      process.exitCode = 1;
    },
  );

/**
 * `npm run prebuild`: fills prebuilds/<platform>-<arch>/ with stripped binaries for the package. Nothing is done when the
 * binaries there come from these sources.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from './build.mjs';
import { program, root, run, say, tool } from './log.mjs';

const target = join(root, 'prebuilds', `${process.platform}-${process.arch}`);

export async function prebuild() {
  const { stamp } = await build();
  const stampFile = join(root, 'build-cmake', 'prebuilds.stamp');
  const there = await readdir(target).catch(() => []);
  const complete =
    there.some((name) => name.endsWith('.node')) && there.some((name) => /\.(so|dylib)$/.test(name));
  if (complete && (await readFile(stampFile, 'utf8').catch(() => null)) === stamp)
    return say('prebuilds are fresh');

  // A folder of its own, since prebuildify strips and moves what it finds: build/Release stays as it is.
  const staging = join(root, 'build-cmake', 'prebuild');
  await rm(staging, { recursive: true, force: true });
  await rm(target, { recursive: true, force: true });
  await mkdir(staging, { recursive: true });
  say('filling prebuilds');
  await run(process.execPath, [
    tool('prebuildify', 'bin.js'),
    ...['--napi', '--strip', '--tag-libc', '-t', process.versions.node, '--name', 'metavoice'],
    ...['--cwd', staging, '--out', root, '--node-gyp', join(root, 'scripts', 'node-gyp.mjs')],
  ]);
  await writeFile(stampFile, stamp);
  say(`filled ${target}: ${(await readdir(target)).join(', ')}`);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) program(prebuild);

#!/usr/bin/env node
/** Stands in for node-gyp where prebuildify calls it: builds with CMake into build/Release of the working directory. */
import { join } from 'node:path';
import { build } from './build.mjs';
import { program } from './log.mjs';

program(async () => {
  const arch = process.argv.find((argument) => argument.startsWith('--arch='))?.slice('--arch='.length);
  const other = arch !== undefined && arch !== process.arch;
  await build({ out: join(process.cwd(), 'build', 'Release'), ...(other ? { arch } : {}) });
});

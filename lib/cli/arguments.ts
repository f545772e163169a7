/** Option values from the command line, and what several commands share. */

import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { LoadOptions, Progress } from '../options.js';
import { sizeWords } from '../size-words.js';
import { type Terminal, UsageError } from './terminal.js';

export { sizeWords };

/** The options of `parseArgs` that say which model is loaded, and where. */
export const loadArguments = {
  model: { type: 'string', short: 'm' },
  download: { type: 'boolean' },
  device: { type: 'string' },
  dtype: { type: 'string' },
  quantization: { type: 'string' },
  libtorch: { type: 'string' },
} as const;

export const loadHelp = `  --model, -m M       folder of the model, or its hub id (METAVOICE_MODEL); default the one that ships
  --download          fetch the files of a hub id that are not here
  --device D          auto, cpu, cuda or cuda:N (METAVOICE_DEVICE)
  --dtype T           auto, float32, float16 or bfloat16 (METAVOICE_DTYPE)
  --quantization Q    weights of the first stage: none, int8 or int4; default as the model is stored
  --libtorch DIR      folder of libtorch (METAVOICE_LIBTORCH)`;

type LoadValues = {
  [K in keyof typeof loadArguments]?: (typeof loadArguments)[K]['type'] extends 'boolean'
    ? boolean | undefined
    : string | undefined;
};

/** The values go through as they are: the library judges them. */
export function loadOptions(values: LoadValues, terminal: Terminal): LoadOptions {
  const { model, download, device, dtype, quantization, libtorch } = values;
  const given = { model, download, device, dtype, quantization, libtorch };
  return {
    ...(given as LoadOptions),
    signal: terminal.signal,
    logger: {
      warn: (_, message) => {
        terminal.progress(null);
        terminal.stderr.write(`metavoice: ${message}\n`);
      },
    },
    onProgress: showProgress(terminal),
  };
}

/** Progress of the library as a line on the terminal. */
export const showProgress = (terminal: Terminal) => (progress: Progress) =>
  terminal.progress(progressWords(progress));

function progressWords(progress: Progress): string {
  switch (progress.phase) {
    case 'download':
      return `fetching ${progress.file}, ${share(progress.bytes, progress.totalBytes)}`;
    case 'convert':
      return `converting the model, ${share(progress.bytes, progress.totalBytes)}`;
    case 'load':
      return progress.part === 'runtime' ? 'opening libtorch' : 'loading the model';
    case 'speak':
      return `speaking, ${progress.seconds.toFixed(1)} s`;
  }
}

/** `41 % of 5.0 GB` */
export function share(bytes: number, total: number): string {
  return `${total > 0 ? Math.floor((100 * bytes) / total) : 0} % of ${sizeWords(total)}`;
}

/** A number, or undefined where the option was not given. */
export function numberArgument(value: string | undefined, name: string): number | undefined {
  if (value === undefined) return undefined;
  const number = value.trim() === '' ? Number.NaN : Number(value);
  if (Number.isNaN(number))
    throw new UsageError(`expected a number for \`--${name}\` but received "${value}"`);
  return number;
}

/** Exactly so many words besides the options. */
export function requirePositionals(found: string[], names: string[]): string[] {
  if (found.length === names.length) return found;
  const wanted = names.length === 0 ? 'options only' : names.join(' and ');
  throw new UsageError(`expected ${wanted} but received ${found.length === 0 ? 'nothing' : found.join(' ')}`);
}

/** A place that is not there is told before the work is done, not after. */
export async function requirePlace(file: string): Promise<void> {
  if (file === '') throw new UsageError('expected a path for `--output` but received ""');
  const folder = dirname(file);
  const found = await stat(folder).catch(() => null);
  if (!found?.isDirectory())
    throw new Error(`expected a folder for "${file}" but ${folder} is none; make it first`);
}

/** What computes: the addon, libtorch and the engine, and why each place that was looked at will not do. */

import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { MetaVoiceError } from '../errors.js';
import type { Door, Engine } from '../native/contract.js';
import { chooseCudaVariant, refuseCuda } from '../runtime/cuda-builds.js';
import { pinnedVersion, resolveLibtorch } from '../runtime/libtorch.js';
import {
  addonFile,
  type Libtorch,
  type LoadedEngine,
  loadDoor,
  loadEngine,
  type Refusal,
} from '../runtime/load.js';
import { type Check, inWords, type Outcome, settle } from './check.js';

/** What could be opened here, or why it could not. */
export interface Machine {
  readonly door: Outcome<{ readonly door: Door; readonly file: string }>;
  readonly engine: Outcome<LoadedEngine>;
  /** Every libtorch that was looked at. */
  readonly search: {
    readonly required: string;
    readonly found: Libtorch | null;
    readonly refused: readonly Refusal[];
  };
}

/** Opens what can be opened. Never rejects. */
export async function openMachine(option: string | undefined): Promise<Machine> {
  const door = await settle(() => ({ door: loadDoor(), file: addonFile() }));
  const engine =
    'value' in door
      ? await settle(() => loadEngine(option === undefined ? {} : { libtorch: option }))
      : { error: door.error };
  return { door, engine, search: await searchLibtorch(door, engine, option) };
}

/** The loader's own search where it tells of it, else the same search once more. */
async function searchLibtorch(
  door: Machine['door'],
  engine: Machine['engine'],
  option: string | undefined,
): Promise<Machine['search']> {
  const required = 'value' in door ? door.value.door.libtorchVersion : pinnedVersion;
  if ('value' in engine) return { required, found: engine.value.libtorch, refused: engine.value.refused };
  const { error } = engine;
  if (MetaVoiceError.isInstance(error) && Array.isArray(error.details.refused))
    return { required, found: null, refused: error.details.refused as Refusal[] };
  const facts = 'value' in door ? door.value.door.cudaFacts() : null;
  const { variant: cudaVariant } = chooseCudaVariant(facts);
  const found = await resolveLibtorch({
    required,
    cudaVariant,
    refuseCuda: ({ version }) => refuseCuda(version, facts),
    ...(option !== undefined && { option }),
  });
  return { required, ...found };
}

export function checkAddon({ door }: Machine): Check {
  if ('error' in door) {
    const words = inWords(door.error);
    return {
      name: 'addon',
      status: 'problem',
      ...words,
      advice: process.env.METAVOICE_ADDON
        ? 'unset METAVOICE_ADDON, or set it to the path of a metavoice.node'
        : 'reinstall metavoice, or build the addon as said above',
      facts: { ...words.facts, file: null, origin: null, libtorchVersion: null },
    };
  }
  const { file } = door.value;
  const { libtorchVersion } = door.value.door;
  const origin = process.env.METAVOICE_ADDON
    ? 'named by METAVOICE_ADDON'
    : file.includes(`${sep}prebuilds${sep}`)
      ? 'prebuilt'
      : 'built here';
  return {
    name: 'addon',
    status: 'ok',
    found: `${file}, ${origin}, for libtorch ${libtorchVersion}, Node-API ${process.versions.napi}`,
    facts: { file, origin, libtorchVersion, napi: process.versions.napi },
  };
}

/** The libtorch in use, and every other one with the reason why it is not. */
export function checkLibtorch({ door, engine, search }: Machine): Check {
  const { required, found, refused } = search;
  const details = refused.map(
    ({ source, directory, reason }) =>
      `refused: ${source}${directory === null ? '' : ` (${directory})`}: ${reason}`,
  );
  const facts = {
    required,
    found: found && { ...found },
    refused: refused.map((each) => ({ ...each })),
  };
  const base = { name: 'libtorch', details, facts };
  if (found === null)
    return {
      ...base,
      status: 'problem',
      found: `no libtorch ${required} among ${refused.length} places`,
      advice: `run \`npx metavoice setup\` (\`--cuda\` for NVIDIA GPUs), or set METAVOICE_LIBTORCH to the folder of a libtorch ${required}`,
    };
  const words = `${found.version}${found.cuda ? ' with CUDA' : ''} in ${found.directory} (${found.source})`;
  if ('error' in door)
    return { ...base, status: 'note', found: `${words}; without the addon nothing opens it` };
  if ('error' in engine) {
    if (isEngineMissing(engine.error))
      return { ...base, status: 'note', found: `${words}; without the engine nothing needs it` };
    const why = inWords(engine.error);
    return {
      ...base,
      status: 'problem',
      found: `${words} could not be opened: ${why.found}`,
      details: [...why.details, ...details],
    };
  }
  // A GPU that libtorch can't use is worth a word; that there is none is not.
  const useless = refused.some(({ source }) => source === 'CUDA') && gpus(door.value.door) > 0;
  return { ...base, status: useless ? 'note' : 'ok', found: words, ...(useless && { advice: cudaAdvice }) };
}

/** The library beside the addon that computes with libtorch. */
const isEngineMissing = (error: unknown): boolean =>
  MetaVoiceError.isInstance(error) && typeof error.details.engine === 'string';

const gpus = (door: Door): number => door.cudaFacts()?.devices.length ?? 0;
const cudaAdvice = 'run `npx metavoice setup --cuda` to get the CUDA build that fits driver and GPU';

/** The engine: whether it draws as it should. The smallest thing that goes through libtorch, without any model. */
export function checkEngine({ door, engine, search }: Machine): Check {
  if ('error' in engine) {
    const missing = 'error' in door ? 'the addon' : search.found === null ? 'libtorch' : null;
    return {
      name: 'engine',
      status: 'problem',
      ...(missing ? { found: `not opened: ${missing} is missing` } : inWords(engine.error)),
      facts: { libtorchVersion: null, threads: null, cuda: null },
    };
  }
  const { libtorchVersion, threads } = engine.value.engine;
  const cuda = engine.value.libtorch.cuda ? engine.value.engine.cuda() : null;
  const wrong = drawingMistakes(engine.value.engine);
  const facts = { libtorchVersion, threads, cuda };
  const found = `libtorch ${libtorchVersion} runs, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
  if (wrong.length > 0)
    return { name: 'engine', status: 'problem', found: `${found}, but draws wrongly`, details: wrong, facts };
  return { name: 'engine', status: 'ok', found: `${found}, and draws as it should`, facts };
}

/** Language model, sections 5.2, 5.3 and 14.4: bounds of top-p, and ties in top-k, where the probabilities are known. */
const draws: readonly [
  words: string,
  probabilities: number[],
  settings: { topP: number; topK: number },
  kept: number,
][] = [
  ['top-p 0.75 of 0.5, 0.25, 0.25', [0.5, 0.25, 0.25], { topP: 0.75, topK: 0 }, 2],
  ['top-p 0', [0.5, 0.3, 0.2], { topP: 0, topK: 0 }, 1],
  ['top-p 1', [0.5, 0.3, 0.2], { topP: 1, topK: 0 }, 3],
  ['top-k 2 with a tie at the second', [0.4, 0.3, 0.3], { topP: 1, topK: 2 }, 3],
];

function drawingMistakes(engine: Pick<Engine, 'sampleDistribution'>): string[] {
  return draws.flatMap(([words, probabilities, settings, kept]) => {
    const logits = Float32Array.from(probabilities, Math.log);
    const drawn = engine.sampleDistribution(logits, { temperature: 1, ...settings });
    const found = drawn.filter((probability) => probability > 0).length;
    const sum = drawn.reduce((all, probability) => all + probability, 0);
    if (found === kept && Math.abs(sum - 1) < 1e-5) return [];
    return [`${words}: ${kept} tokens with together 1 expected, ${found} with together ${sum} found`];
  });
}

/** Our own CUDA kernels, one library for each major version of CUDA, beside the addon. */
export function checkKernels({ door }: Machine): Check {
  const folder = 'value' in door ? dirname(door.value.file) : null;
  const files =
    folder !== null && existsSync(folder)
      ? readdirSync(folder).filter((name) => /^(lib)?metavoice_cuda.*\.(so|dll|dylib)/.test(name))
      : [];
  const facts = { folder, files };
  if (folder === null)
    return { name: 'kernels', status: 'note', found: 'not looked for: they lie beside the addon', facts };
  if (files.length > 0)
    return {
      name: 'kernels',
      status: 'ok',
      found: files.map((file) => join(folder, file)).join(', '),
      facts,
    };
  return {
    name: 'kernels',
    status: 'note',
    found: `none in ${folder} (libmetavoice_cuda): plain libtorch computes on GPUs, too`,
    facts,
  };
}

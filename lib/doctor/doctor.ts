/** All checks, in their order. None hides another: what fails is said in its place, and the next one runs. */

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { bundledModel, namesBundled, shipsBundled } from '../bundled.js';
import { MetaVoiceError } from '../errors.js';
import type { LoadOptions } from '../options.js';
import { resolveLoadOptions } from '../resolve-options.js';
import { sizeWords } from '../size-words.js';
import { checkCache, checkHub } from './caches.js';
import { attempt, type Check, inWords, settle } from './check.js';
import { checkAuto, checkDevices, checkRequest } from './devices.js';
import { isFolder, list } from './locate.js';
import { checkPlan } from './memory.js';
import { checkModelParts } from './model-parts.js';
import { checkNetworks, type Rule } from './networks.js';
import {
  checkAddon,
  checkEngine,
  checkKernels,
  checkLibtorch,
  type Machine,
  openMachine,
} from './runtime.js';
import { checkSpeech } from './speech.js';
import { checkEnvironment, checkMemory, checkNode, packageVersion } from './system.js';

export interface DoctorOptions
  extends Pick<
    LoadOptions,
    'model' | 'device' | 'dtype' | 'quantization' | 'kvCache' | 'libtorch' | 'signal' | 'onProgress'
  > {
  /** Compute with large models, too. */
  deep?: boolean;
  /** Called with the name of each check before it runs. */
  onCheck?: (name: string) => void;
}

export interface Report {
  /** Of metavoice. */
  readonly version: string;
  /** Whether the model that was asked for speaks here. */
  readonly speaks: boolean;
  /** Why not; null when it does. */
  readonly reason: string | null;
  readonly checks: readonly Check[];
  /** The model against the published one; null where there is none to compare. */
  readonly model: { readonly folder: string; readonly parts: readonly Check[] } | null;
}

/** Bytes of weights up to which the networks are checked unasked: seconds, not minutes. */
const smallModel = 500e6;

/**
 * Examines the machine and, where there is one, the model. Rejects only with TypeError, RangeError or ERR_UNSUPPORTED
 * for options, and with the signal's own reason.
 */
export async function examine(options: DoctorOptions = {}): Promise<Report> {
  const { deep = false, onCheck, ...load } = options;
  const { signal } = load;
  const resolved = resolveLoadOptions(load);
  const run = (name: string, work: () => Check | Promise<Check>): Promise<Check> => {
    onCheck?.(name);
    return attempt(name, signal, work);
  };
  // The addon sets what the user did not.
  const environment = { ...process.env };
  const checks = [await run('node', checkNode)];
  onCheck?.('libtorch');
  const machine = await openMachine(load.libtorch);
  const door = 'value' in machine.door ? machine.door.value.door : null;
  checks.push(
    await run('addon', () => checkAddon(machine)),
    await run('libtorch', () => checkLibtorch(machine)),
    await run('engine', () => checkEngine(machine)),
    await run('devices', () => checkDevices(machine)),
    await run('auto', () => checkAuto(machine)),
    ...(resolved.device === 'auto' && resolved.dtype === 'auto'
      ? []
      : [await run('request', () => checkRequest(machine, resolved))]),
    await run('kernels', () => checkKernels(machine)),
    await run('memory', () => checkMemory(door)),
    await run('plan', () => checkPlan(load)),
    await run('cache', () => checkCache()),
    await run('hub', () => checkHub()),
    await run('environment', () => checkEnvironment(environment)),
  );
  const speech = await run('speech', () => speak(machine, load, resolved.model));
  const folder = await folderOf(resolved.model, speech);
  onCheck?.('model');
  const parts = folder === null ? null : await checkModelParts(folder, signal);
  const computed = shipped(resolved.model) ?? folder;
  const networks = await run('networks', () => compute(machine, load, computed, deep));
  checks.push(speech, networks);
  const reason = whyMute(speech, networks);
  return {
    version: packageVersion,
    speaks: reason === null,
    reason,
    checks,
    model: parts && { folder: folder!, parts },
  };
}

/** Speech that was not heard, and numbers that are wrong; that rules could not be checked says nothing of speech. */
function whyMute(speech: Check, networks: Check): string | null {
  if (speech.status === 'problem') return speech.found;
  const rules = (networks.facts?.rules ?? []) as Rule[];
  return rules.every(({ holds }) => holds) ? null : `the networks compute wrongly, ${networks.found}`;
}

async function speak(machine: Machine, load: LoadOptions, model: string): Promise<Check> {
  if ('error' in machine.engine) {
    const missing = 'error' in machine.door ? 'the addon' : machine.search.found ? 'the engine' : 'libtorch';
    const found = `nothing can be spoken: ${missing} is not open`;
    return { name: 'speech', status: 'problem', found, facts: noSpeech };
  }
  const spoken = await settle(() => checkSpeech(load));
  if ('value' in spoken) return spoken.value;
  const { error } = spoken;
  if (namesBundled(model) && MetaVoiceError.isInstance(error) && error.code === 'ERR_MODEL_NOT_FOUND')
    return {
      name: 'speech',
      status: 'problem',
      found: 'no model was given and none was found, so nothing can be spoken',
      advice: 'give the folder of a model with --model or METAVOICE_MODEL',
      facts: noSpeech,
    };
  const words = inWords(error);
  return { name: 'speech', status: 'problem', ...words, facts: { ...noSpeech, ...words.facts } };
}

const noSpeech = { model: null, device: null, seconds: null, realTimeFactor: null };

/** The folder that is compared: the one that was named, or what the name stood for. Not the model that ships with us. */
async function folderOf(model: string, speech: Check): Promise<string | null> {
  if (namesBundled(model)) return null;
  if (await isFolder(model)) return model;
  const loaded = speech.facts?.model;
  return typeof loaded === 'string' ? loaded : null;
}

const shipped = (model: string): string | null =>
  namesBundled(model) && shipsBundled() ? bundledModel() : null;

async function compute(
  machine: Machine,
  load: LoadOptions,
  folder: string | null,
  deep: boolean,
): Promise<Check> {
  const skipped = (why: string): Check => ({
    name: 'networks',
    status: 'note',
    found: `not checked: ${why}`,
    facts: { device: null, rules: [] },
  });
  if (folder === null) return skipped('there is no folder of a model');
  if ('error' in machine.engine) return skipped('the engine is not open');
  const bytes = await weightBytes(folder);
  if (bytes > smallModel && !deep)
    return skipped(`the language models have ${sizeWords(bytes)}; --deep computes with them in float32`);
  const { device, libtorch, signal } = load;
  return checkNetworks(folder, {
    ...(device !== undefined && { device }),
    ...(libtorch !== undefined && { libtorch }),
    ...(signal && { signal }),
  });
}

/** Of the language models, published or converted. */
async function weightBytes(folder: string): Promise<number> {
  let sum = 0;
  for (const name of await list(folder))
    if (/^(first|second)_stage\.(pt|safetensors)$/.test(name))
      sum += (await stat(join(folder, name)).catch(() => null))?.size ?? 0;
  return sum;
}

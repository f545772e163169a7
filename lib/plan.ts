/** What a model takes of a device's memory, told before anything is loaded. */

import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { bundledModel, namesBundled } from './bundled.js';
import { planFolderSync, planPathsSync } from './checkpoint/convert.js';
import type { LeftOut } from './checkpoint/left-out.js';
import { manifestFile } from './checkpoint/manifest.js';
import { checkModelFolderSync } from './checkpoint/model-folder.js';
import { isLoadable, loadedQuantization, storedQuantization } from './checkpoint/stored-quantization.js';
import { leftOutPart } from './describe-model.js';
import { slowerThanSpeech } from './device/diffusion-speed.js';
import { type ModelSizes, publishedSizes, sizesOfManifest, sizesOfPlan } from './device/model-sizes.js';
import { type MemoryPlan, type PlannedDevice, planMemory } from './device/plan.js';
import { type DeviceFacts, type DevicePolicy, resolveDevicePolicy } from './device/policy.js';
import type { MetaVoiceError } from './errors.js';
import { parseHubName } from './hub/cache.js';
import { publishedModel } from './hub/catalogue.js';
import { hubModelNotFound } from './hub/model.js';
import { expectedRange, expectedType, isPlainObject, isString } from './is.js';
import { locateModel } from './locate-model.js';
import type { Dtype } from './native/contract.js';
import {
  copyOptions,
  integerOf,
  nonEmpty,
  numberOf,
  orDefault,
  requireOneOf,
  secondsOf,
} from './option-values.js';
import { type DeviceOption, defaults, type Quantization } from './options.js';
import { resolveDevice, resolveDtype, resolveQuantization } from './resolve-options.js';
import { loadDoor } from './runtime/load.js';

/** A GPU that is thought of, not of this machine. */
export interface DeviceDescription {
  /** @example 'Tesla T4' */
  name: string;
  /** @example '7.5' */
  computeCapability: string;
  /** Bytes that a program can have of it. */
  memory: number;
}

/** Options of `plan`; those of `MetaVoice.load` mean the same. */
export interface PlanOptions {
  /**
   * A model folder, a folder of published files, or a hub id that was fetched; the published model is known before.
   * @default environment `METAVOICE_MODEL`, else the sizes of MetaVoice-1B as published
   */
  model?: string;
  /**
   * A device of this machine, or a GPU that is described.
   * @default environment `METAVOICE_DEVICE`, else 'auto'
   */
  device?: DeviceOption | DeviceDescription;
  /** @default environment `METAVOICE_DTYPE`, else 'auto': what the device runs best */
  dtype?: 'auto' | Dtype;
  /**
   * What the matrices of the first stage are held as.
   * @default as the model is stored
   */
  quantization?: Quantization;
  /**
   * What turns codes into sound. `'auto'` plans for the one that it would take: diffusion where the model has it, the device
   * computes it faster than speech, and it fits.
   * @default 'auto'
   */
  decoder?: 'auto' | 'encodec' | 'diffusion';
  /**
   * How diffusion goes: `'whole'` over an utterance as long as `maxSeconds`, `'stream'` in windows of a second.
   * @default 'stream'
   */
  quality?: 'stream' | 'whole';
  /**
   * Utterances at the same time. Integer, 1 to 256.
   * @default 1
   */
  batchSize?: number;
  /**
   * The longest utterance, in seconds. Greater than 0.
   * @default what the window of the model holds
   */
  maxSeconds?: number;
}

const planKeys = [
  'model',
  'device',
  'dtype',
  'quantization',
  'decoder',
  'quality',
  'batchSize',
  'maxSeconds',
] as const;

/**
 * The bytes that a model takes on a device, part by part, and whether they fit. Synchronous; reads headers only, opens
 * neither libtorch nor a CUDA context. `MetaVoice.load` refuses what does not fit by the same arithmetic.
 *
 * @example
 * const { fits, advice } = plan({ model: 'models/metavoice-1B', device: 'cuda:0' });
 *
 * @throws TypeError, RangeError for options; MetaVoiceError ERR_MODEL_NOT_FOUND, ERR_CHECKPOINT, ERR_CUDA_UNAVAILABLE,
 * ERR_DTYPE_UNSUPPORTED, ERR_UNSUPPORTED (a quantisation other than that of the folder), ERR_RUNTIME_NOT_FOUND (no addon).
 */
export function plan(options?: PlanOptions): MemoryPlan {
  const given = copyOptions(options, 'options', planKeys);
  const wanted = resolveQuantization(given.quantization);
  const decoder = orDefault(given.decoder, defaults.speak.decoder);
  requireOneOf(decoder, ['auto', 'encodec', 'diffusion'], 'decoder');
  const quality = orDefault(given.quality, defaults.speak.quality) as MemoryPlan['quality'];
  requireOneOf(quality, ['stream', 'whole'], 'quality');
  const batchSize = integerOf(orDefault(given.batchSize, defaults.load.batchSize), 'batchSize', 1, 256);
  const maxSeconds = secondsOf(given.maxSeconds, 'maxSeconds');
  const asked = resolveDtype(given.dtype, process.env);
  const { device, policy } = chooseDevice(given.device, asked, wanted ?? 'none');
  const { sizes, model, refused, stored } = sizesOf(given.model, policy.dtype);
  const { dtype } = policy;
  const quantization = loadedQuantization(stored, wanted, model);
  const allows = (other: { quantization: Quantization }) => isLoadable(stored, other.quantization);
  const planned = (decoder: MemoryPlan['decoder'], of = sizes) =>
    planMemory(
      of,
      device,
      { dtype, quantization, decoder, quality, batchSize, maxSeconds },
      { model, allows },
    );
  if (decoder === 'diffusion') {
    if (refused) throw refused;
    return planned('diffusion', withDiffusion(sizes));
  }
  const diffusing =
    decoder === 'auto' && sizes.diffusion && !slowerThanSpeech(policy) ? planned('diffusion') : null;
  return diffusing?.fits ? diffusing : planned('encodec');
}

function chooseDevice(
  value: unknown,
  dtype: 'auto' | Dtype,
  quantization: Quantization,
): { device: PlannedDevice; policy: DevicePolicy } {
  if (isPlainObject(value)) return describedDevice(value, dtype, quantization);
  const device = resolveDevice(value, process.env);
  const door = loadDoor();
  const facts: DeviceFacts = { cpu: door.cpuFacts(), cuda: door.cudaFacts(), libtorch: null };
  const policy = resolveDevicePolicy(facts, { device, dtype, quantization });
  return { device: plannedDevice(policy, facts), policy };
}

/** The device that a policy chose, with the memory that it has free. */
export function plannedDevice(
  { device: id, name, computeCapability }: DevicePolicy,
  facts: DeviceFacts,
): PlannedDevice {
  const gpu = facts.cuda?.devices.find(({ index }) => `cuda:${index}` === id);
  const available = gpu ? (gpu.freeMemory ?? gpu.totalMemory) : facts.cpu.freeMemory;
  return { id, name, computeCapability, available };
}

/** A GPU that is described is judged like one that is there, by a driver that serves it. */
function describedDevice(
  value: Record<string, unknown>,
  dtype: 'auto' | Dtype,
  quantization: Quantization,
): { device: PlannedDevice; policy: DevicePolicy } {
  const given = copyOptions(value, 'device', ['name', 'computeCapability', 'memory']);
  const name = nonEmpty(given.name, 'device.name', 'a name');
  const available = numberOf(given.memory, 'device.memory', 1, Number.MAX_SAFE_INTEGER, Number.NaN);
  if (given.memory === undefined) throw expectedType('bytes', 'device.memory', given.memory);
  const { computeCapability } = given;
  if (!isString(computeCapability))
    throw expectedType("a compute capability such as '7.5'", 'device.computeCapability', computeCapability);
  if (!/^\d{1,2}\.\d$/.test(computeCapability))
    throw expectedRange("a compute capability such as '7.5'", 'device.computeCapability', computeCapability);
  const gpu = {
    index: 0,
    name,
    computeCapability,
    totalMemory: available,
    freeMemory: available,
    multiprocessors: 0,
    mig: false,
    integrated: false,
  };
  const cuda = {
    driver: null,
    driverCuda: '13.0',
    failure: null,
    visibleDevices: null,
    devices: [gpu],
    listed: [{ name, mig: false }],
  };
  const facts: DeviceFacts = { cpu: loadDoor().cpuFacts(), cuda, libtorch: null };
  const policy = resolveDevicePolicy(facts, { device: 'cuda:0', dtype, quantization });
  return { device: { id: name, name, computeCapability, available }, policy };
}

interface FoundSizes {
  readonly sizes: ModelSizes;
  /** What its first stage is stored as. */
  readonly stored: Quantization;
  /** Why its diffusion decoder can't be read, where it has one. */
  readonly refused: MetaVoiceError | null;
}

/** Without a model: its diffusion networks are another download, and another licence. */
const known: FoundSizes = { sizes: { ...publishedSizes, diffusion: null }, stored: 'none', refused: null };

/** Sizes of a model, from its headers; without a model, or before the published one is fetched, the published ones. */
function sizesOf(value: unknown, dtype: Dtype): FoundSizes & { model: string } {
  const named = value === undefined ? process.env.METAVOICE_MODEL || undefined : value;
  if (named === undefined) return { ...known, model: 'published sizes' };
  const model = nonEmpty(named, 'model', "a folder, a hub id or 'bundled'");
  const located = locateModel(namesBundled(model) ? bundledModel() : model);
  if (typeof located === 'string') return { ...sizesOfFolder(resolve(located), dtype, model), model };
  if (located.missing.length === 0)
    return {
      ...reading(model, (leftOut) => sizesOfPlan(planPathsSync(located.paths, dtype, undefined, leftOut))),
      model,
    };
  if (parseHubName(model)?.repository !== publishedModel) throw hubModelNotFound(located);
  return { ...known, model };
}

function sizesOfFolder(folder: string, dtype: Dtype, model: string): FoundSizes {
  const isModelFolder = existsSync(join(folder, manifestFile)) && statSync(folder).isDirectory();
  if (!isModelFolder)
    return reading(model, (leftOut) => sizesOfPlan(planFolderSync(folder, dtype, undefined, leftOut)));
  let stored: Quantization = 'none';
  const found = reading(model, (leftOut) => {
    const manifest = checkModelFolderSync(folder, leftOut);
    stored = storedQuantization(manifest);
    return sizesOfManifest(manifest);
  });
  return { ...found, stored };
}

/** As it would be loaded: a part that is refused is left out. */
function reading(model: string, sizes: (leftOut: LeftOut) => ModelSizes): FoundSizes {
  const leftOut: LeftOut = new Map();
  const found = sizes(leftOut);
  return {
    sizes: found,
    stored: 'none',
    refused: leftOut.has('diffusion') ? leftOutPart('diffusion', model, leftOut) : null,
  };
}

/** Where the model has no diffusion networks, the published ones are what would be added. */
const withDiffusion = (sizes: ModelSizes): ModelSizes => ({
  ...sizes,
  diffusion: sizes.diffusion ?? publishedSizes.diffusion,
});

/**
 * The one place that judges options and applies defaults. What leaves here is of the right type and in range, and complete
 * but for the sampling, which the model has a say in (`resolve-sampling.ts`).
 */

import { randomInt } from 'node:crypto';
import { expectedRange, expectedType, isFunction, isString } from './is.js';
import type { Dtype } from './native/contract.js';
import {
  type Bag,
  booleanOf,
  copyOptions,
  functionOf,
  integerOf,
  nonEmpty,
  numberOf,
  orDefault,
  requireOneOf,
  secondsOf,
  signalOf,
} from './option-values.js';
import {
  type CheckMode,
  type DeviceOption,
  defaults,
  type LoadOptions,
  type Logger,
  longestFlush,
  longestPause,
  mostDiffusionSteps,
  type OnProgress,
  type Quantization,
  type ResolvedPauses,
  type SampleRate,
  type SpeakOptions,
  type VoiceSource,
} from './options.js';
import { type AskedSampling, resolveSampling, samplingKeys } from './resolve-sampling.js';
import { resolveDecoder, resolveEnhance, resolveLoudness, resolveSampleRate } from './resolve-sound.js';
import { requireVoiceSource } from './voice-source.js';

export interface ResolvedLoadOptions {
  readonly model: string;
  readonly download: boolean;
  readonly device: DeviceOption;
  readonly dtype: 'auto' | Dtype;
  /** Null: as the model is stored. */
  readonly quantization: Quantization | null;
  readonly batchSize: number;
  readonly maxQueue: number;
  /** Null: as long as the model's windows allow. */
  readonly maxSeconds: number | null;
  readonly deterministic: boolean;
  readonly libtorch: string | null;
  readonly logger: Logger;
  readonly signal: AbortSignal | null;
  readonly onProgress: OnProgress | null;
}

export interface ResolvedSpeakOptions {
  /** Null: the model's first speaker. */
  readonly voice: VoiceSource | null;
  readonly seed: number;
  readonly sampling: AskedSampling;
  readonly decoder: 'auto' | 'encodec' | 'diffusion';
  readonly diffusionSteps: number | null;
  readonly enhance: 'auto' | boolean;
  readonly quality: 'stream' | 'whole';
  /** Null: what suits the decoder. */
  readonly loudness: number | 'off' | null;
  /** Null: the model's own. */
  readonly sampleRate: SampleRate | null;
  readonly chunkSeconds: { readonly first: number; readonly largest: number };
  readonly pauseSeconds: ResolvedPauses;
  readonly continuity: 'independent' | 'continue';
  readonly flushSeconds: number;
  readonly check: CheckMode;
  /** Null: as long as the model allows. */
  readonly maxSeconds: number | null;
  readonly signal: AbortSignal | null;
  readonly onProgress: OnProgress | null;
}

export const loadKeys = [
  'model',
  'download',
  'device',
  'dtype',
  'quantization',
  'batchSize',
  'maxQueue',
  'maxSeconds',
  'deterministic',
  'libtorch',
  'logger',
  'signal',
  'onProgress',
] as const satisfies (keyof LoadOptions)[];

export const speakKeys = [
  'voice',
  'seed',
  'sampling',
  'decoder',
  'diffusionSteps',
  'enhance',
  'quality',
  'loudness',
  'sampleRate',
  'chunkSeconds',
  'pauseSeconds',
  'continuity',
  'flushSeconds',
  'check',
  'maxSeconds',
  'signal',
  'onProgress',
] as const satisfies (keyof SpeakOptions)[];

/** Options of `MetaVoice.load`, complete. Throws TypeError or RangeError. */
export function resolveLoadOptions(
  options: unknown,
  environment: NodeJS.ProcessEnv = process.env,
): ResolvedLoadOptions {
  return resolveLoad(copyOptions(options, 'options', loadKeys, placesForLoad), environment);
}

/** Options of `synthesize` and `stream` of a loaded model. Throws TypeError or RangeError. */
export function resolveSpeakOptions(options: unknown): ResolvedSpeakOptions {
  return resolveSpeak(copyOptions(options, 'options', speakKeys, placesForSpeak));
}

/** Options of the one-call `synthesize`: `maxSeconds`, `signal` and `onProgress` belong to the request. */
export function resolveSynthesizeOptions(
  options: unknown,
  environment: NodeJS.ProcessEnv = process.env,
): { load: ResolvedLoadOptions; speak: ResolvedSpeakOptions } {
  const all = copyOptions(options, 'options', [...new Set([...loadKeys, ...speakKeys])], placesForBoth);
  const speak = resolveSpeak(all);
  return { load: { ...resolveLoad(all, environment), maxSeconds: null }, speak };
}

function resolveLoad(options: Bag, environment: NodeJS.ProcessEnv): ResolvedLoadOptions {
  return {
    model: resolveModel(options.model, environment),
    download: booleanOf(options.download, 'download', defaults.load.download),
    device: resolveDevice(options.device, environment),
    dtype: resolveDtype(options.dtype, environment),
    quantization: resolveQuantization(options.quantization),
    batchSize: integerOf(orDefault(options.batchSize, defaults.load.batchSize), 'batchSize', 1, 256),
    maxQueue: integerOf(orDefault(options.maxQueue, defaults.load.maxQueue), 'maxQueue', 0, 65_536),
    maxSeconds: secondsOf(options.maxSeconds, 'maxSeconds'),
    deterministic: booleanOf(options.deterministic, 'deterministic', defaults.load.deterministic),
    libtorch: options.libtorch === undefined ? null : nonEmpty(options.libtorch, 'libtorch', 'a folder'),
    logger: resolveLogger(options.logger),
    signal: signalOf(options.signal),
    onProgress: functionOf(options.onProgress, 'onProgress'),
  };
}

function resolveSpeak(options: Bag): ResolvedSpeakOptions {
  const { quality = defaults.speak.quality } = options;
  requireOneOf(quality, ['stream', 'whole'], 'quality');
  return {
    voice: options.voice === undefined ? null : requireVoiceSource(options.voice, 'voice'),
    seed:
      options.seed === undefined
        ? randomInt(2 ** 32)
        : integerOf(options.seed, 'seed', 0, Number.MAX_SAFE_INTEGER),
    sampling: resolveSampling(options.sampling),
    decoder: resolveDecoder(orDefault(options.decoder, defaults.speak.decoder)),
    diffusionSteps:
      options.diffusionSteps === undefined
        ? null
        : integerOf(options.diffusionSteps, 'diffusionSteps', 1, mostDiffusionSteps),
    enhance: resolveEnhance(orDefault(options.enhance, defaults.speak.enhance)),
    quality: quality as 'stream' | 'whole',
    loudness: resolveLoudness(options.loudness),
    sampleRate: resolveSampleRate(options.sampleRate),
    chunkSeconds: resolveChunkSeconds(options.chunkSeconds),
    pauseSeconds: resolvePauseSeconds(options.pauseSeconds),
    continuity: resolveContinuity(orDefault(options.continuity, defaults.speak.continuity)),
    flushSeconds: numberOf(
      options.flushSeconds,
      'flushSeconds',
      0,
      longestFlush,
      defaults.speak.flushSeconds,
    ),
    check: resolveCheck(orDefault(options.check, defaults.speak.check)),
    maxSeconds: secondsOf(options.maxSeconds, 'maxSeconds'),
    signal: signalOf(options.signal),
    onProgress: functionOf(options.onProgress, 'onProgress'),
  };
}

function resolveModel(value: unknown, environment: NodeJS.ProcessEnv): string {
  if (value !== undefined) return nonEmpty(value, 'model', "a folder, a hub id or 'bundled'");
  return environment.METAVOICE_MODEL || defaults.load.model;
}

export function resolveDevice(value: unknown, environment: NodeJS.ProcessEnv): DeviceOption {
  const [device, name] = fromEnvironment(value, 'device', 'METAVOICE_DEVICE', environment);
  if (device === undefined) return defaults.load.device;
  const what = "'auto', 'cpu', 'cuda' or 'cuda:N'";
  if (!isString(device)) throw expectedType(what, name, device);
  if (!/^(?:auto|cpu|cuda(?::(?:0|[1-9]\d{0,2}))?)$/.test(device)) throw expectedRange(what, name, device);
  return device as DeviceOption;
}

export function resolveDtype(value: unknown, environment: NodeJS.ProcessEnv): 'auto' | Dtype {
  const [dtype, name] = fromEnvironment(value, 'dtype', 'METAVOICE_DTYPE', environment);
  if (dtype === undefined) return defaults.load.dtype;
  requireOneOf(dtype, ['auto', 'float32', 'float16', 'bfloat16'], name);
  return dtype as 'auto' | Dtype;
}

/** Null: as the model is stored. */
export function resolveQuantization(value: unknown): Quantization | null {
  if (value === undefined) return null;
  requireOneOf(value, ['none', 'int8', 'int4'], 'quantization');
  return value as Quantization;
}

/** The value and the name under which a refusal speaks of it. */
function fromEnvironment(
  value: unknown,
  option: string,
  variable: string,
  environment: NodeJS.ProcessEnv,
): [unknown, string] {
  if (value !== undefined) return [value, option];
  return [environment[variable] || undefined, variable];
}

function resolveContinuity(value: unknown): 'independent' | 'continue' {
  requireOneOf(value, ['independent', 'continue'], 'continuity');
  return value as 'independent' | 'continue';
}

function resolveChunkSeconds(value: unknown): { first: number; largest: number } {
  const seconds = copyOptions(value, 'chunkSeconds', ['first', 'largest']);
  const first = secondsOf(seconds.first, 'chunkSeconds.first') ?? defaults.chunkSeconds.first;
  const largest =
    secondsOf(seconds.largest, 'chunkSeconds.largest') ?? Math.max(first, defaults.chunkSeconds.largest);
  if (largest < first)
    throw expectedRange(`at least chunkSeconds.first (${first})`, 'chunkSeconds.largest', largest);
  return { first, largest };
}

function resolvePauseSeconds(value: unknown): ResolvedPauses {
  const { pauseSeconds: fallback } = defaults;
  const asked = copyOptions(value, 'pauseSeconds', Object.keys(fallback));
  const seconds = (kind: keyof ResolvedPauses) =>
    numberOf(asked[kind], `pauseSeconds.${kind}`, 0, longestPause, fallback[kind]);
  return { sentence: seconds('sentence'), clause: seconds('clause'), paragraph: seconds('paragraph') };
}

function resolveCheck(value: unknown): CheckMode {
  requireOneOf(value, ['off', 'report', 'respeak'], 'check');
  return value as CheckMode;
}

function resolveLogger(value: unknown): Logger {
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null)
    throw expectedType('an object with the methods debug, info and warn', 'logger', value);
  for (const level of ['debug', 'info', 'warn'] as const) {
    const method = (value as Logger)[level];
    if (method !== undefined && !isFunction(method))
      throw expectedType('a function', `logger.${level}`, method);
  }
  return value as Logger;
}

const samplingPlaces = Object.fromEntries(
  samplingKeys.map((key) => [key, `it is \`sampling.${key}\``]),
) as Record<string, string>;
const placesForBoth = { ...samplingPlaces, text: 'the text is the first argument' };
const placesForSpeak: Record<string, string> = {
  ...placesForBoth,
  ...Object.fromEntries(
    loadKeys
      .filter((key) => !(speakKeys as readonly string[]).includes(key))
      .map((key) => [key, 'it is an option of `MetaVoice.load`']),
  ),
};
const placesForLoad: Record<string, string> = Object.fromEntries(
  [...speakKeys, ...samplingKeys]
    .filter((key) => !(loadKeys as readonly string[]).includes(key))
    .map((key) => [key, 'it is an option of `synthesize` and `stream`']),
);

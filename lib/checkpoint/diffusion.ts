import { inRange, isFiniteNumber, isInteger, isPlainObject } from '../is.js';
import type { Dtype } from '../native/contract.js';
import { compareTensors } from './compare.js';
import { mostParts } from './limits.js';
import type { DiffusionBand, DiffusionManifest } from './manifest.js';
import { diffusionTensors } from './names.js';
import { countOf, type PlannedPart, requireFloats, shapesOf } from './part.js';
import { refuseCheckpoint, shown } from './refuse.js';
import type { SourceTensor, TorchFile } from './torch-file.js';

/** Statistics of a processor: sums over much audio, too large and too fine for 16 bit. */
export const isStatistic = (name: string): boolean => /^processors\.\d+\./.test(name);

/** How many bands are read. */
const mostBands = 64;

/**
 * Multi-band diffusion from `mbd_comp_8.pt`: under the numbers from 0 on a U-Net each, with its configuration (`cfg`), its
 * weights (`model_state`) and the statistics of its processor (`processor_state`). What shapes show is read from shapes,
 * the rest from the configuration of the band. Throws ERR_CHECKPOINT, also for kinds of network that are not computed.
 */
export function planDiffusion(file: TorchFile, dtype: Dtype): PlannedPart<DiffusionManifest> {
  const root: Map<unknown, unknown> = file.value instanceof Map ? file.value : new Map();
  const count = root.get('n_bands');
  if (!isInteger(count) || !inRange(count, 1, mostBands) || !root.has(0))
    throw refuseCheckpoint(
      file.path,
      'expected multi-band diffusion: `n_bands` and a dictionary for each of them',
    );
  const tensors = new Map<string, SourceTensor>();
  const bands: DiffusionBand[] = [];
  for (let band = 0; band < count; band++) bands.push(readBand(file, band, root.get(band), tensors));
  const manifest = {
    dtype,
    sampleRate: integerIn(
      { file, band: null, entries: { sample_rate: root.get('sample_rate') } },
      'sample_rate',
      1000,
      1e6,
    ),
    latent: tensors.get('bands.0.conv_codec.weight')?.shape[1] ?? 0,
    bands,
  };
  compareTensors(file.path, diffusionTensors(manifest, tensors), shapesOf(tensors), publishedName);
  for (const [name, tensor] of tensors) requireFloats(file.path, publishedName(name), tensor);
  requireGroups(file, bands);
  return {
    manifest,
    dtype,
    tensors: [...tensors].map(([name, source]) => ({
      name,
      source,
      ...(isStatistic(name) && { dtype: 'float32' as const }),
    })),
  };
}

/** `bands.2.encoders.0.norm.bias` → `encoders.0.norm.bias of band 2`. */
const publishedName = (name: string): string =>
  name.replace(/^(?:bands|processors)\.(\d+)\.(.*)$/, '$2 of band $1');

/** The low-pass filters of a processor follow from the number of its bands. */
const isFilter = (name: string): boolean => name === 'split_bands.lowpass.filters';

/** Adds the tensors of one band to those of the others. */
function readBand(
  file: TorchFile,
  band: number,
  value: unknown,
  tensors: Map<string, SourceTensor>,
): DiffusionBand {
  const { cfg, model_state: state, processor_state: processorState } = entriesOf(value);
  if (!(state instanceof Map))
    throw refuseCheckpoint(file.path, `expected the weights of band ${band} under \`model_state\``);
  const network = file.locateAll(state, () => {});
  for (const [name, tensor] of network) tensors.set(`bands.${band}.${name}`, tensor);
  const statistics = processorState instanceof Map ? file.locateAll(processorState, () => {}) : new Map();
  for (const [name, tensor] of statistics)
    if (!isFilter(name)) tensors.set(`processors.${band}.${name}`, tensor);

  const section = (name: string): Section => ({ file, band, entries: entriesOf(entriesOf(cfg)[name]) });
  const unet = section('diffusion_unet');
  for (const kind of ['bilstm', 'transformer', 'cross_attention']) requireValue(unet, kind, false);
  const size = (name: string, d: number) => network.get(name)?.shape[d] ?? 0;
  const depth = countOf(network.keys(), /^encoders\.(\d+)\.conv\.weight$/);
  if (depth === 0) throw refuseCheckpoint(file.path, `lacks encoders.0.conv.weight of band ${band}`);
  return {
    channels: Array.from({ length: depth }, (_, level) => size(`encoders.${level}.conv.weight`, 0)),
    kernel: size('encoders.0.conv.weight', 2),
    stride: integerIn(unet, 'stride', 1, size('encoders.0.conv.weight', 2), 4),
    residualBlocks: countOf(network.keys(), /^encoders\.0\.res_blocks\.(\d+)\.conv1\.weight$/),
    normGroups: integerIn(unet, 'norm_groups', 1, mostParts, 4),
    ...readSchedule(section('schedule'), size('embedding.weight', 0)),
    processor: readProcessor(section('processor')),
  };
}

function readSchedule(section: Section, steps: number): Pick<DiffusionBand, 'steps' | 'schedule'> {
  requireValue(section, 'repartition', 'power');
  requireValue(section, 'n_bands', null);
  requireValue(section, 'num_steps', steps);
  // A clip of 0 is none.
  const clip = section.entries.clip === null ? 0 : numberIn(section, 'clip', 0, 1e6, 5);
  return {
    steps,
    schedule: {
      betaStart: numberIn(section, 'beta_t0', 1e-12, 0.999),
      betaEnd: numberIn(section, 'beta_t1', 1e-12, 0.999),
      exponent: numberIn(section, 'beta_exp', 1e-3, 1e3),
      noiseScale: numberIn(section, 'noise_scale', 0, 1e3, 1),
      clip: clip === 0 ? null : clip,
    },
  };
}

function readProcessor(section: Section): DiffusionBand['processor'] {
  if (section.entries.use !== true) return null;
  return {
    bands: integerIn(section, 'n_bands', 2, 256),
    power: numberIn(section, 'power_std', -100, 100),
  };
}

function requireGroups(file: TorchFile, bands: readonly DiffusionBand[]): void {
  for (const [band, { channels, normGroups }] of bands.entries())
    for (const width of channels)
      if (width % normGroups !== 0)
        throw refuseCheckpoint(
          file.path,
          `band ${band} has ${width} channels in ${normGroups} groups of its norms; expected a divisor`,
          { expected: width, found: normGroups },
        );
}

/** A part of the configuration of a band; of the file, where `band` is null. */
interface Section {
  file: TorchFile;
  band: number | null;
  entries: Record<string, unknown>;
}

function refuseValue({ file, band }: Section, name: string, expected: string, found: unknown): Error {
  const where = band === null ? '' : `band ${band}: `;
  return refuseCheckpoint(file.path, `${where}${name} is ${shown(found)}, expected ${expected}`, {
    argument: name,
    expected,
    found,
  });
}

function numberIn(section: Section, name: string, low: number, high: number, fallback?: number): number {
  const value = section.entries[name] ?? fallback;
  if (isFiniteNumber(value) && inRange(value, low, high)) return value;
  throw refuseValue(section, name, `a number from ${low} to ${high}`, value);
}

function integerIn(section: Section, name: string, low: number, high: number, fallback?: number): number {
  const value = section.entries[name] ?? fallback;
  if (isInteger(value) && inRange(value, low, high)) return value;
  throw refuseValue(section, name, `an integer from ${low} to ${high}`, value);
}

/** What leaves no trace in names or shapes must be what is computed. */
function requireValue(section: Section, name: string, expected: unknown): void {
  const found = section.entries[name] ?? expected;
  if (found === expected) return;
  throw refuseValue(section, name, `${shown(expected)}, the kind that this version computes`, found);
}

const entriesOf = (value: unknown): Record<string, unknown> =>
  value instanceof Map
    ? Object.fromEntries([...value].filter(([key]) => typeof key === 'string'))
    : isPlainObject(value)
      ? value
      : {};

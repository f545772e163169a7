/** The multi-band diffusion decoder (audio, sections 3.1 to 3.7): four U-Nets with a configuration each. */

import { basename } from 'node:path';
import { TorchFile } from '../checkpoint/torch-file.js';
import { MetaVoiceError } from '../errors.js';
import { type Check, inWords, type Status, settle } from './check.js';
import { type Comparison, compare, type Difference, type FoundTensor, isAsPublished } from './compare.js';
import { describe, shown } from './describe.js';
import { entriesOf, plainEntries, plainValue } from './plain-values.js';
import { diffusion, diffusionValues, equalizer } from './published.js';
import { stateOf } from './read-tensors.js';
import { differ } from './stage-files.js';

interface Band {
  readonly band: number;
  readonly comparison: Comparison;
  readonly schedule: Record<string, unknown>;
  readonly processor: Record<string, unknown>;
}

/** `mbd_comp_8.pt`. Rejects with ERR_CHECKPOINT for a file that cannot be read. */
export async function checkDiffusion(name: string, path: string): Promise<Check> {
  const file = await TorchFile.read(path);
  if (!(file.value instanceof Map))
    throw new MetaVoiceError('ERR_CHECKPOINT', `${basename(path)}: expected a dictionary of bands`);
  const root: Map<unknown, unknown> = file.value;
  const keys = [...root.keys()].filter((key): key is number => typeof key === 'number').sort((a, b) => a - b);
  const values = [
    ...differ('sample_rate', diffusion.sampleRate, plainValue(root.get('sample_rate'))),
    ...differ('n_bands', diffusion.bands, plainValue(root.get('n_bands'))),
    ...differ(
      'bands',
      Array.from({ length: diffusion.bands }, (_, band) => band),
      keys,
    ),
  ];
  const bands: Band[] = [];
  const broken: string[] = [];
  for (const band of keys) {
    const read = await settle(() => readBand(file, band, entriesOf(root.get(band))));
    if ('value' in read) bands.push(read.value);
    else broken.push(`band ${band}: ${inWords(read.error).found}`);
  }
  return report(name, path, bands, values, broken);
}

function readBand(file: TorchFile, band: number, entry: Record<string, unknown>): Band {
  const cfg = plainEntries(entry.cfg);
  const unet = entriesOf(cfg.diffusion_unet);
  const schedule = entriesOf(cfg.schedule);
  const processor = entriesOf(cfg.processor);
  const tensors = stateOf(file, entry.model_state, /^encoders\.0\.conv\.weight$/);
  const comparison = compare(diffusion, tensors, {
    values: [
      ...Object.entries(diffusionValues).flatMap(([key, expected]) =>
        differ(`cfg.diffusion_unet.${key}`, expected, unet[key] ?? expected),
      ),
      ...contradictions(unet, tensors),
      ...equalizerDifferences(file, processor, entry.processor_state),
    ],
  });
  return { band, comparison, schedule, processor };
}

/** What the configuration says of the network, held against its tensors. */
function contradictions(
  unet: Record<string, unknown>,
  tensors: ReadonlyMap<string, FoundTensor>,
): Difference[] {
  const size = (name: string, d: number) => tensors.get(name)?.shape[d];
  const measured = {
    hidden: size('embedding.weight', 1),
    kernel: size('encoders.0.conv.weight', 2),
    codec_dim: size('conv_codec.weight', 1),
  };
  return Object.entries(measured).flatMap(([key, found]) =>
    unet[key] === undefined || found === undefined
      ? []
      : differ(`cfg.diffusion_unet.${key}`, found, unet[key]),
  );
}

/** An equaliser that is in use has its statistics and filters; one that is not, has none. */
function equalizerDifferences(
  file: TorchFile,
  processor: Record<string, unknown>,
  state: unknown,
): Difference[] {
  const found = state instanceof Map ? file.locateAll(state, () => {}) : new Map<string, FoundTensor>();
  if (processor.use !== true)
    return found.size === 0 ? [] : [{ name: 'processor_state', expected: 'empty', found: [...found.keys()] }];
  const { missing, unexpected, shapes, sizes } = compare({ table: equalizer }, found);
  const what = (kind: string, names: readonly string[]): Difference[] =>
    names.length > 0 ? [{ name: `processor_state, ${kind}`, expected: 'none', found: names }] : [];
  return [
    ...what('missing', missing),
    ...what('not in the published file', unexpected),
    ...[...shapes, ...sizes].map((each) => ({ ...each, name: `processor_state.${each.name}` })),
  ];
}

function report(name: string, path: string, bands: Band[], values: Difference[], broken: string[]): Check {
  const described = bands.map(({ band, comparison }) => ({ band, ...describe('', comparison) }));
  const statuses = described.map(({ status }) => status);
  const published =
    broken.length === 0 && values.length === 0 && bands.every((each) => isAsPublished(each.comparison));
  const status: Status =
    broken.length > 0 || statuses.includes('problem') ? 'problem' : published ? 'ok' : 'note';
  const parameters = bands.reduce((sum, { comparison }) => sum + comparison.parameters.found, 0);
  const total = `${bands.length} bands, ${parameters.toLocaleString('en-US')} parameters`;
  return {
    name,
    status,
    found: `${basename(path)} ${published ? 'is as published' : 'differs from the published file'}: ${total}`,
    details: [
      ...broken,
      ...values.map((each) => `${each.name}: ${shown(each.expected)} expected, ${shown(each.found)} found`),
      ...together(described.map(({ band, found }) => [band, found.replace(/^:? ?/, '')])),
      ...together(described.flatMap(({ band, details }) => details.map((line) => [band, line] as const))),
      ...together(bands.map(({ band, schedule }) => [band, `schedule: ${entries(schedule)}`])),
      ...together(bands.map(({ band, processor }) => [band, equalizerWords(processor)])),
    ],
    facts: {
      file: path,
      values,
      bands: bands.map(({ band, comparison, schedule, processor }) => ({
        band,
        ...comparison,
        schedule,
        processor,
      })),
    },
  };
}

const entries = (values: Record<string, unknown>): string =>
  Object.entries(values)
    .map(([key, value]) => `${key} ${shown(value)}`)
    .join(', ') || 'none';

const equalizerWords = (processor: Record<string, unknown>): string =>
  processor.use === true ? `equaliser: ${entries(processor)}` : 'equaliser: off';

/** Bands of which the same is to be said are said together: `bands 0, 1: …`. */
function together(lines: (readonly [band: number, words: string])[]): string[] {
  const bands = new Map<string, number[]>();
  for (const [band, words] of lines) bands.set(words, [...(bands.get(words) ?? []), band]);
  return [...bands].map(
    ([words, numbers]) => `band${numbers.length > 1 ? 's' : ''} ${numbers.join(', ')}: ${words}`,
  );
}

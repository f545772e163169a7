import { dirname, join } from 'node:path';
import { isInteger, isPlainObject } from '../is.js';
import { readingText } from './byte-reader.js';
import { compareTensors, refuseUnknown } from './compare.js';
import { findState } from './find-state.js';
import type { CodecManifest } from './manifest.js';
import { codecName, codecTensors, firstUpsampling, isCodecTraining } from './names.js';
import { countOf, type PlannedPart, requireFloats, shapesOf } from './part.js';
import type { Reading } from './reading.js';
import { refuseCheckpoint, shown } from './refuse.js';
import type { SafetensorsHeader } from './safetensors.js';
import type { SourceTensor, TorchFile } from './torch-file.js';

/** Bits per second that the language models were trained on. */
const bitrate = 6000;
const publishedRate = 24_000;

/** Whether the names of a safetensors file are EnCodec's. */
export const isCodecHeader = ({ tensors }: SafetensorsHeader): boolean =>
  [...tensors.keys()].some((name) => /^quantizer\.(vq\.)?layers\.0\._?codebook\.embed$/.test(name)) &&
  [...tensors.keys()].some((name) => /^decoder\.(model|layers)\.0\./.test(name));

/** EnCodec from a file of `torch.save`: a state dict, or anything that has one inside. Throws ERR_CHECKPOINT. */
export function planCodecFromTorch(file: TorchFile): PlannedPart<CodecManifest> {
  const state = findState(file.value, /^decoder\.(model|layers)\.0\./);
  if (!state)
    throw refuseCheckpoint(
      file.path,
      'expected the weights of EnCodec (decoder.model.0.conv.conv.weight_v …)',
    );
  return planCodec(
    file.path,
    file.locateAll(state, () => {}),
    publishedRate,
  );
}

/** EnCodec from a safetensors file, its sample rate from the `config.json` beside it. Fails with ERR_CHECKPOINT. */
export function* planningCodecFromSafetensors(
  path: string,
  header: SafetensorsHeader,
): Reading<PlannedPart<CodecManifest>> {
  const tensors = new Map<string, SourceTensor>();
  for (const [name, { dtype, shape, offset }] of header.tensors)
    tensors.set(name, { file: path, dtype, offset, shape, strides: null, identity: `${offset}` });
  const config = yield* readConfig(join(dirname(path), 'config.json'));
  const part = planCodec(path, tensors, config?.sampleRate ?? publishedRate);
  const { ratios } = part.manifest;
  if (config?.ratios && String(config.ratios) !== String(ratios))
    throw refuseCheckpoint(
      path,
      `its transposed convolutions upsample by ${ratios.join(', ')} but config.json says ${config.ratios.join(', ')}`,
      { expected: config.ratios, found: ratios },
    );
  return part;
}

/** The kind of EnCodec that is computed, in the words of `config.json`. */
const computed = {
  audio_channels: 1,
  use_causal_conv: true,
  pad_mode: 'reflect',
  trim_right_ratio: 1,
  normalize: false,
};

function* readConfig(path: string): Reading<{ sampleRate?: number; ratios?: number[] } | null> {
  let config: unknown;
  try {
    config = JSON.parse(yield* readingText(path));
  } catch {
    return null;
  }
  if (!isPlainObject(config) || config.model_type !== 'encodec') return null;
  // These leave no trace in names or shapes, so another kind of EnCodec would load and only sound wrong.
  for (const [name, expected] of Object.entries(computed)) {
    const found = config[name] ?? expected;
    if (found !== expected)
      throw refuseCheckpoint(
        path,
        `${name} is ${shown(found)}, expected ${shown(expected)} as in EnCodec at 24 kHz, the kind that this version computes`,
        { argument: name, expected, found },
      );
  }
  const { sampling_rate: sampleRate, upsampling_ratios: ratios } = config;
  return {
    ...(isInteger(sampleRate) && sampleRate > 0 && { sampleRate }),
    ...(Array.isArray(ratios) && ratios.every(isInteger) && { ratios }),
  };
}

function planCodec(
  file: string,
  stored: ReadonlyMap<string, SourceTensor>,
  sampleRate: number,
): PlannedPart<CodecManifest> {
  const tensors = new Map<string, SourceTensor>();
  const publishedNames = new Map<string, string>();
  const unknown: string[] = [];
  for (const [published, tensor] of stored) {
    const name = codecName(published);
    if (name !== null && !tensors.has(name)) {
      tensors.set(name, tensor);
      publishedNames.set(name, published);
    } else if (name !== null) {
      throw refuseCheckpoint(file, `has the numbers of ${published} twice, in two spellings`, {
        tensor: published,
      });
    } else if (!isCodecTraining(published)) unknown.push(published);
  }
  if (unknown.length > 0) throw refuseUnknown(file, unknown);

  const manifest = measure(shapesOf(tensors), sampleRate);
  const nameOf = (name: string) => publishedNames.get(name) ?? name;
  compareTensors(file, codecTensors(manifest, shapesOf(tensors)), shapesOf(tensors), nameOf);
  if (manifest.codebooks < 1 || manifest.codebookSize < 2)
    throw refuseCheckpoint(file, 'expected at least one codebook', { found: manifest.storedCodebooks });
  for (const [name, tensor] of tensors) requireFloats(file, nameOf(name), tensor);
  return { manifest, dtype: 'float32', tensors: [...tensors].map(([name, source]) => ({ name, source })) };
}

/** Sizes from the shapes found. Shapes that disagree are found afterwards. */
function measure(
  shapes: ReadonlyMap<string, readonly number[]>,
  sampleRate: number,
): Omit<CodecManifest, 'file' | 'bytes'> {
  const kernel = (index: number) => shapes.get(`decoder.${index}.weight_v`)?.[2];
  const ratios: number[] = [];
  // The last of the convolutions at 3, 6, 9 … (2, 5, 8 … without an LSTM) makes the waveform; the others upsample.
  for (let index = firstUpsampling(shapes); kernel(index + 3) !== undefined && ratios.length < 16; index += 3)
    ratios.push(Math.max(1, Math.floor((kernel(index) ?? 2) / 2)));
  const storedCodebooks = countOf(shapes.keys(), /^quantizer\.(\d+)\.embed$/);
  const [codebookSize = 0, dimension = 0] = shapes.get('quantizer.0.embed') ?? [];
  const hop = ratios.reduce((product, ratio) => product * ratio, 1);
  const frameRate = Math.ceil(sampleRate / hop);
  const affordable = Math.max(1, Math.floor(bitrate / (Math.log2(Math.max(2, codebookSize)) * frameRate)));
  return {
    sampleRate,
    ratios,
    dimension,
    codebookSize,
    storedCodebooks,
    codebooks: Math.min(affordable, storedCodebooks),
    encoder: [...shapes.keys()].some((name) => name.startsWith('encoder.')),
  };
}

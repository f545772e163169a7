/**
 * How many bytes a model takes on a device, part by part. Pure arithmetic on sizes; what arithmetic can't tell was
 * measured, and its constants say where.
 */

import { int4Group } from '../checkpoint/names.js';
import type { Dtype, Quantization } from '../native/contract.js';
import type { BandSizes, DiffusionSizes, ModelSizes, StageSizes } from './model-sizes.js';

/** What decides the bytes of a model of given sizes. */
export interface MemoryRequest {
  readonly dtype: Dtype;
  readonly quantization: Quantization;
  readonly decoder: 'encodec' | 'diffusion';
  /** Utterances that hold a key-value cache at the same time. */
  readonly batchSize: number;
  /** Longest utterance, in seconds; null: as long as the window allows. */
  readonly maxSeconds: number | null;
  /** How diffusion goes: in windows of a second and their context, or over a whole utterance. In windows when omitted. */
  readonly quality?: 'stream' | 'whole';
}

/** Bytes of each part, on the device that computes. */
export interface MemoryParts {
  /** Weights. */
  firstStage: number;
  secondStage: number;
  speakerEncoder: number;
  codec: number;
  diffusion: number;
  /** Always on the host. */
  enhancer: number;
  /** Keys and values of all utterances, at their longest. */
  keyValueCache: number;
  /** Activations, and the libraries' own buffers. */
  working: number;
  /** What a step, and a diffusion window, that overflowed need to be done again in float32. */
  redo: number;
  /** libtorch itself; on a GPU the CUDA context and the code of its kernels. */
  runtime: number;
}

const MB = 1e6;

/** Guidance: one row with the speaker, one without; where the makers of a model advise it, one without the text. */
export const rowsOf = ({ guidanceRows = 2 }: ModelSizes): number => guidanceRows;

/** Two ids a frame. */
const codebooks = 2;

/**
 * Text ids of an utterance of so many seconds: published examples have 9 ids a second of speech. Rounded up, for a
 * segment must fit that is spoken fast.
 */
const textIds = (seconds: number): number => Math.ceil(16 + 12 * seconds);

const bytesOf: Readonly<Record<Dtype, number>> = { float32: 4, float16: 2, bfloat16: 2 };

/** The bytes of every part. `gpu` false is the CPU, where weights are mapped and counted once. */
export function memoryParts(sizes: ModelSizes, request: MemoryRequest, gpu: boolean): MemoryParts {
  const { firstStage, secondStage, speakerEncoder, codec, diffusion, enhancer } = sizes;
  const { dtype, quantization, decoder, batchSize } = request;
  const cache = firstStage ? rowsOf(sizes) * cacheBytes(firstStage, dtype, positionsOf(sizes, request)) : 0;
  return {
    firstStage: firstStage ? stageBytes(firstStage, { dtype, quantization, gpu }) : 0,
    secondStage: secondStage ? stageBytes(secondStage, { dtype, quantization: 'none', gpu }) : 0,
    speakerEncoder: (speakerEncoder?.parameters ?? 0) * 4,
    // The convolutions are held folded; on the CPU beside the mapped file they came from.
    codec: (codec?.parameters ?? 0) * 4 * (gpu ? 1 : 1.75),
    diffusion: decoder === 'diffusion' ? (diffusion?.parameters ?? 0) * bytesOf[dtype] : 0,
    // In the order in which they are read, beside the mapped file they came from.
    enhancer: gpu ? 0 : (enhancer?.parameters ?? 0) * 4 * 2,
    keyValueCache: cache * batchSize,
    working: workingBytes(sizes, request, gpu),
    redo:
      (firstStage ? redoBytes(firstStage, request, cache) : 0) +
      (diffusion && decoder === 'diffusion' ? diffusionRedoBytes(diffusion, dtype, gpu) : 0),
    runtime: gpu ? gpuRuntime : cpuRuntime,
  };
}

export const totalOf = (parts: MemoryParts): number =>
  Object.values(parts).reduce((sum, bytes) => sum + bytes, 0);

/** Numbers of each kind in a language model. */
export function countStage(stage: StageSizes) {
  const { layers, width, feedForward, positions, vocabularies, outputs, speakerEmbedding, activation } =
    stage;
  const inner = activation === 'swiglu' ? 3 : 2;
  const sum = (sizes: readonly number[]) => sizes.reduce((all, size) => all + size, 0);
  return {
    linears: layers * (4 * width * width + inner * feedForward * width),
    tables: (sum(vocabularies) + positions) * width,
    heads: sum(outputs) * width,
    speaker: width * speakerEmbedding,
    norms: (2 * layers + 1) * width,
    largestMatrix: width * Math.max(3 * width, feedForward),
  };
}

/** What a matrix is held as, and where. */
interface Form {
  dtype: Dtype;
  quantization: Quantization;
  gpu: boolean;
}

/** Weights of a language model as the engine holds them: output layer, norms and speaker projection in float32. */
function stageBytes(stage: StageSizes, form: Form): number {
  const { layers, width, feedForward, activation, tied } = stage;
  const { tables, heads, speaker, norms } = countStage(stage);
  const into: Matrix = [feedForward, width];
  const matrices: Matrix[] = [
    [3 * width, width],
    [width, width],
    ...(activation === 'swiglu' ? [into, into] : [into]),
    [width, feedForward],
  ];
  const layer = matrices.reduce((sum, matrix) => sum + matrixBytes(matrix, form), 0);
  const sharedHead = tied && form.dtype === 'float32';
  return layers * layer + tables * bytesOf[form.dtype] + (sharedHead ? 0 : heads * 4) + (speaker + norms) * 4;
}

type Matrix = readonly [out: number, columns: number];

/**
 * int8: a byte a number, a scale for each row. int4: half a byte, a scale and a zero for each 128 of a row; a row that is no
 * whole groups stays whole. The CPU's loops read 32 rows side by side, with scales of bfloat16; the kernels of a GPU have
 * scales of float32, or of the dtype in int4.
 */
function matrixBytes([out, columns]: Matrix, { dtype, quantization, gpu }: Form): number {
  const rows = gpu ? out : 32 * Math.ceil(out / 32);
  if (quantization === 'int8') return rows * (columns + (gpu ? 4 : 2));
  if (quantization === 'int4' && columns % int4Group === 0)
    return rows * (columns / 2 + (columns / int4Group) * 2 * (gpu ? bytesOf[dtype] : 2));
  return out * columns * bytesOf[dtype];
}

/** Positions that an utterance fills at its longest. */
export function positionsOf(
  { firstStage, codec }: ModelSizes,
  { maxSeconds }: Pick<MemoryRequest, 'maxSeconds'>,
): number {
  const window = firstStage?.positions ?? 0;
  if (maxSeconds === null || !codec) return window;
  return Math.min(window, textIds(maxSeconds) + codebooks * Math.ceil(maxSeconds * codec.frameRate));
}

/** Of one row. */
const cacheBytes = ({ layers, width }: StageSizes, dtype: Dtype, positions: number): number =>
  2 * layers * width * positions * bytesOf[dtype];

/**
 * One matrix upcast at a time; a float16 cache whose numbers don't fit is widened, for one utterance at a time. A quantised
 * matrix is not upcast on the CPU, and on a GPU at any time.
 */
function redoBytes(
  stage: StageSizes,
  { dtype, quantization }: Pick<MemoryRequest, 'dtype' | 'quantization'>,
  cache: number,
): number {
  if (dtype === 'float32') return 0;
  const matrix = quantization === 'none' ? countStage(stage).largestMatrix * 4 : 0;
  return matrix + (dtype === 'float16' ? cache : 0);
}

/** On a GPU a prompt has one matrix at a time as numbers again: in float32, in the dtype, and as integers in two orders. */
const dequantizingBytes = (stage: StageSizes, dtype: Dtype): number =>
  countStage(stage).largestMatrix * (4 + (dtype === 'float32' ? 0 : bytesOf[dtype]) + 2);

/** Bands that are computed side by side: on a GPU all, where their networks have one form. */
function bandsTogether({ bands }: DiffusionSizes, gpu: boolean): number {
  const form = ({ channels, kernel, stride, residualBlocks, steps }: BandSizes) =>
    JSON.stringify([channels, kernel, stride, residualBlocks, steps]);
  return gpu && new Set(bands.map(form)).size === 1 ? bands.length : 1;
}

/** The largest matrix of a layer, of all bands that are computed together. */
function largestDiffusionMatrix(sizes: DiffusionSizes, gpu: boolean): number {
  const matrices = sizes.bands.flatMap(({ channels, kernel }) =>
    channels.flatMap((width, level) => [3 * width * width, kernel * width * (channels[level - 1] ?? 1)]),
  );
  return bandsTogether(sizes, gpu) * Math.max(...matrices);
}

/** One matrix upcast at a time; one thread does it while another redoes a step. */
const diffusionRedoBytes = (sizes: DiffusionSizes, dtype: Dtype, gpu: boolean): number =>
  dtype === 'float32' ? 0 : largestDiffusionMatrix(sizes, gpu) * 4;

/** Seconds that a window of diffusion hears at the most: one of its own, 0.2 behind and before it. */
const windowSeconds = 1.4;

/** Seconds of sound that are computed at once with `quality: 'whole'`. */
function wholeSeconds({ firstStage, codec }: ModelSizes, { maxSeconds }: MemoryRequest): number {
  const longest = firstStage && codec ? firstStage.positions / codebooks / codec.frameRate : Infinity;
  const seconds = Math.min(longest, maxSeconds ?? Infinity);
  return Number.isFinite(seconds) ? seconds : windowSeconds;
}

/** What the EnCodec decoder holds for a second of sound that it decodes at once: measured at the published size. */
const codecBytesPerSecond = 33 * MB;

/**
 * What passes between the layers is float32. At the highest it is the outputs of all encoders, the condition, and five
 * tensors of the level in hand, each as large as that of the widest level. On the CPU the libraries copy a matrix into a
 * layout of their own; measured at the published size, 114 MB for 0.25 s and 163 MB for 1.5 s.
 */
function diffusionBytes(sizes: DiffusionSizes, dtype: Dtype, seconds: number, gpu: boolean): number {
  const { bands, sampleRate } = sizes;
  const floats = bands.map(({ channels, stride }) => {
    const widest = Math.max(...channels.map((width, level) => width / stride ** (level + 1)));
    return (channels.length + 6) * widest;
  });
  const activations = bandsTogether(sizes, gpu) * Math.max(...floats) * 4 * Math.ceil(seconds * sampleRate);
  return activations + (gpu ? 0 : largestDiffusionMatrix(sizes, gpu) * bytesOf[dtype]);
}

/** Resident pages of libtorch 2.13 on Linux, and of what it sets up: measured, 83 to 90 MB. */
const cpuRuntime = 90 * MB;

/** A CUDA context with the kernels that libtorch loads lazily: 0.4 to 0.6 GB by published reports; not measured here. */
const gpuRuntime = 500 * MB;

/**
 * CPU: prompt, second-stage window, decoder, the JavaScript heap; measured at the published size, 50 to 120 MB. GPU:
 * workspaces of cuBLAS and cuDNN as well; 0.2 to 0.3 GB by published reports. The sound of a whole utterance, and of what
 * diffusion hears, comes beside it.
 */
function workingBytes(sizes: ModelSizes, request: MemoryRequest, gpu: boolean): number {
  const { dtype, decoder, quality } = request;
  const { codec, diffusion } = sizes;
  const seconds = quality === 'whole' ? wholeSeconds(sizes, request) : windowSeconds;
  const diffuses = diffusion && decoder === 'diffusion';
  const sound = codec && (diffuses || quality === 'whole') ? codecBytesPerSecond * seconds : 0;
  const common = (gpu ? 250 : 110) * MB;
  const { firstStage } = sizes;
  const matrix =
    gpu && firstStage && request.quantization !== 'none' ? dequantizingBytes(firstStage, dtype) : 0;
  return common + matrix + sound + (diffuses ? diffusionBytes(diffusion, dtype, seconds, gpu) : 0);
}

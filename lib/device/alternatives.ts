/** What would fit a device when the request does not: one change where one is enough, else several together. */

import { sizeWords } from '../size-words.js';
import type { MemoryRequest } from './memory.js';
import type { ModelSizes } from './model-sizes.js';

/** A request that fits, told by what is changed. */
export interface Alternative {
  readonly change: Readonly<Partial<MemoryRequest>>;
  /** Bytes of all parts. */
  readonly total: number;
}

interface Surroundings {
  sizes: ModelSizes;
  gpu: boolean;
  allows: (alternative: MemoryRequest) => boolean;
}

type Change = Partial<MemoryRequest>;

/** Shorter utterances than this (seconds) are no way to speak. */
const shortest = 2;
const mostTold = 4;

/** `float16 with int8 weights and diffusion` */
export function describeRequest(request: MemoryRequest): string {
  const { dtype, quantization, kvCache = 'auto', decoder, batchSize, quality } = request;
  const extras = [
    ...(quantization === 'none' ? [] : [`${quantization} weights`]),
    ...(kvCache === 'auto' ? [] : [`kvCache '${kvCache}'`]),
    ...(decoder === 'diffusion' ? [quality === 'whole' ? 'diffusion of the whole' : 'diffusion'] : []),
    ...(batchSize > 1 ? [`a batch of ${batchSize}`] : []),
  ];
  return extras.length === 0 ? dtype : `${dtype} with ${extras.join(' and ')}`;
}

export function alternativesTo(
  request: MemoryRequest,
  available: number,
  totalFor: (request: MemoryRequest) => number,
  { sizes, gpu, allows }: Surroundings,
): Alternative[] {
  const totalWith = (change: Change) => totalFor({ ...request, ...change });
  const fits = (change: Change) => allows({ ...request, ...change }) && totalWith(change) <= available;
  const single = [...choices(request, gpu), ...shrunk(request, {}, sizes, fits)].filter(fits);
  const found = single.length > 0 ? single : combined(request, gpu, sizes, fits);
  return found.slice(0, mostTold).map((change) => ({ change, total: totalWith(change) }));
}

/** Settings that can be changed one by one. */
function choices({ dtype, quantization, kvCache, decoder, quality }: MemoryRequest, gpu: boolean): Change[] {
  return [
    ...(decoder === 'diffusion' && quality === 'whole' ? [{ quality: 'stream' } as const] : []),
    ...(decoder === 'diffusion' ? [{ decoder: 'encodec' } as const] : []),
    ...(dtype === 'float32' ? [{ dtype: gpu ? 'float16' : 'bfloat16' } as const] : []),
    ...(quantization === 'none' ? [{ quantization: 'int8' } as const] : []),
    ...(quantization !== 'int4' ? [{ quantization: 'int4' } as const] : []),
    ...(kvCache !== 'int8' ? [{ kvCache: 'int8' } as const] : []),
  ];
}

/** The largest batch, and the longest utterance, that fit. */
function shrunk(
  { batchSize, maxSeconds }: MemoryRequest,
  with_: Change,
  { firstStage, codec }: ModelSizes,
  fits: (change: Change) => boolean,
): Change[] {
  const window = firstStage && codec ? firstStage.positions / 2 / codec.frameRate : 0;
  const batch = largest(1, batchSize - 1, (size) => fits({ ...with_, batchSize: size }));
  const longest = Math.floor(maxSeconds === null ? window : Math.min(window, maxSeconds)) - 1;
  const seconds = largest(shortest, longest, (length) => fits({ ...with_, maxSeconds: length }));
  return [
    ...(batch === null ? [] : [{ ...with_, batchSize: batch }]),
    ...(seconds === null ? [] : [{ ...with_, maxSeconds: seconds }]),
  ];
}

/** Several changes together: settings first, then a batch of one, then shorter utterances. */
function combined(
  request: MemoryRequest,
  gpu: boolean,
  sizes: ModelSizes,
  fits: (change: Change) => boolean,
): Change[] {
  const steps: Change[] = [];
  for (const change of choices(request, gpu)) steps.push({ ...steps.at(-1), ...change });
  const alone = steps.map((change) => ({ ...change, batchSize: 1 }));
  for (const several of [steps, alone]) {
    const found = several.filter(fits);
    if (found.length > 0) return found;
  }
  return [{ batchSize: 1 }, ...alone]
    .flatMap((change) => shrunk({ ...request, batchSize: 1 }, change, sizes, fits))
    .slice(0, 1);
}

/** The largest integer of a range that passes, given that smaller ones pass, too; null when none does. */
function largest(low: number, high: number, passes: (value: number) => boolean): number | null {
  if (high < low || !passes(low)) return null;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (passes(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** `what would fit: int8 weights (2.9 GB), or …` */
export function describeAlternatives(alternatives: readonly Alternative[]): string {
  if (alternatives.length === 0) return 'no smaller form of it fits either';
  const words = alternatives.map(({ change, total }) => `${describeChange(change)} (${sizeWords(total)})`);
  return `what would fit: ${words.join(', or ')}`;
}

function describeChange(change: Change): string {
  const { dtype, quantization, kvCache, decoder, batchSize, maxSeconds, quality } = change;
  return [
    ...(quality === undefined ? [] : [`quality '${quality}'`]),
    ...(decoder === undefined ? [] : [`decoder '${decoder}'`]),
    ...(dtype === undefined ? [] : [`dtype '${dtype}'`]),
    ...(quantization === undefined ? [] : [`${quantization} weights`]),
    ...(kvCache === undefined ? [] : [`kvCache '${kvCache}'`]),
    ...(batchSize === undefined ? [] : [`batchSize ${batchSize}`]),
    ...(maxSeconds == null ? [] : [`maxSeconds ${maxSeconds}`]),
  ].join(' and ');
}

import type { Dtype } from '../native/contract.js';
import { mostParts } from './limits.js';
import { refuseCheckpoint } from './refuse.js';
import type { SourceTensor } from './torch-file.js';

/** The networks that a model may have. */
export const partNames = [
  'firstStage',
  'secondStage',
  'speakerEncoder',
  'codec',
  'diffusion',
  'enhancer',
] as const;
export type PartName = (typeof partNames)[number];

/** One network on its way into a model folder. */
export interface PlannedPart<M> {
  /** Its entry in `metavoice.json`, without the file. */
  manifest: Omit<M, 'file' | 'bytes'>;
  /** What its numbers are stored as. */
  dtype: Dtype;
  tensors: {
    name: string;
    source: SourceTensor;
    /** Where it is another. */
    dtype?: Dtype;
  }[];
  /** What the matrices of its layers are to be stored as; absent: as the others. */
  quantization?: 'int8' | 'int4';
  /** What the tensors lie in where it is no file of its own: a member of a zip, unpacked. */
  unpacked?: Buffer;
}

/** The file that the numbers of a part come from. */
export const sourceOf = ({ tensors }: Pick<PlannedPart<unknown>, 'tensors'>): string =>
  tensors[0]?.source.file ?? '';

/** The float types that can be cast; anything else has no place in a network. */
export function requireFloats(file: string, name: string, { dtype }: SourceTensor): void {
  if (['float64', 'float32', 'float16', 'bfloat16'].includes(dtype)) return;
  throw refuseCheckpoint(file, `tensor ${name} holds ${dtype} numbers; expected floating-point ones`, {
    tensor: name,
    expected: 'float32',
    found: dtype,
  });
}

export const shapesOf = (
  tensors: ReadonlyMap<string, { shape: readonly number[] }>,
): Map<string, readonly number[]> => new Map([...tensors].map(([name, { shape }]) => [name, shape]));

/** Numbers 0 … n−1 that `prefix.<number>` takes among the names: n. */
export function countOf(names: Iterable<string>, expression: RegExp): number {
  let count = 0;
  for (const name of names) {
    const match = expression.exec(name);
    if (match) count = Math.max(count, Number(match[1]) + 1);
  }
  return Math.min(count, mostParts);
}

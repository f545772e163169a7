/** Judges of the arrays that the stages take. */

import type { CodecManifest, DiffusionManifest } from './checkpoint/manifest.js';
import { expectedRange, expectedType, inRange, isInteger } from './is.js';
import { copyOptions, integerOf, orDefault, signalOf } from './option-values.js';
import type { Codes } from './stream/codes.js';

/** Float32Array of `length` finite numbers, or of at least one: NaN or Infinity would come out as NaN everywhere. */
export function requireFloats(value: unknown, name: string, length?: number): Float32Array {
  if (!(value instanceof Float32Array)) throw expectedType('a Float32Array', name, value);
  if (length === undefined ? value.length === 0 : value.length !== length)
    throw expectedRange(
      length === undefined ? 'at least one number' : `${length} numbers`,
      `${name}.length`,
      value.length,
    );
  // Not findIndex: recordings have millions of samples.
  for (let i = 0; i < value.length; i++)
    if (!Number.isFinite(value[i])) throw expectedRange('a finite number', `${name}[${i}]`, value[i]);
  return value;
}

/** Token ids within the vocabulary, at most a window of them. */
export function requireIds(value: unknown, name: string, vocabulary: number, window: number): Int32Array {
  if (!(value instanceof Int32Array)) throw expectedType('an Int32Array', name, value);
  if (!inRange(value.length, 1, window))
    throw expectedRange(`between 1 and ${window} ids`, `${name}.length`, value.length);
  const wrong = value.findIndex((id) => !inRange(id, 0, vocabulary - 1));
  if (wrong >= 0)
    throw expectedRange(`an id between 0 and ${vocabulary - 1}`, `${name}[${wrong}]`, value[wrong]);
  return value;
}

/** Codebooks of equal length with codes below `size`, as one array [codebooks, frames]. */
export function requireCodes(codebooks: readonly unknown[], name: string, size: number): Uint16Array {
  const frames = (codebooks[0] as Uint16Array | undefined)?.length ?? 0;
  const flat = new Uint16Array(codebooks.length * (Number.isInteger(frames) ? frames : 0));
  for (const [k, codes] of codebooks.entries()) {
    const place = `${name}[${k}]`;
    if (!(codes instanceof Uint16Array)) throw expectedType('a Uint16Array', place, codes);
    if (codes.length === 0) throw expectedRange('at least one frame', `${place}.length`, 0);
    if (codes.length !== frames)
      throw expectedRange(`${frames} as the first codebook`, `${place}.length`, codes.length);
    const wrong = codes.findIndex((code) => code >= size);
    if (wrong >= 0)
      throw expectedRange(`a code between 0 and ${size - 1}`, `${place}[${wrong}]`, codes[wrong]);
    flat.set(codes, k * frames);
  }
  return flat;
}

/** Codes of every codebook of the codec, as one array [codebooks, frames]. */
export function requireAllCodes(
  codes: Codes,
  { codebookSize, codebooks }: Pick<CodecManifest, 'codebookSize' | 'codebooks'>,
): Uint16Array {
  if (typeof codes !== 'object' || codes === null || !Array.isArray(codes.codebooks))
    throw expectedType('{ codebooks, frames }', 'codes', codes);
  if (codes.codebooks.length !== codebooks)
    throw expectedRange(`${codebooks} codebooks`, 'codes.codebooks.length', codes.codebooks.length);
  const flat = requireCodes(codes.codebooks, 'codes.codebooks', codebookSize);
  const frames = flat.length / codebooks;
  if (codes.frames !== frames)
    throw expectedRange(`${frames} as in its codebooks`, 'codes.frames', codes.frames);
  return flat;
}

/** How `Stages.diffuse` samples. */
export type DiffusionSettings =
  | { seed: number; steps?: number; chunkEnds?: readonly number[]; signal?: AbortSignal }
  | { noise: Float32Array; steps?: number; signal?: AbortSignal };

/** @param samples of the sound that the codes become */
export function requireDiffusion(
  settings: DiffusionSettings,
  { bands }: Pick<DiffusionManifest, 'bands'>,
  samples: number,
): {
  seed: number;
  noise: Float32Array | null;
  steps: number;
  chunkEnds: Int32Array | null;
  signal: AbortSignal | null;
} {
  const given = copyOptions(settings, 'options', ['seed', 'noise', 'steps', 'chunkEnds', 'signal']);
  const signal = signalOf(given.signal);
  const most = Math.min(...bands.map((band) => band.steps));
  const steps = integerOf(orDefault(given.steps, Math.min(20, most)), 'steps', 1, most);
  const chunkEnds = given.chunkEnds === undefined ? null : requireChunkEnds(given.chunkEnds, 'chunkEnds');
  if (given.noise === undefined) {
    const seed = integerOf(required(given.seed, 'seed'), 'seed', 0, Number.MAX_SAFE_INTEGER);
    return { seed, noise: null, steps, chunkEnds, signal };
  }
  if (given.seed !== undefined || chunkEnds)
    throw expectedType('noise without a seed or chunk ends', 'options', settings);
  const noise = requireFloats(given.noise, 'noise', bands.length * steps * samples);
  return { seed: 0, noise, steps, chunkEnds, signal };
}

export function required(value: unknown, name: string): unknown {
  if (value === undefined) throw expectedType('a number', name, value);
  return value;
}

/** Frames per piece that add up to all of them; the streaming decoder cannot begin with a few. */
export function requirePieces(
  value: unknown,
  name: string,
  frames: number,
  leastFirstFrames: number,
): Int32Array {
  if (!Array.isArray(value)) throw expectedType('an array of frames per piece', name, value);
  for (const [i, piece] of value.entries())
    if (!isInteger(piece) || !inRange(piece, 1, frames))
      throw expectedRange(`an integer between 1 and ${frames}`, `${name}[${i}]`, piece);
  const sum = value.reduce((total: number, piece: number) => total + piece, 0);
  if (sum !== frames) throw expectedRange(`pieces that add up to ${frames} frames`, name, sum);
  if (value.length > 1 && value[0] < leastFirstFrames)
    throw expectedRange(`at least ${leastFirstFrames} frames`, `${name}[0]`, value[0]);
  return Int32Array.from(value);
}

/** Ends of chunks in frames, each behind the one before. */
function requireChunkEnds(value: unknown, name: string): Int32Array {
  if (!Array.isArray(value)) throw expectedType('an array of frames', name, value);
  if (value.length === 0) throw expectedRange('at least one end', `${name}.length`, 0);
  for (const [i, end] of value.entries())
    if (!isInteger(end) || !inRange(end, (value[i - 1] ?? 0) + 1, 2 ** 31 - 1))
      throw expectedRange(`an integer above ${value[i - 1] ?? 0}`, `${name}[${i}]`, end);
  return Int32Array.from(value);
}

/** @param size numbers of the embedding; 0 where the stage takes no speaker */
export function requireSpeaker(speaker: unknown, size: number): void {
  requireFloats(speaker, 'speaker', size > 0 ? size : undefined);
}

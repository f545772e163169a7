/**
 * Parts that a model speaks without. One that is there and can't be read is left out when a model is opened, with a note
 * why; `convert` refuses it.
 */

import { MetaVoiceError } from '../errors.js';
import type { Reading } from './reading.js';

export type OptionalPart = 'diffusion' | 'enhancer';
export const optionalParts: readonly OptionalPart[] = ['diffusion', 'enhancer'];

/** Why a part is not there although its file is. */
export type LeftOut = Map<OptionalPart, Error>;

/**
 * What a reading gives; null, with a note, where it is refused.
 *
 * @param leftOut null: nothing may be left out, and the refusal is told
 */
export function* unlessRefused<T>(
  part: OptionalPart,
  leftOut: LeftOut | null,
  reading: () => Reading<T>,
): Reading<T | null> {
  try {
    return yield* reading();
  } catch (error) {
    if (!leftOut || !isRefusal(error)) throw error;
    leftOut.set(part, error);
    return null;
  }
}

/** A file that is not what it should be, or that the system doesn't give. A signal's reason or a mistake of ours is neither. */
export const isRefusal = (error: unknown): error is Error =>
  MetaVoiceError.isInstance(error) || (error instanceof Error && 'syscall' in error);

/** Throws why, where leaving out left nothing. */
export function requireAny(parts: readonly unknown[], leftOut: LeftOut | null): void {
  const [reason] = leftOut?.values() ?? [];
  if (reason && !parts.some((part) => part)) throw reason;
}

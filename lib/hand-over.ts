import { setImmediate } from 'node:timers/promises';
import { expectedType } from './is.js';
import type { NativeModel, NativeSamples } from './native/contract.js';

/** Samples that are copied in one turn of the event loop: two megabytes, a millisecond or two. */
const turn = 1 << 19;

/**
 * A recording as native code takes it: a short one as it is, a long one copied in turns. It must not change meanwhile;
 * TypeError when it is transferred away.
 */
export async function handOver(
  native: Pick<NativeModel, 'reserve'>,
  samples: Float32Array,
): Promise<Float32Array | NativeSamples> {
  if (samples.length <= turn) return samples;
  const { length } = samples;
  const reserved = native.reserve(length);
  for (let at = 0; at < length; at += turn) {
    reserved.write(at, samples.subarray(at, at + turn));
    await setImmediate();
    if (samples.length !== length)
      throw expectedType('a Float32Array that is not transferred while it is read', 'samples', samples);
  }
  return reserved;
}

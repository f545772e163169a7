/** The one place that decides what the first stage's keys and values are kept in. Pure. */

import type { CacheDtype, Dtype } from '../native/contract.js';
import type { KvCache } from '../options.js';

/**
 * What a request for a key-value cache comes to with a model of a dtype, and why; no words where nothing was asked for.
 * `'auto'` is the model's own dtype; int8 is taken only where it was asked for.
 */
export function decideKvCache(
  asked: KvCache,
  dtype: Dtype,
  gpu: boolean,
): { dtype: CacheDtype; reason: string | null } {
  if (asked === 'auto') return { dtype, reason: null };
  if (asked === '16bit' && dtype !== 'float32')
    return { dtype, reason: `keys and values in 16 bit were asked for, which is the model's own ${dtype}` };
  const kept = asked === 'int8' ? 'int8' : 'float16';
  // Our kernels know pages of the model's own dtype alone.
  const slow = gpu
    ? ', whose steps go through libtorch on a GPU, without the kernels: smaller, but slower'
    : '';
  return { dtype: kept, reason: `keys and values in ${kept} were asked for${slow}` };
}

/** Whether the model fits, by the arithmetic that `load` refuses with. */

import { namesBundled, shipsBundled } from '../bundled.js';
import { defaults, type LoadOptions } from '../options.js';
import { type PlanOptions, plan } from '../plan.js';
import { sizeWords } from '../size-words.js';
import type { Check } from './check.js';

/**
 * The plan of the model that would be loaded. Where none is named and none ships it is of the published one: then what does
 * not fit is no problem yet.
 */
export function checkPlan({ model, device, dtype, quantization, kvCache }: LoadOptions): Check {
  const named = model ?? (process.env.METAVOICE_MODEL || defaults.load.model);
  const options = {
    ...((!namesBundled(named) || shipsBundled()) && { model: named }),
    ...(device !== undefined && { device }),
    ...(dtype !== undefined && { dtype }),
    ...(quantization !== undefined && { quantization }),
    ...(kvCache !== undefined && { kvCache }),
  } as PlanOptions;
  const found = plan(options);
  const { total, available, fits, advice, parts, alternatives } = found;
  const base = {
    name: 'plan',
    found: `${options.model ?? 'MetaVoice-1B as published'} on ${found.device}, ${sizeWords(total)}: ${advice}`,
    facts: { model: found.model, device: found.device, dtype: found.dtype, total, available, fits, parts },
  };
  if (fits) return { ...base, status: 'ok' };
  const choices = alternatives.length > 0 ? 'change what is said above' : 'take a larger device';
  return {
    ...base,
    status: options.model === undefined ? 'note' : 'problem',
    advice: `free some memory, raise the limit of the container, or ${choices}`,
  };
}

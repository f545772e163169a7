/** Whether speech is enhanced, and why. */

import { requirePart } from './describe-model.js';
import type { LoadedModel } from './load-model.js';
import type { SpeakOptions } from './options.js';
import type { EnhancerChoice } from './stream/plan.js';

/**
 * `'auto'` enhances where the model has what it takes.
 *
 * @throws MetaVoiceError ERR_MODEL_NOT_FOUND, ERR_CHECKPOINT for an enhancer that was asked for and can't be had.
 */
export function chooseEnhancer(
  asked: NonNullable<SpeakOptions['enhance']>,
  { manifest, source, leftOut }: Pick<LoadedModel, 'manifest' | 'source' | 'leftOut'>,
): EnhancerChoice {
  if (asked === false) return { enhanced: false, reason: 'it was switched off' };
  if (asked === true) {
    requirePart(manifest, 'enhancer', source, leftOut);
    return { enhanced: true, reason: 'it was asked for' };
  }
  if (manifest.enhancer) return { enhanced: true, reason: 'the model has an enhancer' };
  const refused = leftOut.get('enhancer');
  return {
    enhanced: false,
    reason: refused ? `the enhancer could not be read: ${refused.message}` : 'the model has no enhancer',
  };
}

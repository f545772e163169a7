/** What turns the codes of a request into sound, and why. Decided from facts, never from a timing: so it is the same tomorrow. */

import { requirePart } from './describe-model.js';
import { slowerThanSpeech } from './device/diffusion-speed.js';
import type { MemoryPlan } from './device/plan.js';
import { MetaVoiceError } from './errors.js';
import type { LoadedModel } from './load-model.js';
import type { SpeakOptions } from './options.js';
import type { DecoderChoice } from './stream/plan.js';

/**
 * `'auto'` takes diffusion where the model has it, the device's facts say that it is faster than speech, and there is room.
 *
 * Room is judged anew each time, until the decoder is loaded: others may have taken it, or given it back.
 *
 * @throws MetaVoiceError ERR_MODEL_NOT_FOUND, ERR_CHECKPOINT, ERR_OUT_OF_MEMORY for diffusion that was asked for and can't be had.
 */
export function chooseDecoder(
  {
    decoder: asked,
    quality,
  }: { decoder: NonNullable<SpeakOptions['decoder']>; quality: MemoryPlan['quality'] },
  { manifest, policy, source, leftOut, diffusionPlan }: LoadedModel,
): DecoderChoice {
  if (asked === 'encodec') return { decoder: 'encodec', reason: 'it was asked for' };
  if (asked === 'auto') {
    const refused = leftOut.get('diffusion');
    if (refused)
      return { decoder: 'encodec', reason: `the diffusion decoder could not be read: ${refused.message}` };
    if (!diffusionPlan) return { decoder: 'encodec', reason: 'the model has no diffusion decoder' };
    const slow = slowerThanSpeech(policy);
    if (slow) return { decoder: 'encodec', reason: slow };
    const { fits, advice } = diffusionPlan(quality);
    if (!fits) return { decoder: 'encodec', reason: `there is no room for diffusion: ${advice}` };
    return { decoder: 'diffusion', reason: `${policy.name} computes it faster than speech` };
  }
  requirePart(manifest, 'diffusion', source, leftOut);
  const plan = diffusionPlan?.(quality);
  if (!plan?.fits)
    throw new MetaVoiceError(
      'ERR_OUT_OF_MEMORY',
      `expected room for the diffusion decoder but ${plan?.advice}; or use decoder 'encodec'`,
      { details: { plan } },
    );
  return { decoder: 'diffusion', reason: 'it was asked for' };
}

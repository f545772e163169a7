/** What turns the codes of a request into sound, and why. Decided from facts, never from a timing: so it is the same tomorrow. */

import { requirePart } from './describe-model.js';
import type { DevicePolicy } from './device/policy.js';
import { MetaVoiceError } from './errors.js';
import type { LoadedModel } from './load-model.js';
import type { SpeakOptions } from './options.js';
import type { DecoderChoice } from './stream/plan.js';

/**
 * `'auto'` takes diffusion where the model has it, the device's facts say that it is faster than speech, and there is room.
 *
 * @throws MetaVoiceError ERR_MODEL_NOT_FOUND, ERR_OUT_OF_MEMORY for diffusion that was asked for and can't be had.
 */
export function chooseDecoder(
  asked: NonNullable<SpeakOptions['decoder']>,
  { manifest, policy, source, diffusionPlan }: LoadedModel,
): DecoderChoice {
  if (asked === 'encodec') return { decoder: 'encodec', reason: 'it was asked for' };
  if (asked === 'auto') {
    const against = !diffusionPlan ? 'the model has no diffusion decoder' : tooSlow(policy);
    if (against !== null) return { decoder: 'encodec', reason: against };
    if (!diffusionPlan?.fits)
      return { decoder: 'encodec', reason: `there is no room for diffusion: ${diffusionPlan?.advice}` };
    return { decoder: 'diffusion', reason: `${policy.name} computes it faster than speech` };
  }
  requirePart(manifest, 'diffusion', source);
  if (!diffusionPlan?.fits)
    throw new MetaVoiceError(
      'ERR_OUT_OF_MEMORY',
      `expected room for the diffusion decoder but ${diffusionPlan?.advice}; or use decoder 'encodec'`,
      { details: { plan: diffusionPlan } },
    );
  return { decoder: 'diffusion', reason: 'it was asked for' };
}

/** 5.3 TFLOP a second of sound, and 1.4 times that in windows: what a T4 has in 16 bit, and an A100 in float32. */
function tooSlow({ name, computeCapability, dtype }: DevicePolicy): string | null {
  if (computeCapability === null) return `diffusion is slower than speech on ${name}`;
  if (dtype !== 'float32' || Number(computeCapability) >= 8) return null;
  return `diffusion in float32 is slower than speech on ${name}`;
}

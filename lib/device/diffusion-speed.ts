import type { DevicePolicy } from './policy.js';

/**
 * Why diffusion is slower than speech on a device; null where it is not. It takes 5.3 TFLOP a second of sound, and 1.4 times
 * that in windows: what a T4 has in 16 bit, and an A100 in float32.
 */
export function slowerThanSpeech({
  name,
  computeCapability,
  dtype,
}: Pick<DevicePolicy, 'name' | 'computeCapability' | 'dtype'>): string | null {
  if (computeCapability === null) return `diffusion is slower than speech on ${name}`;
  if (dtype !== 'float32' || Number(computeCapability) >= 8) return null;
  return `diffusion in float32 is slower than speech on ${name}`;
}

/** ITU-T G.711, μ-law: all bits inverted; sign, exponent of 3 bits, mantissa of 4, with a bias of 33 in 14 bits. */

const bias = 33 << 2;
/** Beyond it is overload: the last decision value of the standard, 8159 in 14 bits. */
const largest = (8159 << 2) - 1;

/**
 * Samples as μ-law, a byte each: those of 16-bit PCM, saturated; what is not a number becomes silence.
 * @param samples any length, nominally in [-1, 1]
 */
export function toMulaw(samples: Float32Array): Uint8Array {
  const bytes = new Uint8Array(samples.length);
  for (let index = 0; index < samples.length; index++)
    bytes[index] = encodeMulaw(Math.round(samples[index]! * 32767));
  return bytes;
}

/** @param value a 16-bit sample; NaN counts as 0 */
export function encodeMulaw(value: number): number {
  const magnitude = Math.min(Math.abs(value) || 0, largest) + bias;
  const exponent = 24 - Math.clz32(magnitude);
  const code = (exponent << 4) | ((magnitude >> (exponent + 3)) & 15);
  return ~(value < 0 ? code | 0x80 : code) & 0xff;
}

/** The 16-bit sample that a code stands for. */
export function decodeMulaw(code: number): number {
  const bits = ~code & 0xff;
  const magnitude = ((((bits & 15) << 3) + bias) << ((bits >> 4) & 7)) - bias;
  return bits & 0x80 ? -magnitude : magnitude;
}

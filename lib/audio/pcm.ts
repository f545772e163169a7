/**
 * Samples as signed 16-bit little-endian PCM: round(x · 32767), saturated; what is not a number becomes silence.
 * @param samples any length, nominally in [-1, 1]
 */
export function toPcm16(samples: Float32Array): Uint8Array {
  const bytes = new Uint8Array(2 * samples.length);
  writePcm16(samples, bytes, 0);
  return bytes;
}

/** As {@link toPcm16}, into `bytes` from `offset` on. */
export function writePcm16(samples: Float32Array, bytes: Uint8Array, offset: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let index = 0; index < samples.length; index++) {
    const value = Math.round(samples[index]! * 32767);
    // setInt16 takes NaN as 0.
    view.setInt16(offset + 2 * index, Math.min(32767, Math.max(-32768, value)), true);
  }
}

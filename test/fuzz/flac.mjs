/** FLAC files of silence, which is where a few bytes become the most samples. */

/** @param {Uint8Array} bytes @param {number} polynomial @param {number} bits */
function checksum(bytes, polynomial, bits) {
  let sum = 0;
  for (const byte of bytes) {
    sum ^= byte << (bits - 8);
    for (let bit = 0; bit < 8; bit++) sum = sum & (1 << (bits - 1)) ? (sum << 1) ^ polynomial : sum << 1;
    sum &= 2 ** bits - 1;
  }
  return sum;
}

/** @param {number} number of the frame, as UTF-8 writes it */
const counted = (number) => (number < 128 ? [number] : [0xc0 | (number >> 6), 0x80 | (number & 63)]);

/** A frame whose channels are constant. @param {number} index below 2,048 @param {number} samples @param {number} channels */
function frame(index, samples, channels) {
  const size = samples - 1;
  const head = Buffer.from([
    0xff,
    0xf8,
    0x7a,
    ((channels - 1) << 4) | 8,
    ...counted(index),
    size >> 8,
    size & 255,
  ]);
  const body = Buffer.alloc(3 * channels);
  const whole = Buffer.concat([head, Buffer.from([checksum(head, 0x07, 8)]), body]);
  const sum = checksum(whole, 0x8005, 16);
  return Buffer.concat([whole, Buffer.from([sum >> 8, sum & 255])]);
}

/**
 * 16 bits at 48 kHz, zeros all through.
 * @param {number} frames
 * @param {{ samples?: number, channels?: number }} [options] of each frame
 */
export function silence(frames, { samples = 256, channels = 1 } = {}) {
  const info = Buffer.alloc(42);
  info.write('fLaC', 'latin1');
  info[4] = 0x80;
  info[7] = 34;
  info.writeUInt16BE(samples, 8);
  info.writeUInt16BE(samples, 10);
  // 20 bits of rate, 3 of channels less one, 5 of bits less one, 36 of samples (0: not known)
  info.writeUIntBE(48_000 * 2 ** 4 + (channels - 1) * 2 + 0, 18, 3);
  info[21] = 15 << 4;
  return Buffer.concat([
    info,
    ...Array.from({ length: frames }, (_, index) => frame(index % 2048, samples, channels)),
  ]);
}

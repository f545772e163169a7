/** Points of a transform; a power of two. */
export const fftSize = 2048;

const cosines = Float64Array.from({ length: fftSize / 2 }, (_, k) => Math.cos((2 * Math.PI * k) / fftSize));
const sines = Float64Array.from({ length: fftSize / 2 }, (_, k) => Math.sin((2 * Math.PI * k) / fftSize));
/** Periodic Hann. */
const window = Float64Array.from(
  { length: fftSize },
  (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / fftSize),
);

/** Adds the power spectrum of the `fftSize` samples from `start` on to `sum` [fftSize / 2 + 1]. */
export function addPowerSpectrum(samples: Float32Array, start: number, sum: Float64Array): void {
  const real = new Float64Array(fftSize);
  const imaginary = new Float64Array(fftSize);
  for (let n = 0; n < fftSize; n++) real[reversed(n)] = (samples[start + n] ?? 0) * window[n]!;
  transform(real, imaginary);
  for (let k = 0; k < sum.length; k++) sum[k]! += real[k]! ** 2 + imaginary[k]! ** 2;
}

const bits = Math.log2(fftSize);

function reversed(index: number): number {
  let result = 0;
  for (let bit = 0; bit < bits; bit++) result |= ((index >> bit) & 1) << (bits - 1 - bit);
  return result;
}

/** Radix 2, in place, on input in bit-reversed order. */
function transform(real: Float64Array, imaginary: Float64Array): void {
  for (let half = 1; half < fftSize; half *= 2) {
    const stride = fftSize / (2 * half);
    for (let start = 0; start < fftSize; start += 2 * half) {
      for (let k = 0; k < half; k++) {
        const a = start + k;
        const b = a + half;
        const c = cosines[k * stride]!;
        const s = sines[k * stride]!;
        const re = real[b]! * c + imaginary[b]! * s;
        const im = imaginary[b]! * c - real[b]! * s;
        real[b] = real[a]! - re;
        imaginary[b] = imaginary[a]! - im;
        real[a]! += re;
        imaginary[a]! += im;
      }
    }
  }
}

/** How far two sounds of one length are from each other. Needs dist/. */
import { addPowerSpectrum, fftSize } from '../dist/voice/spectrum.js';

const hop = fftSize / 4;
/** Of the power of a full-scale sine in a frame: what is softer in both is silence. */
const floor = 1e-10 * (fftSize / 4) ** 2;

/**
 * The root of the mean square of the difference in dB over the bins of a frame, then the mean over frames that sound in either.
 *
 * @param {Float32Array} sound @param {Float32Array} reference
 */
export function logSpectralDistance(sound, reference) {
  let sum = 0;
  let frames = 0;
  for (let start = 0; start + fftSize <= reference.length; start += hop) {
    const [a, b] = [sound, reference].map((samples) => {
      const power = new Float64Array(fftSize / 2 + 1);
      addPowerSpectrum(samples, start, power);
      return power;
    });
    if (!a || !b || ![a, b].some((power) => power.some((value) => value > floor))) continue;
    let squares = 0;
    for (let k = 0; k < a.length; k++) {
      const ratio = ((a[k] ?? 0) + floor) / ((b[k] ?? 0) + floor);
      squares += (10 * Math.log10(ratio)) ** 2;
    }
    sum += Math.sqrt(squares / a.length);
    frames++;
  }
  return frames === 0 ? 0 : sum / frames;
}

/** In dB; Infinity where there is no difference. @param {Float32Array} sound @param {Float32Array} reference */
export function signalToDifference(sound, reference) {
  let signal = 0;
  let difference = 0;
  for (let i = 0; i < reference.length; i++) {
    signal += (reference[i] ?? 0) ** 2;
    difference += ((sound[i] ?? 0) - (reference[i] ?? 0)) ** 2;
  }
  return 10 * Math.log10(signal / difference);
}

import { addPowerSpectrum, fftSize } from './spectrum.js';

/** What a recording is worth as a reference. */
export interface VoiceQuality {
  /** Length of the whole recording. */
  seconds: number;
  /** Seconds with a voice in them: loud frames of 20 ms inside of the part that is kept after the trim. */
  speechSeconds: number;
  /** Largest magnitude of a sample; 1 is full scale. */
  peak: number;
  /** Share of the samples that are part of a flattened peak, 0 to 1. */
  clippedFraction: number;
  /** Level of the speech over that of the quietest tenth, at most 100. */
  snrDecibels: number;
  /** Highest frequency with energy of the voice in it. */
  bandwidthHertz: number;
}

/** What is measured on the samples alone, before the trim is known. */
export interface Analysis {
  samples: number;
  sampleRate: number;
  peak: number;
  clippedFraction: number;
  snrDecibels: number;
  bandwidthHertz: number;
  /** 1 for each frame that is as loud as speech; frames follow each other without a gap. */
  active: Uint8Array;
  /** Samples of a frame. */
  frame: number;
}

const frameSeconds = 0.02;
/** A frame this far below the loud ones is a pause. */
const activeRange = 10 ** (-30 / 10);
/** Power of −70 dB of full scale: nobody speaks below. */
const activeFloor = 10 ** (-70 / 10);

/** Measures a mono recording. Linear in its length: not for the event loop. */
export function analyse(samples: Float32Array, sampleRate: number): Analysis {
  const frame = Math.max(1, Math.round(sampleRate * frameSeconds));
  const powers = framePowers(samples, frame);
  const sorted = powers.slice().sort();
  const loud = sorted[Math.floor(0.95 * (sorted.length - 1))] ?? 0;
  const threshold = Math.max(activeFloor, loud * activeRange);
  const active = Uint8Array.from(powers, (power) => (power >= threshold ? 1 : 0));
  const peak = peakOf(samples);
  return {
    samples: samples.length,
    sampleRate,
    peak,
    clippedFraction: clippedFraction(samples, peak),
    snrDecibels: snrDecibels(powers, sorted, active),
    bandwidthHertz: bandwidthHertz(samples, sampleRate, active, frame),
    active,
    frame,
  };
}

/** Mean square of each whole frame. */
function framePowers(samples: Float32Array, frame: number): Float64Array {
  const powers = new Float64Array(Math.floor(samples.length / frame));
  for (let index = 0, at = 0; index < powers.length; index++) {
    let sum = 0;
    for (const end = at + frame; at < end; at++) sum += samples[at]! ** 2;
    powers[index] = sum / frame;
  }
  return powers;
}

function peakOf(samples: Float32Array): number {
  let peak = 0;
  for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
  return peak;
}

/** From here on a sample counts as full scale. */
const fullScale = 0.985;
/** Runs at full scale, and runs of one and the same value at a lower peak, from so many samples on. */
const fullScaleRun = 3;
const flatRun = 4;

/** Clipping flattens peaks: at full scale, or lower where the volume was changed afterwards. */
function clippedFraction(samples: Float32Array, peak: number): number {
  if (samples.length === 0 || peak < 0.05) return 0;
  const level = Math.min(fullScale, 0.999 * peak);
  let clipped = 0;
  let run = 0;
  let flat = true;
  for (let index = 0; index <= samples.length; index++) {
    const sample = samples[index] ?? 0;
    const previous = samples[index - 1] ?? 0;
    const joins = Math.abs(sample) >= level && (run === 0 || sample * previous > 0);
    if (run > 0 && !joins) {
      if (run >= flatRun && flat) clipped += run;
      else if (run >= fullScaleRun && level === fullScale) clipped += run;
      run = 0;
    }
    if (Math.abs(sample) < level) continue;
    flat = run === 0 || (flat && sample === previous);
    run += 1;
  }
  return clipped / samples.length;
}

const mostDecibels = 100;

/** The pauses of a reader show the noise: the quietest tenth against the loud frames. */
function snrDecibels(powers: Float64Array, sorted: Float64Array, active: Uint8Array): number {
  const quiet = sorted.subarray(0, Math.max(1, Math.floor(sorted.length / 10)));
  const noise = mean(quiet);
  const speech = mean(powers.filter((_, index) => active[index] === 1));
  if (speech === 0) return 0;
  const ratio = Math.max(speech - noise, 1e-10 * speech) / Math.max(noise, 1e-10 * speech);
  return Math.min(mostDecibels, Math.max(0, 10 * Math.log10(ratio)));
}

const mean = (values: Float64Array): number =>
  values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;

/** Spectra that are averaged, at most: spread over the whole recording. */
const maximumSpectra = 400;
const bandHertz = 250;
/** A band this far below the strongest one is empty. */
const bandRange = 10 ** (-70 / 10);

function bandwidthHertz(
  samples: Float32Array,
  sampleRate: number,
  active: Uint8Array,
  frame: number,
): number {
  const starts: number[] = [];
  for (let index = 0; index < active.length; index++)
    if (active[index] === 1 && index * frame + fftSize <= samples.length) starts.push(index * frame);
  if (starts.length === 0) return 0;
  const power = new Float64Array(fftSize / 2 + 1);
  const step = Math.max(1, starts.length / maximumSpectra);
  for (let place = 0; place < starts.length; place += step)
    addPowerSpectrum(samples, starts[Math.floor(place)]!, power);
  const binHertz = sampleRate / fftSize;
  const bands = new Float64Array(Math.ceil((sampleRate / 2 + binHertz) / bandHertz));
  const counts = new Float64Array(bands.length);
  for (let bin = 1; bin < power.length; bin++) {
    const band = Math.floor((bin * binHertz) / bandHertz);
    bands[band]! += power[bin]!;
    counts[band]! += 1;
  }
  for (let band = 0; band < bands.length; band++) bands[band]! /= Math.max(1, counts[band]!);
  const least = Math.max(...bands) * bandRange;
  const highest = bands.findLastIndex((level) => level > least);
  return Math.min((highest + 1) * bandHertz, sampleRate / 2);
}

/**
 * The figures of the report, once the trim is known.
 * @param trim [start, end) of the kept part in samples of `trimRate` hertz
 */
export function voiceQuality(analysis: Analysis, trim: [number, number], trimRate: number): VoiceQuality {
  const { samples, sampleRate, frame, active } = analysis;
  const scale = sampleRate / trimRate / frame;
  const first = Math.max(0, Math.floor(trim[0] * scale));
  const last = Math.min(active.length, Math.ceil(trim[1] * scale));
  let frames = 0;
  for (let index = first; index < last; index++) frames += active[index]!;
  return {
    seconds: samples / sampleRate,
    speechSeconds: (frames * frame) / sampleRate,
    peak: analysis.peak,
    clippedFraction: analysis.clippedFraction,
    snrDecibels: analysis.snrDecibels,
    bandwidthHertz: analysis.bandwidthHertz,
  };
}

/** What the model was made for, and what it can still use. */
export const recommendedSeconds = 30;
const mostClipped = 0.001;
const leastDecibels = 15;
const leastBandwidth = 7_000;

/** One sentence for each weakness that can be heard in the cloned voice, and what would mend it. */
export function qualityWarnings(quality: VoiceQuality): string[] {
  const { seconds, clippedFraction: clipped, snrDecibels: snr, bandwidthHertz: bandwidth } = quality;
  const warnings: string[] = [];
  if (seconds < recommendedSeconds)
    warnings.push(
      `the recording has ${seconds.toFixed(1)} s; ${recommendedSeconds} s or more give a truer voice`,
    );
  if (clipped > mostClipped)
    warnings.push(
      `${(100 * clipped).toPrecision(2)} % of the recording is clipped; record it again at a lower level`,
    );
  if (snr < leastDecibels)
    warnings.push(
      `the speech stands only ${snr.toFixed(0)} dB above the noise; record it in a quieter place or closer to the microphone`,
    );
  if (bandwidth < leastBandwidth)
    warnings.push(
      `the recording reaches only to ${(bandwidth / 1000).toFixed(1)} kHz; one of 16 kHz sample rate or more sounds clearer`,
    );
  return warnings;
}

import { describe, expect, test } from 'vitest';
import { analyse, qualityWarnings, voiceQuality } from '../../../dist/voice/quality.js';
import { addPowerSpectrum, fftSize } from '../../../dist/voice/spectrum.js';
import { toneAndPauses } from '../audio/wav-file.js';

const rate = 16_000;
const whole = (samples: Float32Array, sampleRate = rate) =>
  voiceQuality(analyse(samples, sampleRate), [0, samples.length], sampleRate);

function noise(length: number, level: number): Float32Array {
  let state = 12345;
  return Float32Array.from({ length }, () => {
    state = (state * 48271) % 2147483647;
    return level * ((2 * state) / 2147483647 - 1);
  });
}

test('the transform finds a tone in its bin', () => {
  const samples = Float32Array.from({ length: fftSize }, (_, n) =>
    Math.cos((2 * Math.PI * 100 * n) / fftSize),
  );
  const power = new Float64Array(fftSize / 2 + 1);
  addPowerSpectrum(samples, 0, power);
  // A Hann window leaves half of the amplitude in the bin, and a quarter in its neighbours.
  expect(power[100]).toBeCloseTo((fftSize / 4) ** 2, 3);
  expect(power[101]).toBeCloseTo((fftSize / 8) ** 2, 3);
  expect(power[110]).toBeCloseTo(0, 6);
});

describe('speech', () => {
  test('is counted without pauses, inside of the trim', () => {
    const samples = toneAndPauses(10, rate);
    expect(whole(samples).speechSeconds).toBeCloseTo(8, 1);
    const half = voiceQuality(analyse(samples, rate), [0, 5 * rate], rate);
    expect(half.speechSeconds).toBeCloseTo(4, 1);
    expect(half.seconds).toBe(10);
  });

  test('stands above the noise by so many decibels', () => {
    const clean = toneAndPauses(10, rate);
    expect(whole(clean).snrDecibels).toBe(100);
    const noisy = noise(clean.length, 0.1 * Math.sqrt(3)).map((value, index) => value + clean[index]!);
    // Power 0.05 against 0.01 is 7 dB; the lower tone and the ends of frames cost a little.
    expect(whole(noisy).snrDecibels).toBeGreaterThan(5);
    expect(whole(noisy).snrDecibels).toBeLessThan(9);
  });

  test('of nothing is nothing', () => {
    expect(whole(new Float32Array(rate))).toEqual({
      seconds: 1,
      speechSeconds: 0,
      peak: 0,
      clippedFraction: 0,
      snrDecibels: 0,
      bandwidthHertz: 0,
    });
    expect(whole(new Float32Array(0)).seconds).toBe(0);
  });
});

describe('clipping', () => {
  const tone = (gain: number, limit: number) =>
    Float32Array.from({ length: rate }, (_, n) =>
      Math.max(-limit, Math.min(limit, gain * Math.sin((2 * Math.PI * 210.7 * n) / rate))),
    );

  test('is seen at full scale and below', () => {
    // A sine of amplitude 2 is above 1 for two thirds of the time.
    expect(whole(tone(2, 1)).clippedFraction).toBeCloseTo(2 / 3, 1);
    expect(whole(tone(1, 0.5)).clippedFraction).toBeCloseTo(2 / 3, 1);
  });

  test('is not seen in a clean tone', () => {
    expect(whole(tone(0.9, 1)).clippedFraction).toBe(0);
  });
});

describe('bandwidth', () => {
  test('reaches to the highest tone', () => {
    expect(whole(toneAndPauses(3, rate)).bandwidthHertz).toBeGreaterThanOrEqual(7500);
    const low = Float32Array.from(
      { length: 3 * rate },
      (_, n) => 0.5 * Math.sin((2 * Math.PI * 3000 * n) / rate),
    );
    expect(whole(low).bandwidthHertz).toBeLessThan(3600);
  });

  test('of noise is all there is', () => {
    expect(whole(noise(3 * rate, 0.3)).bandwidthHertz).toBe(8000);
  });
});

test('each weakness has its sentence', () => {
  const good = {
    seconds: 40,
    speechSeconds: 35,
    peak: 0.7,
    clippedFraction: 0,
    snrDecibels: 50,
    bandwidthHertz: 16_000,
  };
  expect(qualityWarnings(good)).toEqual([]);
  expect(
    qualityWarnings({ ...good, seconds: 10, clippedFraction: 0.01, snrDecibels: 5, bandwidthHertz: 4000 }),
  ).toEqual([
    'the recording has 10.0 s; 30 s or more give a truer voice',
    '1.0 % of the recording is clipped; record it again at a lower level',
    'the speech stands only 5 dB above the noise; record it in a quieter place or closer to the microphone',
    'the recording reaches only to 4.0 kHz; one of 16 kHz sample rate or more sounds clearer',
  ]);
});

/** Damages speech in ways that are heard, at places that a seed draws. */

/**
 * @typedef {object} Spoken
 * @property {string} text
 * @property {string} speaker
 * @property {Float32Array} samples
 * @property {number} sampleRate
 * @property {readonly [number, number]} extent [start, end) in samples, from the first sound to the last.
 * @property {Float32Array} decibels Level of each 5 ms.
 * @property {number} loud Decibels of the loud frames.
 *
 * @typedef {object} Damaged
 * @property {Float32Array} samples
 * @property {readonly [number, number]} place [start, end) in seconds.
 *
 * @typedef {object} Damage
 * @property {string} name
 * @property {import('../../../dist/check/findings.js').FindingKind} kind What it should be found as.
 * @property {(speech: Spoken, random: () => number, others: readonly Spoken[]) => Damaged | null} inflict Null where the
 * speech is too short for it.
 */

const frameSeconds = 0.005;

/** A place where speech sounds, `length` samples long; null where there is none. @param {Spoken} speech @param {() => number} random @param {number} length */
function soundingPlace({ extent: [start, end], decibels, loud, sampleRate }, random, length) {
  const frame = sampleRate * frameSeconds;
  const sounds = (/** @type {number} */ at) => (decibels[Math.floor(at / frame)] ?? -200) > loud - 25;
  for (let tries = 0; tries < 500; tries++) {
    const at = start + Math.floor(random() * (end - start - length));
    if (at > start && sounds(at - frame) && sounds(at) && sounds(at + length) && sounds(at + length + frame))
      return at;
  }
  return null;
}

/**
 * Whether it hisses within 15 ms: differences between samples as strong as the samples are those of noise, which are steps
 * themselves and hide one.
 *
 * @param {Spoken} speech @param {number} at
 */
function hisses({ samples, sampleRate }, at) {
  const reach = Math.round(0.015 * sampleRate);
  let power = 0;
  let steps = 0;
  for (let i = Math.max(1, at - reach); i < Math.min(samples.length, at + reach); i++) {
    const sample = /** @type {number} */ (samples[i]);
    power += sample ** 2;
    steps += (sample - /** @type {number} */ (samples[i - 1])) ** 2;
  }
  return steps > 0.5 * power;
}

/** A sounding place for a step. @param {Spoken} speech @param {() => number} random @param {boolean} inHiss */
function placeOfStep(speech, random, inHiss) {
  for (let tries = 0; tries < 100; tries++) {
    const at = soundingPlace(speech, random, 1);
    if (at === null || hisses(speech, at) === inHiss) return at;
  }
  return null;
}

/** The largest magnitude within 15 ms. @param {Spoken} speech @param {number} at */
function peakAround({ samples, sampleRate }, at) {
  const reach = Math.round(0.015 * sampleRate);
  return samples.subarray(at - reach, at + reach).reduce((most, each) => Math.max(most, Math.abs(each)), 0);
}

/** In place; nothing outside. @param {Float32Array} samples @param {number} at @param {number} height */
function add(samples, at, height) {
  const sample = samples[at];
  if (sample !== undefined) samples[at] = sample + height;
}

/** In place; nothing outside. @param {Float32Array} samples @param {number} at @param {number} gain */
function scale(samples, at, gain) {
  const sample = samples[at];
  if (sample !== undefined) samples[at] = sample * gain;
}

/** @param {number} share Of the largest magnitude around. @param {boolean} [inHiss] @returns {Damage['inflict']} */
const step =
  (share, inHiss = false) =>
  (speech, random) => {
    const { samples, sampleRate } = speech;
    const at = placeOfStep(speech, random, inHiss);
    if (at === null) return null;
    const height = share * peakAround(speech, at);
    const damaged = samples.slice();
    const fall = 0.03 * sampleRate;
    for (let i = 0; i < fall && at + i < damaged.length; i++)
      damaged[at + i] = /** @type {number} */ (damaged[at + i]) + height * (1 - i / fall);
    return { samples: damaged, place: [at / sampleRate, at / sampleRate] };
  };

/** @param {number} share Of the largest magnitude around. @param {boolean} [inHiss] @returns {Damage['inflict']} */
const impulse =
  (share, inHiss = false) =>
  (speech, random) => {
    const { samples, sampleRate } = speech;
    const at = placeOfStep(speech, random, inHiss);
    if (at === null) return null;
    const damaged = samples.slice();
    add(damaged, at, share * peakAround(speech, at));
    return { samples: damaged, place: [at / sampleRate, at / sampleRate] };
  };

/** @param {number} seconds @returns {Damage['inflict']} */
const zeroed = (seconds) => (speech, random) => {
  const { samples, sampleRate } = speech;
  const length = Math.round(seconds * sampleRate);
  const at = soundingPlace(speech, random, length);
  if (at === null) return null;
  const damaged = samples.slice().fill(0, at, at + length);
  return { samples: damaged, place: [at / sampleRate, (at + length) / sampleRate] };
};

/** Silence with a breath of noise, to which speech comes down by 1 dB a millisecond: no edge tells it. @param {number} seconds @returns {Damage['inflict']} */
const pause = (seconds) => (speech, random) => {
  const { samples, sampleRate, loud } = speech;
  const at = soundingPlace(speech, random, 1);
  if (at === null) return null;
  const length = Math.round(seconds * sampleRate);
  const fade = Math.round(0.055 * sampleRate);
  const noise = 10 ** ((loud - 55) / 20);
  const damaged = new Float32Array(samples.length + length);
  damaged.set(samples.subarray(0, at));
  damaged.set(samples.subarray(at), at + length);
  for (let i = 0; i < length; i++) damaged[at + i] = noise * (2 * random() - 1);
  for (let i = 0; i < fade; i++) {
    const before = at - 1 - i;
    const after = at + length + i;
    const gain = 10 ** ((-55 * (1 - i / fade)) / 20);
    scale(damaged, before, gain);
    scale(damaged, after, gain);
  }
  return { samples: damaged, place: [at / sampleRate, (at + length) / sampleRate] };
};

/** Another speaker's speech in place of this one's. @param {number} seconds @returns {Damage['inflict']} */
const otherVoice = (seconds) => (speech, random, others) => {
  const { samples, sampleRate, extent } = speech;
  const length = Math.round(seconds * sampleRate);
  const long = others.filter(
    (other) => other.speaker !== speech.speaker && other.extent[1] - other.extent[0] >= length,
  );
  if (long.length === 0 || extent[1] - extent[0] < length) return null;
  const other = /** @type {Spoken} */ (long[Math.floor(random() * long.length)]);
  const at = extent[0] + Math.floor(random() * (extent[1] - extent[0] - length));
  const damaged = samples.slice();
  damaged.set(other.samples.subarray(other.extent[0], other.extent[0] + length), at);
  return { samples: damaged, place: [at / sampleRate, (at + length) / sampleRate] };
};

/** @type {Damage['inflict']} */
const twice = ({ samples, sampleRate, extent }) => {
  const damaged = new Float32Array(samples.length + extent[1] - extent[0]);
  damaged.set(samples.subarray(0, extent[1]));
  damaged.set(samples.subarray(extent[0]), extent[1]);
  return { samples: damaged, place: [0, damaged.length / sampleRate] };
};

/** @type {Damage['inflict']} */
const half = ({ samples, sampleRate, extent }) => {
  const damaged = samples.slice(0, Math.round((extent[0] + extent[1]) / 2));
  return { samples: damaged, place: [0, damaged.length / sampleRate] };
};

/** @type {readonly Damage[]} */
export const damages = [
  { name: 'a step, as high as the loudest sample within 15 ms', kind: 'click', inflict: step(1) },
  { name: 'a step, half as high', kind: 'click', inflict: step(0.5) },
  { name: 'a step, as high, within a hiss', kind: 'click', inflict: step(1, true) },
  { name: 'one sample, as high', kind: 'click', inflict: impulse(1) },
  { name: 'one sample, half as high', kind: 'click', inflict: impulse(0.5) },
  { name: 'zeroed for 40 ms', kind: 'hole', inflict: zeroed(0.04) },
  { name: 'zeroed for 100 ms', kind: 'hole', inflict: zeroed(0.1) },
  { name: 'zeroed for 300 ms', kind: 'hole', inflict: zeroed(0.3) },
  { name: 'a pause of 0.6 s, with soft edges', kind: 'hole', inflict: pause(0.6) },
  { name: 'a pause of 1.5 s, with soft edges', kind: 'hole', inflict: pause(1.5) },
  { name: 'another speaker for 0.8 s', kind: 'drift', inflict: otherVoice(0.8) },
  { name: 'another speaker for 1.2 s', kind: 'drift', inflict: otherVoice(1.2) },
  { name: 'another speaker for 1.6 s', kind: 'drift', inflict: otherVoice(1.6) },
  { name: 'all of it spoken twice', kind: 'duration', inflict: twice },
  { name: 'the second half missing', kind: 'duration', inflict: half },
];

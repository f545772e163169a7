/**
 * One part of `npm run bench -- --sound` in a process of its own: `node bench/sound-part.mjs NAME '{…}'`, JSON on stdout:
 * seconds of sound, milliseconds for each of them, how far the resident size rose, and what a GPU held at the most.
 */
import { readFileSync } from 'node:fs';

const [name = '', json = '{}'] = process.argv.slice(2);
const { model, device, dtype, seconds, steps } = JSON.parse(json);
const rate = 24_000;
const frameRate = 75;

/** Bytes that are resident, and were at the most; null where the system does not tell. */
function resident() {
  try {
    const status = readFileSync('/proc/self/status', 'utf8');
    const of = (/** @type {string} */ field) =>
      1024 * Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]);
    return { now: of('VmRSS'), most: of('VmHWM') };
  } catch {
    return null;
  }
}

/** Noise that is neither soft nor loud. @param {number} seconds */
const sound = (seconds) =>
  Float32Array.from({ length: rate * seconds }, (_, i) => ((i * 7919) % 2003) / 8012 - 0.125);

/** Of eight codebooks, one after the other. @param {number} seconds */
const codesOf = (seconds) =>
  Uint16Array.from({ length: 8 * Math.round(seconds * frameRate) }, (_, i) => (i * 131) % 1024);

/** @type {{ native?: import('../lib/native/contract.js').NativeModel }} */
const opened = {};
async function loaded() {
  const { loadModel } = await import('../dist/load-model.js');
  const { resolveLoadOptions } = await import('../dist/resolve-options.js');
  const { native } = await loadModel(resolveLoadOptions({ model, device, dtype }), {});
  opened.native = native;
  return native;
}

/** In pieces of a second, as chunks come. @param {Float32Array} samples */
function* bySeconds(samples) {
  for (let at = 0; at < samples.length; at += rate) yield samples.subarray(at, at + rate);
}

/** What each part does: it gets ready, and gives the work that is measured. @type {Record<string, () => Promise<() => Promise<unknown>>>} */
const parts = {
  async encodec() {
    const native = await loaded();
    await native.decode(codesOf(0.2), null);
    return () => native.decode(codesOf(seconds), null);
  },
  async diffusion() {
    const native = await loaded();
    await native.diffuse(codesOf(0.1), 1, null, 1, null).done;
    return () => native.diffuse(codesOf(seconds), 1, null, steps, null).done;
  },
  async loudness() {
    const native = await loaded();
    const leveller = native.leveller(-14, rate / 4);
    const samples = sound(seconds);
    return async () => {
      for (const piece of bySeconds(samples)) await leveller.push(piece);
    };
  },
  async enhancer() {
    const native = await loaded();
    const enhancer = native.enhancer(rate);
    const samples = sound(seconds);
    await enhancer.push(sound(0.1));
    return async () => {
      for (const piece of bySeconds(samples)) await enhancer.push(piece);
      await enhancer.finish();
    };
  },
  async resampler() {
    const { Resampler } = await import('../dist/audio/resampler.js');
    const samples = sound(seconds);
    const resampler = new Resampler(48_000, 44_100);
    return async () => {
      // What the enhancer gives of a second.
      for (const piece of bySeconds(samples)) resampler.push(Float32Array.of(...piece, ...piece));
      resampler.end();
    };
  },
};

const ready = parts[name];
if (!ready) throw new Error(`expected one of ${Object.keys(parts).join(', ')} but received ${name}`);
const work = await ready();
const before = resident();
const start = performance.now();
await work();
const milliseconds = performance.now() - start;
const after = resident();
process.stdout.write(
  JSON.stringify({
    seconds,
    millisecondsPerSecond: milliseconds / seconds,
    peakBytes: after?.most ?? null,
    risenBytes: after && before && Math.max(0, after.most - before.now),
    deviceBytes: (await opened.native?.peakDeviceBytes()) ?? null,
  }),
);
// Nothing waits for the model to be let go of.
process.exit(0);

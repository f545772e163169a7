/**
 * Many callers of one model: `node bench/callers.mjs '{"model": …, "counts": [1, 2, 4]}'`, JSON on stdout.
 *
 * For each number of callers: audio seconds per second, time to first audio, and how long players that begin with the first
 * chunk would have been silent; then as many of the same callers as `serial` one after another, for the ratio.
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { percentile } from './percentile.mjs';

const words =
  'the morning train to the coast was late again so we walked along the river and talked about the garden';
const {
  model,
  device = 'auto',
  dtype = 'auto',
  quantization,
  kvCache,
  counts,
  serial,
  seconds = null,
  batchSize,
  maxSeconds = null,
} = JSON.parse(process.argv[2] ?? '{}');

/** A sentence of its own for each caller. @param {number} caller */
function sentenceOf(caller) {
  const all = words.split(' ');
  const chosen = Array.from({ length: 8 + (caller % 5) }, (_, i) => all[(caller * 7 + i) % all.length]);
  return `${chosen.join(' ')}.`;
}

/**
 * Reads a stream as it comes.
 *
 * @param {import('../dist/index.js').MetaVoice} tts @param {import('../dist/index.js').VoiceSource | undefined} voice @param {number} caller
 */
async function call(tts, voice, caller) {
  const began = performance.now();
  let first = null;
  let until = 0;
  let silent = 0;
  let audio = 0;
  const options = {
    seed: caller,
    check: /** @type {const} */ ('off'),
    ...(voice && { voice }),
    ...(seconds !== null && { maxSeconds: seconds }),
  };
  for await (const { durationSeconds } of tts.stream(sentenceOf(caller), options)) {
    const now = (performance.now() - began) / 1000;
    if (first === null) until = first = now;
    silent += Math.max(0, now - until);
    until = Math.max(until, now) + durationSeconds;
    audio += durationSeconds;
  }
  return { first: first ?? 0, silent, audio };
}

/** @param {Awaited<ReturnType<typeof call>>[]} calls @param {number} took seconds */
function summary(calls, took) {
  const audio = calls.reduce((sum, call) => sum + call.audio, 0);
  return {
    callers: calls.length,
    audioSeconds: audio,
    audioSecondsPerSecond: audio / took,
    firstAudioP50: percentile(
      calls.map(({ first }) => first),
      0.5,
    ),
    firstAudioP95: percentile(
      calls.map(({ first }) => first),
      0.95,
    ),
    underrunSeconds: calls.reduce((sum, call) => sum + call.silent, 0),
  };
}

const { MetaVoice } = await import('../dist/index.js');
const tts = await MetaVoice.load({
  ...(model && { model }),
  device,
  dtype,
  ...(quantization && { quantization }),
  ...(kvCache && { kvCache }),
  batchSize,
  ...(maxSeconds !== null && { maxSeconds }),
});
// A model without speakers is given a recording.
const recording = join(
  dirname(fileURLToPath(import.meta.url)),
  '..',
  'test',
  'fixtures',
  'voices',
  'bria.mp3',
);
const voice = tts.speakers.length > 0 ? undefined : await tts.voice(recording);
await call(tts, voice, 1000); // everything is warm, and the row counts are tried, before the clock runs
const together = [];
for (const count of counts) {
  process.stderr.write(`${count} at once\n`);
  const began = performance.now();
  const calls = await Promise.all(Array.from({ length: count }, (_, caller) => call(tts, voice, caller)));
  together.push(summary(calls, (performance.now() - began) / 1000));
}
process.stderr.write(`${serial} one after another\n`);
const began = performance.now();
const alone = [];
for (let caller = 0; caller < serial; caller++) alone.push(await call(tts, voice, caller));
const oneByOne = summary(alone, (performance.now() - began) / 1000);
for (const row of together)
  Object.assign(row, { ratio: row.audioSecondsPerSecond / oneByOne.audioSecondsPerSecond });
const { keyValueCache, peaks, totals } = tts.stats();
await tts.dispose();
process.stdout.write(
  `${JSON.stringify({ device: tts.device, dtype: tts.dtype, batchSize, together, oneByOne, keyValueCache, peaks, totals })}\n`,
);

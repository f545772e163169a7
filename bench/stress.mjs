/**
 * Many callers who behave badly: they cancel, leave, pause, read slowly, bring texts that break off, and now and then the
 * model is disposed under them. Seeded; what each of them heard is compared with what the same request says alone.
 *
 *   node bench/stress.mjs [--seconds 300] [--seed N] [--callers 24]
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { MetaVoice, MetaVoiceError } from '../dist/index.js';

const texts = [
  'Yes.',
  'The kettle is on.',
  'Please close the window.',
  'It rained on Monday. Then the sun came out.',
  'Seven ships sailed, and two came back.',
];
const seeds = 3;
/** Utterances of the greatest length that the model is loaded for: fewer than callers, so that they wait for each other. */
const batchSize = 4;

/** Numbers in [0, 1) that depend on the seed alone (mulberry32). @param {number} seed */
function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const load = () =>
  MetaVoice.load({ model: 'bundled', device: 'cpu', dtype: 'float32', batchSize, maxQueue: 12 });

/** What every request says when nobody else is there: chunk after chunk. */
async function spokenAlone() {
  const tts = await load();
  /** @type {Map<string, Float32Array[]>} */
  const alone = new Map();
  for (const text of texts)
    for (let seed = 0; seed < seeds; seed++) {
      const chunks = [];
      for await (const { samples } of tts.stream(text, { seed, check: 'off' })) chunks.push(samples);
      alone.set(`${seed} ${text}`, chunks);
    }
  await tts.dispose();
  return alone;
}

class SourceBroke extends Error {}

/** A text that comes word by word, and breaks off or goes on. @param {string} text @param {boolean} breaks */
async function* wordByWord(text, breaks) {
  for (const word of text.split(/(?<= )/)) {
    await wait(1);
    yield word;
  }
  if (breaks) throw new SourceBroke('the source broke');
}

/** @typedef {{ heard: number, outcomes: Record<string, number>, wrong: string[] }} Report */

/**
 * One caller, once. What it may not hear is told in `report.wrong`.
 *
 * @param {MetaVoice} tts @param {() => number} random @param {Map<string, Float32Array[]>} alone @param {Report} report
 */
async function callOnce(tts, random, alone, report) {
  const text = texts[Math.floor(random() * texts.length)] ?? '';
  const seed = Math.floor(random() * seeds);
  const manner =
    ['reads', 'slow', 'pauses', 'leaves', 'aborts', 'pieces', 'breaks'][Math.floor(random() * 7)] ?? '';
  const until = Math.floor(random() * 3);
  const moment = Math.floor(random() * 400);
  const wanted = alone.get(`${seed} ${text}`) ?? [];
  const abort = new AbortController();
  const reason = new Error('enough');
  const timer = manner === 'aborts' ? setTimeout(() => abort.abort(reason), moment) : undefined;
  const source = manner === 'pieces' || manner === 'breaks' ? wordByWord(text, manner === 'breaks') : text;
  let index = 0;
  let outcome = 'ended';
  try {
    for await (const { samples } of tts.stream(source, { seed, check: 'off', signal: abort.signal })) {
      // Pieces may be parted elsewhere; a whole text never is.
      if (typeof source === 'string' && !sameSamples(samples, wanted[index]))
        report.wrong.push(`${manner}: chunk ${index} of ${JSON.stringify(text)}, seed ${seed}`);
      index++;
      report.heard++;
      if (manner === 'slow') await wait(moment / 4);
      if (manner === 'pauses' && index === 1) await wait(3 * moment);
      if (manner === 'leaves' && index > until) break;
    }
    if (manner === 'reads' && index !== wanted.length)
      report.wrong.push(`heard ${index} of ${wanted.length} chunks`);
    if (manner === 'breaks') report.wrong.push('a source broke and nobody was told');
  } catch (error) {
    outcome = error === reason ? 'aborted' : error instanceof SourceBroke ? 'broke' : codeOf(error);
    if (!['aborted', 'broke', 'ERR_QUEUE_FULL', 'ERR_DISPOSED'].includes(outcome))
      report.wrong.push(`${manner}: ${outcome}: ${error}`);
  } finally {
    clearTimeout(timer);
  }
  report.outcomes[outcome] = (report.outcomes[outcome] ?? 0) + 1;
}

/** @param {unknown} error */
const codeOf = (error) => (error instanceof MetaVoiceError ? error.code : String(error));

/** @param {Float32Array} a @param {Float32Array | undefined} b */
function sameSamples(a, b) {
  return b !== undefined && a.length === b.length && a.every((value, i) => value === b[i]);
}

/**
 * @param {{ seconds: number, seed: number, callers: number }} settings
 */
export async function stress({ seconds, seed, callers }) {
  const alone = await spokenAlone();
  /** @type {Report} */
  const report = { heard: 0, outcomes: {}, wrong: [] };
  const random = randomNumbers(seed);
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const end = performance.now() + seconds * 1000;
  const leaks = [];
  let models = 0;
  while (performance.now() < end) {
    const tts = await load();
    models++;
    const roundEnd = Math.min(end, performance.now() + 15_000);
    // Every second model goes while its callers still speak.
    const rudely = models % 2 === 0;
    const all = Array.from({ length: callers }, async (_, caller) => {
      const own = randomNumbers(Math.floor(random() * 2 ** 32) + caller);
      while (performance.now() < roundEnd) {
        await callOnce(tts, own, alone, report);
        await wait(own() * 50);
        if (rudely && performance.now() > roundEnd - 500) return;
      }
    });
    if (rudely) {
      await wait(Math.max(0, roundEnd - performance.now() - 1000));
      await tts.dispose();
    }
    await Promise.all(all);
    if (rudely) continue;
    await wait(50); // what was left goes with the next launch
    const { active, parked, queued, keyValueCache } = tts.stats();
    if (active + parked + queued + keyValueCache.usedPages > 0)
      leaks.push({ active, parked, queued, usedPages: keyValueCache.usedPages });
    await tts.dispose();
  }
  delay.disable();
  const eventLoop = { p99: delay.percentile(99) / 1e6, longest: delay.max / 1e6 };
  return { ...report, leaks, models, eventLoop };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '300' },
      seed: { type: 'string', default: '1' },
      callers: { type: 'string', default: '24' },
    },
  });
  const settings = {
    seconds: Number(values.seconds),
    seed: Number(values.seed),
    callers: Number(values.callers),
  };
  const result = await stress(settings);
  process.stdout.write(`${JSON.stringify({ ...settings, ...result }, null, 2)}\n`);
  if (result.wrong.length + result.leaks.length > 0) process.exitCode = 1;
}

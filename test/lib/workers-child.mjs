/**
 * A process whose main thread speaks while worker threads load, speak and end: `node workers-child.mjs HOW`. The workers
 * run this file, too. Prints what it saw as JSON.
 */
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { MetaVoice } from '../../dist/index.js';

const file = fileURLToPath(import.meta.url);
const model = join(dirname(file), '..', 'fixtures', 'model');
const text = 'Hello there, how are you today?';
const workers = 4;
const tone = {
  samples: Float32Array.from({ length: 64_000 }, (_, i) => 0.3 * Math.sin(i * 0.05) * Math.sin(i / 3000)),
  sampleRate: 16_000,
};

async function open(batchSize = 1) {
  const tts = await MetaVoice.load({ model, device: 'cpu', dtype: 'float32', batchSize });
  return { tts, voice: await tts.voice(tone) };
}

/** @param {{ tts: MetaVoice, voice: import('../../dist/index.js').Voice }} model */
async function digest({ tts, voice }, maxSeconds = 1) {
  const { samples } = await tts.synthesize(text, { voice, seed: 3, maxSeconds });
  return createHash('sha256').update(samples).digest('hex');
}

/** What a worker does after it was opened. @type {Record<string, (model: Awaited<ReturnType<typeof open>>) => unknown>} */
const lives = {
  async 'at once'(model) {
    for (let i = 0; i < 3; i++) parentPort?.postMessage(await digest(model));
    await model.tts.dispose();
  },
  // Callers of one model share its steps, also with those who leave at once.
  async 'many callers'({ tts }) {
    await tts.dispose();
    const many = await open(4);
    const all = Array.from({ length: 6 }, async (_, caller) => {
      if (caller % 3 < 2) return parentPort?.postMessage(await digest(many));
      for await (const _ of many.tts.stream(text, { voice: many.voice, seed: caller })) break;
    });
    await Promise.all(all);
    await many.tts.dispose();
  },
  // Each of these ends while it speaks.
  terminated: (model) => digest(model, 60),
  exited(model) {
    void digest(model, 60).catch(() => {});
    setTimeout(() => process.exit(0), 60);
  },
  failed(model) {
    void digest(model, 60).catch(() => {});
    setTimeout(() => {
      throw new Error('a stranger');
    }, 60);
  },
  left: ({ tts, voice }) => void tts.stream(text, { voice })[Symbol.asyncIterator]().next(),
};

/** Runs a worker and gives what it said; ends it after so many milliseconds. @param {string} life @param {number} [after] */
async function work(life, after) {
  const worker = new Worker(file, { workerData: { life } });
  /** @type {unknown[]} */
  const said = [];
  worker.on('message', (message) => said.push(message));
  worker.on('error', (error) => said.push(error.message));
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  if (after !== undefined) {
    await wait(after);
    await worker.terminate();
  }
  await ended;
  return said;
}

/** @param {string} how */
async function main(how) {
  const ours = await open();
  const expected = await digest(ours);
  const threads = readdirSync('/proc/self/task').length;
  let speaking = true;
  let spoken = 0;
  const loop = (async () => {
    for (; speaking; spoken++) if ((await digest(ours)) !== expected) throw new Error('spoke other bytes');
  })();
  /** @type {unknown[]} */
  const said = [];
  const rounds = { 'at once': 1, terminated: 4 }[how] ?? 2;
  for (let round = 0; round < rounds; round++) {
    const each = Array.from({ length: workers }, (_, i) =>
      work(how, how === 'terminated' ? 150 * (round + 1) + 130 * i : undefined),
    );
    said.push(...(await Promise.all(each)).flat());
  }
  speaking = false;
  await loop;
  const after = await digest(ours);
  await ours.tts.dispose();
  await wait(100);
  const left = readdirSync('/proc/self/task').length;
  return {
    same: after === expected,
    spoken: spoken > 0,
    said: [...new Set(said)].map((words) => (words === expected ? 'the same' : words)),
    messages: said.length,
    threads: left <= threads,
  };
}

if (isMainThread) process.stdout.write(JSON.stringify(await main(process.argv[2] ?? '')));
else await lives[workerData.life]?.(await open());

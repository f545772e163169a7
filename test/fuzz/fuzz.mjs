/** Runs a reader in a thread of its own and watches time and memory from outside. */
import { mkdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

/** Milliseconds without a next input, after which it hangs. */
const silence = 60_000;

/** JavaScript heap of the thread: what an input of some kB may make (see lib/checkpoint/limits.ts), and room. */
const heap = { maxOldGenerationSizeMb: 384, maxYoungGenerationSizeMb: 32 };

/** Growth of the whole process. */
const mostResident = 1 << 30;

/** Inputs are not longer than this. */
const longestInput = 4 << 20;

/**
 * @typedef {object} Outcome
 * @property {string} name
 * @property {number} inputs
 * @property {number} accepted
 * @property {number} refused
 * @property {number} slowest milliseconds
 * @property {number} resident bytes that the process grew by at most
 * @property {number} left bytes that stayed in memory at the end
 * @property {number} seconds
 * @property {{ file: string, why: string } | null} failure
 */

const folder = fileURLToPath(new URL('../../build/fuzz/', import.meta.url));

/**
 * @param {string} name
 * @param {{ inputs: number, seed: number, seconds?: number, replay?: Uint8Array | undefined, onProgress?: ((inputs: number) => void) | undefined }} options
 * @returns {Promise<Outcome>}
 */
export async function fuzz(
  name,
  { inputs, seed, seconds: most = Number.POSITIVE_INFINITY, replay, onProgress },
) {
  const started = Date.now();
  const before = process.memoryUsage.rss();
  const shared = new SharedArrayBuffer(16 + longestInput);
  const counters = new Int32Array(shared, 0, 4);
  const worker = new Worker(new URL('./worker.mjs', import.meta.url), {
    workerData: { name, inputs, seconds: most, seed, replay, shared },
    resourceLimits: heap,
    execArgv: [],
  });
  let resident = 0;
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  /** @type {{ accepted: number, refused: number, slowest: number, left: number }} */
  let found = { accepted: 0, refused: 0, slowest: 0, left: 0 };
  /** @type {{ bytes: Uint8Array | null, why: string } | null} */
  const failed = await new Promise((settle) => {
    let last = -1;
    let since = Date.now();
    timer = setInterval(() => {
      const count = Atomics.load(counters, 1);
      resident = Math.max(resident, process.memoryUsage.rss() - before);
      onProgress?.(count);
      if (resident > mostResident) settle({ bytes: null, why: `memory grew by ${resident} bytes` });
      if (count !== last) since = Date.now();
      else if (Date.now() - since > silence) settle({ bytes: null, why: `no end after ${silence / 1000} s` });
      last = count;
    }, 100);
    worker.on('message', (message) => {
      if (message.kind === 'done') {
        found = message.found;
        settle(null);
      } else settle(message);
    });
    worker.on('error', (error) => settle({ bytes: null, why: String(error.stack ?? error) }));
    worker.on('exit', (code) => settle({ bytes: null, why: `the thread ended with ${code}` }));
  });
  clearInterval(timer);
  worker.removeAllListeners();
  worker.on('error', () => {});
  await worker.terminate();
  const done = Atomics.load(counters, 1);
  const seconds = (Date.now() - started) / 1000;
  const failure = failed && (await save(name, seed, failed.bytes ?? copyOf(shared), failed.why));
  return { name, inputs: done, ...found, resident, seconds, failure };
}

/** The input that was being read last. @param {SharedArrayBuffer} shared */
const copyOf = (shared) =>
  Uint8Array.from(new Uint8Array(shared, 16, Number(new Int32Array(shared, 0, 4)[0])));

/** @param {string} name @param {number} seed @param {Uint8Array} bytes @param {string} why */
async function save(name, seed, bytes, why) {
  await mkdir(folder, { recursive: true });
  const file = `${folder}${name}-${seed}.bin`;
  await writeFile(file, bytes);
  await writeFile(`${file}.txt`, `${why}\n`);
  return { file, why };
}

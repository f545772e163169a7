/** Reads inputs, one after the other, in a thread that may be ended when one of them never ends. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { parentPort, workerData } from 'node:worker_threads';
import fc from 'fast-check';
import { corpusOf, isRefusal, readers } from './readers.mjs';
import { dropInstances } from './wasm.mjs';

/** Milliseconds of work that an input may take: the best of three, since the garbage of others may fall to it. */
const longest = 250;

/** Inputs of one run of fast-check, where reading is quick and where it takes a promise. */
const batches = { quick: 5000, later: 500 };

/** What may stay in memory of all inputs together. */
const mostLeft = 48 << 20;

const port = /** @type {import('node:worker_threads').MessagePort} */ (parentPort);
const { name, inputs, seconds, seed, replay, shared } = workerData;
const reader = /** @type {import('./readers.mjs').Reader} */ (readers[name]);

// The input that is being read, for the thread that waits: its length, the inputs so far, and its bytes.
const counters = new Int32Array(shared, 0, 4);
const current = new Uint8Array(shared, 16);

const found = { accepted: 0, refused: 0, slowest: 0, left: 0 };

/** The libraries complain on the console, and one that complains without end is stopped (see lib/audio/worker-job.ts). */
let complaints = 0;
const complain = () => {
  if (++complaints > 256) throw new Error('complaints without end');
};
Object.assign(console, { error: complain, warn: complain, log: complain, info: complain, debug: complain });

setFlagsFromString('--expose-gc');
const collect = /** @type {() => void} */ (runInNewContext('gc'));
const inUse = () => {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

/** Names that every object would have; more of them, and something was written where all would see it. */
const ownNames = () =>
  [Object, Array, Map, String, Uint8Array, Buffer]
    .map(({ prototype }) => Reflect.ownKeys(prototype).length)
    .join();
const names = ownNames();

/** @param {Buffer} bytes */
function announce(bytes) {
  counters[0] = bytes.length;
  current.set(bytes.subarray(0, current.length));
  Atomics.add(counters, 1, 1);
  complaints = 0;
}

/** Judges what came of an input. @param {unknown} error undefined when it was accepted */
function judge(error) {
  if (error !== undefined && !isRefusal(error, reader.code)) throw error;
  // A decoder that trapped is not used again.
  if (/** @type {any} */ (error)?.cause instanceof Error) dropInstances();
  if (ownNames() !== names) throw new Error('a prototype that everything shares was changed');
  found[error === undefined ? 'accepted' : 'refused'] += 1;
}

/** Reads an input; an outcome that is not allowed is thrown. @param {Buffer} bytes @returns {void | Promise<void>} */
function once(bytes) {
  announce(bytes);
  const given = Buffer.from(bytes);
  try {
    const result = reader.read(given);
    if (!(result instanceof Promise)) return judge(undefined);
    return result.then(
      () => judge(undefined),
      (error) => judge(error),
    );
  } catch (error) {
    return judge(error);
  }
}

const now = () => {
  const { user, system } = process.cpuUsage();
  return { wall: performance.now(), work: (user + system) / 1000 };
};

/** Whether an input was quick enough; the slowest one is kept. @param {{ wall: number, work: number }} started */
function wasQuick(started) {
  const { wall, work } = now();
  // On a busy machine the clock goes on while nothing is done; the work counts what other threads do, too.
  const took = Math.min(wall - started.wall, work - started.work);
  if (took <= longest) found.slowest = Math.max(found.slowest, took);
  return took <= longest;
}

const slow = () => new Error(`more than ${longest} ms, three times`);

/** @param {Buffer} bytes */
function check(bytes) {
  for (let time = 0; time < 3; time++) {
    const started = now();
    once(bytes);
    if (wasQuick(started)) return;
  }
  throw slow();
}

/** @param {Buffer} bytes */
async function checkLater(bytes) {
  for (let time = 0; time < 3; time++) {
    const started = now();
    await once(bytes);
    if (wasQuick(started)) return;
  }
  throw slow();
}

/** @param {unknown} error */
const described = (error) => (error instanceof Error ? (error.stack ?? error.message) : String(error));

async function run() {
  await reader.prepare?.();
  const corpus = corpusOf(name);
  const later = reader.prepare !== undefined;
  if (replay) {
    await checkLater(Buffer.from(replay));
    return;
  }
  for (const bytes of corpus) await checkLater(bytes);
  const arbitrary = reader.inputs(corpus);
  const batch = later ? batches.later : batches.quick;
  const deadline = performance.now() + 1000 * seconds;
  let before = 0;
  for (let done = 0, round = 0; done < inputs && performance.now() < deadline; done += batch, round++) {
    const options = { numRuns: Math.min(batch, inputs - done), seed: seed + round };
    const property = later ? fc.asyncProperty(arbitrary, checkLater) : fc.property(arbitrary, check);
    const result = await fc.check(/** @type {any} */ (property), options);
    if (result.failed) {
      const [bytes] = /** @type {[Buffer]} */ (result.counterexample);
      port.postMessage({
        kind: 'failed',
        bytes: Uint8Array.from(bytes),
        why: described(result.errorInstance),
      });
      return;
    }
    // The first rounds fill caches and compile code.
    if (round === 1) before = inUse();
  }
  found.left = before === 0 ? 0 : Math.max(0, inUse() - before);
  if (found.left > mostLeft) throw new Error(`${found.left} bytes stay in memory after all inputs`);
}

run().then(
  () => port.postMessage({ kind: 'done', found }),
  (error) => port.postMessage({ kind: 'failed', bytes: null, why: described(error) }),
);

import { parentPort, workerData } from 'node:worker_threads';
import { AudioProblem } from './limits.js';

/** What a worker tells the thread that waits for it. */
export type WorkerMessage<Result> =
  | { kind: 'alive' }
  | { kind: 'done'; result: Result }
  | { kind: 'problem'; found: string; advice: string | null };

/** So many lines of complaint from a decoder, and it is stuck on a broken file. */
const maximumComplaints = 256;

/**
 * Runs the one job of this worker and posts its result, moving the given buffers. The decoders complain on the
 * console: that is kept quiet, and one that complains without end is stopped.
 */
export async function runJob<Job, Result>(
  work: (job: Job, alive: () => void) => Promise<Result>,
  moved: (result: Result) => ArrayBuffer[],
): Promise<void> {
  const port = parentPort;
  if (!port) return;
  let complaints = 0;
  const complain = (...words: unknown[]): void => {
    complaints += 1;
    if (complaints > maximumComplaints) throw new AudioProblem(`a damaged file (${String(words[0])})`);
  };
  Object.assign(console, { error: complain, warn: complain, log: complain, info: complain, debug: complain });
  const post = (message: WorkerMessage<Result>, transfer: ArrayBuffer[] = []): void =>
    port.postMessage(message, transfer);
  try {
    const result = await work(workerData as Job, () => post({ kind: 'alive' }));
    post({ kind: 'done', result }, moved(result));
  } catch (error) {
    if (!(error instanceof AudioProblem)) throw error;
    post({ kind: 'problem', found: error.message, advice: error.advice });
  }
}

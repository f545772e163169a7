import { Worker } from 'node:worker_threads';
import { MetaVoiceError } from '../errors.js';
import { AudioProblem } from './limits.js';
import type { WorkerMessage } from './worker-job.js';

/** A worker that has not been heard of for so long hangs. */
const silenceLimit = 60_000;

/** JavaScript heap of a worker, in MiB; samples are outside of it, and bounded by their number. */
const heapLimits = { maxOldGenerationSizeMb: 512, maxYoungGenerationSizeMb: 64 };

/**
 * Runs one job in a worker of its own and ends the worker, whatever happens. Rejects with {@link AudioProblem} for a
 * bad recording, and with the signal's own reason when aborted.
 * @param moved buffers in `job` that the worker takes over
 */
export function runInWorker<Result>(
  script: URL,
  job: object,
  options: { moved?: ArrayBuffer[]; signal?: AbortSignal | undefined },
): Promise<Result> {
  const { moved = [], signal } = options;
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    // Flags of this process (loaders, inspectors) are none of the worker's business, and it prints nothing.
    const worker = new Worker(script, {
      name: 'metavoice audio',
      workerData: job,
      transferList: moved,
      execArgv: [],
      stdout: true,
      stderr: true,
      resourceLimits: heapLimits,
    });
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      worker.removeAllListeners();
      // Errors that come after the end have nobody to go to.
      worker.on('error', () => {});
      void worker.terminate();
      settle();
    };
    const onSilence = (): void =>
      finish(() =>
        reject(new AudioProblem(`a file that keeps the decoder busy for ${silenceLimit / 1000} s`)),
      );
    const onAbort = (): void => finish(() => reject(signal!.reason));
    const timer = setTimeout(onSilence, silenceLimit);
    signal?.addEventListener('abort', onAbort, { once: true });
    worker.on('message', (message: WorkerMessage<Result>) => {
      if (message.kind === 'alive') timer.refresh();
      else if (message.kind === 'done') finish(() => resolve(message.result));
      else finish(() => reject(new AudioProblem(message.found, message.advice)));
    });
    worker.on('error', (error) => finish(() => reject(workerFailure(error))));
    worker.on('exit', (code) => finish(() => reject(workerFailure(new Error(`it ended with code ${code}`)))));
  });
}

function workerFailure(cause: Error): Error {
  if ((cause as { code?: string }).code === 'ERR_WORKER_OUT_OF_MEMORY')
    return new AudioProblem('a file that needs more memory than a recording may', null, cause);
  return new MetaVoiceError(
    'ERR_INTERNAL',
    `expected a result from the audio worker but found: ${cause.message}`,
    {
      cause,
    },
  );
}

/** Bytes copied at a time, with a rest for the event loop in between. */
const copyBytes = 2 * 2 ** 20;

/** A copy that can be moved to a worker, made without holding up the event loop. */
export async function copyInPieces(source: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  const copy = new Uint8Array(source.length);
  for (let at = 0; at < source.length; at += copyBytes) {
    if (at > 0) await new Promise<void>((resolve) => setImmediate(resolve));
    copy.set(source.subarray(at, at + copyBytes), at);
  }
  return copy;
}

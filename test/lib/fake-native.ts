/** A native model in JavaScript: it makes recognisable samples, and counts what is asked of it. */

import type {
  NativeChunk,
  NativeEnhancer,
  NativeLeveller,
  NativeModel,
  NativeSamples,
  NativeStatistics,
  NativeUtterance,
  UtteranceRequest,
} from '../../dist/native/contract.js';

export const hop = 320;

/** An error as native code rejects with: plain, with a code. */
export function nativeError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

const running = <T>(result: T) => ({ done: Promise.resolve(result), cancel() {} });

export class FakeUtterance implements NativeUtterance {
  readonly request: UtteranceRequest;
  readonly #model: FakeModel;
  /** Calls of next(), and chunks handed out. */
  pulls = 0;
  cancelled = 0;
  #frame = 0;
  #chunk = 0;
  #done = false;
  #wake: (() => void) | null = null;

  constructor(model: FakeModel, request: UtteranceRequest) {
    this.#model = model;
    this.request = request;
  }

  async next(): Promise<NativeChunk | null> {
    this.pulls++;
    await (this.#model.stalls ? new Promise<void>((wake) => (this.#wake = wake)) : this.#model.pace());
    if (this.#model.disposals > 0) throw nativeError('ERR_DISPOSED', 'expected an open model');
    if (this.cancelled > 0 || this.#done) return null;
    if (this.#model.failAt === this.#chunk) throw nativeError('ERR_NUMERIC', 'not finite at step 3');
    return this.#make();
  }

  cancel(): void {
    this.cancelled++;
    this.wake();
  }

  wake(): void {
    this.#wake?.();
    this.#wake = null;
  }

  #make(): NativeChunk {
    const { chunkEnds, maximumFrames, whole, loudness, seed, segment } = this.request;
    const total = Math.min(this.#model.frames, maximumFrames);
    const first = this.#frame;
    const end = whole ? total : Math.min(total, chunkEnds[this.#chunk] ?? total);
    const loud = this.#chunk >= this.#model.silentChunks ? 0.5 : 0;
    this.#frame = end;
    this.#chunk++;
    this.#done = end === total;
    const frames = end - first;
    const value = (i: number) => Math.sin((seed % 997) + segment * 10 + (first * hop + i) / 50) * loud;
    const samples = Float32Array.from({ length: frames * hop }, (_, i) => value(i));
    return {
      samples,
      decoded: loudness === null ? null : samples.map((sample) => sample / 2),
      codes: Uint16Array.from(
        { length: 8 * frames },
        (_, i) => (Math.floor(i / frames) * 100 + first + (i % frames)) % 1024,
      ),
      frames,
      firstFrame: first,
      endReason: this.#done ? (total < this.#model.frames ? 'limit' : 'end') : null,
      health: { redoneSteps: this.#model.redonePerChunk * this.#chunk, redoneWindows: 0 },
      timings: { prefill: 1, firstStage: 2, secondStage: 3, decoder: 4, steps: 2 * end },
    };
  }
}

export class FakeModel implements NativeModel {
  readonly started: FakeUtterance[] = [];
  /** Frames that an utterance speaks. */
  frames: number;
  /** Chunk that fails. */
  failAt: number | null = null;
  /** next() waits until it is cancelled. */
  stalls = false;
  /** Chunks of each utterance that are silent. */
  silentChunks = 0;
  /** Steps that each chunk says were done again. */
  redonePerChunk = 0;
  embeds = 0;
  /** The diffusion decoder is loaded. */
  diffuses = false;
  disposals = 0;
  pace: () => Promise<void> = () => new Promise((resolve) => setImmediate(resolve));
  readonly facts = {
    sampleRate: 24000,
    hop,
    codebooks: 8,
    firstFrames: 7,
    diffusionContext: 15,
    firstStageWindow: 2048,
    secondStageWindow: 1024,
    speakerEmbedding: 4,
    weightBytes: 1,
    refusedEnhancer: null,
  };

  constructor(frames = 300) {
    this.frames = frames;
  }

  start(request: UtteranceRequest): NativeUtterance {
    const utterance = new FakeUtterance(this, request);
    this.started.push(utterance);
    return utterance;
  }

  statistics(): NativeStatistics {
    return {
      active: 1,
      resting: 0,
      queued: 2,
      parked: 0,
      pages: 64,
      usedPages: 8,
      pageBytes: 1024,
      peakActive: 3,
      peakQueued: 4,
      peakUsedPages: 16,
      ended: 5,
      cancelled: 1,
      failed: 0,
      refused: 0,
      batchSteps: 100,
      steps: 150,
      audioSeconds: 2,
      batchStepsPerSecond: 10,
      audioSecondsPerSecond: 0.2,
    };
  }

  diffusionLoaded(): boolean {
    return this.diffuses;
  }

  reserve(): NativeSamples {
    return { write() {} };
  }

  async embedSpeaker(samples: Float32Array | NativeSamples) {
    this.embeds++;
    if (!(samples instanceof Float32Array)) throw new Error('expected a short recording');
    return {
      embedding: Float32Array.from([0.5, 0.5, 0.5, 0.5]),
      trim: [0, samples.length] as [number, number],
      samples16k: samples.length,
    };
  }

  async dispose(): Promise<void> {
    this.disposals++;
    for (const utterance of this.started) utterance.wake();
  }

  firstStageLogits = async (ids: Int32Array) => new Float32Array(2 * ids.length * 2562);
  firstStageGreedy = async (_ids: Int32Array, _speaker: Float32Array, _guidance: number, steps: number) =>
    new Int32Array(steps);
  secondStageLogits = async (_ids: Int32Array, codes: Uint16Array) =>
    new Float32Array(6 * (codes.length / 2) * 1025);
  encode = async () => ({ codes: Uint16Array.from({ length: 16 }, (_, i) => i), frames: 2 });
  decode = async (codes: Uint16Array) => new Float32Array((codes.length / 8) * hop);
  diffuse = (codes: Uint16Array) => running(new Float32Array((codes.length / 8) * hop));
  /** What was asked of each: loudness and opening. */
  readonly levelled: [number, number][] = [];
  /** The gain falls with every sample that came before, so that it tells in which order they came. */
  leveller(loudness: number, opening: number): NativeLeveller {
    this.levelled.push([loudness, opening]);
    let before = 0;
    return {
      push: async (samples) => samples.map((sample) => sample / (1 + before++ / 24_000)),
    };
  }
  /** Twice the rate, each sample twice; the last one comes with the end. */
  enhancer(): NativeEnhancer {
    let held = new Float32Array(0);
    let pushes = 0;
    const twice = (samples: Float32Array) =>
      Float32Array.from({ length: 2 * samples.length }, (_, i) => samples[i >> 1]!);
    return {
      push: async (samples) => {
        pushes++;
        const all = Float32Array.of(...held, ...samples);
        held = all.slice(-1);
        return twice(all.slice(0, -1));
      },
      finish: async () => twice(held),
      spent: () => pushes * 5,
      cancel() {},
    };
  }
  enhance = (samples: Float32Array | NativeSamples, sampleRate: number) =>
    running({ samples: samples as Float32Array, sampleRate });
  enhanceSpectrum = (enhanced: Float32Array, mask: Float32Array) => running({ enhanced, mask });
  readBandwidth = async () => 1e9;
  stepTimes = async (positions: Int32Array, steps: number) => ({
    seconds: new Float64Array(positions.length * steps).fill(0.01),
    weightBytes: 1e6,
    positionBytes: 1e3,
  });
  peakDeviceBytes = async () => null;
}

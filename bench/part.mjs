/**
 * One part of the benchmark in a process of its own: `node bench/part.mjs convert|load|speak|eventLoop '{…}'`, JSON on
 * stdout.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { positionBytes, stepWeightBytes } from './step-bytes.mjs';

const fixtures = join(dirname(dirname(fileURLToPath(import.meta.url))), 'test', 'fixtures');
const text = 'This is a demo of text to speech by MetaVoice-1B, an open-source foundational audio model.';
const [name = '', json] = process.argv.slice(2);
const settings = JSON.parse(json ?? '{}');
const { quantization, kvCache } = settings;
/** How the first stage is held, for loading. */
const held = { ...(quantization && { quantization }), ...(kvCache && { kvCache }) };

/** The highest resident size so far, in bytes; null where the system does not tell. */
function peakBytes() {
  try {
    const found = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
    return found ? Number(found[1]) * 1024 : null;
  } catch {
    return null;
  }
}

/** Seconds. @param {number} start */
const since = (start) => (performance.now() - start) / 1000;

/** @param {string} device @param {string} dtype @returns {Promise<import('../lib/options.js').Dtype>} */
async function resolveDtype(device, dtype) {
  if (dtype !== 'auto') return /** @type {import('../lib/options.js').Dtype} */ (dtype);
  const { devices } = await import('../dist/index.js');
  const found = devices().find(({ id }) => device === 'auto' || id.startsWith(device));
  return /** @type {import('../lib/options.js').Dtype} */ (found?.recommended.dtype);
}

/**
 * What a timer of one millisecond felt while something ran: milliseconds from one turn to the next.
 *
 * @template T
 * @param {() => Promise<T>} work
 */
async function watched(work) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const result = await work();
  await wait(5); // what held the loop at the end is seen by the next turn
  delay.disable();
  const [median, p99, longest] = [delay.percentile(50), delay.percentile(99), delay.max].map((n) => n / 1e6);
  return { result, delay: { median, p99, longest, turns: delay.count } };
}

/** Seven minutes of speech that no cache knows: the recording ten times, and a tail of noise that decoders skip. */
async function longRecording() {
  const path = join(tmpdir(), `metavoice-bench-${process.pid}.mp3`);
  const once = readFileSync(join(fixtures, 'voices', 'bria.mp3'));
  await writeFile(path, Buffer.concat([...Array(10).fill(once), randomBytes(16)]));
  return path;
}

/** @type {Record<string, (settings: any) => Promise<object>>} */
const parts = {
  async convert({ source, destination, device, dtype }) {
    const { convertModel } = await import('../dist/checkpoint/convert.js');
    const start = performance.now();
    await convertModel(source, destination, {
      dtype: await resolveDtype(device, dtype),
      ...(quantization && { quantization }),
    });
    return { seconds: since(start), peakBytes: peakBytes() };
  },

  async load({ model, device, dtype }) {
    const start = performance.now();
    const { MetaVoice } = await import('../dist/index.js');
    let runtimeSeconds = 0;
    /** @param {import('../lib/options.js').Progress} progress */
    const onProgress = (progress) => {
      if (progress.phase === 'load' && progress.part === 'model') runtimeSeconds = since(start);
    };
    const tts = await MetaVoice.load({ model, device, dtype, ...held, onProgress });
    const loadSeconds = since(start);
    await tts.dispose();
    return { loadSeconds, runtimeSeconds, peakBytes: peakBytes() };
  },

  /** How long the event loop is held, in a fresh process: loading comes first, and is cold. */
  async eventLoop({ model, published, destination, device, dtype, seconds }) {
    const { MetaVoice } = await import('../dist/index.js');
    const load = await watched(() => MetaVoice.load({ model, device, dtype, ...held }));
    const tts = load.result;
    const recording = await longRecording();
    const voice = await watched(() => tts.voice(recording)).finally(() => rm(recording));
    const speak = await watched(() =>
      tts.synthesize(text, { voice: voice.result, seed: 1, maxSeconds: seconds, check: 'off' }),
    );
    const { convertModel } = await import('../dist/checkpoint/convert.js');
    const convert =
      published &&
      (await watched(() => convertModel(published, destination, { dtype: tts.dtype })).finally(() =>
        rm(destination, { recursive: true, force: true }),
      ));
    await tts.dispose();
    return {
      load: load.delay,
      voice: voice.delay,
      speak: speak.delay,
      convert: convert ? convert.delay : null,
    };
  },

  /**
   * What was planned against what the process rose to, libtorch included, or on a GPU what libtorch held of it: a fresh
   * process, two utterances at once.
   */
  async memory({ model, device, dtype, seconds }) {
    const { MetaVoice, plan } = await import('../dist/index.js');
    const settings = { model, device, dtype, ...held, batchSize: 2, maxSeconds: seconds };
    const planned = plan(settings);
    const before = process.memoryUsage.rss();
    const tts = await MetaVoice.load(settings);
    const voice = await tts.voice(join(fixtures, 'voices', 'bria.mp3'));
    await Promise.all([1, 2].map((seed) => tts.synthesize(text, { voice, seed, check: 'off' })));
    const resident = (peakBytes() ?? Number.NaN) - before;
    const measured = tts.device === 'cpu' ? resident : await tts.peakMemory();
    await tts.dispose();
    const { total, parts: bytes } = planned;
    return { dtype: planned.dtype, planned: total, measured, ratio: total / measured, parts: bytes };
  },

  async speak({ model, device, dtype, seconds }) {
    const { devices, MetaVoice } = await import('../dist/index.js');
    const { readManifest } = await import('../dist/checkpoint/manifest.js');
    const { loadEngine } = await import('../dist/runtime/load.js');
    const { describeModel } = await import('../dist/describe-model.js');
    const manifest = await readManifest(model);
    const stage = manifest.firstStage;
    if (!stage) throw new Error(`expected a first stage in ${model}`);
    const tts = await MetaVoice.load({ model, device, dtype, ...held });
    const voice = await tts.voice(join(fixtures, 'voices', 'bria.mp3'));
    await tts.synthesize(text, { voice, seed: 1, maxSeconds: 0.25, check: 'off' }); // everything is touched once

    let passes = 0; // the second stage runs once for each chunk
    const speech = await tts.synthesize(text, {
      voice,
      check: 'off',
      seed: 1,
      maxSeconds: seconds,
      onProgress: () => passes++,
    });
    const { timings, durationSeconds } = speech;
    const { Tokenizer } = await import('../dist/text/tokenizer.js');
    const promptTokens = Tokenizer.from(stage.tokenizer).encode(text).length;
    const meanPosition = promptTokens + timings.steps / 2;
    const form = { dtype: tts.dtype, quantization, kvCache };
    const bytesPerStep = stepWeightBytes(stage, form) + meanPosition * positionBytes(stage, form);
    const stepsPerSecond = (timings.steps - 1) / (timings.firstStage / 1000); // the first id comes with the prompt
    const peak = peakBytes(); // before the bandwidth is measured, which takes memory of its own
    const { engine, libtorch } = await loadEngine();
    const peakMemory = await tts.peakMemory();
    const plain = {
      device: tts.device,
      dtype: /** @type {const} */ ('float32'),
      quantization: /** @type {const} */ ('none'),
      batchSize: 1,
      maxQueue: 0,
      cacheRows: 2,
      cachePositions: 0,
      deterministic: false,
    };
    const nothing = await engine.loadModel({
      ...describeModel(model, { ...manifest, firstStage: null, secondStage: null, codec: null }, plain),
    });
    const bandwidth = await nothing.readBandwidth();
    await nothing.dispose();
    const result = {
      device: tts.device,
      gpu: devices().find(({ id }) => id === tts.device && id !== 'cpu')?.name ?? null,
      dtype: tts.dtype,
      reason: tts.reason,
      libtorch: libtorch.version,
      bandwidth,
      durationSeconds,
      first: {
        steps: timings.steps,
        stepsPerSecond,
        promptTokens,
        meanPosition,
        bytesPerStep,
        shareOfBandwidth: (bytesPerStep * stepsPerSecond) / bandwidth,
        prefillMilliseconds: timings.prefill,
      },
      secondStageMillisecondsPerPass: timings.secondStage / passes,
      decoderMillisecondsPerSecond: timings.decoder / durationSeconds,
      firstAudioSeconds: timings.firstAudio / 1000,
      realTimeFactor: timings.realTimeFactor,
      peakBytes: peak,
      peakMemory,
    };
    await tts.dispose();
    return result;
  },
};

const run = parts[name];
if (!run) throw new Error(`expected one of ${Object.keys(parts).join(', ')} but received ${name}`);
process.stdout.write(JSON.stringify(await run(settings)));

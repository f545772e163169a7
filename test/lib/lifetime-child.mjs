/**
 * A process, or a worker, that stops at one stage of its life: `node lifetime-child.mjs STAGE`. Prints what a test wants to
 * see; ends by itself where the stage does not end it.
 */
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { workerData } from 'node:worker_threads';
import { MetaVoice } from '../../dist/index.js';
import { loadModel } from '../../dist/load-model.js';
import { resolveLoadOptions } from '../../dist/resolve-options.js';
import { Stages } from '../../dist/stages.js';

const fixtures = join(dirname(fileURLToPath(import.meta.url)), '..', 'fixtures');
const model = join(fixtures, 'model');
const text = 'Hello there, how are you today?';
const stage = process.argv[2] ?? workerData.stage;
/** @param {string} words */
const say = (words) => process.stdout.write(`${words}\n`);

/** Forty seconds of a tone that comes and goes: quick to make, long to embed. */
const tone = {
  samples: Float32Array.from({ length: 640_000 }, (_, i) => 0.3 * Math.sin(i * 0.05) * Math.sin(i / 3000)),
  sampleRate: 16_000,
};

/** @param {number} frames */
const codes = (frames) => ({
  codebooks: Array.from({ length: 8 }, () => new Uint16Array(frames)),
  frames,
});

async function open() {
  const tts = await MetaVoice.load({ model, device: 'cpu' });
  return { tts, voice: await tts.voice(tone) };
}

/** @type {Record<string, () => Promise<unknown>>} */
const stages = {
  async 'while loading'() {
    MetaVoice.load({ model, device: 'cpu' }).catch(() => {});
    await wait(50);
    process.exit(0);
  },
  async 'after loading'() {
    await MetaVoice.load({ model, device: 'cpu' });
    process.exit(0);
  },
  async 'while embedding'() {
    const tts = await MetaVoice.load({ model, device: 'cpu' });
    tts.voice(tone).catch(() => {});
    await wait(30);
    process.exit(0);
  },
  async 'before the first chunk'() {
    const { tts, voice } = await open();
    tts
      .stream(text, { voice, seed: 1 })
      [Symbol.asyncIterator]()
      .next()
      .catch(() => {});
    await wait(30);
    process.exit(0);
  },
  async 'between chunks'() {
    const { tts, voice } = await open();
    await tts.stream(text, { voice, seed: 1 })[Symbol.asyncIterator]().next();
    process.exit(0);
  },
  async 'after speaking'() {
    const { tts, voice } = await open();
    await tts.synthesize(text, { voice, seed: 1, maxSeconds: 1 });
    process.exit(0);
  },
  async 'while diffusing'() {
    const stages = await Stages.open(model, { device: 'cpu', dtype: 'float32' });
    stages.diffuse(codes(300), { seed: 1, steps: 1000 }).catch(() => {});
    await wait(50);
    process.exit(0);
  },
  async 'while enhancing'() {
    const { native } = await loadModel(resolveLoadOptions({ model, device: 'cpu' }), {});
    const enhancer = native.enhancer(16_000);
    for (let piece = 0; piece < 10; piece++) enhancer.push(tone.samples).catch(() => {});
    await wait(50);
    process.exit(0);
  },
  async 'while disposing'() {
    const { tts, voice } = await open();
    tts
      .stream(text, { voice, seed: 1 })
      [Symbol.asyncIterator]()
      .next()
      .catch(() => {});
    tts.dispose();
    process.exit(0);
  },
  async 'by itself, with a stream that nobody reads on'() {
    const { tts, voice } = await open();
    await tts.stream(text, { voice, seed: 1 })[Symbol.asyncIterator]().next();
  },
  async 'by an error that nobody catches'() {
    const { tts, voice } = await open();
    tts
      .stream(text, { voice, seed: 1 })
      [Symbol.asyncIterator]()
      .next()
      .catch(() => {});
    await wait(30);
    process.once('uncaughtException', () => process.exit(0));
    throw new Error('a stranger');
  },
  async collected() {
    // Nobody holds the model or the streams: the promises do, until they are kept.
    const decoded = (await Stages.open(model, { device: 'cpu', dtype: 'float32' })).decode(codes(300));
    const { tts, voice } = await open();
    for (let seed = 0; seed < 5; seed++)
      await tts.stream(text, { voice, seed, maxSeconds: 1 })[Symbol.asyncIterator]().next();
    globalThis.gc?.();
    await wait(20);
    globalThis.gc?.();
    say(`decoded ${(await decoded).length} samples`);
  },
  async 'in company'() {
    const { tts, voice } = await open();
    /** @param {number} seed */
    const speak = (seed) => tts.synthesize(text, { voice, seed, maxSeconds: 1.5 });
    const together = await Promise.all([speak(1), speak(2), speak(3)]);
    const alone = [await speak(1), await speak(2), await speak(3)];
    const same = together.map((speech, i) =>
      Buffer.from(speech.toWav()).equals(alone[i]?.toWav() ?? Buffer.alloc(0)),
    );
    say(same.join(' '));
    const resting = tts.stream(text, { voice, seed: 4 })[Symbol.asyncIterator]();
    await resting.next();
    say(`beside a resting one: ${(await speak(5)).codes.frames}`);
    await resting.return();
    await tts.dispose();
  },
};

await stages[stage]?.();

/**
 * Two copies of the package in one process: `node copies-child.mjs OTHER WHAT [LIBTORCH]`, OTHER being the folder of the
 * second copy. Prints what it saw as JSON.
 */
import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import * as ours from '../../dist/index.js';

const [other = '', what = '', libtorch = ''] = process.argv.slice(2);
const model = join(dirname(fileURLToPath(import.meta.url)), '..', 'fixtures', 'model');
/** @type {typeof ours} */
const theirs = await import(pathToFileURL(join(other, 'dist', 'index.js')).href);
const options = /** @type {const} */ ({ model, device: 'cpu', dtype: 'float32' });
const text = 'Hello there, how are you today?';
const tone = {
  samples: Float32Array.from({ length: 64_000 }, (_, i) => 0.3 * Math.sin(i * 0.05) * Math.sin(i / 3000)),
  sampleRate: 16_000,
};

/** @param {Promise<unknown>} promise @returns {Promise<any>} */
const failure = (promise) =>
  promise.then(
    () => null,
    (error) => error,
  );

/** @param {unknown} error */
const seen = (error) => ({
  code: /** @type {any} */ (error)?.code,
  message: /** @type {any} */ (error)?.message,
  byOurs: ours.MetaVoiceError.isInstance(error),
  byTheirs: theirs.MetaVoiceError.isInstance(error),
});

/** @type {Record<string, () => Promise<unknown>>} */
const tasks = {
  async speak() {
    const [one, two] = await Promise.all([ours.MetaVoice.load(options), theirs.MetaVoice.load(options)]);
    const voice = await one.voice(tone);
    /** @param {ours.MetaVoice} tts */
    const speak = async (tts) => {
      // The voice of one copy serves the other.
      const { samples } = await tts.synthesize(text, { voice, seed: 7, maxSeconds: 1 });
      return createHash('sha256').update(samples).digest('hex');
    };
    const together = await Promise.all([speak(one), speak(two), speak(one), speak(two)]);
    await one.dispose();
    const alone = await speak(two);
    const disposed = await failure(speak(one));
    await two.dispose();
    return {
      speeches: new Set([...together, alone]).size,
      strangers: ours.MetaVoice !== theirs.MetaVoice,
      disposed: seen(disposed),
      refused: seen(await failure(theirs.MetaVoice.load({ model: '/nowhere' }))),
    };
  },

  async 'another libtorch'() {
    const one = await ours.MetaVoice.load(options);
    const refused = await failure(theirs.MetaVoice.load({ ...options, libtorch }));
    // The second copy goes on with what is there, and the first is not harmed.
    const two = await theirs.MetaVoice.load(options);
    const voice = await two.voice(tone);
    const { codes } = await one.synthesize(text, { voice, seed: 7, maxSeconds: 0.5 });
    await Promise.all([one.dispose(), two.dispose()]);
    return { refused: seen(refused), frames: codes.frames };
  },

  async 'by themselves'() {
    for (const { MetaVoice } of [ours, theirs]) {
      const tts = await MetaVoice.load(options);
      const voice = await tts.voice(tone);
      await tts.stream(text, { voice, seed: 1 })[Symbol.asyncIterator]().next();
    }
    return 'left open';
  },
};

process.stdout.write(JSON.stringify(await tasks[what]?.()));

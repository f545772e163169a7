/**
 * A process that does one thing again and again: `node --expose-gc endurance-child.mjs WHAT TIMES`. Prints a line of JSON
 * per round: what the process holds after it.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { convertModel } from '../../dist/checkpoint/convert.js';
import { MetaVoice } from '../../dist/index.js';
import { loadEngine } from '../../dist/runtime/load.js';

const fixtures = join(dirname(fileURLToPath(import.meta.url)), '..', 'fixtures');
const published = join(fixtures, 'model');
const folder = await mkdtemp(join(tmpdir(), 'metavoice-endurance-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
const model = join(folder, 'model');
// libtorch lies in the cache of the user; from here on it is another one.
await loadEngine();
process.env.METAVOICE_CACHE = join(folder, 'cache');
await convertModel(published, model, { dtype: 'float32' });
const text = 'Hello there, how are you today?';
const [what = '', times = '1'] = process.argv.slice(2);

/** A tone that comes and goes; another one each time, so that no cache knows it. @param {number} round */
const tone = (round, seconds = 4) => ({
  samples: Float32Array.from(
    { length: seconds * 16_000 },
    (_, i) => 0.3 * Math.sin(i * (0.05 + round / 1e4)) * Math.sin(i / 3000),
  ),
  sampleRate: 16_000,
});

const open = () => MetaVoice.load({ model, device: 'cpu', dtype: 'float32' });

/** What is prepared once, and what a round does. @type {Record<string, () => Promise<(round: number) => Promise<unknown>>>} */
const rounds = {
  async 'load, speak, dispose'() {
    return async (round) => {
      const tts = await open();
      const voice = await tts.voice(tone(0));
      await tts.synthesize(text, { voice, seed: round, maxSeconds: 0.5 });
      await tts.dispose();
    };
  },

  async 'load and forget'() {
    return async () => {
      await open();
    };
  },

  async voice() {
    const tts = await open();
    return (round) => tts.voice(tone(round));
  },

  async 'load what is broken'() {
    const whole = readFileSync(join(published, 'first_stage.pt'));
    return async (round) => {
      await writeFile(join(folder, 'first_stage.pt'), whole.subarray(0, whole.length - 1 - 1000 * round));
      await MetaVoice.load({ model: folder, device: 'cpu' }).then(
        () => Promise.reject(new Error('expected a refusal')),
        () => {},
      );
    };
  },

  async 'abort a stream'() {
    const tts = await open();
    const voice = await tts.voice(tone(0));
    return async (round) => {
      const control = new AbortController();
      const { signal } = control;
      const reading = tts.stream(text, { voice, seed: round, signal })[Symbol.asyncIterator]();
      if (round % 3 > 0) await reading.next();
      const next = reading.next();
      if (round % 3 > 1) await wait(5);
      control.abort();
      await next.catch(() => {});
    };
  },

  async 'leave a stream'() {
    const tts = await open();
    const voice = await tts.voice(tone(0));
    return async (round) => {
      for await (const _ of tts.stream(text, { voice, seed: round })) break;
      // One that nobody ever reads, and one that nobody reads on.
      tts.stream(text, { voice });
      await tts.stream(text, { voice, seed: round, maxSeconds: 0.6 })[Symbol.asyncIterator]().next();
    };
  },
};

/** @param {string} name */
const count = (name) => readdirSync(`/proc/self/${name}`).length;

async function held() {
  globalThis.gc?.();
  await wait(20);
  globalThis.gc?.();
  await wait(20);
  const resident = Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
  return { resident, files: count('fd'), threads: count('task') };
}

const round = await rounds[what]?.();
if (!round) throw new Error(`expected one of ${Object.keys(rounds).join(', ')} but received ${what}`);
for (let i = 0; i < Number(times); i++) {
  await round(i);
  process.stdout.write(`${JSON.stringify(await held())}\n`);
}
process.exit(0);

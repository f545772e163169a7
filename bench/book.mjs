/**
 * A book: 20,000 words in one stream, read as they come and thrown away.
 *
 *   node --expose-gc bench/book.mjs [--words 20000] [--model FOLDER] [--batch 4] [--every 10] [--out FILE]
 *
 * Says every ten seconds (`--every`) on stderr how far it is, and at the end, as JSON on stdout, how much of the text the spans of the
 * segments cover and whether exactly once, how much memory the process holds in the second minute and in the one that holds most
 * after it (the middle of a minute's readings, for from one moment to the next they differ by the activations of a pass), and how
 * fast it went. Exit code 1 where a span is out of place or the memory grew by more than a twentieth.
 */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { MetaVoice } from '../dist/index.js';
import { percentile } from './percentile.mjs';

/** By how much memory may grow after the second minute. */
const mostGrowth = 1.05;

const { values } = parseArgs({
  options: {
    words: { type: 'string', default: '20000' },
    model: { type: 'string', default: 'bundled' },
    batch: { type: 'string', default: '4' },
    every: { type: 'string', default: '10' },
    out: { type: 'string' },
  },
});

/** The first chapter of Alice, again and again, cut after so many words. @param {number} words */
function bookOf(words) {
  const file = join(dirname(fileURLToPath(import.meta.url)), '..', 'test', 'fixtures', 'alice.txt');
  const chapter = readFileSync(file, 'utf8');
  const all = chapter.repeat(Math.ceil((2 * words) / chapter.split(/\s+/).length)).matchAll(/\S+/g);
  let end = 0;
  let count = 0;
  for (const { index, 0: word } of all) {
    if (count++ === words) break;
    end = index + word.length;
  }
  return chapter.repeat(Math.ceil(end / chapter.length)).slice(0, end);
}

/** Bytes that the process holds, after the garbage is gone. */
function held() {
  globalThis.gc?.();
  return process.memoryUsage.rss();
}

const everySeconds = Number(values.every);
const text = bookOf(Number(values.words));
const tts = await MetaVoice.load({ model: values.model, batchSize: Number(values.batch) });
const began = performance.now();
const secondsSince = () => (performance.now() - began) / 1000;
/** @type {{ seconds: number, bytes: number, covered: number }[]} */
const memory = [];
/** @type {string[]} */
const misplaced = [];
let covered = 0;
let segment = -1;
let audio = 0;
let firstAudio = null;
const stream = tts.stream(text, { seed: 1 });
for await (const chunk of stream) {
  firstAudio ??= secondsSince();
  audio += chunk.durationSeconds;
  if (chunk.segment !== segment) {
    if (chunk.textOffset !== covered)
      misplaced.push(`segment ${chunk.segment} begins at ${chunk.textOffset}, not ${covered}`);
    covered += chunk.textLength;
    segment = chunk.segment;
  }
  if (secondsSince() < (memory.length + 1) * everySeconds) continue;
  const sample = { seconds: secondsSince(), bytes: held(), covered: covered / text.length };
  memory.push(sample);
  process.stderr.write(
    `${sample.seconds.toFixed(0)} s  ${(100 * sample.covered).toFixed(1)} %  ${(sample.bytes / 1e6).toFixed(0)} MB\n`,
  );
}
const seconds = secondsSince();
if (covered !== text.length) misplaced.push(`${covered} of ${text.length} letters are covered`);
await tts.dispose();

/** The middle of each minute's readings, from the second minute on; the last one may be short. */
const minutes = Array.from({ length: Math.max(0, Math.ceil(seconds / 60) - 1) }, (_, minute) => {
  const readings = memory.filter((each) => Math.floor(each.seconds / 60) === minute + 1);
  return readings.length > 0
    ? [
        percentile(
          readings.map(({ bytes }) => bytes),
          0.5,
        ),
      ]
    : [];
}).flat();
const [secondMinute = null] = minutes;
const most = minutes.length > 0 ? Math.max(...minutes) : null;
const result = {
  words: Number(values.words),
  letters: text.length,
  segments: segment + 1,
  misplaced,
  findings: stream.check.findings.length,
  audioSeconds: audio,
  seconds,
  audioSecondsPerSecond: audio / seconds,
  firstAudioSeconds: firstAudio,
  memory: { secondMinute, most, growth: secondMinute && most && most / secondMinute, samples: memory },
};
const json = `${JSON.stringify(result, null, 2)}\n`;
if (values.out) await writeFile(values.out, json);
process.stdout.write(json);
if (misplaced.length > 0 || (result.memory.growth ?? 1) > mostGrowth) process.exitCode = 1;

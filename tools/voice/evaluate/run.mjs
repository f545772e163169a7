/**
 * `npm run eval:voice`: how well the bundled voice is understood, and what it costs; see docs/voice.md. A table on stdout,
 * JSON in bench/results/voice.json.
 */
import { spawnSync } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { dirname } from 'node:path';
import { MetaVoice } from '../../../dist/index.js';
import { Stages } from '../../../dist/stages.js';
import { Complaint, program, root, say } from '../../../scripts/log.mjs';
import { findPackages } from '../../../scripts/python.mjs';
import { measureColdStart } from './cold-start.mjs';
import { writeDocs } from './docs.mjs';
import { fliteReads, hasFlite } from './flite.mjs';
import { tableOf } from './format.mjs';
import { modelFacts } from './model-facts.mjs';
import { help, readOptions } from './options.mjs';
import { openRecognizer } from './recognizer.mjs';
import { readSentences } from './sentences.mjs';
import { speakAll } from './speak.mjs';
import { drawSpectrograms } from './spectrograms.mjs';
import { codeAgreement, judgeLimits, rateOf, summarize } from './summary.mjs';

/** @typedef {ReturnType<typeof readOptions>} Options @typedef {import('./speak.mjs').Tools} Tools */

program(async () => {
  const options = readOptions(process.argv.slice(2));
  if (options.help) return void process.stdout.write(help);
  if (options.docsFrom !== undefined)
    return await writeDocs(JSON.parse(await readFile(options.docsFrom, 'utf8')));
  const result = await evaluate(options);
  await mkdir(dirname(options.out), { recursive: true });
  await writeFile(options.out, toJson(result));
  process.stdout.write(`${tableOf(result)}\n`);
  say(`figures: ${options.out}`);
  if (options.writeDocs) await writeDocs(result);
});

/** @param {Options} options */
async function evaluate(options) {
  if (options.flite && !(await hasFlite()))
    throw new Complaint('expected flite for --flite but it is not installed (`apt install flite`)');
  tellOfBusyMachine();
  const sentences = await readSentences(options.limit);
  if (!options.flite)
    say('flite’s lengths and words are those recorded with the sentences; --flite measures them now');
  const python = await findPackages('recognizer');
  // What is open keeps the process alive: also after a model that does not load.
  /** @type {(() => Promise<void>)[]} */
  const closers = [];
  try {
    const tts = await MetaVoice.load({ model: options.model, dtype: options.dtype });
    closers.push(() => tts.dispose());
    requireSpeakers(tts, sentences);
    const stages = await Stages.open(tts.model, { device: deviceOf(tts), dtype: tts.dtype });
    closers.push(() => stages.dispose());
    const recognizer = await openRecognizer(python);
    closers.push(recognizer.close);
    const tools = { tts, stages, recognizer };
    const measured = options.flite ? await readByFlite(sentences, recognizer) : sentences;
    const result = await measure(tools, measured, options);
    if (options.writeDocs) await drawSpectrograms(tts, measured, options.seed);
    return result;
  } finally {
    await Promise.all(closers.map((close) => close()));
  }
}

/** @param {Tools} tools @param {import('./sentences.mjs').Sentence[]} sentences @param {Options} options */
async function measure(tools, sentences, { quality, seed, dtype, model }) {
  const { tts } = tools;
  const [{ speaker, text } = { speaker: '', text: '' }] = sentences;
  say('measuring cold starts');
  const coldStart = await measureColdStart({ model, dtype, speaker, text, seed });
  const pass = async (/** @type {'stream' | 'whole'} */ form) => {
    say(
      `speaking ${sentences.length} sentences, ${form === 'stream' ? 'streamed' : 'whole'}, in ${tts.dtype}`,
    );
    const onUtterance = (/** @type {number} */ done) => {
      if (done % 20 === 0) say(`  ${done} of ${sentences.length}`);
    };
    return await speakAll(tools, sentences, { quality: form, seed, onUtterance });
  };
  const stream = await pass('stream');
  const whole = await pass('whole');
  const { utterances } = quality === 'stream' ? stream : whole;
  const summary = summarize(utterances);
  return {
    ...(await circumstances(tts, { quality, seed })),
    verdicts: judgeLimits(summary, coldStart),
    summary,
    coldStart,
    streaming: {
      stream: rateOf(stream.utterances),
      whole: rateOf(whole.utterances),
      agreement: codeAgreement(stream.codes, whole.codes),
    },
    utterances,
  };
}

/** @param {MetaVoice} tts @param {{ quality: string, seed: number }} settings */
async function circumstances(tts, settings) {
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' });
  return {
    date: new Date().toISOString(),
    commit: commit.stdout?.trim() || null,
    command: ['npm run eval:voice --', ...process.argv.slice(2)].join(' '),
    machine: { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version },
    libtorch: tts.libtorch.version,
    ...{ device: tts.device, dtype: tts.dtype, ...settings },
    model: await modelFacts(tts.model),
  };
}

/** The yardstick, measured anew. @param {import('./sentences.mjs').Sentence[]} sentences @param {import('./recognizer.mjs').Recognizer} recognizer */
async function readByFlite(sentences, recognizer) {
  say(`having flite read ${sentences.length} sentences`);
  const result = [];
  for (const sentence of sentences) {
    const { samples, sampleRate } = await fliteReads(sentence.text, sentence.speaker);
    const fliteTranscript = await recognizer.hear(samples, sampleRate);
    result.push({ ...sentence, fliteSeconds: samples.length / sampleRate, fliteTranscript });
  }
  return result;
}

/** @param {MetaVoice} tts @param {import('./sentences.mjs').Sentence[]} sentences */
function requireSpeakers(tts, sentences) {
  const missing = [...new Set(sentences.map(({ speaker }) => speaker))].filter(
    (name) => !tts.speakers.includes(name),
  );
  if (missing.length > 0)
    throw new Complaint(
      `expected the speakers ${missing.join(', ')} of the held-out sentences in ${tts.model} but it has ${tts.speakers.join(', ') || 'none'}`,
    );
}

/** As an option of `Stages.open`. @param {MetaVoice} tts */
const deviceOf = ({ device }) => /** @type {import('../../../dist/index.js').DeviceOption} */ (device);

function tellOfBusyMachine() {
  const load = loadavg()[0] ?? 0;
  if (load >= 0.5 * cpus().length)
    say(`the machine is busy (load ${load.toFixed(2)} on ${cpus().length} cores): times will be too long`);
}

/** Numbers to four places, and one line for each utterance. @param {Record<string, unknown>} result */
function toJson({ utterances, ...rest }) {
  const round = (/** @type {string} */ _, /** @type {unknown} */ value) =>
    typeof value === 'number' && !Number.isInteger(value) ? Math.round(value * 1e4) / 1e4 : value;
  const lines = /** @type {object[]} */ (utterances).map((one) => `    ${JSON.stringify(one, round)}`);
  const head = JSON.stringify(rest, round, 2).replace(/\n}$/, '');
  return `${head},\n  "utterances": [\n${lines.join(',\n')}\n  ]\n}\n`;
}

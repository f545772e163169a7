/**
 * `npm run eval:quantization`: what quantised weights and an int8 key-value cache cost, see docs/quantisation.md. A table on
 * stdout, JSON in bench/results/quantization.json:
 *
 *   date, commit, command, machine, libtorch, model, sentences, seeds, positions (judged behind the texts), guidance, steps
 *   truth               float32: words { rate, interval, similarity } where they were listened to
 *   runs[]              one for each quantisation and cache
 *     quantization, kvCache, dtype, device
 *     logits            positions; divergence { mean, p99 } in nats of the row with the speaker, and guidedDivergence, against float32;
 *                       agreement: share of positions whose guided arg-max is float32's; greedy: free runs, how many stayed the
 *                       same, and the step at which they part (their length for those that stayed)
 *     words             rate, its interval, cost (rate less that of float32) and its paired interval, similarity (median cosine
 *                       with the speaker asked for), rightSpeaker; null without --words
 *     verdict           { bound, holds, settled }, or null
 */
import { spawnSync } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { dirname } from 'node:path';
import { readManifest } from '../../dist/checkpoint/manifest.js';
import { devices, MetaVoice } from '../../dist/index.js';
import { loadKeys } from '../../dist/resolve-options.js';
import { Stages } from '../../dist/stages.js';
import { Complaint, program, root, say } from '../../scripts/log.mjs';
import { findPackages } from '../../scripts/python.mjs';
import { openRecognizer } from '../voice/evaluate/recognizer.mjs';
import { readSentences } from '../voice/evaluate/sentences.mjs';
import { speakAll } from '../voice/evaluate/speak.mjs';
import { answers, Comparison, passageIds } from './compare.mjs';
import { help, readOptions } from './options.mjs';
import { tableOf, writeDocs } from './report.mjs';
import { compareWords, judgeCost } from './words.mjs';

/** @typedef {import('./options.mjs').Options} Options @typedef {import('../voice/evaluate/sentences.mjs').Sentence} Sentence */
/** @typedef {{ quantization?: 'none' | 'int8' | 'int4', kvCache?: '16bit' | 'int8' }} Form */
/** @typedef {Awaited<ReturnType<typeof evaluate>>} Result @typedef {Result['runs'][number]} Run */

program(async () => {
  const options = readOptions(process.argv.slice(2));
  if (options.help) return void process.stdout.write(help);
  if (options.docsFrom !== undefined)
    return await writeDocs(JSON.parse(await readFile(options.docsFrom, 'utf8')));
  const result = await evaluate(options);
  await mkdir(dirname(options.out), { recursive: true });
  await writeFile(options.out, `${JSON.stringify(result, null, 2)}\n`);
  process.stdout.write(`${tableOf(result)}\n`);
  say(`figures: ${options.out}`);
  if (options.writeDocs) await writeDocs(result);
});

/** What is held against float32. @param {Options} options @returns {Form[]} */
function formsOf({ quantizations, kvCaches }) {
  const cached = /** @type {readonly string[]} */ (loadKeys).includes('kvCache');
  return quantizations.flatMap((quantization) =>
    cached ? kvCaches.map((kvCache) => ({ quantization, kvCache })) : [{ quantization }],
  );
}

/** @param {Options} options */
async function evaluate(options) {
  const { model, device, steps, seed, seeds } = options;
  const exact = { device, dtype: /** @type {const} */ ('float32') };
  const base = await MetaVoice.load({ model, ...exact });
  /** @type {Awaited<ReturnType<typeof prepare>>} */
  let prepared;
  try {
    prepared = await prepare(base, options);
  } finally {
    await base.dispose();
  }
  const { folder, sentences, passages, guidance } = prepared;
  const judged = await compareLogits(folder, options, passages, guidance);
  const heard = options.words ? await listen(folder, options, sentences) : null;
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' });
  return {
    date: new Date().toISOString(),
    commit: commit.stdout?.trim() || null,
    command: ['npm run eval:quantization --', ...process.argv.slice(2)].join(' '),
    machine: { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version },
    libtorch: base.libtorch.version,
    ...{ model, sentences: sentences.length, seed, seeds, guidance, steps },
    positions: judged[0]?.logits.positions ?? 0,
    truth: { words: heard ? compareWords(heard.truth, heard.truth) : null },
    runs: judged.map((run, index) => {
      const own = heard?.others[index];
      const words = heard && own ? compareWords(heard.truth, own) : null;
      return { ...run, words, verdict: words && judgeCost(run.quantization, words) };
    }),
  };
}

/**
 * What all forms read alike: the sentences, with speakers that the model has, and what float32 says of them.
 *
 * @param {MetaVoice} tts In float32. @param {Options} options
 */
async function prepare(tts, { sentences: count, voice, seed }) {
  const folder = tts.model;
  const manifest = await readManifest(folder);
  const { firstStage } = manifest;
  if (!firstStage) throw new Complaint(`expected a first stage in ${folder}`);
  const sentences = (await readSentences(count)).map((one) => ({ ...one, speaker: speakerOf(tts, one) }));
  if (tts.speakers.length === 0 && voice === undefined)
    throw new Complaint(`expected speakers in ${folder} but it has none; name a recording with --voice`);
  say(`speaking ${sentences.length} sentences in float32, for their codes`);
  const stages = await Stages.open(folder, { device: deviceOf(tts), dtype: 'float32' });
  /** @type {import('./compare.mjs').Passage[]} */
  const passages = [];
  try {
    for (const { text, speaker } of sentences) {
      const own = await tts.voice(speaker === null ? String(voice) : { speaker });
      const { codes } = await tts.synthesize(text, {
        ...{ voice: own, seed, check: 'off', decoder: 'encodec', enhance: false },
      });
      const { firstStage: ids } = stages.tokenize(text);
      const size = (firstStage.tokenizer.offset - 1) / 2;
      passages.push({
        ids: passageIds(ids, codes.codebooks, size).slice(0, firstStage.positions),
        prompt: ids.length,
        speaker: own.embedding,
      });
    }
  } finally {
    await stages.dispose();
  }
  const advised = manifest.sampling?.guidance ?? 3;
  const guidance = typeof advised === 'number' ? advised : (advised.speaker ?? 3);
  return { folder, sentences, passages, guidance };
}

/** The sentence's own, else the model's in turn; null where it has none. @param {MetaVoice} tts @param {Sentence} sentence */
const speakerOf = ({ speakers }, { speaker, id }) =>
  speakers.includes(speaker) ? speaker : (speakers[id % speakers.length] ?? null);

/** As an option. @param {MetaVoice} tts */
const deviceOf = ({ device }) => /** @type {import('../../dist/index.js').DeviceOption} */ (device);

/**
 * @param {string} folder @param {Options} options
 * @param {readonly import('./compare.mjs').Passage[]} passages @param {number} guidance
 */
async function compareLogits(folder, options, passages, guidance) {
  const { device, steps } = options;
  const dtype = dtypeOf(options);
  say('the logits of float32');
  /** @type {import('./compare.mjs').Answer[]} */
  const truth = [];
  const exact = /** @type {const} */ ({ device, dtype: 'float32' });
  await answers(folder, exact, passages, { guidance, steps, oneByOne: false }, (answer) => {
    truth.push(answer);
  });
  const runs = [];
  for (const form of formsOf(options)) {
    say(`the logits of ${wordsOf(form)}`);
    const comparison = new Comparison(guidance);
    const held = { device, dtype, ...form };
    await answers(folder, held, passages, { guidance, steps, oneByOne: true }, (answer, index) => {
      const passage = passages[index];
      const wanted = truth[index];
      if (passage && wanted) comparison.add(passage, wanted, answer);
    });
    runs.push({ quantization: 'none', ...form, device, dtype, logits: comparison.figures() });
  }
  return runs;
}

/** What `auto` comes to. @param {Options} options @returns {import('../../dist/index.js').Dtype} */
function dtypeOf({ device, dtype }) {
  if (dtype !== 'auto') return dtype;
  const found = devices().find(({ id }) => device === 'auto' || id.startsWith(device));
  return found?.recommended.dtype ?? 'float32';
}

/** @param {Form} form */
const wordsOf = ({ quantization = 'none', kvCache }) =>
  `quantization ${quantization}${kvCache ? `, keys and values in ${kvCache}` : ''}`;

/**
 * Every form speaks every sentence, with every seed; the speaker encoder that judges is one and the same.
 *
 * @param {string} folder @param {Options} options @param {readonly (Omit<Sentence, 'speaker'> & { speaker: string | null })[]} sentences
 */
async function listen(folder, options, sentences) {
  const { device, dtype, seed, seeds } = options;
  const named = sentences.flatMap((one) => (one.speaker === null ? [] : [{ ...one, speaker: one.speaker }]));
  if (named.length === 0) throw new Complaint('expected a model with speakers for --words');
  const recognizer = await openRecognizer(await findPackages('recognizer'));
  const stages = await Stages.open(folder, { device, dtype: 'float32' });
  try {
    const speak = async (/** @type {import('../../dist/index.js').LoadOptions} */ held) => {
      const tts = await MetaVoice.load({ ...held, model: folder });
      try {
        const utterances = [];
        for (let turn = 0; turn < seeds; turn++) {
          const settings = { quality: /** @type {const} */ ('stream'), seed: seed + turn };
          utterances.push(...(await speakAll({ tts, stages, recognizer }, named, settings)).utterances);
        }
        return utterances;
      } finally {
        await tts.dispose();
      }
    };
    say('listening to float32');
    const truth = await speak({ device, dtype: 'float32' });
    const others = [];
    for (const form of formsOf(options)) {
      say(`listening to ${wordsOf(form)}`);
      others.push(await speak({ device, dtype, ...form }));
    }
    return { truth, others };
  } finally {
    await Promise.all([recognizer.close(), stages.dispose()]);
  }
}

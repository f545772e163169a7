/** docs/voice.md, from its template and the figures. */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { root, say } from '../../../scripts/log.mjs';
import { inUnit, markdown, megabytes, percent, range } from './format.mjs';

const docs = join(root, 'docs');

/** Pictures that the training draws. */
const curves = [
  ['codec.png', 'The codec'],
  ['decoder.png', 'The decoder'],
  ['first-stage.png', 'The first stage'],
  ['second-stage.png', 'The second stage'],
  ['speaker-encoder.png', 'The speaker encoder'],
];

/** @type {Record<string, string>} */
const partNames = {
  firstStage: 'first stage',
  secondStage: 'second stage',
  speakerEncoder: 'speaker encoder',
  codec: 'codec',
};

/** @param {any} result As in bench/results/voice.json. */
export async function writeDocs(result) {
  const template = await readFile(new URL('voice.template.md', import.meta.url), 'utf8');
  await writeFile(join(docs, 'voice.md'), fillTemplate(template, valuesOf(result)));
  say('wrote docs/voice.md');
}

/**
 * Replaces each `{{name}}`. Throws for a name without a value.
 *
 * @param {string} template @param {Record<string, string | number>} values
 */
export function fillTemplate(template, values) {
  return template.replaceAll(/\{\{(\w+)\}\}/g, (_, name) => {
    if (!Object.hasOwn(values, name)) throw new Error(`expected a value for {{${name}}} of the template`);
    return String(values[name]);
  });
}

/** @param {any} result */
function valuesOf(result) {
  const { model, summary, streaming, coldStart, verdicts, machine } = result;
  const { duration, silent } = summary;
  return {
    ...modelValues(model),
    ...speakerAndSpeed(summary, coldStart),
    ...{
      quality: result.quality === 'stream' ? 'streamed' : 'whole',
      seed: result.seed,
      dtype: result.dtype,
    },
    ...{ cpu: machine.cpu, cores: machine.cores, node: machine.node, libtorch: result.libtorch },
    ...{ date: result.date.slice(0, 10), command: result.command },
    commit: result.commit ? ` at ${result.commit}` : '',
    count: summary.wordErrors.utterances,
    wordErrors: wordErrorTable(summary.wordErrors),
    verdicts: verdictTable(verdicts),
    durations: `| | ${['min', 'p5', 'median', 'p95', 'max'].map((key) => duration[key].toFixed(2)).join(' | ')} |`,
    silent:
      silent === 0 ? '' : `${silent} sentences were not spoken at all, and count as wholly misheard.\n\n`,
    streaming: streamingTable(streaming),
    predictedAgreement: percent(streaming.agreement.predicted),
    coarseAgreement: percent(streaming.agreement.coarse),
    agreementByCodebook: streaming.agreement.codebooks
      .map((/** @type {number} */ share, /** @type {number} */ k) => `${k + 1}: ${percent(share)}`)
      .join(', '),
    spectrograms: pictures(
      model.speakers.map((/** @type {string} */ name) => [
        `spectrogram-${name}.png`,
        `${name}: flite, and ours`,
      ]),
    ),
    curves: pictures(curves),
  };
}

/** @param {any} model */
function modelValues({ parts, speakers, sampleRate, framesPerSecond, codebooks, sampling }) {
  const rows = Object.entries(parts).map(
    ([name, { form, parameters, bytes }]) =>
      `| ${partNames[name]} | ${form} | ${(parameters / 1e6).toFixed(2)} M | ${megabytes(bytes)} |`,
  );
  const total = (/** @type {'bytes' | 'parameters'} */ key) =>
    Object.values(parts).reduce((sum, part) => sum + part[key], 0);
  rows.push(`| together | | ${(total('parameters') / 1e6).toFixed(2)} M | ${megabytes(total('bytes'))} |`);
  return {
    parts: rows.join('\n'),
    ...{ sampleRate: sampleRate.toLocaleString('en'), framesPerSecond, codebooks },
    predictedCodebooks: codebooks - 2,
    speakers: speakers.map((/** @type {string} */ name) => `\`${name}\``).join(', '),
    ...{ speakerCount: speakers.length, firstSpeaker: speakers[0] },
    sampling: sampling
      ? `Its manifest advises how to draw (\`${JSON.stringify(sampling)}\`); the option \`sampling\` overrides it.`
      : '',
  };
}

/** @param {any} summary @param {any} coldStart */
function speakerAndSpeed({ speaker, speed }, coldStart) {
  return {
    similarity: speaker.similarity.toFixed(3),
    margin: speaker.margin.toFixed(3),
    rightBySpeaker: Object.entries(speaker.speakers)
      .map(([name, share]) => `\`${name}\` ${percent(share)}`)
      .join(', '),
    firstAudio: inUnit(speed.medianFirstAudioSeconds, 'seconds'),
    medianRealTimeFactor: speed.medianRealTimeFactor.toFixed(2),
    coldStart: inUnit(coldStart.firstAudioSeconds, 'seconds'),
    slowestColdStart: inUnit(coldStart.slowestFirstAudioSeconds, 'seconds'),
    coldRuns: coldStart.runs,
  };
}

/** @param {any} wordErrors */
function wordErrorTable({ speakers, ...all }) {
  const row = (
    /** @type {string} */ name,
    /** @type {any} */ { rate, interval, flite, utterances, words },
  ) => [
    ...[name, String(utterances), String(words), `${percent(rate)} (${range(interval)})`, percent(flite)],
  ];
  const rows = Object.entries(speakers).map(([name, own]) => row(`\`${name}\``, own));
  return markdown(['speaker', 'sentences', 'words', 'word error rate', 'flite'], [...rows, row('all', all)]);
}

/** @param {import('./summary.mjs').Verdict[]} verdicts */
const verdictTable = (verdicts) =>
  markdown(
    ['figure', 'measured', 'limit', ''],
    verdicts.map(({ name, value, limit, unit, passed }) => [
      ...[name, inUnit(value, unit), inUnit(limit, unit), passed ? 'holds' : '**does not hold**'],
    ]),
  );

/** @param {any} streaming */
const streamingTable = ({ stream, whole }) =>
  markdown(
    ['', 'word error rate'],
    Object.entries({ streamed: stream, whole }).map(([name, { rate, interval }]) => [
      ...[name, `${percent(rate)} (${range(interval)})`],
    ]),
  );

/** Only those that are there: a page has no broken pictures. @param {string[][]} named */
function pictures(named) {
  const shown = named.filter(([file = '']) => existsSync(join(docs, 'voice', file)));
  return shown.map(([file, words]) => `![${words}](voice/${file})`).join('\n\n') || '(No pictures yet.)';
}

/** The figures in words: a table on stdout, and the one in docs/quantisation.md. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { root, say } from '../../scripts/log.mjs';
import { columns, markdown, percent, range } from '../voice/evaluate/format.mjs';

/** @typedef {import('./run.mjs').Result} Result @typedef {import('./run.mjs').Run} Run */

const head = [
  ...['weights', 'keys and values', 'KL mean', 'KL p99', 'same arg-max', 'greedy parts at'],
  ...['word error', 'cost in points', 'speaker', ''],
];

/** @param {number} nats */
const small = (nats) => (nats === 0 ? '0' : nats < 0.001 ? nats.toExponential(1) : nats.toFixed(4));

/** @param {readonly [number, number]} interval In points, with their signs. */
const points = ([low, high]) => `${(low * 100).toFixed(1)} to ${(high * 100).toFixed(1)}`;

/** @param {Run} run */
function row({ quantization, kvCache, dtype, logits, words, verdict }) {
  const weights = quantization === 'none' ? dtype : `${quantization}, ${dtype}`;
  const { divergence, agreement, greedy } = logits;
  const parts =
    greedy.same === greedy.runs
      ? `never, of ${greedy.runs}`
      : `${greedy.medianFirstDifference.toFixed(0)} (${greedy.same} of ${greedy.runs} never)`;
  return [
    ...[
      weights,
      kvCache ?? 'as the model',
      small(divergence.mean),
      small(divergence.p99),
      percent(agreement, 2),
      parts,
    ],
    ...(words
      ? [
          `${percent(words.rate)} (${range(words.interval)})`,
          `${(words.cost * 100).toFixed(1)} (${points(words.costInterval)})`,
          words.similarity.toFixed(3),
        ]
      : ['–', '–', '–']),
    verdictWords(verdict),
  ];
}

/** @param {Run['verdict']} verdict */
function verdictWords(verdict) {
  if (!verdict) return '';
  const bound = `at most ${(verdict.bound * 100).toFixed(0)}`;
  return `${verdict.holds ? 'holds' : 'does not hold'} (${bound}${verdict.settled ? '' : '; the interval has both'})`;
}

/** @param {Result} result */
const rowsOf = ({ truth, runs }) => [
  head,
  ...(truth.words
    ? [
        [
          ...['float32', '', '', '', '', ''],
          ...[
            `${percent(truth.words.rate)} (${range(truth.words.interval)})`,
            '',
            truth.words.similarity.toFixed(3),
            '',
          ],
        ],
      ]
    : []),
  ...runs.map(row),
];

/** What `npm run eval:quantization` prints. @param {Result} result */
export const tableOf = (result) => columns(rowsOf(result));

/** The markers in docs/quantisation.md between which the table stands. */
const begin = '<!-- Written by `npm run eval:quantization -- --words --write-docs`. -->';
const end = '<!-- The end of what was written. -->';

/** @param {Result} result */
export function sectionOf(result) {
  const [names = [], ...rows] = rowsOf(result);
  const { machine, sentences, seeds, positions } = result;
  const listened = result.truth.words
    ? `, and with ${seeds === 1 ? 'one seed' : `${seeds} seeds`} to the speech of them`
    : '';
  return [
    markdown(names, rows),
    '',
    `${result.model}, ${sentences} held-out sentences (${positions} positions behind their texts)${listened}; ${machine.cpu}, ${machine.cores} cores,`,
    `libtorch ${result.libtorch}, ${result.date.slice(0, 10)}${result.commit ? ` at ${result.commit}` : ''}: \`${result.command}\`.`,
  ].join('\n');
}

/**
 * The page with its table replaced. Throws where the markers are not there.
 *
 * @param {string} page @param {string} section
 */
export function replaceSection(page, section) {
  const first = page.indexOf(begin);
  const last = page.indexOf(end);
  if (first < 0 || last < first)
    throw new Error('expected the two markers of the table in docs/quantisation.md');
  return `${page.slice(0, first + begin.length)}\n\n${section}\n\n${page.slice(last)}`;
}

/** @param {Result} result */
export async function writeDocs(result) {
  const file = join(root, 'docs', 'quantisation.md');
  await writeFile(file, replaceSection(await readFile(file, 'utf8'), sectionOf(result)));
  say('wrote docs/quantisation.md');
}

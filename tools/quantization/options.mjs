/** The command line of `npm run eval:quantization`. */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Complaint, root } from '../../scripts/log.mjs';

export const help = `npm run eval:quantization -- [options]

  --model M        a model folder that is stored whole; default bundled
  --voice FILE     whose voice speaks, for a model without speakers of its own
  --quantization L of none, int8 and int4, with commas; all of them
  --kv-cache L     of 16bit and int8, with commas; both
  --dtype T        of what is judged: auto (default), float32, bfloat16 or float16; it is held against float32
  --device D       default cpu
  --sentences N    only the first N held-out sentences; default 40, with --words all 200
  --steps N        of each free greedy run; default 200
  --seed N         default 1
  --words          have the sentences spoken, and a recogniser listen to them
  --seeds N        with --words: each sentence N times, with as many seeds; default 1
  --out FILE       the figures; default bench/results/quantization.json
  --write-docs     put the table into docs/quantisation.md
  --docs-from FILE put the table of figures that were measured before there, and do nothing else
  --help
`;

const flags = /** @type {const} */ ({
  model: { type: 'string', default: 'bundled' },
  voice: { type: 'string' },
  quantization: { type: 'string', default: 'none,int8,int4' },
  'kv-cache': { type: 'string', default: '16bit,int8' },
  dtype: { type: 'string', default: 'auto' },
  device: { type: 'string', default: 'cpu' },
  sentences: { type: 'string' },
  steps: { type: 'string', default: '200' },
  seed: { type: 'string', default: '1' },
  words: { type: 'boolean', default: false },
  seeds: { type: 'string', default: '1' },
  out: { type: 'string', default: join(root, 'bench', 'results', 'quantization.json') },
  'write-docs': { type: 'boolean', default: false },
  'docs-from': { type: 'string' },
  help: { type: 'boolean', default: false },
});

/** @param {string[]} commandLine */
export function readOptions(commandLine) {
  const values = parse(commandLine);
  const { model, voice, quantization, dtype, device, sentences, steps, seed, words, seeds, out } = values;
  return {
    ...{ model, voice, words, out, help: values.help },
    quantizations: listOf('quantization', quantization, /** @type {const} */ (['none', 'int8', 'int4'])),
    kvCaches: listOf('kv-cache', values['kv-cache'], /** @type {const} */ (['16bit', 'int8'])),
    dtype: oneOf('dtype', dtype, /** @type {const} */ (['auto', 'float32', 'bfloat16', 'float16'])),
    device: /** @type {import('../../dist/index.js').DeviceOption} */ (device),
    sentences: natural('sentences', sentences ?? (words ? '200' : '40'), 1),
    steps: natural('steps', steps, 1),
    seed: natural('seed', seed, 0),
    seeds: natural('seeds', seeds, 1),
    writeDocs: values['write-docs'],
    docsFrom: values['docs-from'],
  };
}

/** @typedef {ReturnType<typeof readOptions>} Options */

/** @param {string[]} commandLine */
function parse(commandLine) {
  try {
    return parseArgs({ args: commandLine, options: flags }).values;
  } catch (error) {
    throw new Complaint(`${/** @type {Error} */ (error).message}\n\n${help}`);
  }
}

/** @param {string} name @param {string} text @param {number} least */
function natural(name, text, least) {
  const value = Number(text);
  if (text.trim() !== '' && Number.isSafeInteger(value) && value >= least) return value;
  throw new Complaint(`expected a whole number of at least ${least} for --${name} but received '${text}'`);
}

/** @template {string} T @param {string} name @param {string} text @param {readonly T[]} choices */
function oneOf(name, text, choices) {
  const choice = choices.find((one) => one === text);
  if (choice !== undefined) return choice;
  throw new Complaint(`expected ${choices.join(', ')} for --${name} but received '${text}'`);
}

/** @template {string} T @param {string} name @param {string} text @param {readonly T[]} choices */
const listOf = (name, text, choices) => [
  ...new Set(text.split(',').map((one) => oneOf(name, one.trim(), choices))),
];

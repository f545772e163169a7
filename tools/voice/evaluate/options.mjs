/** The command line of `npm run eval:voice`. */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Complaint, root } from '../../../scripts/log.mjs';

export const help = `npm run eval:voice -- [options]

  --limit N        only the first N held-out sentences (all: 200); the speakers take turns
  --seed N         default 1
  --quality Q      which of stream (default) and whole is judged; both are spoken
  --dtype T        auto (default), float32, bfloat16 or float16
  --model M        another model that has the speakers of the held-out sentences
  --flite          have flite read the sentences now, instead of what is recorded of it
  --out FILE       the figures; default bench/results/voice.json
  --write-docs     write docs/voice.md and its spectrograms, too (these need flite)
  --docs-from FILE write docs/voice.md from figures that were measured before, and do nothing else
  --help
`;

const flags = /** @type {const} */ ({
  limit: { type: 'string' },
  seed: { type: 'string', default: '1' },
  quality: { type: 'string', default: 'stream' },
  dtype: { type: 'string', default: 'auto' },
  model: { type: 'string', default: 'bundled' },
  flite: { type: 'boolean', default: false },
  out: { type: 'string', default: join(root, 'bench', 'results', 'voice.json') },
  'write-docs': { type: 'boolean', default: false },
  'docs-from': { type: 'string' },
  help: { type: 'boolean', default: false },
});

/** @param {string[]} commandLine */
export function readOptions(commandLine) {
  const values = parse(commandLine);
  const { limit, seed, quality, dtype, model, flite, out, help: asked } = values;
  return {
    limit: limit === undefined ? undefined : natural('limit', limit, 1),
    seed: natural('seed', seed, 0),
    quality: oneOf('quality', quality, /** @type {const} */ (['stream', 'whole'])),
    dtype: oneOf('dtype', dtype, /** @type {const} */ (['auto', 'float32', 'bfloat16', 'float16'])),
    ...{ model, flite, out, help: asked },
    writeDocs: values['write-docs'],
    docsFrom: values['docs-from'],
  };
}

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

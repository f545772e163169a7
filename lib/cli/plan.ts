/** `metavoice plan`: what a model takes of memory, and what fits which card. */

import { parseArgs } from 'node:util';
import { type CardRow, cardForms, cardTable } from '../device/cards.js';
import { publishedSizes } from '../device/model-sizes.js';
import type { MemoryPlan } from '../device/plan.js';
import { type PlanOptions, plan } from '../plan.js';
import { numberArgument, requirePositionals, sizeWords } from './arguments.js';
import { type Terminal, write } from './terminal.js';

export const help = `Usage: metavoice plan [OPTIONS]

Says what a model takes of a device's memory, part by part, and whether it fits. Reads headers only and loads nothing.

  --model, -m M       a model (environment METAVOICE_MODEL); default the sizes of MetaVoice-1B as published
  --device D          auto, cpu, cuda or cuda:N (METAVOICE_DEVICE)
  --dtype T           auto, float32, float16 or bfloat16 (METAVOICE_DTYPE)
  --quantization Q    none, int8 or int4; default as the model is stored
  --decoder D         auto, encodec or diffusion
  --quality Q         stream or whole: how diffusion goes
  --batch-size N      utterances at the same time, default 1
  --max-seconds X     the longest utterance; default what the window holds
  --cards             the table of cards too: what of MetaVoice-1B fits which
  --json              tell it in JSON
`;

const known = {
  model: { type: 'string', short: 'm' },
  device: { type: 'string' },
  dtype: { type: 'string' },
  quantization: { type: 'string' },
  decoder: { type: 'string' },
  quality: { type: 'string' },
  'batch-size': { type: 'string' },
  'max-seconds': { type: 'string' },
  cards: { type: 'boolean' },
  json: { type: 'boolean' },
} as const;

export async function run(args: string[], terminal: Terminal): Promise<void> {
  const { values, positionals } = parseArgs({ args, options: known, allowPositionals: true });
  requirePositionals(positionals, []);
  const { model, device, dtype, quantization, decoder, quality } = values;
  const { cards: withCards = false, json = false } = values;
  const batchSize = numberArgument(values['batch-size'], 'batch-size');
  const maxSeconds = numberArgument(values['max-seconds'], 'max-seconds');
  const request = { model, device, dtype, quantization, decoder, quality, batchSize, maxSeconds };
  const found = plan(request as PlanOptions);
  const table = withCards ? cardTable(publishedSizes) : null;
  const text = json
    ? `${JSON.stringify(table ? { ...found, cards: table.map(cardFacts) } : found)}\n`
    : words(found) + (table ? `\n${tableWords(table)}` : '');
  await write(terminal.stdout, text);
}

const partWords: Readonly<Record<keyof MemoryPlan['parts'], string>> = {
  firstStage: 'first stage',
  secondStage: 'second stage',
  speakerEncoder: 'speaker encoder',
  codec: 'EnCodec codec',
  diffusion: 'diffusion',
  enhancer: 'enhancer',
  keyValueCache: 'key-value cache',
  working: 'working memory',
  redo: 'redoing in float32',
  runtime: 'libtorch',
};

function words({
  model,
  device,
  name,
  computeCapability,
  parts,
  total,
  available,
  advice,
}: MemoryPlan): string {
  const capability = computeCapability === null ? '' : `, compute capability ${computeCapability}`;
  const rows = Object.entries(parts)
    .filter(([, bytes]) => bytes > 0)
    .map(([part, bytes]) => [partWords[part as keyof typeof parts], bytes] as const);
  const lines = [...rows, ['together', total] as const, ['free', available] as const];
  return [
    `${model} on ${device} (${name}${capability})`,
    ...lines.map(([part, bytes]) => `  ${part.padEnd(20)}${sizeWords(bytes).padStart(8)}`),
    `${advice}\n`,
  ].join('\n');
}

const formWords = cardForms.map(
  ({ quantization, decoder }) => `${quantization === 'none' ? '16 bit' : quantization}, ${decoder}`,
);

/** Bytes, and utterances at a time, of each form on each card; a dash where it does not fit. */
function tableWords(rows: CardRow[]): string {
  const width = Math.max(...formWords.map((form) => form.length)) + 2;
  const head = `${'what fits (utterances at a time)'.padEnd(34)}${formWords.map((form) => form.padStart(width)).join('')}`;
  const body = rows.map(({ card, dtype, forms }) => {
    const cells = forms.map(({ total, batch }) => (batch > 0 ? `${sizeWords(total)} (${batch})` : '–'));
    return `${`${card.name}, ${dtype}`.padEnd(34)}${cells.map((cell) => cell.padStart(width)).join('')}`;
  });
  return `${[head, ...body].join('\n')}\n`;
}

const cardFacts = ({ card, dtype, forms }: CardRow) => ({
  ...card,
  dtype,
  forms: forms.map((form, index) => ({ ...cardForms[index], ...form })),
});

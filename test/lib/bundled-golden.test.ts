/** The bundled networks in the engine against what they computed where they were trained (tools/voice, `golden`). */

import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { Stages } from '../../dist/stages.js';
import { expectClose, readTensors } from './fixtures.js';

const folder = fileURLToPath(new URL('../../voices/bundled', import.meta.url));
const text = 'The old clock in the hall struck seven.';
const tensors = readTensors('bundled.safetensors');
const golden = (name: string) => tensors[name]!.data;
const [books, frames] = tensors.codes!.shape as [number, number];
const codes = Array.from({ length: books }, (_, k) =>
  Uint16Array.from(golden('codes').subarray(k * frames, (k + 1) * frames)),
);

/** Of logits: the widths in which the matrices are multiplied have 11 and 8 bits. */
const tolerances = { float16: 0.02, bfloat16: 0.15 };

const secondStageOf = (opened: Stages) =>
  opened.secondStageLogits(text, [codes[0]!, codes[1]!], golden('speaker'));

/** Of [heads, frames, outputs], the frames that the golden data has. */
function lastColumns(logits: Float32Array): Float32Array {
  const [heads, columns, outputs] = tensors['second.logits']!.shape as [number, number, number];
  const last = new Float32Array(heads * columns * outputs);
  for (let head = 0; head < heads; head++) {
    const end = (head + 1) * frames * outputs;
    last.set(logits.subarray(end - columns * outputs, end), head * columns * outputs);
  }
  return last;
}

let stages: Stages;
beforeAll(async () => {
  stages = await Stages.open(folder, { device: 'cpu', dtype: 'float32' });
});
afterAll(() => stages.dispose());

it('splits the text into the tokens it was trained on', () => {
  const { offset } = stages.manifest.firstStage!.tokenizer;
  const ids = [...stages.tokenize(text).firstStage].map((id) => id - offset);
  expect(ids).toEqual([...golden('text')]);
});

it('gives the logits of the first stage', async () => {
  const ids = Int32Array.from(golden('ids'));
  const logits = await stages.firstStageLogits(ids, golden('speaker'));
  const [positions, vocabulary] = tensors['first.logits']!.shape as [number, number];
  const last = logits.subarray((ids.length - positions) * vocabulary, ids.length * vocabulary);
  expectClose(last, golden('first.logits'), 5e-4);
});

it('gives the logits of the second stage', async () => {
  expectClose(lastColumns(await secondStageOf(stages)), golden('second.logits'), 5e-4);
});

test.each([
  ['whole', undefined],
  ['in pieces', [7, 1, 16]],
])('decodes %s', async (_, pieces) => {
  const samples = await stages.decode({ codebooks: codes, frames }, pieces && { pieces });
  expectClose(samples, golden('decoded'), 2e-5);
});

it('embeds a recording', async () => {
  const embedding = await stages.embedSpeaker(golden('recording'), 16_000);
  expectClose(embedding, golden('partial'), 2e-5);
});

describe.each(['float16', 'bfloat16'] as const)('in %s', (dtype) => {
  let narrow: Stages;
  beforeAll(async () => {
    narrow = await Stages.open(folder, { device: 'cpu', dtype });
  });
  afterAll(() => narrow.dispose());

  it('gives the logits of the first stage', async () => {
    const ids = Int32Array.from(golden('ids'));
    const logits = await narrow.firstStageLogits(ids, golden('speaker'));
    const [positions, vocabulary] = tensors['first.logits']!.shape as [number, number];
    const last = logits.subarray((ids.length - positions) * vocabulary, ids.length * vocabulary);
    expectClose(last, golden('first.logits'), tolerances[dtype]);
  });

  it('gives the logits of the second stage', async () => {
    expectClose(lastColumns(await secondStageOf(narrow)), golden('second.logits'), tolerances[dtype]);
  });
});

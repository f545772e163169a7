import { describe, expect, it, test } from 'vitest';
import {
  codecName,
  codecTensors,
  isCodecTraining,
  transformerName,
  transformerTensors,
} from '../../../dist/checkpoint/names.js';
import * as published from '../../../dist/doctor/published.js';
import { expand, measure, type PublishedPart, publishedSizes, totals } from '../../../dist/doctor/table.js';
import { Tokenizer } from '../../../dist/text/tokenizer.js';
import { goldenRanks } from './golden-tokenizer.js';

const parts = {
  firstStage: published.firstStage,
  secondStage: published.secondStage,
  speakerEncoder: published.speakerEncoder,
  codec: published.codec,
  diffusion: published.diffusion,
  enhancer: published.enhancer,
} satisfies Record<string, PublishedPart>;

const shapesOf = ({ table }: PublishedPart) =>
  new Map([...expand(table, publishedSizes(table))].map(([name, { shape }]) => [name, shape]));

describe('the facts agree with each other', () => {
  // The numbers as the specification states them, not as the tables do.
  test.each([
    ['firstStage', 173, 1_243_191_296],
    ['secondStage', 47, 14_459_136],
    ['speakerEncoder', 14, 1_423_616],
    ['codec', 252, 23_273_218],
    ['diffusion', 158, 286_435_008],
    ['enhancer', 133, 2_167_954],
  ] as const)('%s: %i tensors of together %i numbers', (name, tensors, parameters) => {
    const part = parts[name];
    expect(totals(part.table, publishedSizes(part.table))).toEqual({ tensors, parameters });
    expect(part).toMatchObject({ tensors, parameters });
  });

  it('four U-Nets have the parameters of the whole decoder, and an enhancer 15 counters', () => {
    expect(published.diffusion.bands * published.diffusion.parameters).toBe(1_145_740_032);
    const { table } = published.enhancer;
    expect([...expand(table, publishedSizes(table)).values()].filter(({ row }) => row.counter)).toHaveLength(
      15,
    );
  });

  test.each(Object.entries(parts))('%s: every shape is of whole numbers, and every size shows', (_, part) => {
    const shapes = shapesOf(part);
    for (const [name, shape] of shapes)
      expect(
        shape.every((size) => Number.isInteger(size) && size > 0),
        name,
      ).toBe(true);
    expect(measure(part.table, shapes)).toEqual(publishedSizes(part.table));
    for (const { from } of Object.values(part.table.sizes))
      if (typeof from !== 'string') expect(shapes.has(from[0]), from[0]).toBe(true);
  });
});

describe('the facts agree with what the converter expects', () => {
  test.each([
    ['firstStage', 'swiglu', [2562], [2562]],
    ['secondStage', 'gelu', [1538, 1025], Array(6).fill(1025)],
  ] as const)('%s', (name, activation, vocabularies, outputs) => {
    const { table } = parts[name];
    const sizes = publishedSizes(table);
    const expected = transformerTensors({
      layers: sizes.layers!,
      width: sizes.width!,
      feedForward: sizes['feed forward']!,
      positions: sizes.positions!,
      vocabularies: [...vocabularies],
      outputs: [...outputs],
      tied: false,
      speakerEmbedding: sizes.speaker!,
      activation,
    });
    const required = [...expected].flatMap(([ours, { shape, optional }]) =>
      optional ? [] : [[ours, shape]],
    );
    const found = [...shapesOf(parts[name])].map(([theirs, shape]) => [transformerName(theirs), shape]);
    expect(new Map(found as [string, number[]][])).toEqual(new Map(required as [string, number[]][]));
  });

  it('codec', () => {
    const found = new Map(
      [...shapesOf(parts.codec)]
        .filter(([name]) => !isCodecTraining(name))
        .map(([name, shape]) => [codecName(name)!, shape] as const),
    );
    const sizes = {
      ratios: [8, 5, 4, 2],
      dimension: 128,
      codebookSize: 1024,
      storedCodebooks: 32,
      encoder: true,
    };
    const expected = new Map([...codecTensors(sizes, found)].map(([name, { shape }]) => [name, shape]));
    expect(found).toEqual(expected);
  });
});

describe('the token vectors', () => {
  it('are ids of the first stage that end with end of text', () => {
    for (const { ids } of published.tokenVectors) {
      expect(ids.at(-1)).toBe(2049 + 512);
      expect(ids.every((id) => id >= 2049 && id <= 2561)).toBe(true);
    }
    expect(published.tokenVectors.map(({ ids }) => ids.length)).toEqual([54, 10]);
  });

  it('are what a tokenizer with those merges gives', () => {
    const tokenizer = Tokenizer.from({
      name: 'golden',
      pattern: String.raw` ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+`,
      ranks: goldenRanks().map((bytes) => bytes.toString('base64')),
      special: { '<|endoftext|>': 512 },
      offset: 2049,
    });
    for (const { text, ids } of published.tokenVectors) {
      expect([...tokenizer.encode(text)]).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(`${text}<|endoftext|>`);
    }
  });
});

/** The building blocks that the tables of `published.ts` are written in. */

import type { Dimension, Row } from './table.js';

type Shape = readonly Dimension[];

export const row = (name: string, shape: Shape, more: Omit<Row, 'name' | 'shape'> = {}): Row => ({
  name,
  shape,
  ...more,
});

/** One layer of both language models, its feed-forward part aside. */
export const transformerLayers: readonly Row[] = [
  row('transformer.h.#.ln_1.weight', ['width'], { each: 'layers' }),
  row('transformer.h.#.attn.c_attn.weight', ['3 width', 'width'], { each: 'layers' }),
  row('transformer.h.#.attn.c_proj.weight', ['width', 'width'], { each: 'layers' }),
  row('transformer.h.#.ln_2.weight', ['width'], { each: 'layers' }),
  row('transformer.h.#.mlp.c_proj.weight', ['width', 'feed forward'], { each: 'layers' }),
];

/** A weight-normed convolution: length and direction of its weight, and the bias. */
export const convolution = (path: string, shape: Shape): Row[] => [
  row(`${path}.weight_g`, [shape[0]!, 1, 1]),
  row(`${path}.weight_v`, shape),
  row(`${path}.bias`, [path.endsWith('convtr') ? shape[1]! : shape[0]!]),
];

/** A residual unit of EnCodec. */
export const residual = (path: string, channels: Dimension, inside: Dimension): Row[] => [
  ...convolution(`${path}.block.1.conv.conv`, [inside, channels, 3]),
  ...convolution(`${path}.block.3.conv.conv`, [channels, inside, 1]),
  ...convolution(`${path}.shortcut.conv.conv`, [channels, channels, 1]),
];

/** An LSTM or GRU with biases; `gates` is their number times the width of the state. */
export const recurrent = (path: string, layers: number, gates: Dimension, state: Dimension): Row[] =>
  Array.from({ length: layers }, (_, layer) => [
    row(`${path}.weight_ih_l${layer}`, [gates, state]),
    row(`${path}.weight_hh_l${layer}`, [gates, state]),
    row(`${path}.bias_ih_l${layer}`, [gates]),
    row(`${path}.bias_hh_l${layer}`, [gates]),
  ]).flat();

export const affine = (path: string, channels: Dimension): Row[] => [
  row(`${path}.weight`, [channels]),
  row(`${path}.bias`, [channels]),
];

/** The residual blocks of one level of a diffusion U-Net. */
export const blocks = (path: string, channels: Dimension): Row[] =>
  [1, 2].flatMap((n) =>
    [
      ...affine(`${path}.res_blocks.#.norm${n}`, channels),
      row(`${path}.res_blocks.#.conv${n}.weight`, [channels, channels, 3]),
      row(`${path}.res_blocks.#.conv${n}.bias`, [channels]),
    ].map((each) => ({ ...each, each: 'blocks' })),
  );

/** One level of a U-Net on the way down, and on the way up. */
export const encoderLevel = (level: number, input: Dimension, output: Dimension): Row[] => [
  row(`encoders.${level}.conv.weight`, [output, input, 'kernel']),
  ...affine(`encoders.${level}.norm`, output),
  ...blocks(`encoders.${level}`, output),
];
export const decoderLevel = (level: number, input: Dimension, output: Dimension): Row[] => [
  ...blocks(`decoders.${level}`, input),
  ...affine(`decoders.${level}.norm`, input),
  row(`decoders.${level}.convtr.weight`, [input, output, 'kernel']),
];

/** A batch norm as it is stored: what it learned, what it measured, and how often. */
export const batchNorm = (path: string, channels: Dimension = 'channels'): Row[] => [
  ...affine(path, channels),
  row(`${path}.running_mean`, [channels]),
  row(`${path}.running_var`, [channels]),
  row(`${path}.num_batches_tracked`, [], { counter: true }),
];

/** The enhancer's separable convolution along frequency: one kernel per channel, then a mixture, then a norm. */
export const separable = (path: string): Row[] => [
  row(`${path}.0.weight`, ['channels', 1, 1, 3]),
  row(`${path}.1.weight`, ['channels', 'channels', 1, 1]),
  ...batchNorm(`${path}.2`),
];

/** The enhancer's convolution of a skip: one factor per channel, then a norm. */
export const pathway = (path: string): Row[] => [
  row(`${path}.0.weight`, ['channels', 1, 1, 1]),
  ...batchNorm(`${path}.1`),
];

/**
 * The names of tensors: ours in the files of a model folder, and the published ones that become them. A `#` stands for
 * a number.
 */

import type { Quantization } from '../native/contract.js';
import type {
  CodecManifest,
  DiffusionManifest,
  SpeakerEncoderManifest,
  TransformerManifest,
} from './manifest.js';
import type { TensorDtype } from './pickle-values.js';

type Pair = readonly [published: string, ours: string];

const common: readonly Pair[] = [
  ['transformer.wtes.#', 'tokens.#'],
  ['transformer.wpe', 'positions'],
  ['speaker_cond_pos', 'speaker'],
  ['transformer.h.#.ln_1', 'layers.#.attention_norm'],
  ['transformer.h.#.attn.c_attn', 'layers.#.attention.qkv'],
  ['transformer.h.#.attn.c_proj', 'layers.#.attention.out'],
  ['transformer.h.#.ln_2', 'layers.#.feed_forward_norm'],
  ['transformer.h.#.mlp.c_proj', 'layers.#.feed_forward.down'],
  ['transformer.ln_f', 'norm'],
  ['lm_heads.#', 'heads.#'],
];

const feedForward: Readonly<Record<'swiglu' | 'gelu', readonly Pair[]>> = {
  swiglu: [
    ['transformer.h.#.mlp.swiglu.w1', 'layers.#.feed_forward.gate'],
    ['transformer.h.#.mlp.swiglu.w3', 'layers.#.feed_forward.up'],
  ],
  gelu: [['transformer.h.#.mlp.c_fc', 'layers.#.feed_forward.up']],
};

const pattern = (template: string): RegExp =>
  new RegExp(`^${template.replaceAll('.', '\\.').replace('#', '(\\d+)')}\\.(weight|bias)$`);

const toOurs = [...common, ...feedForward.swiglu, ...feedForward.gelu].map(
  ([published, ours]) => [pattern(published), ours] as const,
);

function rename(name: string, rules: readonly (readonly [RegExp, string])[]): string | null {
  for (const [from, to] of rules) {
    const match = from.exec(name);
    if (match) return `${to.replace('#', match[1]!)}.${match.at(-1)}`;
  }
  return null;
}

/** Our name of a published tensor of a language model, `_orig_mod.` or not; null when it is none. */
export const transformerName = (published: string): string | null =>
  rename(published.replace(/^_orig_mod\./, ''), toOurs);

/** The published name of one of ours. */
export const publishedName = (ours: string, activation: 'swiglu' | 'gelu'): string =>
  rename(
    ours,
    [...common, ...feedForward[activation]].map(([published, mine]) => [pattern(mine), published] as const),
  ) ?? ours;

/** Our name of a tensor of EnCodec's, in the original's spelling or Hugging Face's; null when it is none. */
export function codecName(published: string): string | null {
  const book = /^quantizer\.(?:vq\.layers\.(\d+)\._codebook|layers\.(\d+)\.codebook)\.embed$/.exec(published);
  if (book) return `quantizer.${book[1] ?? book[2]}.embed`;
  const lstm = /^(encoder|decoder)\.(?:model|layers)\.(\d+)\.(lstm\.(?:weight|bias)_[ih]h_l\d+)$/.exec(
    published,
  );
  if (lstm) return `${lstm[1]}.${lstm[2]}.${lstm[3]}`;
  const conv =
    /^(encoder|decoder)\.(?:model|layers)\.(\d+)\.((?:block\.[13]\.|shortcut\.)?)(?:conv\.conv|convtr\.convtr|conv)\.(.+)$/.exec(
      published,
    );
  const leaf = conv && convolutionLeaves.get(conv[4]!);
  return leaf ? `${conv[1]}.${conv[2]}.${conv[3]}${leaf}` : null;
}

const convolutionLeaves = new Map([
  ['weight_g', 'weight_g'],
  ['weight_v', 'weight_v'],
  ['parametrizations.weight.original0', 'weight_g'],
  ['parametrizations.weight.original1', 'weight_v'],
  ['bias', 'bias'],
]);

/** Tensors that only training needs. */
export const isCodecTraining = (published: string): boolean =>
  /^quantizer\.(?:vq\.layers\.\d+\._codebook|layers\.\d+\.codebook)\.(?:inited|cluster_size|embed_avg)$/.test(
    published,
  );

// ------------------------------------------------------------------------------------------ what must be there

export interface ExpectedTensor {
  shape: readonly number[];
  optional?: true;
  /** Where it is not that of the other tensors. */
  dtype?: TensorDtype;
}

export type Expected = Map<string, ExpectedTensor>;

export type TransformerSizes = Omit<
  TransformerManifest,
  'file' | 'bytes' | 'dtype' | 'heads' | 'norm' | 'normEpsilon' | 'tokenizer'
>;

/** Numbers of a row that share a scale and a zero in int4. */
export const int4Group = 128;

/** Whether a tensor, by our name, is held quantised: a matrix of the layers, in int4 one whose rows are whole groups. */
export const isQuantized = (name: string, shape: readonly number[], quantization: Quantization): boolean =>
  quantization !== 'none' &&
  /^layers\.\d+\.(?:attention\.(?:qkv|out)|feed_forward\.(?:gate|up|down))\.weight$/.test(name) &&
  (quantization === 'int8' || shape[1]! % int4Group === 0);

/** What a quantised matrix `….weight` [out, in] is stored as. */
export function quantizedTensors(
  name: string,
  [out, columns]: readonly [number, number],
  quantization: 'int8' | 'int4',
): [name: string, tensor: Required<Omit<ExpectedTensor, 'optional'>>][] {
  const scale = name.replace(/weight$/, 'scale');
  return quantization === 'int8'
    ? [
        [name, { shape: [out, columns], dtype: 'int8' }],
        [scale, { shape: [out], dtype: 'bfloat16' }],
      ]
    : [
        [name, { shape: [out, columns / 2], dtype: 'uint8' }],
        [scale, { shape: [out, columns / int4Group, 2], dtype: 'bfloat16' }],
      ];
}

/** Every tensor of a language model. */
export function transformerTensors(sizes: TransformerSizes & { quantization?: Quantization }): Expected {
  const { width, feedForward: inner, speakerEmbedding } = sizes;
  const expected: Expected = new Map();
  const need = (path: string, ...shape: number[]) => {
    expected.set(`${path}.weight`, { shape });
  };
  const layer = (path: string, ...shape: number[]) => {
    need(path, ...shape);
    expected.set(`${path}.bias`, { shape: [shape[0]!], optional: true });
  };
  for (const [index, rows] of sizes.vocabularies.entries()) need(`tokens.${index}`, rows, width);
  need('positions', sizes.positions, width);
  if (speakerEmbedding > 0) need('speaker', width, speakerEmbedding);
  for (let n = 0; n < sizes.layers; n++) {
    layer(`layers.${n}.attention_norm`, width);
    layer(`layers.${n}.attention.qkv`, 3 * width, width);
    layer(`layers.${n}.attention.out`, width, width);
    layer(`layers.${n}.feed_forward_norm`, width);
    if (sizes.activation === 'swiglu') layer(`layers.${n}.feed_forward.gate`, inner, width);
    layer(`layers.${n}.feed_forward.up`, inner, width);
    layer(`layers.${n}.feed_forward.down`, width, inner);
  }
  layer('norm', width);
  const heads = sizes.tied ? [] : sizes.outputs;
  for (const [index, rows] of heads.entries()) need(`heads.${index}`, rows, width);
  const { quantization = 'none' } = sizes;
  if (quantization === 'none') return expected;
  return new Map(
    [...expected].flatMap(([name, tensor]): [string, ExpectedTensor][] =>
      isQuantized(name, tensor.shape, quantization)
        ? quantizedTensors(name, tensor.shape as [number, number], quantization)
        : [[name, tensor]],
    ),
  );
}

/** Every tensor of the speaker encoder. */
export function speakerEncoderTensors(sizes: Omit<SpeakerEncoderManifest, 'file' | 'bytes'>): Expected {
  const expected: Expected = new Map();
  lstm(expected, 'lstm', sizes.layers, sizes.mels, sizes.hidden);
  expected.set('linear.weight', { shape: [sizes.embedding, sizes.hidden] });
  expected.set('linear.bias', { shape: [sizes.embedding] });
  return expected;
}

function lstm(expected: Expected, path: string, layers: number, input: number, hidden: number): void {
  for (let n = 0; n < layers; n++) {
    expected.set(`${path}.weight_ih_l${n}`, { shape: [4 * hidden, n === 0 ? input : hidden] });
    expected.set(`${path}.weight_hh_l${n}`, { shape: [4 * hidden, hidden] });
    expected.set(`${path}.bias_ih_l${n}`, { shape: [4 * hidden] });
    expected.set(`${path}.bias_hh_l${n}`, { shape: [4 * hidden] });
  }
}

export type CodecSizes = Pick<
  CodecManifest,
  'ratios' | 'dimension' | 'codebookSize' | 'storedCodebooks' | 'encoder'
>;

/**
 * Number of the decoder's first upsampling: an LSTM before it, as in the published codec, counts as a module. Native code
 * counts alike (`native/models/encodec/seanet.cc`).
 */
export const firstUpsampling = (found: ReadonlyMap<string, unknown>): number =>
  found.has('decoder.2.weight_v') ? 2 : 3;

/**
 * Every tensor of the codec. Channels, kernels, and whether there are LSTMs and how deep, are taken from the tensors
 * found; all else must agree with them.
 */
export function codecTensors(sizes: CodecSizes, found: ReadonlyMap<string, readonly number[]>): Expected {
  const { ratios, dimension } = sizes;
  const stages = ratios.length;
  const expected: Expected = new Map();
  const kernel = (path: string) => found.get(`${path}.weight_v`)?.[2] ?? 1;
  const conv = (path: string, output: number, input: number, width = kernel(path)) => {
    expected.set(`${path}.weight_g`, { shape: [output, 1, 1] });
    expected.set(`${path}.weight_v`, { shape: [output, input, width] });
    expected.set(`${path}.bias`, { shape: [output] });
  };
  const residual = (path: string, channels: number) => {
    const hidden = found.get(`${path}.block.1.weight_v`)?.[0] ?? channels;
    conv(`${path}.block.1`, hidden, channels);
    conv(`${path}.block.3`, channels, hidden, 1);
    conv(`${path}.shortcut`, channels, channels, 1);
  };
  const recurrent = (path: string, width: number) => {
    let layers = 1;
    while (found.has(`${path}.lstm.weight_ih_l${layers}`)) layers++;
    lstm(expected, `${path}.lstm`, layers, width, width);
  };

  const widest = found.get('decoder.0.weight_v')?.[0] ?? 0;
  const filters = widest / 2 ** stages;
  const firstUp = firstUpsampling(found);
  conv('decoder.0', widest, dimension);
  if (firstUp === 3) recurrent('decoder.1', widest);
  ratios.forEach((ratio, index) => {
    const channels = widest / 2 ** index;
    const path = `decoder.${3 * index + firstUp}`;
    expected.set(`${path}.weight_g`, { shape: [channels, 1, 1] });
    expected.set(`${path}.weight_v`, { shape: [channels, channels / 2, 2 * ratio] });
    expected.set(`${path}.bias`, { shape: [channels / 2] });
    residual(`decoder.${3 * index + firstUp + 1}`, channels / 2);
  });
  conv(`decoder.${3 * stages + firstUp}`, 1, filters);
  if (sizes.encoder) {
    conv('encoder.0', filters, 1);
    ratios.toReversed().forEach((ratio, index) => {
      const channels = filters * 2 ** index;
      residual(`encoder.${3 * index + 1}`, channels);
      conv(`encoder.${3 * index + 3}`, 2 * channels, channels, 2 * ratio);
    });
    const afterLast = 3 * stages + 1;
    const plain = found.has(`encoder.${afterLast + 1}.weight_v`);
    if (!plain) recurrent(`encoder.${afterLast}`, widest);
    conv(`encoder.${afterLast + (plain ? 1 : 2)}`, dimension, widest);
  }
  for (let n = 0; n < sizes.storedCodebooks; n++)
    expected.set(`quantizer.${n}.embed`, { shape: [sizes.codebookSize, dimension] });
  return expected;
}

/** Every tensor of multi-band diffusion: published names, of the network under `bands.#`, of its processor under `processors.#`. */
export function diffusionTensors(
  { latent, bands }: Pick<DiffusionManifest, 'latent' | 'bands'>,
  found: ReadonlyMap<string, unknown>,
): Expected {
  const expected: Expected = new Map();
  bands.forEach(({ channels, kernel, residualBlocks, steps, processor }, index) => {
    const band = `bands.${index}`;
    const need = (path: string, ...shape: number[]) => expected.set(`${band}.${path}`, { shape });
    const residuals = (path: string, width: number) => {
      for (let n = 0; n < residualBlocks; n++)
        for (const half of [1, 2]) {
          norm(`${path}.res_blocks.${n}.norm${half}`, width);
          need(`${path}.res_blocks.${n}.conv${half}.weight`, width, width, 3);
          need(`${path}.res_blocks.${n}.conv${half}.bias`, width);
        }
    };
    const norm = (path: string, width: number) => {
      need(`${path}.weight`, width);
      need(`${path}.bias`, width);
    };
    const everyLevel = found.has(`${band}.embeddings.0.weight`);
    channels.forEach((width, level) => {
      const outer = channels[level - 1] ?? 1;
      const encoder = `encoders.${level}`;
      need(`${encoder}.conv.weight`, width, outer, kernel);
      norm(`${encoder}.norm`, width);
      residuals(encoder, width);
      const decoder = `decoders.${channels.length - 1 - level}`;
      residuals(decoder, width);
      norm(`${decoder}.norm`, width);
      need(`${decoder}.convtr.weight`, width, outer, kernel);
      if (level === 0) need('embedding.weight', steps, width);
      else if (everyLevel) need(`embeddings.${level - 1}.weight`, steps, width);
    });
    const deepest = channels.at(-1) ?? 0;
    need('conv_codec.weight', deepest, latent, 1);
    need('conv_codec.bias', deepest);
    if (!processor) return;
    expected.set(`processors.${index}.counts`, { shape: [1] });
    for (const sum of ['sum_x', 'sum_x2', 'sum_target_x2'])
      expected.set(`processors.${index}.${sum}`, { shape: [processor.bands] });
  });
  return expected;
}

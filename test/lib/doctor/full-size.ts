/** Published files at full size that take no room: names and shapes are there, the numbers are holes. */

import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { basename, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { publishedName, transformerTensors } from '../../../dist/checkpoint/names.js';
import { PickleStorage, PickleTensor, type TensorDtype } from '../../../dist/checkpoint/pickle-values.js';
import { codec, diffusion, enhancer, equalizer, speakerEncoder } from '../../../dist/doctor/published.js';
import { expand, publishedSizes, type Table } from '../../../dist/doctor/table.js';
import { pickle } from '../checkpoint/torch-save.js';
import { goldenRanks } from './golden-tokenizer.js';

type Shapes = Record<string, { shape: readonly number[]; dtype?: TensorDtype }>;

const shapesOf = (table: Table): Shapes =>
  Object.fromEntries(
    [...expand(table, publishedSizes(table))].map(([name, { shape, row }]) => [
      name,
      row.counter ? { shape, dtype: 'int64' as const } : { shape },
    ]),
  );

const contiguous = (shape: readonly number[]): number[] =>
  shape.map((_, d) => shape.slice(d + 1).reduce((all, size) => all * size, 1));

/** Storages of a file in the making; `dict` gives tensors of a state dict. */
class Storages {
  readonly bytes: number[] = [];

  tensor({ shape, dtype = 'float32' }: Shapes[string]): PickleTensor {
    const elements = shape.reduce((all, size) => all * size, 1);
    const key = String(this.bytes.push(elements * (dtype === 'int64' ? 8 : 4)) - 1);
    return new PickleTensor(new PickleStorage(dtype, key, elements), 0, shape, contiguous(shape));
  }

  dict(shapes: Shapes): Map<string, PickleTensor> {
    return new Map(Object.entries(shapes).map(([name, entry]) => [name, this.tensor(entry)]));
  }
}

/** A file of torch.save with holes for numbers, and 64-bit offsets where they are needed. */
function save(path: string, value: unknown, storages: Storages): void {
  const file = openSync(path, 'w');
  const directory: Buffer[] = [];
  let at = 0;
  const put = (bytes: Uint8Array): void => {
    writeSync(file, bytes, 0, bytes.length, at);
    at += bytes.length;
  };
  const member = (inner: string, size: number, data: Uint8Array | null): void => {
    const name = Buffer.from(`${basename(path)}/${inner}`);
    const crc = data ? crc32(data) : 0;
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    directory.push(entry(name, size, at, crc));
    put(local);
    put(name);
    if (data) put(data);
    else at += size;
  };
  const bytes = pickle(value);
  member('data.pkl', bytes.length, bytes);
  for (const [key, size] of storages.bytes.entries()) member(`data/${key}`, size, null);
  const start = at;
  const central = Buffer.concat(directory);
  put(central);
  put(endRecords(directory.length, central.length, start));
  ftruncateSync(file, at);
  closeSync(file);
}

function entry(name: Buffer, size: number, offset: number, crc: number): Buffer {
  const head = Buffer.alloc(46);
  head.writeUInt32LE(0x02014b50, 0);
  head.writeUInt32LE(crc, 16);
  head.writeUInt32LE(0xffffffff, 20);
  head.writeUInt32LE(0xffffffff, 24);
  head.writeUInt16LE(name.length, 28);
  head.writeUInt16LE(28, 30);
  head.writeUInt32LE(0xffffffff, 42);
  const wide = Buffer.alloc(28);
  wide.writeUInt16LE(1, 0);
  wide.writeUInt16LE(24, 2);
  [size, size, offset].forEach((number, n) => {
    wide.writeBigUInt64LE(BigInt(number), 4 + 8 * n);
  });
  return Buffer.concat([head, name, wide]);
}

function endRecords(count: number, size: number, start: number): Buffer {
  const record = Buffer.alloc(56);
  record.writeUInt32LE(0x06064b50, 0);
  record.writeBigUInt64LE(44n, 4);
  record.writeBigUInt64LE(BigInt(count), 24);
  record.writeBigUInt64LE(BigInt(count), 32);
  record.writeBigUInt64LE(BigInt(size), 40);
  record.writeBigUInt64LE(BigInt(start), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(start + size), 8);
  locator.writeUInt32LE(1, 16);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(0xffff, 8);
  end.writeUInt16LE(0xffff, 10);
  end.writeUInt32LE(0xffffffff, 12);
  end.writeUInt32LE(0xffffffff, 16);
  return Buffer.concat([record, locator, end]);
}

// ------------------------------------------------------------------------------------------ the files

const tokenizer = (offset: number) => ({
  name: 'golden',
  pat_str: String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
  mergeable_ranks: new Map(goldenRanks().map((bytes, rank) => [new Uint8Array(bytes), rank])),
  special_tokens: { '<|endoftext|>': 512 },
  offset,
});

/** Names and shapes of a language model, by what the converter expects of these sizes: not by the doctor's tables. */
function stage(sizes: Parameters<typeof transformerTensors>[0]): Shapes {
  const entries = [...transformerTensors({ ...sizes, tied: false })].filter(([, { optional }]) => !optional);
  return Object.fromEntries(
    entries.map(([name, { shape }]) => [publishedName(name, sizes.activation), { shape }]),
  );
}

export function writeFirstStage(folder: string): void {
  const storages = new Storages();
  const shapes = stage({
    layers: 24,
    width: 2048,
    feedForward: 5632,
    positions: 2048,
    vocabularies: [2562],
    outputs: [2562],
    tied: false,
    speakerEmbedding: 256,
    activation: 'swiglu',
  });
  const { 'lm_heads.0.weight': _, ...others } = shapes;
  const model = storages.dict(others);
  model.set('lm_heads.0.weight', model.get('transformer.wtes.0.weight')!);
  const value = {
    model: new Map([...model].map(([name, tensor]) => [`_orig_mod.${name}`, tensor])),
    model_args: {
      n_layer: 24,
      n_head: 16,
      n_embd: 2048,
      block_size: 2048,
      bias: false,
      causal: true,
      norm_type: 'rmsnorm',
      nonlinearity_type: 'swiglu',
    },
    config: { causal: true },
    meta: { speaker_cond: true, speaker_emb_size: 256, tokenizer: tokenizer(2049) },
  };
  save(join(folder, 'first_stage.pt'), value, storages);
}

export function writeSecondStage(folder: string): void {
  const storages = new Storages();
  const shapes = stage({
    layers: 6,
    width: 384,
    feedForward: 1536,
    positions: 1024,
    vocabularies: [1538, 1025],
    outputs: [1025, 1025, 1025, 1025, 1025, 1025],
    tied: false,
    speakerEmbedding: 256,
    activation: 'gelu',
  });
  const value = {
    model: storages.dict(shapes),
    model_args: { n_layer: 6, n_head: 6, bias: false, causal: false },
    meta: { speaker_cond: true, speaker_emb_size: 256, tokenizer: tokenizer(1025) },
  };
  save(join(folder, 'second_stage.pt'), value, storages);
}

export function writeSpeakerEncoder(folder: string): void {
  const storages = new Storages();
  const value = { step: 1, model_state: storages.dict(shapesOf(speakerEncoder.table)) };
  save(join(folder, 'speaker_encoder.pt'), value, storages);
}

export function writeCodec(folder: string): void {
  const storages = new Storages();
  save(join(folder, 'encodec_24khz-d7cc33bc.th'), storages.dict(shapesOf(codec.table)), storages);
}

export function writeDiffusion(folder: string): void {
  const storages = new Storages();
  const band = (use: boolean) => ({
    cfg: {
      channels: 1,
      diffusion_unet: { hidden: 48, depth: 4, codec_dim: 128, norm_groups: 4, stride: 4, bilstm: false },
      schedule: { num_steps: 1000, beta_t0: 1e-5, beta_t1: 0.029, beta_exp: 7.5 },
      processor: { use, n_bands: 8, power_std: 0.75 },
    },
    model_state: storages.dict(shapesOf(diffusion.table)),
    processor_state: use ? storages.dict(shapesOf(equalizer)) : new Map(),
  });
  const value = new Map<unknown, unknown>([
    ['sample_rate', 24000],
    ['n_bands', 4],
    ...[0, 1, 2, 3].map((n): [number, unknown] => [n, band(n > 1)]),
  ]);
  save(join(folder, 'mbd_comp_8.pt'), value, storages);
}

export const enhancerConfigText = `[df]
sr = 48000\nfft_size = 960\nhop_size = 480\nnb_erb = 32\nnb_df = 96\nnorm_tau = 1.0\nlsnr_max = 35\nlsnr_min = -15
min_nb_erb_freqs = 2\npad_mode = output\ndf_order = 5\ndf_lookahead = 2
[deepfilternet]
conv_lookahead = 2\nconv_ch = 64\nconv_depthwise = True\nconvt_depthwise = False\nemb_hidden_dim = 256
emb_num_layers = 3\nenc_linear_groups = 32\nlinear_groups = 16\nmask_pf = False\ndf_hidden_dim = 256\ndf_num_layers = 2
conv_kernel = 1,3\nconvt_kernel = 1,3\nconv_kernel_inp = 3,3\ndf_gru_skip = groupedlinear\nemb_gru_skip = none
df_pathway_kernel_size_t = 5\nenc_concat = False\ndf_n_iter = 1\nlsnr_dropout = False
[train]
model = deepfilternet3
`;

export function writeEnhancer(folder: string): void {
  const inner = join(folder, 'DeepFilterNet3', 'checkpoints');
  mkdirSync(inner, { recursive: true });
  writeFileSync(join(folder, 'DeepFilterNet3', 'config.ini'), enhancerConfigText);
  const storages = new Storages();
  save(join(inner, 'model_120.ckpt.best'), storages.dict(shapesOf(enhancer.table)), storages);
}

/** All six parts. */
export function writeFullSize(folder: string): string {
  mkdirSync(folder, { recursive: true });
  for (const write of [
    writeFirstStage,
    writeSecondStage,
    writeSpeakerEncoder,
    writeCodec,
    writeDiffusion,
    writeEnhancer,
  ])
    write(folder);
  return folder;
}

/** A safetensors file of some tensors, its numbers a hole. */
export function writeSparseSafetensors(path: string, shapes: Shapes): void {
  let at = 0;
  const header = Object.entries(shapes).map(([name, { shape }]) => {
    const begin = at;
    at += 4 * shape.reduce((all, size) => all * size, 1);
    return [name, { dtype: 'F32', shape, data_offsets: [begin, at] }];
  });
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = openSync(path, 'w');
  writeSync(file, Buffer.concat([length, json]));
  ftruncateSync(file, 8 + json.length + at);
  closeSync(file);
}

/** The enhancer as conversions store it: without counters. */
export const enhancerFloats = (): Shapes =>
  Object.fromEntries(Object.entries(shapesOf(enhancer.table)).filter(([, { dtype }]) => dtype !== 'int64'));

/**
 * A model folder with what makes sound of codes, in the published shapes and with random numbers: EnCodec, multi-band
 * diffusion (1.15 billion parameters), DeepFilterNet3. `writeSoundModel(folder, dtype)`; needs dist/.
 */
import { mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { enhancerTensors } from '../dist/checkpoint/enhancer.js';
import { codecTensors, diffusionTensors } from '../dist/checkpoint/names.js';
import { planSafetensors } from '../dist/checkpoint/safetensors.js';

/** @typedef {import('../lib/native/contract.js').Dtype} Dtype */

const codec = {
  sampleRate: 24_000,
  ratios: [8, 5, 4, 2],
  dimension: 128,
  codebookSize: 1024,
  storedCodebooks: 32,
  codebooks: 8,
  encoder: true,
};

/** Kernels and layers of EnCodec that only its tensors tell: name → shape. */
const codecShapes = new Map([
  ...['decoder.1', 'encoder.13'].flatMap((path) =>
    [0, 1].map(
      (layer) => /** @type {[string, number[]]} */ ([`${path}.lstm.weight_ih_l${layer}`, [2048, 512]]),
    ),
  ),
  /** @type {[string, number[]]} */ (['decoder.0.weight_v', [512, 128, 7]]),
  /** @type {[string, number[]]} */ (['decoder.15.weight_v', [1, 32, 7]]),
  /** @type {[string, number[]]} */ (['encoder.0.weight_v', [32, 1, 7]]),
  /** @type {[string, number[]]} */ (['encoder.15.weight_v', [128, 512, 7]]),
  ...[4, 7, 10, 13].map((n, i) => residual(`decoder.${n}`, 256 >> i)),
  ...[1, 4, 7, 10].map((n, i) => residual(`encoder.${n}`, 32 << i)),
]);

/** @param {string} path @param {number} width @returns {[string, number[]]} */
function residual(path, width) {
  return [`${path}.block.1.weight_v`, [width / 2, width, 3]];
}

const band = {
  channels: [48, 192, 768, 3072],
  kernel: 8,
  stride: 4,
  residualBlocks: 2,
  normGroups: 4,
  steps: 1000,
  schedule: { betaStart: 1e-5, betaEnd: 0.029, exponent: 7.5, noiseScale: 1, clip: 5 },
  processor: null,
};
const diffusion = { sampleRate: 24_000, latent: 128, bands: Array.from({ length: 4 }, () => band) };
const diffusionShapes = new Map(
  diffusion.bands.map((_, n) => [`bands.${n}.embeddings.0.weight`, [1000, 192]]),
);

const enhancer = {
  sampleRate: 48_000,
  window: 960,
  bands: 32,
  deepBins: 96,
  order: 5,
  lookAhead: 2,
  leastBandBins: 2,
  meanSeconds: 1,
  channels: 64,
  hidden: 256,
};
const enhancerShapes = new Map([
  ['enc.erb_conv0.1.weight', [64, 1, 3, 3]],
  ['enc.df_conv0.1.weight', [64, 1, 3, 3]],
  ['df_dec.df_convp.1.weight', [10, 32, 5, 1]],
  ['enc.df_fc_emb.0.weight', [32]],
  ['enc.emb_gru.linear_in.0.weight', [16]],
  ['enc.emb_gru.linear_out.0.weight', [16]],
  ['erb_dec.emb_gru.linear_in.0.weight', [16]],
  ['erb_dec.emb_gru.linear_out.0.weight', [16]],
  ['erb_dec.emb_gru.gru.weight_hh_l1', [768, 256]],
  ['df_dec.df_gru.linear_in.0.weight', [8]],
  ['df_dec.df_gru.gru.weight_hh_l1', [768, 256]],
  ['df_dec.df_skip.weight', [16]],
  ['df_dec.df_out.0.weight', [16]],
]);
/** Bins of each band: what libDF counts for 32 bands of at least two. */
const bandBins = [
  ...Array(13).fill(2),
  5,
  5,
  7,
  7,
  8,
  10,
  12,
  13,
  15,
  18,
  20,
  24,
  28,
  31,
  37,
  42,
  50,
  56,
  67,
];

/** Uniform numbers with deviation 1, by a 32-bit xorshift; long enough that no cache holds them twice. */
const noise = new Float32Array(1 << 22);
for (let i = 0, x = 1; i < noise.length; i++) {
  x ^= x << 13;
  x ^= x >>> 17;
  x ^= x << 5;
  noise[i] = (x * Math.sqrt(3)) / 2 ** 31;
}

/** The numbers of a tensor, piece by piece. @param {string} name @param {readonly number[]} shape */
function* numbersOf(name, shape) {
  const count = shape.reduce((product, size) => product * size, 1);
  if (name === 'mask.erb_inv_fb') {
    const mask = new Float32Array(count);
    let bin = 0;
    bandBins.forEach((bins, row) => {
      for (const end = bin + bins; bin < end; bin++) mask[row * 481 + bin] = 1;
    });
    yield mask;
    return;
  }
  const isScale = /(norm\d?|\.[123])\.weight$|running_var$|weight_g$/.test(name) && shape.length <= 3;
  const isOne = isScale && (shape.length === 1 || name.endsWith('weight_g'));
  const isZero = /bias|running_mean/.test(name);
  const inputs = shape.length === 1 ? 1 : shape.slice(1).reduce((product, size) => product * size, 1);
  for (let done = 0; done < count; done += noise.length) {
    const piece = noise.slice(0, Math.min(noise.length, count - done));
    for (let i = 0; i < piece.length; i++)
      piece[i] = isOne ? 1 : isZero ? 0 : /** @type {number} */ (piece[i]) / Math.sqrt(inputs);
    yield piece;
  }
}

/** Float32 as another dtype; float16 has random bits of small numbers. @param {Float32Array} numbers @param {Dtype} dtype */
function bytesOf(numbers, dtype) {
  const words = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length);
  if (dtype === 'float32') return Buffer.from(words.buffer, words.byteOffset, words.byteLength);
  const half = (/** @type {number} */ word) => {
    const exponent = ((word >>> 23) & 255) - 112;
    return ((word >>> 16) & 0x8000) | (exponent <= 0 ? 0 : (exponent << 10) | ((word >>> 13) & 1023));
  };
  const narrow = Uint16Array.from(words, dtype === 'bfloat16' ? (word) => word >>> 16 : half);
  return Buffer.from(narrow.buffer);
}

/**
 * @param {string} folder @param {string} file @param {Map<string, { shape: readonly number[], optional?: boolean }>} expected
 * @param {Dtype} dtype
 */
async function writePart(folder, file, expected, dtype) {
  const tensors = [...expected].map(([name, { shape }]) => ({ name, dtype, shape: [...shape] }));
  const { header, offsets, size } = planSafetensors(tensors, { format: 'metavoice' });
  const handle = await open(join(folder, file), 'w');
  await handle.write(header);
  await handle.truncate(size);
  for (const { name, shape } of tensors) {
    let at = /** @type {number} */ (offsets.get(name));
    for (const piece of numbersOf(name, shape)) {
      const bytes = bytesOf(piece, dtype);
      await handle.write(bytes, 0, bytes.length, at);
      at += bytes.length;
    }
  }
  await handle.close();
  return { file, bytes: size };
}

/** Appears whole or not at all. @param {string} folder @param {Dtype} dtype of diffusion */
export async function writeSoundModel(folder, dtype) {
  const partial = `${folder}.${process.pid}.partial`;
  await mkdir(partial, { recursive: true });
  try {
    const parts = {
      codec: {
        ...(await writePart(partial, 'codec.safetensors', codecTensors(codec, codecShapes), 'float32')),
        ...codec,
      },
      diffusion: {
        ...(await writePart(
          partial,
          'diffusion.safetensors',
          diffusionTensors(diffusion, diffusionShapes),
          dtype,
        )),
        dtype,
        ...diffusion,
      },
      enhancer: {
        ...(await writePart(
          partial,
          'enhancer.safetensors',
          enhancerTensors(enhancer, enhancerShapes),
          'float32',
        )),
        ...enhancer,
      },
    };
    const manifest = {
      format: 'metavoice-model',
      version: 1,
      firstStage: null,
      secondStage: null,
      speakerEncoder: null,
      ...parts,
      speakers: [],
      provenance: { sources: [], digest: 'random', converter: 'bench' },
    };
    await writeFile(join(partial, 'metavoice.json'), JSON.stringify(manifest));
    await rename(partial, folder);
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

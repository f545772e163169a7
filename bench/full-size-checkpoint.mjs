#!/usr/bin/env node
/**
 * Writes a random model in the layout of the published files: first_stage.pt (zip64, `_orig_mod.` prefix, tied head),
 * second_stage.pt, speaker_encoder.pt (weights plus optimiser state) and encodec_24khz.th. Full size by default:
 * 1,243,191,296 + 14,459,136 parameters in float32. Needs dist/ (npm run build) to read the tokenizer from the test
 * checkpoint.
 *
 *   node bench/full-size-checkpoint.mjs FOLDER [--layers 24] [--width 2048] [--heads 16] [--filters 32]
 *     [--dimension 128] [--codebooks 32] [--seed 1]
 */
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { crc32 } from 'node:zlib';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const count = { type: /** @type {const} */ ('string') };
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    layers: { ...count, default: '24' },
    width: { ...count, default: '2048' },
    heads: { ...count, default: '16' },
    filters: { ...count, default: '32' },
    dimension: { ...count, default: '128' },
    codebooks: { ...count, default: '32' },
    seed: { ...count, default: '1' },
  },
});
const folder = positionals[0];
if (!folder || positionals.length > 1) {
  process.stderr.write(
    'usage: node bench/full-size-checkpoint.mjs FOLDER [--layers N] [--width N] [--heads N] [--seed N]\n',
  );
  process.exit(2);
}
const option = Object.fromEntries(
  Object.entries(values).map(([name, text]) => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < 1) {
      process.stderr.write(`expected a positive integer for --${name} but received ${text}\n`);
      process.exit(2);
    }
    return [name, value];
  }),
);

// ---------------------------------------------------------------- numbers

let state = (option.seed ?? 1) >>> 0 || 1;

/** Uniform floats with this deviation, from a 32-bit xorshift.
 * @param {Float32Array} out @param {number} deviation */
function fillUniform(out, deviation) {
  const scale = (deviation * Math.sqrt(3)) / 2 ** 31;
  let x = state;
  for (let i = 0; i < out.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    out[i] = x * scale;
  }
  state = x;
}

/** @typedef {{ shape: number[], deviation?: number, value?: number, tied?: string }} Tensor */

/** A random matrix or convolution. @param {number[]} shape @returns {Tensor} */
const weights = (...shape) => ({ shape, deviation: 0.02 });
/** @param {number} deviation @param {number[]} shape @returns {Tensor} */
const spread = (deviation, ...shape) => ({ shape, deviation });
/** @param {number[]} shape @returns {Tensor} */
const ones = (...shape) => ({ shape, value: 1 });
/** @param {number[]} shape @returns {Tensor} */
const zeros = (...shape) => ({ shape, value: 0 });
/** @param {readonly number[]} shape */
const elements = (shape) => shape.reduce((product, size) => product * size, 1);

// ---------------------------------------------------------------- pickle, protocol 2

/** A call: what Python's `module.name(*args)` would make. */
class Call {
  /** @param {string} name @param {unknown[]} args */
  constructor(name, args) {
    this.name = name;
    this.args = args;
  }
}

/** A float where JavaScript sees an integer. */
class Float {
  /** @param {number} value */
  constructor(value) {
    this.value = value;
  }
}

class Pickler {
  /** @type {Buffer[]} */
  #parts = [Buffer.from([0x80, 2])];
  /** @type {Map<string, number>} */
  #globals = new Map();

  /** @param {unknown} value */
  static dump(value) {
    const pickler = new Pickler();
    pickler.#write(value);
    pickler.#code('.');
    return Buffer.concat(pickler.#parts);
  }

  /** @param {string} code @param {...Buffer} operands */
  #code(code, ...operands) {
    this.#parts.push(Buffer.from(code, 'latin1'), ...operands);
  }

  /** @param {unknown} value */
  #write(value) {
    if (value === null) this.#code('N');
    else if (value === true) this.#code('\x88');
    else if (value === false) this.#code('\x89');
    else if (typeof value === 'number') this.#number(value);
    else if (typeof value === 'string') this.#text(value);
    else if (value instanceof Float) this.#float(value.value);
    else if (value instanceof Uint8Array) this.#bytes(value);
    else if (value instanceof Map) this.#dictionary([...value]);
    else if (value instanceof Call) this.#call(value);
    else if (Array.isArray(value)) this.#list(value);
    else this.#dictionary(Object.entries(/** @type {object} */ (value)));
  }

  /** @param {number} value */
  #number(value) {
    const bytes = Buffer.alloc(8);
    if (!Number.isInteger(value)) return this.#float(value);
    if (value >= 0 && value < 256) return this.#code('K', Buffer.from([value]));
    if (Math.abs(value) < 2 ** 31) {
      bytes.writeInt32LE(value);
      return this.#code('J', bytes.subarray(0, 4));
    }
    bytes.writeBigInt64LE(BigInt(value));
    return this.#code('\x8a', Buffer.from([8]), bytes);
  }

  /** @param {number} value */
  #float(value) {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(value);
    this.#code('G', bytes);
  }

  /** @param {string} text */
  #text(text) {
    const bytes = Buffer.from(text, 'utf8');
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    this.#code('X', length, bytes);
  }

  /** Protocol 2 has no byte strings: they are letters to be encoded. @param {Uint8Array} value */
  #bytes(value) {
    this.#call(new Call('_codecs encode', [Buffer.from(value).toString('latin1'), 'latin1']));
  }

  /** @param {[unknown, unknown][]} entries */
  #dictionary(entries) {
    this.#code('}');
    this.#code('(');
    for (const [key, value] of entries) {
      this.#write(key);
      this.#write(value);
    }
    this.#code('u');
  }

  /** @param {unknown[]} items */
  #list(items) {
    this.#code(']');
    this.#code('(');
    for (const item of items) this.#write(item);
    this.#code('e');
  }

  /** @param {unknown[]} items */
  #tuple(items) {
    this.#code('(');
    for (const item of items) this.#write(item);
    this.#code('t');
  }

  /** @param {string} name */
  global(name) {
    const known = this.#globals.get(name);
    if (known !== undefined) return this.#code('h', Buffer.from([known]));
    const index = this.#globals.size;
    this.#globals.set(name, index);
    this.#code('c', Buffer.from(`${name.replace(' ', '\n')}\n`));
    this.#code('q', Buffer.from([index]));
  }

  /** @param {Call} call */
  #call({ name, args }) {
    if (name === 'tensor') return this.#tensor(args);
    this.global(name);
    this.#tuple(args);
    this.#code('R');
  }

  /** @param {unknown[]} args storage key, elements of the storage, shape */
  #tensor([key, size, shape]) {
    const sizes = /** @type {number[]} */ (shape);
    const strides = sizes.map((_, d) => elements(sizes.slice(d + 1)));
    this.global('torch._utils _rebuild_tensor_v2');
    this.#code('(');
    this.#code('(');
    this.#text('storage');
    this.global('torch FloatStorage');
    this.#text(String(key));
    this.#text('cuda:0');
    this.#write(size);
    this.#code('t');
    this.#code('Q');
    this.#write(0);
    this.#tuple(sizes);
    this.#tuple(strides);
    this.#write(false);
    this.#call(new Call('collections OrderedDict', []));
    this.#code('t');
    this.#code('R');
  }
}

// ---------------------------------------------------------------- torch.save's zip

class ZipWriter {
  #file;
  #root;
  #at = 0;
  /** @type {{ name: Buffer, crc: number, size: number, offset: number }[]} */
  #members = [];

  /** @param {string} path @param {string} name */
  constructor(path, name) {
    this.#file = openSync(path, 'w');
    this.#root = name;
  }

  /** @param {Uint8Array} bytes */
  #put(bytes) {
    for (let done = 0; done < bytes.length; ) done += writeSync(this.#file, bytes, done, bytes.length - done);
    this.#at += bytes.length;
  }

  /** A member whose data begins at a multiple of 64 bytes.
   * @param {string} name @param {Iterable<Uint8Array>} pieces */
  add(name, pieces) {
    const path = Buffer.from(`${this.#root}/${name}`);
    const header = Buffer.alloc(30);
    header.writeUInt32LE(0x04034b50, 0);
    header.writeUInt16LE(0x0808, 6);
    header.writeUInt16LE(path.length, 26);
    const bare = this.#at + header.length + path.length + 4;
    const padding = (64 - (bare % 64)) % 64;
    header.writeUInt16LE(4 + padding, 28);
    const extra = Buffer.alloc(4 + padding, 'Z');
    extra.write('FB');
    extra.writeUInt16LE(padding, 2);
    const offset = this.#at;
    this.#put(Buffer.concat([header, path, extra]));
    let crc = 0;
    let size = 0;
    for (const piece of pieces) {
      crc = crc32(piece, crc);
      size += piece.length;
      this.#put(piece);
    }
    // The header did not know them: a descriptor follows, wide enough for any size.
    const descriptor = Buffer.alloc(24);
    descriptor.writeUInt32LE(0x08074b50, 0);
    descriptor.writeUInt32LE(crc, 4);
    descriptor.writeBigUInt64LE(BigInt(size), 8);
    descriptor.writeBigUInt64LE(BigInt(size), 16);
    this.#put(descriptor);
    this.#members.push({ name: path, crc, size, offset });
  }

  /** Directory and end records, always with the 64-bit ones, as torch writes them. */
  end() {
    const start = this.#at;
    for (const member of this.#members) this.#put(directoryEntry(member));
    const size = this.#at - start;
    const wide = Buffer.alloc(56);
    wide.writeUInt32LE(0x06064b50, 0);
    wide.writeBigUInt64LE(44n, 4);
    wide.writeUInt16LE(0x031e, 12);
    wide.writeUInt16LE(45, 14);
    wide.writeBigUInt64LE(BigInt(this.#members.length), 24);
    wide.writeBigUInt64LE(BigInt(this.#members.length), 32);
    wide.writeBigUInt64LE(BigInt(size), 40);
    wide.writeBigUInt64LE(BigInt(start), 48);
    const locator = Buffer.alloc(20);
    locator.writeUInt32LE(0x07064b50, 0);
    locator.writeBigUInt64LE(BigInt(this.#at), 8);
    locator.writeUInt32LE(1, 16);
    const end = Buffer.alloc(22);
    end.writeUInt32LE(0x06054b50, 0);
    end.writeUInt16LE(this.#members.length, 8);
    end.writeUInt16LE(this.#members.length, 10);
    end.writeUInt32LE(size, 12);
    end.writeUInt32LE(Math.min(start, 0xffffffff), 16);
    this.#put(Buffer.concat([wide, locator, end]));
    closeSync(this.#file);
    return this.#at;
  }
}

/** @param {{ name: Buffer, crc: number, size: number, offset: number }} member */
function directoryEntry({ name, crc, size, offset }) {
  const full = 0xffffffff;
  const wide = [...(size >= full ? [size, size] : []), ...(offset >= full ? [offset] : [])];
  const extra = Buffer.alloc(wide.length > 0 ? 4 + 8 * wide.length : 0);
  if (wide.length > 0) {
    extra.writeUInt16LE(1, 0);
    extra.writeUInt16LE(8 * wide.length, 2);
  }
  for (const [index, value] of wide.entries()) extra.writeBigUInt64LE(BigInt(value), 4 + 8 * index);
  const entry = Buffer.alloc(46);
  entry.writeUInt32LE(0x02014b50, 0);
  entry.writeUInt16LE(0x0808, 8);
  entry.writeUInt32LE(crc, 16);
  entry.writeUInt32LE(Math.min(size, full), 20);
  entry.writeUInt32LE(Math.min(size, full), 24);
  entry.writeUInt16LE(name.length, 28);
  entry.writeUInt16LE(extra.length, 30);
  entry.writeUInt32LE(Math.min(offset, full), 42);
  return Buffer.concat([entry, name, extra]);
}

const block = new Float32Array(1 << 20);

/** @param {Tensor} tensor */
function* numbers({ shape, deviation, value }) {
  for (let left = elements(shape); left > 0; left -= block.length) {
    const piece = left < block.length ? block.subarray(0, left) : block;
    if (deviation === undefined) piece.fill(value ?? 0);
    else fillUniform(piece, deviation);
    yield new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength);
  }
}

/**
 * Saves a value as torch.save does. `build` gets a function that makes a state dict of a table of tensors.
 * @param {string} name
 * @param {(dict: (tensors: Record<string, Tensor>, ordered?: boolean) => unknown) => unknown} build
 */
function save(name, build) {
  const started = performance.now();
  /** @type {Tensor[]} */
  const storages = [];
  const value = build((tensors) => {
    /** @type {Record<string, number>} */
    const keys = {};
    return Object.fromEntries(
      Object.entries(tensors).map(([key, tensor]) => {
        const index = tensor.tied === undefined ? storages.push(tensor) - 1 : (keys[tensor.tied] ?? 0);
        keys[key] = index;
        return [key, new Call('tensor', [index, elements(tensor.shape), tensor.shape])];
      }),
    );
  });
  const zip = new ZipWriter(join(target, name), name.replace(/\.\w+$/, ''));
  zip.add('data.pkl', [Pickler.dump(value)]);
  zip.add('byteorder', [Buffer.from('little')]);
  for (const [index, tensor] of storages.entries()) zip.add(`data/${index}`, numbers(tensor));
  zip.add('version', [Buffer.from('3\n')]);
  const bytes = zip.end();
  const parameters = storages.reduce((sum, { shape }) => sum + elements(shape), 0);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  process.stderr.write(`${name}: ${parameters} numbers, ${bytes} bytes, ${seconds} s\n`);
}

// ---------------------------------------------------------------- the networks

/** @param {number} n */
const upTo256 = (n) => Math.ceil(n / 256) * 256;

/** @param {number} layers @param {number} width @returns {Record<string, Tensor>} */
function firstStage(layers, width) {
  const inner = upTo256(Math.floor((8 * width) / 3));
  const residual = 0.02 / Math.sqrt(2 * layers);
  /** @type {Record<string, Tensor>} */
  const tensors = {
    'transformer.wtes.0.weight': weights(2562, width),
    'transformer.wpe.weight': weights(2048, width),
  };
  for (let n = 0; n < layers; n++)
    Object.assign(tensors, {
      [`transformer.h.${n}.ln_1.weight`]: ones(width),
      [`transformer.h.${n}.ln_2.weight`]: ones(width),
      [`transformer.h.${n}.attn.c_attn.weight`]: weights(3 * width, width),
      [`transformer.h.${n}.attn.c_proj.weight`]: spread(residual, width, width),
      [`transformer.h.${n}.mlp.swiglu.w1.weight`]: weights(inner, width),
      [`transformer.h.${n}.mlp.swiglu.w3.weight`]: weights(inner, width),
      [`transformer.h.${n}.mlp.c_proj.weight`]: spread(residual, width, inner),
    });
  return {
    ...tensors,
    'transformer.ln_f.weight': ones(width),
    'speaker_cond_pos.weight': weights(width, 256),
    'lm_heads.0.weight': { shape: [2562, width], tied: 'transformer.wtes.0.weight' },
  };
}

/** @param {number} layers @param {number} width @returns {Record<string, Tensor>} */
function secondStage(layers, width) {
  /** @type {Record<string, Tensor>} */
  const tensors = {
    'transformer.wtes.0.weight': weights(1538, width),
    'transformer.wtes.1.weight': weights(1025, width),
    'transformer.wpe.weight': weights(1024, width),
  };
  for (let n = 0; n < layers; n++)
    Object.assign(tensors, {
      [`transformer.h.${n}.ln_1.weight`]: ones(width),
      [`transformer.h.${n}.ln_2.weight`]: ones(width),
      [`transformer.h.${n}.attn.c_attn.weight`]: weights(3 * width, width),
      [`transformer.h.${n}.attn.c_proj.weight`]: weights(width, width),
      [`transformer.h.${n}.mlp.c_fc.weight`]: weights(4 * width, width),
      [`transformer.h.${n}.mlp.c_proj.weight`]: weights(width, 4 * width),
    });
  tensors['transformer.ln_f.weight'] = ones(width);
  tensors['speaker_cond_pos.weight'] = weights(width, 256);
  for (let n = 0; n < 6; n++) tensors[`lm_heads.${n}.weight`] = weights(1025, width);
  return tensors;
}

/** @param {string} path @param {number} layers @param {number} input @param {number} hidden @returns {Record<string, Tensor>} */
function lstm(path, layers, input, hidden) {
  const deviation = 1 / Math.sqrt(3 * hidden);
  /** @type {Record<string, Tensor>} */
  const tensors = {};
  for (let n = 0; n < layers; n++)
    Object.assign(tensors, {
      [`${path}.weight_ih_l${n}`]: spread(deviation, 4 * hidden, n === 0 ? input : hidden),
      [`${path}.weight_hh_l${n}`]: spread(deviation, 4 * hidden, hidden),
      [`${path}.bias_ih_l${n}`]: spread(deviation, 4 * hidden),
      [`${path}.bias_hh_l${n}`]: spread(deviation, 4 * hidden),
    });
  return tensors;
}

/** @returns {Record<string, Tensor>} */
const speakerEncoder = () => ({
  ...lstm('lstm', 3, 40, 256),
  'linear.weight': spread(0.06, 256, 256),
  'linear.bias': spread(0.06, 256),
});

/** Weight-normed: `v` gives the direction, `g` the length. @param {string} path @param {number} gain @param {number[]} shape */
const convolution = (path, gain, ...shape) => ({
  [`${path}.bias`]: zeros(path.includes('convtr') ? (shape[1] ?? 0) : (shape[0] ?? 0)),
  [`${path}.weight_g`]: { shape: [shape[0] ?? 0, 1, 1], value: gain },
  [`${path}.weight_v`]: weights(...shape),
});

/** @param {string} path @param {number} channels */
const residual = (path, channels) => ({
  ...convolution(`${path}.block.1.conv.conv`, 1, channels / 2, channels, 3),
  ...convolution(`${path}.block.3.conv.conv`, 0.5, channels, channels / 2, 1),
  ...convolution(`${path}.shortcut.conv.conv`, 1, channels, channels, 1),
});

/** @param {number} filters @param {number} dimension @param {number} codebooks @returns {Record<string, Tensor>} */
function codec(filters, dimension, codebooks) {
  const ratios = [8, 5, 4, 2];
  const widest = filters * 16;
  /** @type {Record<string, Tensor>} */
  const tensors = { ...convolution('encoder.model.0.conv.conv', 1, filters, 1, 7) };
  for (const [index, ratio] of [...ratios].reverse().entries()) {
    const channels = filters * 2 ** index;
    Object.assign(
      tensors,
      residual(`encoder.model.${3 * index + 1}`, channels),
      convolution(`encoder.model.${3 * index + 3}.conv.conv`, 1, 2 * channels, channels, 2 * ratio),
    );
  }
  Object.assign(tensors, lstm('encoder.model.13.lstm', 2, widest, widest));
  Object.assign(tensors, convolution('encoder.model.15.conv.conv', 1, dimension, widest, 7));
  for (let n = 0; n < codebooks; n++)
    Object.assign(tensors, {
      [`quantizer.vq.layers.${n}._codebook.inited`]: ones(1),
      [`quantizer.vq.layers.${n}._codebook.cluster_size`]: ones(1024),
      [`quantizer.vq.layers.${n}._codebook.embed`]: spread(1 / (n + 1), 1024, dimension),
      [`quantizer.vq.layers.${n}._codebook.embed_avg`]: zeros(1024, dimension),
    });
  Object.assign(tensors, convolution('decoder.model.0.conv.conv', 1, widest, dimension, 7));
  Object.assign(tensors, lstm('decoder.model.1.lstm', 2, widest, widest));
  for (const [index, ratio] of ratios.entries()) {
    const channels = widest / 2 ** index;
    Object.assign(
      tensors,
      convolution(`decoder.model.${3 * index + 3}.convtr.convtr`, 1, channels, channels / 2, 2 * ratio),
      residual(`decoder.model.${3 * index + 4}`, channels / 2),
    );
  }
  return { ...tensors, ...convolution('decoder.model.15.conv.conv', 0.3, 1, filters, 7) };
}

// ---------------------------------------------------------------- the files

const target = resolve(folder);
mkdirSync(target, { recursive: true });

const { TorchFile } = await import(new URL('../dist/checkpoint/torch-file.js', import.meta.url).href);

/** The tokenizer of a test checkpoint: bytes → rank, as it is stored. @param {string} file */
async function tokenizerOf(file) {
  const { value } = await TorchFile.read(join(root, 'test', 'fixtures', 'model', file));
  return value.get('meta').get('tokenizer');
}

const common = {
  bias: false,
  dropout: new Float(0),
  spk_emb_on_text: true,
  attn_kernel_type: 'torch_attn',
  swiglu_multiple_of: 256,
  rmsnorm_eps: 1e-5,
};
const meta = { speaker_cond: true, speaker_emb_size: 256 };
const { layers = 24, width = 2048, heads = 16, filters = 32, dimension = 128, codebooks = 32 } = option;

const firstTokenizer = await tokenizerOf('first_stage.pt');
save('first_stage.pt', (dict) => ({
  model: dict(
    Object.fromEntries(
      Object.entries(firstStage(layers, width)).map(([name, tensor]) => [
        `_orig_mod.${name}`,
        tensor.tied === undefined ? tensor : { ...tensor, tied: `_orig_mod.${tensor.tied}` },
      ]),
    ),
  ),
  model_args: {
    ...common,
    n_layer: layers,
    n_head: heads,
    n_embd: width,
    block_size: 2048,
    vocab_sizes: [2562],
    causal: true,
    norm_type: 'rmsnorm',
    nonlinearity_type: 'swiglu',
  },
  iter_num: 1000,
  best_val_loss: dict({ loss: ones() }),
  config: { causal: true, batch_size: 2, learning_rate: 3e-5, out_dir: 'random' },
  meta: { ...meta, tokenizer: firstTokenizer },
}));

const secondTokenizer = await tokenizerOf('second_stage.pt');
save('second_stage.pt', (dict) => ({
  model: dict(secondStage(6, 384)),
  model_args: {
    ...common,
    n_layer: 6,
    n_head: 6,
    n_embd: 384,
    block_size: 1024,
    vocab_sizes: [1538, 1025],
    target_vocab_sizes: [1025, 1025, 1025, 1025, 1025, 1025],
    causal: false,
    norm_type: 'layernorm',
    nonlinearity_type: 'gelu',
  },
  config: { causal: false },
  meta: { ...meta, tokenizer: secondTokenizer },
}));

save('speaker_encoder.pt', (dict) => ({
  step: 1_564_501,
  model_state: dict({
    similarity_weight: { shape: [1], value: 10 },
    similarity_bias: { shape: [1], value: -5 },
    ...speakerEncoder(),
  }),
  optimizer_state: {
    // Two moments for each parameter, as Adam keeps them.
    state: new Map(
      Object.values(speakerEncoder()).map(({ shape }, index) => [
        index,
        { step: 1_564_501, ...Object(dict({ exp_avg: zeros(...shape), exp_avg_sq: zeros(...shape) })) },
      ]),
    ),
    param_groups: [{ lr: 1e-4, betas: [0.9, 0.999], eps: 1e-8, amsgrad: false }],
  },
}));

save('encodec_24khz.th', (dict) => dict(codec(filters, dimension, codebooks)));
process.stdout.write(`${target}\n`);

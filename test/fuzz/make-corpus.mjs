/**
 * `node test/fuzz/make-corpus.mjs`: writes corpus/, small sound files of every format, from the test fixtures and from
 * the makers beside this file. The files are in the repository; this says where they come from. It needs `dist/`.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { crc32, deflateRawSync } from 'node:zlib';
import { enhancerTensors } from '../../dist/checkpoint/enhancer.js';
import { diffusionTensors } from '../../dist/checkpoint/names.js';
import { closed, magic, zip } from './containers.mjs';
import { silence } from './flac.mjs';
import { dictionary, global, integer, raw, tensor, text, tuple } from './pickles.mjs';

const fixture = (/** @type {string} */ name) => readFileSync(new URL(`../fixtures/${name}`, import.meta.url));

const corpus = new URL('./corpus/', import.meta.url);
rmSync(corpus, { recursive: true, force: true });

/** @param {string} reader @param {Record<string, Uint8Array>} files */
function put(reader, files) {
  const folder = new URL(`${reader}/`, corpus);
  mkdirSync(folder, { recursive: true });
  for (const [name, bytes] of Object.entries(files)) writeFileSync(new URL(name, folder), bytes);
}

/** A stored member of a zip of torch.save, found by its name. @param {Buffer} file @param {string} name */
function member(file, name) {
  const at = file.indexOf(name, 0, 'latin1') - 30;
  const start = at + 30 + file.readUInt16LE(at + 26) + file.readUInt16LE(at + 28);
  const entry = file.lastIndexOf(name, undefined, 'latin1') - 46;
  return file.subarray(start, start + file.readUInt32LE(entry + 24));
}

// ------------------------------------------------------------------------------------------ checkpoints

const config = (/** @type {string} */ name, /** @type {Buffer} */ content) =>
  raw(global(`omegaconf.${name}`), ')', [0x81], '}', text('_content'), content, 'sb');
const node = raw(global('omegaconf.nodes.AnyNode'), ')', [0x81], '}', text('_val'), integer(7), 'sb');
const bytes = raw(global('_codecs.encode'), tuple(text('\u00e9'), text('latin1')), 'R');

/** A speaker encoder with two hidden units. */
const encoder = dictionary(
  text('model_state'),
  dictionary(
    ...[
      ['lstm.weight_ih_l0', [8, 3]],
      ['lstm.weight_hh_l0', [8, 2]],
      ['lstm.bias_ih_l0', [8]],
      ['lstm.bias_hh_l0', [8]],
      ['linear.weight', [2, 2]],
      ['linear.bias', [2]],
    ].flatMap(([name, shape], index) => [
      text(/** @type {string} */ (name)),
      tensor(String(index), /** @type {number[]} */ (shape)),
    ]),
  ),
);
const storages = [24, 16, 8, 8, 4, 2].map((elements) => Buffer.alloc(4 * elements, 1));

/** A language model of one layer, width 2, as the first or the second stage. @param {boolean} causal */
function transformer(causal) {
  const rows = causal ? 7 : 6;
  const tables = causal
    ? [['0', rows]]
    : [
        ['0', rows],
        ['1', 3],
      ];
  const heads = causal ? [['0', rows]] : [['0', 3]];
  /** @type {[string, number[]][]} */
  const shapes = [
    ...tables.map(
      ([n, size]) => /** @type {[string, number[]]} */ ([`transformer.wtes.${n}.weight`, [Number(size), 2]]),
    ),
    ['transformer.wpe.weight', [4, 2]],
    ['transformer.h.0.ln_1.weight', [2]],
    ['transformer.h.0.attn.c_attn.weight', [6, 2]],
    ['transformer.h.0.attn.c_proj.weight', [2, 2]],
    ['transformer.h.0.ln_2.weight', [2]],
    ['transformer.h.0.mlp.swiglu.w1.weight', [4, 2]],
    ['transformer.h.0.mlp.swiglu.w3.weight', [4, 2]],
    ['transformer.h.0.mlp.c_proj.weight', [2, 4]],
    ['transformer.ln_f.weight', [2]],
    ...heads.map(
      ([n, size]) => /** @type {[string, number[]]} */ ([`lm_heads.${n}.weight`, [Number(size), 2]]),
    ),
  ];
  const tokenizer = dictionary(
    text('name'), text('tiny'), text('pat_str'), text('.'), text('offset'), integer(causal ? 5 : 3),
    text('mergeable_ranks'), dictionary(bytes, integer(0)),
    text('special_tokens'), dictionary(text('<|endoftext|>'), integer(1)),
  ); // biome-ignore format: pairs
  const state = shapes.flatMap(([name, shape], index) => [
    text(`_orig_mod.${name}`),
    tensor(String(index), shape),
  ]);
  const args = [['n_layer', 1], ['n_head', 1], ['n_embd', 2], ['block_size', 4]]; // biome-ignore format: pairs
  const value = dictionary(
    text('model'), dictionary(...state),
    text('model_args'), dictionary(
      ...args.flatMap(([name, size]) => [text(String(name)), integer(Number(size))]),
      text('norm_type'), text('rmsnorm'), text('nonlinearity_type'), text('swiglu'),
      text('causal'), raw([causal ? 0x88 : 0x89]),
    ),
    text('config'), dictionary(text('causal'), raw([causal ? 0x88 : 0x89])),
    text('meta'), dictionary(text('tokenizer'), tokenizer),
  ); // biome-ignore format: pairs
  const data = shapes.map(([, shape]) => Buffer.alloc(4 * shape.reduce((a, b) => a * b, 1), 1));
  return { pickle: closed(value), data };
}

/** @param {Uint8Array} pickle @param {readonly Uint8Array[]} data @param {{ wide?: boolean }} [options] */
const saved = (pickle, data, options) =>
  zip(
    [
      { name: 'a/data.pkl', data: pickle, pad: 3 },
      { name: 'a/byteorder', data: Buffer.from('little') },
      ...data.map((each, index) => ({ name: `a/data/${index}`, data: each })),
    ],
    options,
  );

/** A value of a configuration as omegaconf stores it. @param {Buffer} value */
const leaf = (value) => raw(global('omegaconf.nodes.AnyNode'), ')', [0x81], '}', text('_val'), value, 'sb');
/** @param {Record<string, Buffer>} values */
const section = (values) =>
  config(
    'dictconfig.DictConfig',
    dictionary(...Object.entries(values).flatMap(([name, value]) => [text(name), value])),
  );
/** @param {number} value */
const real = (value) => {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(value);
  return raw('G', bytes);
};
const yes = raw([0x88]);
const no = raw([0x89]);

/** Multi-band diffusion of two bands with two channels, the second with a processor. */
function diffusion() {
  const network = { channels: [2], kernel: 2, stride: 2, residualBlocks: 1, normGroups: 1, steps: 3 };
  const schedule = { betaStart: 1e-4, betaEnd: 0.1, exponent: 2, noiseScale: 1, clip: 5 };
  const bands = [null, { bands: 2, power: 0.5 }].map((processor) => ({ ...network, schedule, processor }));
  const shapes = [...diffusionTensors({ latent: 3, bands }, new Map())];
  /** The tensors under a prefix, by their published names. @param {string} scope */
  const state = (scope) =>
    dictionary(
      ...shapes.flatMap(([name, { shape }], index) =>
        name.startsWith(scope) ? [text(name.slice(scope.length)), tensor(String(index), [...shape])] : [],
      ),
    );
  const value = dictionary(
    text('sample_rate'),
    integer(24_000),
    text('n_bands'),
    integer(bands.length),
    ...bands.flatMap(({ processor }, index) => [
      integer(index),
      dictionary(
        text('cfg'),
        section({
          channels: leaf(integer(1)),
          diffusion_unet: section({
            stride: leaf(integer(2)),
            norm_groups: leaf(integer(1)),
            bilstm: leaf(no),
            transformer: leaf(no),
          }),
          schedule: section({
            repartition: leaf(text('power')),
            num_steps: leaf(integer(3)),
            beta_t0: leaf(real(1e-4)),
            beta_t1: leaf(real(0.1)),
            beta_exp: leaf(real(2)),
            clip: leaf(real(5)),
          }),
          processor: section({
            use: leaf(processor ? yes : no),
            n_bands: leaf(integer(2)),
            power_std: leaf(real(0.5)),
          }),
        }),
        text('model_state'),
        state(`bands.${index}.`),
        text('processor_state'),
        state(`processors.${index}.`),
      ),
    ]),
  );
  const data = shapes.map(([, { shape }]) => Buffer.alloc(4 * shape.reduce((a, b) => a * b, 1), 1));
  return { pickle: closed(value), data };
}

const first = transformer(true);
const bands = diffusion();
const second = transformer(false);
const speaker = closed(encoder);
put('pickle', {
  'speaker-encoder.pkl': member(fixture('model/speaker_encoder.pt'), 'speaker_encoder/data.pkl'),
  'first-stage.pkl': first.pickle,
  'second-stage.pkl': second.pickle,
  'diffusion.pkl': bands.pickle,
  'tiny.pkl': speaker,
  'configuration.pkl': closed(
    config(
      'dictconfig.DictConfig',
      dictionary(text('a'), node, text('__proto__'), config('listconfig.ListConfig', raw('](', node, 'e'))),
    ),
  ),
  'protocol-5.pkl': raw(
    [0x80, 5, 0x95, 40, 0, 0, 0, 0, 0, 0, 0],
    '(',
    [0x8c, 2],
    'hi',
    [0x94, 0x43, 2, 1, 2, 0x8f],
    '(K',
    [1],
    'K',
    [2, 0x90],
    'h',
    [0, 0x96, 1, 0, 0, 0, 0, 0, 0, 0, 9],
    't.',
  ),
});
put('torch-zip', {
  'speaker-encoder.pt': saved(speaker, storages),
  'wide.pt': saved(speaker, storages, { wide: true }),
  'first-stage.pt': saved(first.pickle, first.data),
  'second-stage.pt': saved(second.pickle, second.data),
  'diffusion.pt': saved(bands.pickle, bands.data),
});
const lengths = storages.flatMap((data) => {
  const count = Buffer.alloc(8);
  count.writeBigInt64LE(BigInt(data.length / 4));
  return [count, data];
});
put('torch-legacy', {
  'speaker-encoder.pt': Buffer.concat([
    magic,
    closed(integer(1001)),
    closed(dictionary(text('protocol_version'), integer(1001), text('little_endian'), raw([0x88]))),
    speaker,
    closed(raw('](', ...storages.map((_, index) => text(String(index))), 'e')),
    ...lengths,
  ]),
});
/** An enhancer of two channels, as its tensors must be. */
const enhancerSizes = { sampleRate: 8000, window: 12, bands: 4, deepBins: 2, order: 2, lookAhead: 1 };
const enhancerShapes = enhancerTensors(
  { ...enhancerSizes, leastBandBins: 1, meanSeconds: 1, channels: 2, hidden: 2 },
  new Map(),
);
const enhancerConfig = Buffer.from(
  `[df]\nsr = 8000\nfft_size = 12\nhop_size = 6\nnb_erb = 4\nnb_df = 2\ndf_order = 2\ndf_lookahead = 1\nmin_nb_erb_freqs = 1\n
[deepfilternet]\nconv_lookahead = 1\n; a remark\n\n[train]\nmodel = deepfilternet3\n`,
);
const enhancerState = [...enhancerShapes].map(([name, { shape }], index) => ({
  entry: [text(name), tensor(String(index), [...shape])],
  data: Buffer.alloc(4 * shape.reduce((a, b) => a * b, 1), 1),
}));
const enhancerWeights = saved(
  closed(dictionary(...enhancerState.flatMap(({ entry }) => entry))),
  enhancerState.map(({ data }) => data),
);
const enhancerMembers = {
  'x/config.ini': enhancerConfig,
  'x/checkpoints/model_1.ckpt.best': enhancerWeights,
};
const archive = (/** @type {(data: Buffer) => object} */ pack) =>
  zip(
    Object.entries(enhancerMembers).map(([name, data]) => ({ name, data, crc: crc32(data), ...pack(data) })),
  );
put('enhancer', {
  'stored.zip': archive(() => ({})),
  'deflated.zip': archive((data) => {
    const packed = deflateRawSync(data);
    return { data: packed, packed: packed.length, size: data.length, method: 8 };
  }),
  'config.ini': enhancerConfig,
});

put('safetensors', {
  'native.safetensors': fixture('native.safetensors'),
  'speaker.safetensors': fixture('speaker_mp3.safetensors'),
  'types.safetensors': typed(),
});

/** One tensor of each type. */
function typed() {
  const widths = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I16: 2, I8: 1, U8: 1, BOOL: 1 };
  let at = 0;
  const entries = Object.entries(widths).map(([dtype, width]) => {
    at += 2 * width;
    return [dtype, { dtype, shape: [1, 2], data_offsets: [at - 2 * width, at] }];
  });
  const header = JSON.stringify({ __metadata__: { format: 'pt' }, ...Object.fromEntries(entries) });
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, Buffer.from(header), Buffer.alloc(at)]);
}

const stage = {
  file: 'first_stage.safetensors', bytes: 100, dtype: 'float32', layers: 1, heads: 1, width: 2, feedForward: 4,
  positions: 4, vocabularies: [7], outputs: [7], tied: true, speakerEmbedding: 1, norm: 'rmsnorm', normEpsilon: 1e-5,
  activation: 'swiglu', tokenizer: { name: 'tiny', pattern: '.', ranks: ['6Q=='], special: { '<|endoftext|>': 1 }, offset: 5 },
}; // biome-ignore format: a record
put('manifest', {
  'metavoice.json': Buffer.from(
    JSON.stringify({
      format: 'metavoice-model',
      version: 1,
      firstStage: stage,
      secondStage: null,
      speakerEncoder: { file: 's.safetensors', bytes: 9, layers: 1, hidden: 2, mels: 3, embedding: 1 },
      codec: {
        file: 'c.safetensors',
        bytes: 9,
        sampleRate: 24000,
        ratios: [2],
        dimension: 2,
        codebookSize: 2,
        storedCodebooks: 2,
        codebooks: 2,
        encoder: false,
      },
      speakers: [{ name: 'a', embedding: 'AAAAAA==' }],
      provenance: { sources: [{ file: 'a.pt', bytes: 9 }], digest: 'd', converter: 'c' },
    }),
  ),
});

// ------------------------------------------------------------------------------------------ recordings

const wav = (/** @type {string} */ name, /** @type {number} */ length) =>
  fixture(`audio/${name}`).subarray(0, length);
const sounds = {
  flac: { 'a.flac': silence(3), 'b.flac': fixture('audio/flac.flac'), 'a.ogg': fixture('audio/flac.ogg') },
  mp3: { 'lame.mp3': fixture('audio/lame.mp3'), 'plain.mp3': fixture('audio/plain.mp3') },
  vorbis: { 'a.ogg': fixture('audio/vorbis.ogg') },
  opus: { 'a.ogg': fixture('audio/opus.ogg') },
  wav: {
    'pcm16.wav': wav('pcm16.wav', 300),
    'pcm24.wav': wav('pcm24.wav', 300),
    'alaw.wav': wav('alaw.wav', 300),
    'ulaw.wav': wav('ulaw.wav', 300),
  },
};
for (const [reader, files] of Object.entries(sounds)) put(reader, files);
put(
  'audio',
  Object.fromEntries(
    Object.entries(sounds).flatMap(([reader, files]) =>
      Object.entries(files).map(([name, data]) => [`${reader}-${name}`, data.subarray(0, 512)]),
    ),
  ),
);

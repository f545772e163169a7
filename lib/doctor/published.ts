/** The facts of the published files. LM and AU are sections of the specification: language model, and audio. */

import {
  batchNorm,
  convolution,
  decoderLevel,
  encoderLevel,
  pathway,
  recurrent,
  residual,
  row,
  separable,
  transformerLayers,
} from './rows.js';
import type { PublishedPart, PublishedStage, Table } from './table.js';

// ------------------------------------------------------------------------------------------ language models

/** LM 3.4 (names, shapes), 4 (heads, norm), 13.1 and 14.2 (counts, offset, ranks). */
export const firstStage: PublishedStage = {
  words: 'first stage',
  file: 'first_stage.pt',
  table: {
    sizes: {
      layers: { published: 24, from: 'transformer.h.#.ln_1.weight' },
      width: { published: 2048, from: ['transformer.wpe.weight', 1] },
      'feed forward': { published: 5632, from: ['transformer.h.0.mlp.c_proj.weight', 1] },
      positions: { published: 2048, from: ['transformer.wpe.weight', 0] },
      vocabulary: { published: 2562, from: ['transformer.wtes.0.weight', 0] },
      speaker: { published: 256, from: ['speaker_cond_pos.weight', 1] },
    },
    rows: [
      row('transformer.wtes.0.weight', ['vocabulary', 'width']),
      row('transformer.wpe.weight', ['positions', 'width']),
      row('speaker_cond_pos.weight', ['width', 'speaker']),
      ...transformerLayers,
      row('transformer.h.#.mlp.swiglu.w1.weight', ['feed forward', 'width'], { each: 'layers' }),
      row('transformer.h.#.mlp.swiglu.w3.weight', ['feed forward', 'width'], { each: 'layers' }),
      row('transformer.ln_f.weight', ['width']),
      row('lm_heads.0.weight', ['vocabulary', 'width'], { tied: 'transformer.wtes.0.weight' }),
    ],
  },
  tensors: 173,
  parameters: 1_243_191_296,
  values: { n_head: 16, norm_type: 'rmsnorm', nonlinearity_type: 'swiglu', bias: false, causal: true },
  tokenizer: { offset: 2049, ranks: 512, endOfText: 512 },
};

/** LM 3.5 (names, shapes, arguments), 13.1 and 14.2 (counts, offset). */
export const secondStage: PublishedStage = {
  words: 'second stage',
  file: 'second_stage.pt',
  table: {
    sizes: {
      layers: { published: 6, from: 'transformer.h.#.ln_1.weight' },
      width: { published: 384, from: ['transformer.wpe.weight', 1] },
      'feed forward': { published: 1536, from: ['transformer.h.0.mlp.c_proj.weight', 1] },
      positions: { published: 1024, from: ['transformer.wpe.weight', 0] },
      vocabulary: { published: 1538, from: ['transformer.wtes.0.weight', 0] },
      codes: { published: 1025, from: ['transformer.wtes.1.weight', 0] },
      outputs: { published: 6, from: 'lm_heads.#.weight' },
      speaker: { published: 256, from: ['speaker_cond_pos.weight', 1] },
    },
    rows: [
      row('transformer.wtes.0.weight', ['vocabulary', 'width']),
      row('transformer.wtes.1.weight', ['codes', 'width']),
      row('transformer.wpe.weight', ['positions', 'width']),
      row('speaker_cond_pos.weight', ['width', 'speaker']),
      ...transformerLayers,
      row('transformer.h.#.mlp.c_fc.weight', ['feed forward', 'width'], { each: 'layers' }),
      row('transformer.ln_f.weight', ['width']),
      row('lm_heads.#.weight', ['codes', 'width'], { each: 'outputs' }),
    ],
  },
  tensors: 47,
  parameters: 14_459_136,
  values: { n_head: 6, norm_type: 'layernorm', nonlinearity_type: 'gelu', bias: false, causal: false },
  tokenizer: { offset: 1025, ranks: 512, endOfText: 512 },
};

/** LM 2.3: texts and their ids in the first stage, offset 2049; the second stage has the same with its own offset. */
export const tokenVectors: readonly { readonly text: string; readonly ids: readonly number[] }[] = [
  {
    text: 'This is a demo of text to speech by MetaVoice-1B, an open-source foundational audio model.',
    ids: [
      2133, 2153, 2320, 2388, 2307, 2434, 2158, 2160, 2328, 2305, 2150, 2169, 2165, 2327, 2311, 2456, 2150,
      2419, 2452, 2428, 2377, 2146, 2135, 2160, 2355, 2150, 2094, 2098, 2115, 2093, 2399, 2313, 2161, 2325,
      2094, 2164, 2483, 2374, 2323, 2514, 2487, 2380, 2307, 2166, 2149, 2154, 2160, 2321, 2160, 2149, 2150,
      2157, 2095, 2561,
    ],
  },
  { text: 'hi how are you today', ids: [2153, 2154, 2337, 2352, 2476, 2371, 2327, 2149, 2376, 2561] },
];

// ------------------------------------------------------------------------------------------ speaker encoder

/** AU 1.6. Scalars of the similarity that was trained with it may be beside it. A later row wins over an earlier one. */
export const speakerEncoder: PublishedPart = {
  words: 'speaker encoder',
  file: 'speaker_encoder.pt',
  table: {
    sizes: {
      layers: { published: 3, from: 'lstm.weight_hh_l#' },
      hidden: { published: 256, from: ['lstm.weight_hh_l0', 1] },
      mels: { published: 40, from: ['lstm.weight_ih_l0', 1] },
      embedding: { published: 256, from: ['linear.weight', 0] },
    },
    rows: [
      row('lstm.weight_ih_l#', ['4 hidden', 'hidden'], { each: 'layers' }),
      row('lstm.weight_ih_l0', ['4 hidden', 'mels']),
      row('lstm.weight_hh_l#', ['4 hidden', 'hidden'], { each: 'layers' }),
      row('lstm.bias_ih_l#', ['4 hidden'], { each: 'layers' }),
      row('lstm.bias_hh_l#', ['4 hidden'], { each: 'layers' }),
      row('linear.weight', ['embedding', 'hidden']),
      row('linear.bias', ['embedding']),
    ],
  },
  tensors: 14,
  parameters: 1_423_616,
  scalars: true,
};

// ------------------------------------------------------------------------------------------ EnCodec

/** AU 2.3 (decoder), 2.4 (encoder), 2.6 (quantiser, counts), in the original's spelling. */
export const codec: PublishedPart = {
  words: 'EnCodec codec',
  file: 'encodec_24khz-d7cc33bc.th',
  table: {
    sizes: {
      filters: { published: 32, from: ['decoder.model.15.conv.conv.weight_v', 1] },
      dimension: { published: 128, from: ['decoder.model.0.conv.conv.weight_v', 1] },
      codebooks: { published: 32, from: 'quantizer.vq.layers.#._codebook.embed' },
      codes: { published: 1024, from: ['quantizer.vq.layers.0._codebook.embed', 0] },
    },
    rows: [
      ...convolution('encoder.model.0.conv.conv', ['filters', 1, 7]),
      ...residual('encoder.model.1', 'filters', 'filters/2'),
      ...convolution('encoder.model.3.conv.conv', ['2 filters', 'filters', 4]),
      ...residual('encoder.model.4', '2 filters', 'filters'),
      ...convolution('encoder.model.6.conv.conv', ['4 filters', '2 filters', 8]),
      ...residual('encoder.model.7', '4 filters', '2 filters'),
      ...convolution('encoder.model.9.conv.conv', ['8 filters', '4 filters', 10]),
      ...residual('encoder.model.10', '8 filters', '4 filters'),
      ...convolution('encoder.model.12.conv.conv', ['16 filters', '8 filters', 16]),
      ...recurrent('encoder.model.13.lstm', 2, '64 filters', '16 filters'),
      ...convolution('encoder.model.15.conv.conv', ['dimension', '16 filters', 7]),
      ...convolution('decoder.model.0.conv.conv', ['16 filters', 'dimension', 7]),
      ...recurrent('decoder.model.1.lstm', 2, '64 filters', '16 filters'),
      ...convolution('decoder.model.3.convtr.convtr', ['16 filters', '8 filters', 16]),
      ...residual('decoder.model.4', '8 filters', '4 filters'),
      ...convolution('decoder.model.6.convtr.convtr', ['8 filters', '4 filters', 10]),
      ...residual('decoder.model.7', '4 filters', '2 filters'),
      ...convolution('decoder.model.9.convtr.convtr', ['4 filters', '2 filters', 8]),
      ...residual('decoder.model.10', '2 filters', 'filters'),
      ...convolution('decoder.model.12.convtr.convtr', ['2 filters', 'filters', 4]),
      ...residual('decoder.model.13', 'filters', 'filters/2'),
      ...convolution('decoder.model.15.conv.conv', [1, 'filters', 7]),
      row('quantizer.vq.layers.#._codebook.inited', [1], { each: 'codebooks', training: true }),
      row('quantizer.vq.layers.#._codebook.cluster_size', ['codes'], { each: 'codebooks', training: true }),
      row('quantizer.vq.layers.#._codebook.embed', ['codes', 'dimension'], { each: 'codebooks' }),
      row('quantizer.vq.layers.#._codebook.embed_avg', ['codes', 'dimension'], {
        each: 'codebooks',
        training: true,
      }),
    ],
  },
  tensors: 252,
  parameters: 23_273_218,
};

// ------------------------------------------------------------------------------------------ multi-band diffusion

/** AU 3.1 (top level), 3.2 and 3.3 (one of the four U-Nets; counts are of each). */
export const diffusion: PublishedPart & { readonly bands: number; readonly sampleRate: number } = {
  words: 'diffusion decoder',
  file: 'mbd_comp_8.pt',
  bands: 4,
  sampleRate: 24_000,
  table: {
    sizes: {
      'channels 1': { published: 48, from: ['encoders.0.norm.weight', 0] },
      'channels 2': { published: 192, from: ['encoders.1.norm.weight', 0] },
      'channels 3': { published: 768, from: ['encoders.2.norm.weight', 0] },
      'channels 4': { published: 3072, from: ['encoders.3.norm.weight', 0] },
      blocks: { published: 2, from: 'encoders.0.res_blocks.#.conv1.weight' },
      kernel: { published: 8, from: ['encoders.0.conv.weight', 2] },
      steps: { published: 1000, from: ['embedding.weight', 0] },
      latent: { published: 128, from: ['conv_codec.weight', 1] },
    },
    rows: [
      ...encoderLevel(0, 1, 'channels 1'),
      ...encoderLevel(1, 'channels 1', 'channels 2'),
      ...encoderLevel(2, 'channels 2', 'channels 3'),
      ...encoderLevel(3, 'channels 3', 'channels 4'),
      ...decoderLevel(0, 'channels 4', 'channels 3'),
      ...decoderLevel(1, 'channels 3', 'channels 2'),
      ...decoderLevel(2, 'channels 2', 'channels 1'),
      ...decoderLevel(3, 'channels 1', 1),
      row('embedding.weight', ['steps', 'channels 1']),
      row('embeddings.0.weight', ['steps', 'channels 2']),
      row('embeddings.1.weight', ['steps', 'channels 3']),
      row('embeddings.2.weight', ['steps', 'channels 4']),
      row('conv_codec.weight', ['channels 4', 'latent', 1]),
      row('conv_codec.bias', ['channels 4']),
    ],
  },
  tensors: 158,
  parameters: 286_435_008,
};

/** AU 3.2: what shapes don't show of a U-Net, as its `cfg.diffusion_unet` should say. */
export const diffusionValues = { norm_groups: 4, stride: 4, bilstm: false, transformer: false } as const;

/** AU 3.7: state of an equaliser that is in use, for eight bands at 24 kHz. */
export const equalizer: Table = {
  sizes: {
    bands: { published: 8, from: ['sum_x', 0] },
    filters: { published: 7, from: ['split_bands.lowpass.filters', 0] },
    taps: { published: 629, from: ['split_bands.lowpass.filters', 2] },
  },
  rows: [
    row('counts', [1]),
    row('sum_x', ['bands']),
    row('sum_x2', ['bands']),
    row('sum_target_x2', ['bands']),
    row('split_bands.lowpass.filters', ['filters', 1, 'taps']),
  ],
};

// ------------------------------------------------------------------------------------------ DeepFilterNet3

/** AU 5.9: 133 entries, 15 of them counters. */
export const enhancer: PublishedPart = {
  words: 'enhancer',
  file: 'DeepFilterNet3',
  table: {
    sizes: {
      channels: { published: 64, from: ['enc.erb_conv0.1.weight', 0] },
      hidden: { published: 256, from: ['enc.emb_gru.gru.weight_hh_l0', 1] },
    },
    rows: [
      { ...row('erb_fb', [481, 32]), training: true },
      row('mask.erb_inv_fb', [32, 481]),
      row('enc.erb_conv0.1.weight', ['channels', 1, 3, 3]),
      ...batchNorm('enc.erb_conv0.2'),
      ...[1, 2, 3].flatMap((n) => separable(`enc.erb_conv${n}`)),
      row('enc.df_conv0.1.weight', ['channels', 1, 3, 3]),
      row('enc.df_conv0.2.weight', ['channels', 'channels', 1, 1]),
      ...batchNorm('enc.df_conv0.3'),
      ...separable('enc.df_conv1'),
      row('enc.df_fc_emb.0.weight', [32, '3 channels/2', 'channels/4']),
      row('enc.emb_gru.linear_in.0.weight', [16, 'channels/2', 'hidden/16']),
      row('enc.emb_gru.linear_out.0.weight', [16, 'hidden/16', 'channels/2']),
      ...recurrent('enc.emb_gru.gru', 1, '3 hidden', 'hidden'),
      { ...row('enc.lsnr_fc.0.weight', [1, '8 channels']), training: true },
      { ...row('enc.lsnr_fc.0.bias', [1]), training: true },
      row('erb_dec.emb_gru.linear_in.0.weight', [16, 'channels/2', 'hidden/16']),
      row('erb_dec.emb_gru.linear_out.0.weight', [16, 'hidden/16', 'channels/2']),
      ...recurrent('erb_dec.emb_gru.gru', 2, '3 hidden', 'hidden'),
      ...[3, 2, 1, 0].flatMap((n) => pathway(`erb_dec.conv${n}p`)),
      ...[3, 2, 1].flatMap((n) => separable(`erb_dec.convt${n}`)),
      row('erb_dec.conv0_out.0.weight', [1, 'channels', 1, 3]),
      ...batchNorm('erb_dec.conv0_out.1', 1),
      row('df_dec.df_convp.1.weight', [10, 'channels/2', 5, 1]),
      row('df_dec.df_convp.2.weight', [10, 10, 1, 1]),
      ...batchNorm('df_dec.df_convp.3', 10),
      row('df_dec.df_gru.linear_in.0.weight', [8, 'channels', 'hidden/8']),
      ...recurrent('df_dec.df_gru.gru', 2, '3 hidden', 'hidden'),
      row('df_dec.df_skip.weight', [16, 'channels/2', 'hidden/16']),
      row('df_dec.df_out.0.weight', [16, 'hidden/16', 60]),
      { ...row('df_dec.df_fc_a.0.weight', [1, 'hidden']), training: true },
      { ...row('df_dec.df_fc_a.0.bias', [1]), training: true },
    ],
  },
  tensors: 133,
  parameters: 2_167_954,
};

/** AU 5.8: `config.ini` by section. */
export const enhancerConfig: Readonly<Record<string, string>> = {
  df: `sr 48000; fft_size 960; hop_size 480; nb_erb 32; nb_df 96; norm_tau 1; lsnr_max 35; lsnr_min -15;
    min_nb_erb_freqs 2; pad_mode output; df_order 5; df_lookahead 2`,
  deepfilternet: `conv_lookahead 2; conv_ch 64; conv_depthwise True; convt_depthwise False; emb_hidden_dim 256;
    emb_num_layers 3; enc_linear_groups 32; linear_groups 16; mask_pf False; df_hidden_dim 256; df_num_layers 2;
    conv_kernel 1,3; convt_kernel 1,3; conv_kernel_inp 3,3; df_gru_skip groupedlinear; emb_gru_skip none;
    df_pathway_kernel_size_t 5; enc_concat False; df_n_iter 1; lsnr_dropout False`,
  train: 'model deepfilternet3',
};

// ------------------------------------------------------------------------------------------ where they are published

/** LM 3.1, AU 7: repositories of the Hugging Face hub, and what is in them. */
export const repositories = {
  'metavoiceio/metavoice-1B-v0.1': 'language models and speaker encoder',
  'facebook/encodec_24khz': 'EnCodec codec',
  'facebook/multiband-diffusion': 'diffusion decoder',
} as const;

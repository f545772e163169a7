import { compareTensors } from './compare.js';
import type { EnhancerFile, Sections } from './enhancer-file.js';
import type { EnhancerManifest } from './manifest.js';
import type { Expected } from './names.js';
import { type PlannedPart, requireFloats, shapesOf } from './part.js';
import { refuseCheckpoint } from './refuse.js';
import type { SourceTensor } from './torch-file.js';

/** What is not computed: counters of the training, and heads whose answers nobody reads. */
const isUnused = (name: string): boolean =>
  /\.num_batches_tracked$|^erb_fb$|^enc\.lsnr_fc\.|^df_dec\.df_fc_a\./.test(name);

/**
 * DeepFilterNet3: its sizes from `config.ini`, or those of the published model where the form has none, and from the
 * tensors. Throws ERR_CHECKPOINT.
 */
export function planEnhancer({
  file,
  tensors: stored,
  config,
  unpacked,
}: EnhancerFile): PlannedPart<EnhancerManifest> {
  const settings = readSettings(file, config ?? Object.create(null));
  const tensors = new Map([...stored].filter(([name]) => !isUnused(name)));
  const size = (name: string, d: number) => tensors.get(name)?.shape[d] ?? 0;
  const manifest = {
    ...settings,
    channels: size('enc.erb_conv0.1.weight', 0),
    hidden: size('enc.emb_gru.gru.weight_hh_l0', 1),
  };
  compareTensors(file, enhancerTensors(manifest, shapesOf(tensors)), shapesOf(tensors));
  for (const [name, tensor] of tensors) requireFloats(file, name, tensor);
  return {
    manifest,
    dtype: 'float32',
    tensors: [...tensors].map(([name, source]: [string, SourceTensor]) => ({ name, source })),
    ...(unpacked && { unpacked }),
  };
}

/** The kind of network that is computed, in the words of `config.ini`; these leave no trace in names or shapes. */
const computed = {
  'train.model': 'deepfilternet3',
  'deepfilternet.emb_gru_skip': 'none',
  'deepfilternet.emb_gru_skip_enc': 'none',
  'deepfilternet.df_gru_skip': 'groupedlinear',
  'deepfilternet.mask_pf': 'false',
  'deepfilternet.enc_concat': 'false',
  'deepfilternet.df_n_iter': '1',
  'deepfilternet.lsnr_dropout': 'false',
};

type Settings = Omit<EnhancerManifest, 'file' | 'bytes' | 'channels' | 'hidden'>;

function readSettings(file: string, config: Sections): Settings {
  const text = (key: string): string | undefined => {
    const [section, name] = key.split('.') as [string, string];
    return config[section]?.[name];
  };
  const refuse = (key: string, expected: unknown, found: unknown) =>
    refuseCheckpoint(
      file,
      `${key} of config.ini is ${found}, expected ${expected} as in DeepFilterNet3, the kind that this version computes`,
      {
        argument: key,
        expected,
        found,
      },
    );
  for (const [key, expected] of Object.entries(computed)) {
    const found = text(key)?.toLowerCase() ?? expected;
    if (found !== expected) throw refuse(key, expected, found);
  }
  const number = (key: string, published: number): number => {
    const found = Number(text(key) ?? published);
    if (!Number.isFinite(found) || found <= 0) throw refuse(key, 'a positive number', text(key));
    return found;
  };
  const settings = {
    sampleRate: number('df.sr', 48_000),
    window: number('df.fft_size', 960),
    bands: number('df.nb_erb', 32),
    deepBins: number('df.nb_df', 96),
    order: number('df.df_order', 5),
    lookAhead: number('df.df_lookahead', 2),
    leastBandBins: number('df.min_nb_erb_freqs', 2),
    meanSeconds: number('df.norm_tau', 1),
  };
  const agreeing = { 'df.hop_size': settings.window / 2, 'deepfilternet.conv_lookahead': settings.lookAhead };
  for (const [key, expected] of Object.entries(agreeing)) {
    const found = number(key, expected);
    if (found !== expected) throw refuse(key, expected, found);
  }
  const wrong = unsound(settings);
  if (wrong) throw refuse(`${wrong.field} (${settings[wrong.field]})`, wrong.expected, settings[wrong.field]);
  return settings;
}

/** What can't be computed with such sizes; null where all is well. */
export function unsound(sizes: Settings): { field: keyof Settings; expected: string } | null {
  const { window, bands, deepBins, order, lookAhead, leastBandBins, sampleRate } = sizes;
  const bins = window / 2 + 1;
  const whole = (value: number, step = 1): boolean => Number.isInteger(value / step) && value < 2 ** 20;
  if (!whole(sampleRate)) return { field: 'sampleRate', expected: 'an integer' };
  if (!whole(window, 2)) return { field: 'window', expected: 'an even number' };
  if (!whole(bands, 4)) return { field: 'bands', expected: 'a multiple of 4' };
  if (!whole(deepBins, 2) || deepBins > bins)
    return { field: 'deepBins', expected: `an even number, at most ${bins}` };
  if (!whole(leastBandBins) || leastBandBins * bands > bins)
    return { field: 'leastBandBins', expected: `an integer, at most ${Math.floor(bins / bands)}` };
  if (!whole(order)) return { field: 'order', expected: 'an integer' };
  if (!whole(lookAhead) || lookAhead >= order)
    return { field: 'lookAhead', expected: `an integer below ${order}` };
  return null;
}

/**
 * Every tensor of the enhancer that is computed with. Groups, layers and kernels over time are taken from the tensors
 * found; all else must agree with them.
 */
export function enhancerTensors(
  sizes: Omit<EnhancerManifest, 'file' | 'bytes'>,
  found: ReadonlyMap<string, readonly number[]>,
): Expected {
  const { channels, hidden, bands, deepBins, order, window } = sizes;
  const embedding = (bands / 4) * channels;
  const expected: Expected = new Map();
  const need = (name: string, ...shape: number[]) => {
    expected.set(name, { shape });
  };
  const size = (name: string, d: number) => found.get(name)?.[d] ?? 1;
  const norm = (path: string, width = channels) => {
    for (const leaf of ['weight', 'bias', 'running_mean', 'running_var']) need(`${path}.${leaf}`, width);
  };
  const separable = (path: string) => {
    need(`${path}.0.weight`, channels, 1, 1, 3);
    need(`${path}.1.weight`, channels, channels, 1, 1);
    norm(`${path}.2`);
  };
  /** Groups that divide both widths; others show as another shape. */
  const grouped = (name: string, input: number, output: number) => {
    const groups = size(name, 0);
    need(name, groups, input / groups, output / groups);
  };
  const squeezed = (path: string, layers: 'one' | 'some', writes: boolean) => {
    grouped(`${path}.linear_in.0.weight`, embedding, hidden);
    if (writes) grouped(`${path}.linear_out.0.weight`, hidden, embedding);
    for (let n = 0; n === 0 || (layers === 'some' && found.has(`${path}.gru.weight_hh_l${n}`)); n++) {
      for (const leaf of ['weight_ih', 'weight_hh']) need(`${path}.gru.${leaf}_l${n}`, 3 * hidden, hidden);
      for (const leaf of ['bias_ih', 'bias_hh']) need(`${path}.gru.${leaf}_l${n}`, 3 * hidden);
    }
  };

  need('mask.erb_inv_fb', bands, window / 2 + 1);
  const times = (name: string) => size(name, 2);
  need('enc.erb_conv0.1.weight', channels, 1, times('enc.erb_conv0.1.weight'), 3);
  norm('enc.erb_conv0.2');
  for (const n of [1, 2, 3]) separable(`enc.erb_conv${n}`);
  need('enc.df_conv0.1.weight', channels, 1, times('enc.df_conv0.1.weight'), 3);
  need('enc.df_conv0.2.weight', channels, channels, 1, 1);
  norm('enc.df_conv0.3');
  separable('enc.df_conv1');
  grouped('enc.df_fc_emb.0.weight', (deepBins / 2) * channels, embedding);
  squeezed('enc.emb_gru', 'one', true);

  squeezed('erb_dec.emb_gru', 'some', true);
  for (const n of [3, 2, 1, 0]) {
    need(`erb_dec.conv${n}p.0.weight`, channels, 1, 1, 1);
    norm(`erb_dec.conv${n}p.1`);
  }
  for (const n of [3, 2, 1]) separable(`erb_dec.convt${n}`);
  need('erb_dec.conv0_out.0.weight', 1, channels, 1, 3);
  norm('erb_dec.conv0_out.1', 1);

  need('df_dec.df_convp.1.weight', 2 * order, channels / 2, times('df_dec.df_convp.1.weight'), 1);
  need('df_dec.df_convp.2.weight', 2 * order, 2 * order, 1, 1);
  norm('df_dec.df_convp.3', 2 * order);
  squeezed('df_dec.df_gru', 'some', false);
  grouped('df_dec.df_skip.weight', embedding, hidden);
  grouped('df_dec.df_out.0.weight', hidden, deepBins * 2 * order);
  return expected;
}

import { mkdtempSync, rmSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { convertModel, planFolder, planFolderSync } from '../../../dist/checkpoint/convert.js';
import { openModel } from '../../../dist/checkpoint/open.js';
import { PickleTensor } from '../../../dist/checkpoint/pickle-values.js';
import { findPublished } from '../../../dist/checkpoint/sources.js';
import { TorchFile } from '../../../dist/checkpoint/torch-file.js';
import { deflated } from './deflated-zip.js';
import { contents, expectSame, sources } from './model-files.js';
import {
  bytesOf,
  fixture,
  loadFixture,
  type PlainTensor,
  type State,
  safetensors,
  save,
} from './torch-save.js';

const folder = mkdtempSync(join(tmpdir(), 'metavoice-enhancer-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const checkpoint = 'DeepFilterNet3/checkpoints/model_120.ckpt.best';
const unused = /num_batches_tracked$|^erb_fb$|lsnr_fc|df_fc_a/;
const expected = () =>
  sources(
    checkpoint,
    (value) => value,
    (name) => (unused.test(name) ? null : name),
  );

let count = 0;
async function fresh(): Promise<string> {
  const made = join(folder, String(count++));
  await mkdir(made);
  return made;
}

/** A folder with the enhancer in it, its configuration and weights edited. */
async function published({
  config = (text: string) => text,
  weights = (_: State) => {},
} = {}): Promise<string> {
  const made = await fresh();
  const inner = join(made, 'DeepFilterNet3');
  await mkdir(join(inner, 'checkpoints'), { recursive: true });
  const text = await readFile(fixture('DeepFilterNet3/config.ini'), 'utf8');
  await writeFile(join(inner, 'config.ini'), config(text));
  const loaded = await loadFixture(checkpoint);
  weights(loaded.value as State);
  await writeFile(join(made, checkpoint), save(loaded));
  return made;
}

async function asZip(name = 'DeepFilterNet3.zip'): Promise<string> {
  const made = await fresh();
  const members = {
    'DeepFilterNet3/config.ini': { data: await readFile(fixture('DeepFilterNet3/config.ini')) },
    'DeepFilterNet3/checkpoints/model_96.ckpt.best': { data: Buffer.from('an older one') },
    [checkpoint]: { data: await readFile(fixture(checkpoint)) },
  };
  await writeFile(join(made, name), deflated(members));
  return made;
}

async function asSafetensors(): Promise<string> {
  const made = await fresh();
  const file = await TorchFile.read(fixture(checkpoint));
  const tensors: Record<string, PlainTensor> = {};
  for (const [name, tensor] of file.locateAll(file.value as State, () => {}))
    if (tensor.dtype === 'float32')
      tensors[name] = { dtype: 'F32', shape: tensor.shape, data: bytesOf(tensor) };
  await writeFile(join(made, 'model.safetensors'), safetensors(tensors));
  return made;
}

const convert = async (source: string) => {
  const target = join(await fresh(), 'model');
  return { target, manifest: await convertModel(source, target, { dtype: 'bfloat16' }) };
};

describe('the enhancer', () => {
  test.each([
    ['its folder', () => published()],
    ['its zip', () => asZip()],
    ['a safetensors file', () => asSafetensors()],
    ['the folder itself', async () => fixture('DeepFilterNet3')],
  ])('comes from %s, every number that is computed with, in float32', async (_, make) => {
    const { target, manifest } = await convert(await make());
    expect((await readdir(target)).sort()).toEqual(['enhancer.safetensors', 'metavoice.json']);
    expectSame(await contents(join(target, 'enhancer.safetensors')), await expected());
    expect(manifest).toMatchObject({ firstStage: null, codec: null });
    expect(manifest.enhancer).toMatchObject({
      sampleRate: 48000,
      window: 960,
      bands: 32,
      deepBins: 96,
      order: 5,
      lookAhead: 2,
      leastBandBins: 2,
      meanSeconds: 1,
      channels: 16,
      hidden: 64,
    });
  });

  test('is found by its folder, then its zip, then its tensors', async () => {
    const source = await asSafetensors();
    const found = async () => (await findPublished(source)).enhancer;
    expect(await found()).toBe(join(source, 'model.safetensors'));
    await cp(join(await asZip(), 'DeepFilterNet3.zip'), join(source, 'deepfilternet3.zip'));
    expect(await found()).toBe(join(source, 'deepfilternet3.zip'));
    await cp(fixture('DeepFilterNet3'), join(source, 'deepfilternet'), { recursive: true });
    expect(await found()).toBe(join(source, 'deepfilternet'));
  });

  test('gives a cached model a key of its own, with its configuration', async () => {
    const digests = [];
    for (const source of [
      await published(),
      await published({ config: (text) => text.replace('norm_tau = 1', 'norm_tau = 2') }),
      await published({ weights: (state) => state.delete('erb_fb') }),
    ]) {
      const { provenance } = await planFolder(source, 'float32');
      expect(planFolderSync(source, 'float32').provenance).toEqual(provenance);
      digests.push(provenance.digest);
    }
    expect(new Set(digests).size).toBe(3);
  });

  test('is opened from its zip through the cache, which holds nothing else', async () => {
    const cacheDirectory = await fresh();
    const { folder: model, manifest } = await openModel(await asZip(), { dtype: 'float32', cacheDirectory });
    expect((await readdir(model)).sort()).toEqual(['enhancer.safetensors', 'metavoice.json']);
    expect(manifest.provenance.sources).toEqual([{ file: 'DeepFilterNet3.zip', bytes: expect.any(Number) }]);
  });
});

describe('a DeepFilterNet that is not computed', () => {
  test.each([
    [
      'another model',
      'model = deepfilternet3',
      'model = deepfilternet2',
      /train\.model .* is deepfilternet2/,
    ],
    ['a hop of its own', 'hop_size = 480', 'hop_size = 240', /df\.hop_size .* is 240, expected 480/],
    [
      'look-aheads that differ',
      'conv_lookahead = 2',
      'conv_lookahead = 1',
      /conv_lookahead .* is 1, expected 2/,
    ],
    [
      'a look-ahead beyond its filters',
      /lookahead = 2/g,
      'lookahead = 5',
      /lookAhead .* expected an integer below 5/,
    ],
    ['a post filter in the network', 'mask_pf = False', 'mask_pf = True', /mask_pf/],
    [
      'bands that are not bands',
      'nb_erb = 32',
      'nb_erb = many',
      /df\.nb_erb .* is many, expected a positive number/,
    ],
    ['other bands than its weights', 'nb_erb = 32', 'nb_erb = 24', /tensor .* has shape/],
    ['other taps than its weights', 'df_order = 5', 'df_order = 4', /tensor .* has shape/],
  ])('has %s', async (_, from, to, message) => {
    const source = await published({ config: (text) => text.replace(from, to) });
    await expect(planFolder(source, 'float32')).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      message: expect.stringMatching(message),
    });
  });

  test.each<[string, (state: State) => void, RegExp]>([
    [
      'lacks a tensor',
      (state) => state.delete('df_dec.df_skip.weight'),
      /lacks the tensor df_dec\.df_skip\.weight/,
    ],
    ['has one too many', (state) => state.set('enc.extra', state.get('erb_fb')), /has the tensor enc\.extra/],
    [
      'has a layer that does not follow',
      (state) => state.set('erb_dec.emb_gru.gru.weight_hh_l2', state.get('erb_fb')),
      /lacks/,
    ],
    [
      'has groups that do not divide',
      (state) => {
        const { storage } = state.get('enc.emb_gru.linear_in.0.weight') as PickleTensor;
        state.set('enc.emb_gru.linear_in.0.weight', new PickleTensor(storage, 0, [12, 8, 4], [32, 4, 1]));
      },
      /linear_in\.0\.weight has shape \[12, 8, 4\]/,
    ],
    [
      'has counters for weights',
      (state) => state.set('enc.df_conv0.3.bias', state.get('enc.df_conv0.3.num_batches_tracked')),
      /df_conv0\.3\.bias/,
    ],
  ])('%s', async (_, weights, message) => {
    await expect(planFolder(await published({ weights }), 'float32')).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      message: expect.stringMatching(message),
    });
  });

  test('has no checkpoint, or is cut short', async () => {
    const source = await published();
    await writeFile(join(source, checkpoint), (await readFile(fixture(checkpoint))).subarray(0, 5000));
    await expect(planFolder(source, 'float32')).rejects.toMatchObject({ code: 'ERR_CHECKPOINT' });
    await rm(join(source, checkpoint));
    await expect(planFolder(source, 'float32')).rejects.toMatchObject({
      code: 'ERR_MODEL_NOT_FOUND',
      message: expect.stringContaining('*.ckpt.best'),
    });
  });

  test('is refused by its manifest, too', async () => {
    const { target } = await convert(fixture('DeepFilterNet3'));
    const text = await readFile(join(target, 'metavoice.json'), 'utf8');
    for (const [field, value] of [
      ['window', 961],
      ['bands', 30],
      ['deepBins', 500],
      ['lookAhead', 5],
      ['leastBandBins', 16],
      ['meanSeconds', 0],
      ['channels', 32],
    ] as const) {
      const manifest = JSON.parse(text);
      manifest.enhancer[field] = value;
      await writeFile(join(target, 'metavoice.json'), JSON.stringify(manifest));
      await expect(openModel(target, { dtype: 'float32' }), field).rejects.toMatchObject({
        code: 'ERR_CHECKPOINT',
      });
    }
  });
});

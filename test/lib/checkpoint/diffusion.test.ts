import { mkdtempSync, rmSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { convertModel } from '../../../dist/checkpoint/convert.js';
import type { DiffusionManifest, Manifest } from '../../../dist/checkpoint/manifest.js';
import { checkManifest } from '../../../dist/checkpoint/manifest-check.js';
import { checkModelFolder } from '../../../dist/checkpoint/model-folder.js';
import { PickleTensor } from '../../../dist/checkpoint/pickle-values.js';
import { readSafetensors } from '../../../dist/checkpoint/safetensors.js';
import { asBfloat16, asFloat16, contents, expectSame, makeFolder, sources } from './model-files.js';
import type { Checkpoint, State } from './torch-save.js';

const folder = mkdtempSync(join(tmpdir(), 'metavoice-diffusion-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let count = 0;
const fresh = (name: string): string => join(folder, `${name}-${count++}`);
const name = 'mbd_comp_8.pt';
const alone = (edit?: (checkpoint: Checkpoint) => void) =>
  makeFolder(fresh('source'), [name], edit ? { [name]: edit } : {});
const band = (state: State, index: number) => state.get(index) as State;
/** Every tensor that becomes ours, of all bands. */
async function published(): Promise<Map<string, Buffer>> {
  const all = new Map<string, Buffer>();
  for (let index = 0; index < 4; index++)
    for (const [part, scope] of [
      ['model_state', 'bands'],
      ['processor_state', 'processors'],
    ] as const) {
      const state = (value: State) => band(value, index).get(part) as State;
      const ours = (tensor: string) => (/^split_bands/.test(tensor) ? null : `${scope}.${index}.${tensor}`);
      for (const [tensor, bytes] of await sources(name, state, ours)) all.set(tensor, bytes);
    }
  return all;
}

describe('converted multi-band diffusion', () => {
  test('has every number of every band, and what shapes do not tell in the manifest', async () => {
    const target = fresh('model');
    const { diffusion, firstStage } = await convertModel(await alone(), target, { dtype: 'float32' });
    const expected = await published();
    expect(expected.size).toBe(4 * 158 + 2 * 4);
    expectSame(await contents(join(target, 'diffusion.safetensors')), expected);
    expect(firstStage).toBeNull();
    expect(diffusion).toMatchObject({ dtype: 'float32', sampleRate: 24000, latent: 16 });
    const network = {
      channels: [4, 8, 16, 32],
      kernel: 8,
      stride: 4,
      residualBlocks: 2,
      normGroups: 4,
      steps: 1000,
    };
    const schedule = (betaStart: number, betaEnd: number, exponent: number, noiseScale = 1) => ({
      schedule: { betaStart, betaEnd, exponent, noiseScale, clip: 5 },
    });
    expect(diffusion!.bands).toEqual([
      { ...network, ...schedule(1e-5, 0.029, 7.5), processor: null },
      { ...network, ...schedule(1e-5, 0.029, 7.5), processor: null },
      { ...network, ...schedule(2e-5, 0.025, 6), processor: { bands: 8, power: 0.4 } },
      { ...network, ...schedule(1e-5, 0.03, 8, 0.9), processor: { bands: 8, power: 0.75 } },
    ]);
  });

  test.each([
    ['bfloat16', asBfloat16],
    ['float16', asFloat16],
  ] as const)('in %s has the nearest numbers, and statistics in float32', async (dtype, cast) => {
    const target = fresh('model');
    const { diffusion } = await convertModel(await alone(), target, { dtype });
    expect(diffusion!.dtype).toBe(dtype);
    const expected = [...(await published())].map(
      ([tensor, bytes]) => [tensor, tensor.startsWith('processors.') ? bytes : cast(bytes)] as const,
    );
    expectSame(await contents(join(target, 'diffusion.safetensors')), new Map(expected));
    const { tensors } = await readSafetensors(join(target, 'diffusion.safetensors'));
    expect(tensors.get('processors.2.sum_x2')!.dtype).toBe('float32');
    expect((await checkModelFolder(target)).diffusion).toEqual(diffusion);
  });

  test('takes a network of fewer levels and blocks, told the step at the first level only, and no clip', async () => {
    const edit = ({ value }: Checkpoint) => {
      for (let index = 0; index < 4; index++) {
        const state = band(value, index).get('model_state') as State;
        const all = [...state] as [string, PickleTensor][];
        state.clear();
        // The decoders are numbered from the deepest.
        for (const [key, tensor] of all)
          if (!/^encoders\.3|^decoders\.0|^embeddings|res_blocks\.1/.test(key))
            state.set(
              key.replace(/^decoders\.(\d)/, (_, level) => `decoders.${level - 1}`),
              tensor,
            );
        const codec = state.get('conv_codec.weight') as PickleTensor;
        state.set('conv_codec.weight', new PickleTensor(codec.storage, 0, [16, 16, 1], [16, 1, 1]));
        const bias = state.get('conv_codec.bias') as PickleTensor;
        state.set('conv_codec.bias', new PickleTensor(bias.storage, 0, [16], [1]));
        (configOf(value, index).schedule as Record<string, unknown>).clip = null;
      }
    };
    const { diffusion } = await convertModel(await alone(edit), fresh('model'), { dtype: 'float32' });
    expect(diffusion!.bands[0]).toMatchObject({ channels: [4, 8, 16], residualBlocks: 1 });
    expect(diffusion!.bands[0]!.schedule.clip).toBeNull();
  });

  test('beside the others belongs to their codec', async () => {
    const source = await makeFolder(fresh('both'), ['encodec_24khz.th', name], {
      [name]: ({ value }) => value.set('sample_rate', 32000),
    });
    await expect(convertModel(source, fresh('never'), { dtype: 'float32' })).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      message: expect.stringMatching(/the sample rate 32000, expected 24000 as in the codec/),
    });
  });
});

/** The configuration of a band, as the reader of pickles gives it. */
const configOf = (value: State, index: number) =>
  band(value, index).get('cfg') as Record<
    'diffusion_unet' | 'schedule' | 'processor',
    Record<string, unknown>
  >;

describe('multi-band diffusion is refused', () => {
  const config =
    (section: 'diffusion_unet' | 'schedule' | 'processor', key: string, found: unknown) =>
    ({ value }: Checkpoint) => {
      configOf(value, 2)[section][key] = found;
    };
  const weights =
    (edit: (state: State) => void) =>
    ({ value }: Checkpoint) =>
      edit(band(value, 1).get('model_state') as State);

  test.each<[string, (checkpoint: Checkpoint) => void, RegExp]>([
    ['without a number of bands', ({ value }) => value.delete('n_bands'), /expected multi-band diffusion/],
    ['with a band less', ({ value }) => value.delete(3), /weights of band 3 under `model_state`/],
    ['of a thousand bands', ({ value }) => value.set('n_bands', 1000), /expected multi-band diffusion/],
    [
      'without a sample rate',
      ({ value }) => value.delete('sample_rate'),
      /sample_rate is undefined, expected an integer/,
    ],
    ['with an LSTM', config('diffusion_unet', 'bilstm', true), /band 2: bilstm is true, expected false/],
    ['with a transformer', config('diffusion_unet', 'transformer', true), /band 2: transformer is true/],
    [
      'of another noise',
      config('schedule', 'repartition', 'linear'),
      /repartition is "linear", expected "power"/,
    ],
    ['with noise in bands', config('schedule', 'n_bands', 8), /n_bands is 8, expected null/],
    ['of other steps', config('schedule', 'num_steps', 500), /num_steps is 500, expected 1000/],
    ['without a noise', config('schedule', 'beta_t1', null), /beta_t1 is undefined, expected a number/],
    [
      'with a noise that is none',
      config('schedule', 'beta_t0', 1.5),
      /beta_t0 is 1.5, expected a number from/,
    ],
    [
      'with groups that do not divide',
      config('diffusion_unet', 'norm_groups', 3),
      /band 2 has 4 channels in 3 groups/,
    ],
    [
      'with a stride beyond its kernel',
      config('diffusion_unet', 'stride', 9),
      /stride is 9, expected an integer from 1 to 8/,
    ],
    [
      'with other sub-bands',
      config('processor', 'n_bands', 7),
      /sum_x of band 2 has shape \[8\], expected \[7\]/,
    ],
    [
      'with a processor without statistics',
      ({ value }) => {
        configOf(value, 0).processor.use = true;
      },
      /lacks 4 tensors: counts of band 0/,
    ],
    [
      'without a tensor',
      weights((state) => state.delete('encoders.2.norm.bias')),
      /lacks the tensor encoders\.2\.norm\.bias of band 1/,
    ],
    [
      'with one more',
      weights((state) => state.set('bilstm.x', state.get('conv_codec.bias'))),
      /has the tensor bilstm\.x of band 1/,
    ],
    [
      'of another shape',
      weights((state) => state.set('decoders.0.norm.bias', state.get('decoders.1.norm.bias'))),
      /decoders\.0\.norm\.bias of band 1 has shape \[16\], expected \[32\]/,
    ],
    ['without weights', weights((state) => state.clear()), /lacks/],
  ])('%s', async (_, edit, message) => {
    const target = fresh('never');
    await expect(convertModel(await alone(edit), target, { dtype: 'float32' })).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      message: expect.stringMatching(message),
    });
    await expect(stat(target)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('by the check of a manifest', async () => {
    const manifest = await convertModel(await alone(), fresh('model'), { dtype: 'float32' });
    const edited = (edit: (copy: Manifest & { diffusion: DiffusionManifest }) => unknown) => {
      const copy = structuredClone(manifest) as Manifest & { diffusion: DiffusionManifest };
      edit(copy);
      return () => checkManifest('metavoice.json', copy);
    };
    expect(edited(() => {})).not.toThrow();
    expect(
      edited((copy) => copy.diffusion.bands.pop()),
      'fewer bands',
    ).not.toThrow();
    expect(edited((copy) => (copy.diffusion.bands = []))).toThrow(
      /a list that is not empty for `diffusion.bands`/,
    );
    expect(edited((copy) => (copy.diffusion.bands[1]!.normGroups = 3))).toThrow(
      /a divisor .*`diffusion.bands\[1\].normGroups`/,
    );
    expect(edited((copy) => (copy.diffusion.bands[0]!.schedule.betaStart = 0))).toThrow(/betaStart/);
    expect(edited((copy) => (copy.diffusion.bands[3]!.processor = 4 as never))).toThrow(/processor/);
    expect(edited((copy) => delete (copy as { diffusion?: unknown }).diffusion)).toThrow(/at least one part/);
    const codec = {
      file: 'codec.safetensors',
      bytes: 9,
      sampleRate: 24000,
      ratios: [8, 5, 4, 2],
      dimension: 16,
      codebookSize: 1024,
      storedCodebooks: 8,
      codebooks: 8,
      encoder: false,
    };
    expect(edited((copy) => (copy.codec = codec))).not.toThrow();
    expect(edited((copy) => (copy.codec = { ...codec, dimension: 128 }))).toThrow(
      /expected 128 as in the codec for `diffusion.latent`/,
    );
    expect(edited((copy) => (copy.codec = { ...codec, sampleRate: 48000 }))).toThrow(
      /`diffusion.sampleRate`/,
    );
  });
});

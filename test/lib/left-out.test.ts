/** An optional part that can't be read keeps nobody from speaking: it is left out with a warning, and refused when it is asked for. */

import { cp, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { convertModel } from '../../dist/checkpoint/convert.js';
import { MetaVoice, plan, type SpeakOptions } from '../../dist/index.js';
import { loadEngine } from '../../dist/runtime/load.js';
import { Stages } from '../../dist/stages.js';
import { loadFixture, save } from './checkpoint/torch-save.js';
import { fixture } from './fixtures.js';

let folder: string;
let count = 0;
const fresh = (name: string) => join(folder, `${name}-${count++}`);
beforeAll(async () => {
  process.env.METAVOICE_LIBTORCH = (await loadEngine()).libtorch.directory;
  folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
  process.env.METAVOICE_CACHE = join(folder, 'cache');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The published files of the fixture, edited. */
async function published(edit: (source: string) => Promise<unknown>): Promise<string> {
  const source = fresh('published');
  await cp(fixture('model'), source, { recursive: true });
  await edit(source);
  return source;
}

/** Its converted form, edited. */
async function converted(edit: (model: string) => Promise<unknown>): Promise<string> {
  const model = fresh('model');
  await convertModel(fixture('model'), model, { dtype: 'float32' });
  await edit(model);
  return model;
}

/** A byte of the numbers of a zip that stores them, so that its CRC is another. */
async function damage(file: string): Promise<void> {
  const bytes = await readFile(file);
  bytes[bytes.length >> 1]! ^= 0x40;
  await writeFile(file, bytes);
}

async function load(model: string) {
  const warnings: [object, string][] = [];
  const tts = await MetaVoice.load({
    model,
    device: 'cpu',
    dtype: 'float32',
    logger: { warn: (fields, message) => warnings.push([fields, message]) },
  });
  return { tts, warnings };
}

const spoken: SpeakOptions = { seed: 1, maxSeconds: 0.3, check: 'off' };
const checkpoint = 'DeepFilterNet3/checkpoints/model_120.ckpt.best';

type Part = 'diffusion' | 'enhancer';
const asking: Record<Part, SpeakOptions> = {
  diffusion: { decoder: 'diffusion' },
  enhancer: { enhance: true },
};
const words: Record<Part, string> = {
  diffusion: 'diffusion decoder',
  enhancer: 'DeepFilterNet3 enhancer',
};

const damaged: [string, Part, () => Promise<string>, RegExp][] = [
  [
    'an mbd_comp_8.pt that is cut short',
    'diffusion',
    () => published((source) => truncate(join(source, 'mbd_comp_8.pt'), 5000)),
    /mbd_comp_8\.pt: /,
  ],
  [
    'an mbd_comp_8.pt whose numbers are damaged',
    'diffusion',
    () => published((source) => damage(join(source, 'mbd_comp_8.pt'))),
    /do not match their checksum/,
  ],
  [
    'an mbd_comp_8.pt of another codec',
    'diffusion',
    () =>
      published(async (source) => {
        const changed = await loadFixture('mbd_comp_8.pt');
        changed.value.set('sample_rate', 32000);
        await writeFile(join(source, 'mbd_comp_8.pt'), save(changed));
      }),
    /the sample rate 32000, expected 24000/,
  ],
  [
    'a DeepFilterNet3 that is cut short',
    'enhancer',
    () => published((source) => truncate(join(source, checkpoint), 5000)),
    /model_120\.ckpt\.best: /,
  ],
  [
    'a DeepFilterNet3 without a checkpoint',
    'enhancer',
    () => published((source) => rm(join(source, checkpoint))),
    /expected a file \*\.ckpt\.best/,
  ],
  [
    'a DeepFilterNet3 whose numbers are damaged',
    'enhancer',
    () => published((source) => damage(join(source, checkpoint))),
    /do not match their checksum/,
  ],
  [
    'a DeepFilterNet3 of another configuration',
    'enhancer',
    () =>
      published((source) =>
        edited(join(source, 'DeepFilterNet3/config.ini'), 'df_order = 5', 'df_order = 4'),
      ),
    /has shape/,
  ],
  [
    'a DeepFilterNet3 with bands that only its weights tell',
    'enhancer',
    () =>
      published((source) =>
        edited(join(source, 'DeepFilterNet3/config.ini'), 'min_nb_erb_freqs = 2', 'min_nb_erb_freqs = 3'),
      ),
    /mask\.erb_inv_fb/,
  ],
  [
    'a converted diffusion decoder that is cut short',
    'diffusion',
    () => converted((model) => truncate(join(model, 'diffusion.safetensors'), 5000)),
    /has 5000 bytes but the manifest says/,
  ],
  [
    'a converted enhancer that is gone',
    'enhancer',
    () => converted((model) => rm(join(model, 'enhancer.safetensors'))),
    /names enhancer\.safetensors but it is not in/,
  ],
];

async function edited(file: string, from: string, to: string): Promise<void> {
  const text = await readFile(file, 'utf8');
  expect(text).toContain(from);
  await writeFile(file, text.replace(from, to));
}

describe.each(damaged)('%s', { timeout: 60_000 }, (_, part, make, reason) => {
  it('is left out with one warning, and refused when it is asked for', async () => {
    const model = await make();
    // Twice: converted, and out of the cache.
    for (let round = 0; round < 2; round++) {
      const { tts, warnings } = await load(model);
      const [[fields, message] = [{}, ''], ...more] = warnings;
      expect(more).toEqual([]);
      expect(message).toContain(`the model is loaded without its ${words[part]}: `);
      expect(message).toMatch(reason);
      expect(fields).toMatchObject({ part, reason: expect.stringMatching(reason) });

      const voice = await tts.voice(fixture('speaker_16k.wav'));
      const speech = await tts.synthesize('Hello.', { ...spoken, voice });
      expect(speech.decoder).toBe('encodec');
      if (part === 'diffusion')
        expect(speech.decoderReason).toMatch(/^the diffusion decoder could not be read: /);
      expect(speech.sampleRate).toBe(part === 'enhancer' ? 24000 : 48000);
      expect(() => tts.stream('Hello.', { ...spoken, voice, ...asking[part] })).toThrow(
        expect.objectContaining({
          code: 'ERR_CHECKPOINT',
          message: expect.stringMatching(reason),
          cause: expect.objectContaining({ message: expect.stringMatching(reason) }),
          details: expect.objectContaining({ part }),
        }),
      );
      await tts.dispose();
    }
    await using stages = await Stages.open(model, { device: 'cpu', dtype: 'float32' });
    const codes = { codebooks: Array.from({ length: 8 }, () => new Uint16Array(9)), frames: 9 };
    expect(await stages.decode(codes)).toHaveLength(9 * 320);
    const stage =
      part === 'diffusion' ? stages.diffuse(codes, { seed: 1 }) : stages.enhance(new Float32Array(9), 48000);
    await expect(stage).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      message: expect.stringMatching(reason),
    });
  });
});

describe('converting', () => {
  // What only the engine can tell is converted as it is.
  test.each(damaged.filter(([name]) => !/converted|only its weights/.test(name)))(
    'refuses %s',
    async (_, __, make, reason) => {
      await expect(convertModel(await make(), fresh('target'), { dtype: 'float32' })).rejects.toMatchObject({
        name: 'MetaVoiceError',
        message: expect.stringMatching(reason),
      });
    },
  );
});

describe('a model', () => {
  it('of which nothing is left is refused with the reason', async () => {
    const source = fresh('alone');
    await cp(join(fixture('model'), 'mbd_comp_8.pt'), join(source, 'mbd_comp_8.pt'));
    await truncate(join(source, 'mbd_comp_8.pt'), 5000);
    await expect(load(source)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT' });
    await cp(join(fixture('model'), 'mbd_comp_8.pt'), join(source, 'mbd_comp_8.pt'));
    await damage(join(source, 'mbd_comp_8.pt'));
    await expect(Stages.open(source)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT' });
  });

  it('whose part is mended is converted again', async () => {
    const source = await published((place) => damage(join(place, checkpoint)));
    const before = await load(source);
    expect(before.warnings).toHaveLength(1);
    await before.tts.dispose();
    await cp(join(fixture('model'), checkpoint), join(source, checkpoint));
    const after = await load(source);
    expect(after.warnings).toEqual([]);
    expect(after.tts.sampleRate).toBe(48000);
    await after.tts.dispose();
  });

  it('is refused for a part that it needs', async () => {
    const source = await published((place) => truncate(join(place, 'second_stage.pt'), 5000));
    await expect(load(source)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT' });
  });

  it('is planned without what is left out, which a plan for it says', async () => {
    for (const model of [
      await published((source) => truncate(join(source, 'mbd_comp_8.pt'), 5000)),
      await converted((place) => rm(join(place, 'diffusion.safetensors'))),
    ]) {
      expect(plan({ model, device: 'cpu' }).decoder).toBe('encodec');
      expect(() => plan({ model, device: 'cpu', decoder: 'diffusion' })).toThrow(
        expect.objectContaining({ code: 'ERR_CHECKPOINT', cause: expect.anything() }),
      );
    }
  });
});

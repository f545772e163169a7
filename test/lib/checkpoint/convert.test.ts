import { mkdtempSync, rmSync } from 'node:fs';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { convertModel } from '../../../dist/checkpoint/convert.js';
import { codecName, transformerName } from '../../../dist/checkpoint/names.js';
import { PickleTensor } from '../../../dist/checkpoint/pickle-values.js';
import {
  asBfloat16,
  asFloat16,
  contents,
  expectSame,
  huggingFace,
  legacy,
  makeFolder,
  model,
  part,
  published,
  sources,
} from './model-files.js';
import type { Checkpoint, State } from './torch-save.js';

const folder = mkdtempSync(join(tmpdir(), 'metavoice-convert-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let count = 0;
const fresh = (name: string): string => join(folder, `${name}-${count++}`);
const float32 = { dtype: 'float32' } as const;

const same = (name: string) => (/^(lstm|linear)\./.test(name) ? name : null);

describe('a converted model', () => {
  test('has every number of the published files, bit for bit in float32', async () => {
    const source = await makeFolder(fresh('source'), published);
    const target = fresh('model');
    const manifest = await convertModel(source, target, float32);
    expect((await readdir(target)).sort()).toEqual([
      'codec.safetensors',
      'first_stage.safetensors',
      'metavoice.json',
      'second_stage.safetensors',
      'speaker_encoder.safetensors',
    ]);
    const first = await sources('first_stage.pt', part('model'), transformerName);
    first.delete('heads.0.weight');
    expectSame(await contents(join(target, 'first_stage.safetensors')), first);
    const second = await sources('second_stage.pt', part('model'), transformerName);
    expectSame(await contents(join(target, 'second_stage.safetensors')), second);
    const speaker = await sources('speaker_encoder.pt', part('model_state'), same);
    expectSame(await contents(join(target, 'speaker_encoder.safetensors')), speaker);
    const codec = await sources('encodec_24khz.th', (value) => value, codecName);
    expectSame(await contents(join(target, 'codec.safetensors')), codec);
    expect(codec.has('decoder.3.weight_g') && codec.has('quantizer.9.embed')).toBe(true);

    expect(manifest.firstStage).toMatchObject({
      dtype: 'float32',
      layers: 2,
      heads: 2,
      width: 64,
      feedForward: 256,
      positions: 2048,
      vocabularies: [2562],
      outputs: [2562],
      tied: true,
      speakerEmbedding: 256,
      norm: 'rmsnorm',
      normEpsilon: 1e-5,
      activation: 'swiglu',
    });
    expect(manifest.firstStage!.tokenizer.ranks).toHaveLength(512);
    expect(manifest.firstStage!.tokenizer.ranks[65]).toBe('QQ==');
    expect(manifest.secondStage).toMatchObject({
      width: 48,
      vocabularies: [1538, 1025],
      outputs: Array(6).fill(1025),
      tied: false,
      norm: 'layernorm',
      activation: 'gelu',
    });
    expect(manifest.speakerEncoder).toMatchObject({ layers: 3, hidden: 64, mels: 40, embedding: 256 });
    expect(manifest.codec).toMatchObject({
      sampleRate: 24000,
      ratios: [8, 5, 4, 2],
      dimension: 16,
      codebookSize: 1024,
      storedCodebooks: 10,
      codebooks: 8,
      encoder: true,
    });
    expect(manifest.provenance.sources.map(({ file }) => file)).toEqual(published);
  });

  test('has the nearest numbers in 16 bits, and a float32 speaker encoder and codec', async () => {
    const source = await makeFolder(fresh('source'), published);
    const exact = await contents(join((await convert(source, 'float32')).target, 'first_stage.safetensors'));
    for (const [dtype, cast] of [
      ['bfloat16', asBfloat16],
      ['float16', asFloat16],
    ] as const) {
      const { target, manifest } = await convert(source, dtype);
      const found = await contents(join(target, 'first_stage.safetensors'));
      expectSame(found, new Map([...exact].map(([name, bytes]) => [name, cast(bytes)])));
      expect(manifest.secondStage!.dtype).toBe(dtype);
      const codec = await sources('encodec_24khz.th', (value) => value, codecName);
      expectSame(await contents(join(target, 'codec.safetensors')), codec);
    }
  });

  test('has null for what is absent', async () => {
    const { manifest } = await convert(await makeFolder(fresh('source'), ['speaker_encoder.pt']), 'bfloat16');
    expect(manifest).toMatchObject({ firstStage: null, secondStage: null, codec: null });
  });

  test('keeps the chosen layers of the first stage, numbered anew', async () => {
    const source = await makeFolder(fresh('source'), ['first_stage.pt']);
    const target = fresh('model');
    const manifest = await convertModel(source, target, { ...float32, keepLayers: '1' });
    expect(manifest.firstStage!.layers).toBe(1);
    expect(manifest.provenance.layers).toBe('1');
    const all = await sources('first_stage.pt', part('model'), transformerName);
    const found = await contents(join(target, 'first_stage.safetensors'));
    expect(
      found.get('layers.0.attention.qkv.weight')!.equals(all.get('layers.1.attention.qkv.weight')!),
    ).toBe(true);
    expect(found.has('layers.1.attention.qkv.weight')).toBe(false);
  });

  test('stores a head of its own, biases, and half-precision sources', async () => {
    const edit = (file: Checkpoint) => {
      const state = model(file);
      const tokens = state.get('_orig_mod.transformer.wtes.0.weight') as PickleTensor;
      file.storages.head = file.storages[tokens.storage.key]!;
      const storage = { ...tokens.storage, key: 'head' };
      state.set('_orig_mod.lm_heads.0.weight', new PickleTensor(storage, 0, [2562, 64], [64, 1]));
      file.storages.bias = Buffer.alloc(192 * 2, 0x3c);
      const bias = { dtype: 'float16', key: 'bias', elements: 192, start: 0 } as const;
      state.set('_orig_mod.transformer.h.0.attn.c_attn.bias', new PickleTensor(bias, 0, [192], [1]));
      // A transposed view: the numbers of the file by columns.
      const out = state.get('_orig_mod.transformer.h.0.attn.c_proj.weight') as PickleTensor;
      state.set(
        '_orig_mod.transformer.h.0.attn.c_proj.weight',
        new PickleTensor(out.storage, 0, [64, 64], [1, 64]),
      );
    };
    const { target, manifest } = await convert(
      await makeFolder(fresh('source'), ['first_stage.pt'], { 'first_stage.pt': edit }),
      'float32',
    );
    const found = await contents(join(target, 'first_stage.safetensors'));
    expect(manifest.firstStage!.tied).toBe(false);
    expect(found.get('heads.0.weight')!.equals(found.get('tokens.0.weight')!)).toBe(true);
    expect(found.get('layers.0.attention.qkv.bias')!.readFloatLE(0)).toBeCloseTo(1.0586, 4);
    const all = await sources('first_stage.pt', part('model'), transformerName);
    const plain = all.get('layers.0.attention.out.weight')!;
    const turned = found.get('layers.0.attention.out.weight')!;
    for (const [row, column] of [
      [0, 1],
      [63, 5],
      [17, 40],
    ] as const)
      expect(turned.readFloatLE(4 * (row * 64 + column))).toBe(plain.readFloatLE(4 * (column * 64 + row)));
  });

  test('takes a token table that is longer than its tokens', async () => {
    const name = 'first_stage.pt';
    const padded = (file: Checkpoint) => {
      const rows = 2624;
      const tokens = model(file).get('_orig_mod.transformer.wtes.0.weight') as PickleTensor;
      const bytes = file.storages[tokens.storage.key]!;
      file.storages[tokens.storage.key] = Buffer.concat([bytes, Buffer.alloc(rows * 64 * 4 - bytes.length)]);
      const storage = { ...tokens.storage, elements: rows * 64 };
      for (const key of ['transformer.wtes.0.weight', 'lm_heads.0.weight'])
        model(file).set(`_orig_mod.${key}`, new PickleTensor(storage, 0, [rows, 64], [64, 1]));
      (file.value.get('model_args') as State).set('vocab_sizes', [rows]);
    };
    const { manifest } = await convert(
      await makeFolder(fresh('padded'), [name], { [name]: padded }),
      'float32',
    );
    expect(manifest.firstStage).toMatchObject({ vocabularies: [2624], outputs: [2624], tied: true });
  });

  test('has as many codebooks in use as the second stage speaks', async () => {
    const names = ['second_stage.pt', 'encodec_24khz.th'];
    const fewer = (file: Checkpoint) => {
      for (const head of [4, 5]) model(file).delete(`lm_heads.${head}.weight`);
      (file.value.get('model_args') as State).set('target_vocab_sizes', [1025, 1025, 1025, 1025]);
    };
    const source = await makeFolder(fresh('fewer'), names, { 'second_stage.pt': fewer });
    expect((await convert(source, 'float32')).manifest.codec!.codebooks).toBe(6);
  });

  test('takes a speaker encoder with the state of its optimiser, in the zip and in the old container', async () => {
    const withOptimiser = ({ value }: Checkpoint) => {
      const tensor = part('model_state')(value).get('linear.weight');
      const moments = new Map([
        ['exp_avg', tensor],
        ['exp_avg_sq', tensor],
      ]);
      value.set('optimizer_state', new Map([['state', new Map([[140123456789, moments]])]]));
    };
    const expected = await sources('speaker_encoder.pt', part('model_state'), same);
    const name = 'speaker_encoder.pt';
    const source = await makeFolder(fresh('source'), [name], { [name]: withOptimiser });
    const { target } = await convert(source, 'float32');
    expectSame(await contents(join(target, 'speaker_encoder.safetensors')), expected);

    const old = await makeFolder(fresh('old'), []);
    await writeFile(join(old, name), await legacy(name));
    const converted = await convert(old, 'float32');
    expectSame(await contents(join(converted.target, 'speaker_encoder.safetensors')), expected);
    const whole = await readFile(join(old, name));
    for (const length of [1, 40, 300, 2000, whole.length - 5]) {
      await writeFile(join(old, name), whole.subarray(0, length));
      await expect(convertModel(old, fresh('x'), float32)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT' });
    }
  });

  test('takes EnCodec nested in another checkpoint', async () => {
    const edit = (file: Checkpoint) => {
      file.value = new Map<unknown, unknown>([
        ['best_state', new Map([['model', file.value]])],
        ['epoch', 3],
      ]);
    };
    const source = await makeFolder(fresh('source'), ['encodec_24khz.th'], { 'encodec_24khz.th': edit });
    const { target } = await convert(source, 'float32');
    const expected = await sources('encodec_24khz.th', (value) => value, codecName);
    expectSame(await contents(join(target, 'codec.safetensors')), expected);
  });

  test.each(['weight_norm', 'parametrizations'])(
    'takes the Hugging Face flavour of EnCodec, %s',
    async (spelling) => {
      const source = await makeFolder(fresh('hugging'), []);
      await writeFile(join(source, 'model.safetensors'), await huggingFace(spelling === 'parametrizations'));
      await writeFile(
        join(source, 'config.json'),
        JSON.stringify({ model_type: 'encodec', sampling_rate: 16000, upsampling_ratios: [8, 5, 4, 2] }),
      );
      const { target, manifest } = await convert(source, 'bfloat16');
      const expected = await sources('encodec_24khz.th', (value) => value, codecName);
      expectSame(await contents(join(target, 'codec.safetensors')), expected);
      expect(manifest.codec).toMatchObject({ sampleRate: 16000, codebooks: 10 });
      await rm(join(source, 'config.json'));
      expect((await convert(source, 'bfloat16')).manifest.codec).toMatchObject({
        sampleRate: 24000,
        codebooks: 8,
      });
    },
  );
});

test.each([
  ['use_causal_conv', false],
  ['pad_mode', 'constant'],
  ['normalize', true],
  ['trim_right_ratio', 0.5],
  ['audio_channels', 2],
])(
  'refuses an EnCodec whose %s is %s: nothing in its tensors tells, and it would only sound wrong',
  async (name, value) => {
    const source = await makeFolder(fresh('hugging'), []);
    await writeFile(join(source, 'model.safetensors'), await huggingFace(false));
    await writeFile(join(source, 'config.json'), JSON.stringify({ model_type: 'encodec', [name]: value }));
    await expect(convertModel(source, fresh('x'), float32)).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      message: expect.stringContaining(`${name} is ${JSON.stringify(value)}`),
    });
  },
);

describe('a conversion', () => {
  test('tells how far it is, up to the end', async () => {
    const seen: { phase: string; bytes: number; totalBytes: number }[] = [];
    const source = await makeFolder(fresh('source'), published);
    await convertModel(source, fresh('model'), { ...float32, onProgress: (progress) => seen.push(progress) });
    const phases = [...new Set(seen.map(({ phase }) => phase))];
    expect(phases).toEqual(['first stage', 'second stage', 'speaker encoder', 'codec']);
    const bytes = seen.map((progress) => progress.bytes);
    expect(bytes).toEqual(bytes.toSorted((a, b) => a - b));
    expect(seen.at(-1)!.bytes).toBe(seen.at(-1)!.totalBytes);
  });

  test('that is aborted leaves nothing and rejects with the reason of the signal', async () => {
    const source = await makeFolder(fresh('source'), published);
    for (const moment of ['first stage', 'second stage', 'codec']) {
      const target = fresh('aborted');
      const control = new AbortController();
      const reason = new Error(`enough of ${moment}`);
      const converting = convertModel(source, target, {
        ...float32,
        signal: control.signal,
        onProgress: ({ phase }) => phase === moment && control.abort(reason),
      });
      await expect(converting).rejects.toBe(reason);
      expect((await readdir(folder)).filter((name) => name.includes('aborted'))).toEqual([]);
    }
    const aborted = convertModel(source, fresh('aborted'), { ...float32, signal: AbortSignal.abort() });
    await expect(aborted).rejects.toMatchObject({ name: 'AbortError' });
  });

  test('whose listener throws ends with that error and leaves nothing', async () => {
    const source = await makeFolder(fresh('source'), published);
    const error = new Error('from the listener');
    const onProgress = ({ bytes }: { bytes: number }) => {
      if (bytes > 0) throw error;
    };
    await expect(convertModel(source, fresh('thrown'), { ...float32, onProgress })).rejects.toBe(error);
    expect((await readdir(folder)).filter((name) => name.includes('thrown'))).toEqual([]);
  });
});

async function convert(source: string, dtype: 'float32' | 'float16' | 'bfloat16') {
  const target = fresh('model');
  return { target, manifest: await convertModel(source, target, { dtype }) };
}

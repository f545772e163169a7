import { mkdtempSync, rmSync } from 'node:fs';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { convertModel } from '../../../dist/checkpoint/convert.js';
import { PickleTensor } from '../../../dist/checkpoint/pickle-values.js';
import { makeFolder, model, part } from './model-files.js';
import { type Checkpoint, fixture, type State, torchZip } from './torch-save.js';

const folder = mkdtempSync(join(tmpdir(), 'metavoice-refusals-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let count = 0;
const fresh = (name: string): string => join(folder, `${name}-${count++}`);
const float32 = { dtype: 'float32' } as const;

async function refused(
  name: string,
  edit: (checkpoint: Checkpoint) => void,
  expected: Record<string, unknown> & { message: RegExp },
) {
  const source = await makeFolder(fresh('edited'), [name], { [name]: edit });
  const { message, ...details } = expected;
  const target = fresh('never');
  await expect(convertModel(source, target, float32)).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT',
    message: expect.stringMatching(message),
    details: { file: join(source, name), ...details },
  });
  await expect(stat(target)).rejects.toMatchObject({ code: 'ENOENT' });
}

const meta = ({ value }: Checkpoint): State => (value.get('meta') as State).get('tokenizer') as State;
const args = ({ value }: Checkpoint): State => value.get('model_args') as State;
const reshaped = (tensor: unknown, shape: number[]): PickleTensor =>
  new PickleTensor((tensor as PickleTensor).storage, 0, shape, [shape[1] ?? 1, 1].slice(0, shape.length));
describe('arguments are refused', () => {
  test('when they are not paths, a dtype and layers', async () => {
    await expect(convertModel(1 as never, 'x', float32)).rejects.toThrow(TypeError);
    await expect(convertModel('x', '', float32)).rejects.toThrow(TypeError);
    await expect(convertModel('x', 'y', { dtype: 'int8' as never })).rejects.toThrow(
      /float32, float16 or bfloat16/,
    );
    for (const keepLayers of ['', '1,0', '3-1', 'a', '0-', '0,0', '1.5'])
      await expect(convertModel('x', 'y', { ...float32, keepLayers })).rejects.toThrow(RangeError);
    await expect(convertModel('x', 'y', { ...float32, keepLayers: 3 as never })).rejects.toThrow(TypeError);
  });

  test('when the destination has something in it', async () => {
    const source = await makeFolder(fresh('source'), ['speaker_encoder.pt']);
    await expect(convertModel(source, source, float32)).rejects.toThrow(/is empty.*`destination`/);
    expect(await readdir(source)).toEqual(['speaker_encoder.pt']);
  });

  test('when the source is absent, a file, empty, or a model folder, with every place looked at', async () => {
    const notFound = (message: RegExp) => ({
      code: 'ERR_MODEL_NOT_FOUND',
      message: expect.stringMatching(message),
    });
    await expect(convertModel(fresh('absent'), fresh('x'), float32)).rejects.toMatchObject(
      notFound(
        /no such folder[\s\S]*first_stage\.pt[\s\S]*second_stage\.pt[\s\S]*speaker_encoder\.pt[\s\S]*encodec_24khz/,
      ),
    );
    await expect(convertModel(fixture('first_stage.pt'), fresh('x'), float32)).rejects.toMatchObject(
      notFound(/a file, not a folder/),
    );
    await expect(
      convertModel(await makeFolder(fresh('empty'), []), fresh('x'), float32),
    ).rejects.toMatchObject(notFound(/none of the files/));
    const done = fresh('done');
    await convertModel(await makeFolder(fresh('one'), ['speaker_encoder.pt']), done, float32);
    await expect(convertModel(done, fresh('x'), float32)).rejects.toMatchObject(
      notFound(/model folder already/),
    );
  });

  test('when layers are wanted that the model has not got', async () => {
    const source = await makeFolder(fresh('source'), ['first_stage.pt']);
    await expect(convertModel(source, fresh('x'), { ...float32, keepLayers: '0,2' })).rejects.toThrow(
      /below 2/,
    );
  });
});

describe('a checkpoint is refused', () => {
  const first = 'first_stage.pt';
  const qkv = '_orig_mod.transformer.h.1.attn.c_attn.weight';

  test('when a tensor is missing, with the name that the file would use', () =>
    refused(first, (file) => model(file).delete(qkv), {
      message: /lacks the tensor transformer\.h\.1\.attn\.c_attn\.weight/,
      tensor: 'transformer.h.1.attn.c_attn.weight',
      expected: '[192, 64]',
      found: null,
    }));

  test('when a tensor is unknown', () =>
    refused(first, (file) => model(file).set('transformer.rope', model(file).get(qkv)), {
      message: /has the tensor transformer\.rope/,
      unknown: ['transformer.rope'],
    }));

  test('when a shape disagrees', () =>
    refused(first, (file) => model(file).set(qkv, reshaped(model(file).get(qkv), [96, 128])), {
      message: /shape \[96, 128\], expected \[192, 64\]/,
      tensor: qkv,
      expected: [192, 64],
      found: [96, 128],
    }));

  test('when the stored arguments disagree', async () => {
    await refused(first, (file) => args(file).set('n_layer', 3), {
      message: /n_layer is 3, expected 2/,
      found: 3,
    });
    await refused(first, (file) => args(file).set('n_head', 5), { message: /n_head is 5/ });
    await refused(first, (file) => args(file).set('block_size', 1024), { message: /block_size/ });
    await refused(first, (file) => args(file).set('vocab_sizes', [2561]), { message: /vocab_sizes/ });
    await refused(first, (file) => args(file).set('norm_type', 'groupnorm'), { message: /norm_type/ });
    await refused(first, (file) => file.value.delete('model_args'), { message: /model_args/ });
  });

  test('when first and second stage are exchanged', async () => {
    await refused(first, (file) => args(file).set('causal', false), { message: /exchanged/ });
    await refused('second_stage.pt', (file) => args(file).set('causal', true), { message: /exchanged/ });
  });

  test('when vocabulary, offset and end of text do not add up', async () => {
    await refused(first, (file) => meta(file).set('offset', 2047), { message: /2562 rows but offset 2047/ });
    await refused(first, (file) => meta(file).delete('offset'), { message: /offset 0/ });
    await refused(first, (file) => (meta(file).get('special_tokens') as State).clear(), {
      message: /endoftext/,
    });
    await refused('second_stage.pt', (file) => meta(file).set('offset', 1024), { message: /1538 rows/ });
    await refused('second_stage.pt', (file) => model(file).delete('lm_heads.3.weight'), {
      message: /target_vocab_sizes|lm_heads\.3/,
    });
  });

  test('when the tokenizer has gaps, doubles or no byte strings', async () => {
    const ranks = (file: Checkpoint) => meta(file).get('mergeable_ranks') as State;
    const key = new Uint8Array([250, 250]);
    await refused(first, (file) => ranks(file).set(key, 9), { message: /without gaps/ });
    await refused(first, (file) => ranks(file).set('text', 512), { message: /byte string/ });
    await refused(first, (file) => (file.value.get('meta') as State).delete('tokenizer'), {
      message: /tokenizer/,
    });
  });

  test('when a tensor holds integers', () =>
    refused(
      first,
      (file) => {
        const { storage } = model(file).get(qkv) as PickleTensor;
        file.storages.whole = new Uint8Array(storage.elements * 8);
        const whole = { ...storage, dtype: 'int64', key: 'whole' } as const;
        model(file).set(qkv, new PickleTensor(whole, 0, [192, 64], [64, 1]));
      },
      { message: /int64/, tensor: qkv },
    ));

  test('when its numbers do not match their checksum', async () => {
    const source = await makeFolder(fresh('flipped'), [first]);
    const bytes = await readFile(join(source, first));
    bytes[700_000] = bytes[700_000]! ^ 4;
    await writeFile(join(source, first), bytes);
    const target = fresh('never');
    await expect(convertModel(source, target, float32)).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      message: expect.stringMatching(/checksum/),
    });
    expect((await readdir(folder)).filter((name) => name.includes('partial'))).toEqual([]);
  });

  test('when a number does not fit float16, with the tensor and the number', async () => {
    const edit = (file: Checkpoint) => {
      const { storage } = model(file).get(qkv) as PickleTensor;
      const bytes = Buffer.from(file.storages[storage.key]!);
      bytes.writeFloatLE(-70_000, 400);
      file.storages[storage.key] = bytes;
    };
    const source = await makeFolder(fresh('large'), [first], { [first]: edit });
    await expect(convertModel(source, fresh('x'), { dtype: 'float16' })).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      message: expect.stringMatching(/layers\.1\.attention\.qkv\.weight holds -70000.*bfloat16 or float32/),
      details: { tensor: 'layers.1.attention.qkv.weight', expected: '|w| <= 65504' },
    });
    await convertModel(source, fresh('x'), { dtype: 'bfloat16' });
  });

  test('when it is of another kind: a speaker encoder with strange tensors, a codec without decoder', async () => {
    await refused('speaker_encoder.pt', (file) => part('model_state')(file.value).delete('linear.bias'), {
      message: /linear\.bias/,
    });
    await refused(
      'speaker_encoder.pt',
      ({ value }) =>
        part('model_state')(value).set('conv.weight', part('model_state')(value).get('linear.weight')),
      { message: /conv\.weight/ },
    );
    await refused('encodec_24khz.th', ({ value }) => value.delete('decoder.model.6.convtr.convtr.bias'), {
      message: /decoder\.6\.bias/,
    });
    await refused(
      'encodec_24khz.th',
      ({ value }) => {
        for (const name of [...value.keys()]) if (String(name).startsWith('decoder.')) value.delete(name);
      },
      { message: /weights of EnCodec/ },
    );
  });

  test('when the parts are not of one model', async () => {
    const edit = ({ value, storages }: Checkpoint) => {
      const tensor = (value.get('quantizer.vq.layers.0._codebook.embed') as PickleTensor).storage;
      for (const [name, item] of [...value])
        if (/embed$/.test(String(name))) value.set(name, new PickleTensor(tensor, 0, [512, 16], [16, 1]));
        else if (!(item instanceof PickleTensor)) value.delete(name);
      expect(storages[tensor.key]!.length).toBe(1024 * 16 * 4);
    };
    const source = await makeFolder(fresh('mixed'), ['first_stage.pt', 'encodec_24khz.th'], {
      'encodec_24khz.th': edit,
    });
    await expect(convertModel(source, fresh('x'), float32)).rejects.toMatchObject({
      message: expect.stringMatching(/codebook size 512, expected 1024/),
    });
  });
});

test('a malicious first stage is refused by the name that it wants to run', async () => {
  const source = await makeFolder(fresh('hostile'), []);
  const code = Buffer.concat([
    Buffer.from([0x80, 2]),
    Buffer.from('cposix\nsystem\n(X'),
    Buffer.from([2, 0, 0, 0]),
    Buffer.from('idtR.'),
  ]);
  await writeFile(join(source, 'first_stage.pt'), torchZip(code));
  await expect(convertModel(source, fresh('x'), float32)).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT',
    message: expect.stringMatching(/refuses to run posix\.system/),
    details: { found: 'posix.system' },
  });
});

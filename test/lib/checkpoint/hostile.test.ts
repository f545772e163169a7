/** Small files that ask for far more time, memory or disk than they have bytes, and values that turn on their reader. */

import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MemoryReader } from '../../../dist/checkpoint/byte-reader.js';
import { planCodecFromTorch } from '../../../dist/checkpoint/codec.js';
import { mostEntries } from '../../../dist/checkpoint/limits.js';
import { readManifest } from '../../../dist/checkpoint/manifest.js';
import { checkManifest } from '../../../dist/checkpoint/manifest-check.js';
import { unpickling } from '../../../dist/checkpoint/pickle.js';
import { PickleTensor } from '../../../dist/checkpoint/pickle-values.js';
import { readSync } from '../../../dist/checkpoint/reading.js';
import { readingSafetensors } from '../../../dist/checkpoint/safetensors.js';
import { planSpeakerEncoder } from '../../../dist/checkpoint/speaker-encoder.js';
import { TorchFile } from '../../../dist/checkpoint/torch-file.js';
import { planTransformer } from '../../../dist/checkpoint/transformer.js';
import { legacy } from './model-files.js';
import {
  code,
  global,
  loadFixture,
  pickle,
  raw,
  start,
  text,
  torchZip,
  withHeader,
  zip,
} from './torch-save.js';

const refusal = (message: RegExp) =>
  expect.objectContaining({ code: 'ERR_CHECKPOINT', message: expect.stringMatching(message) });
const unpickle = (bytes: Uint8Array) => readSync(unpickling(bytes, 'x.pt')).value;
const torch = (bytes: Uint8Array) => readSync(TorchFile.reading(new MemoryReader('x.pt', bytes)));
const tensors = (header: string, bytes = 0) =>
  readSync(readingSafetensors(new MemoryReader('x.safetensors', withHeader(header, [Buffer.alloc(bytes)]))));

const config = (content: Buffer) =>
  raw(global('omegaconf.dictconfig', 'DictConfig'), ')', [0x81], '}', text('_content'), content, 'sb');
/** Lists of two, each twice the one below: as text it has 2^60 parts. */
const laughs = raw(
  ']q',
  [0],
  '0',
  ...Array.from({ length: 60 }, (_, n) => raw('](h', [n], 'h', [n], 'eq', [n + 1], '0')),
);
/** Lists in each other, too deep for anything that calls itself; made in one, left alone on the stack. */
const deep = raw(']'.repeat(50_000), 'a'.repeat(49_999));

describe('a pickle is refused', () => {
  test.each([
    ['dictionaries', '}'],
    ['lists', ']'],
    ['sets', String.fromCharCode(0x8f)],
  ])('when it makes millions of %s', (_, opcode) => {
    expect(() => unpickle(raw(start, '(', opcode.repeat(4_000_000), 't.'))).toThrow(refusal(/far more data/));
  });

  test('when it copies what it has again and again', () => {
    const copy = raw(global('builtins', 'bytearray'), 'h', [0], [0x85], 'R');
    const bytes = raw(
      start,
      'B',
      [0, 0, 1, 0],
      Buffer.alloc(65_536),
      'q',
      [0],
      '(',
      ...Array(3000).fill(copy),
      't.',
    );
    expect(() => unpickle(bytes)).toThrow(refusal(/far more data/));
  });

  test('when a thousand configurations share a large content', () => {
    const content = raw(
      '}q',
      [0],
      '(',
      ...Array.from({ length: 5000 }, (_, n) => code(`key ${n}`)).map((key) => raw(key, 'N')),
      'u',
    );
    const bytes = raw(start, content, '(', ...Array(1000).fill(config(raw('h', [0]))), 't.');
    expect(() => unpickle(raw(bytes.subarray(0, -2), 'l', [0x86], '.'))).toThrow(refusal(/far more data/));
  });

  test('when its dictionaries have more numbers as keys than could all meet in one bucket', () => {
    const pairs = Array.from({ length: mostEntries + 1 }, (_, n) => raw(code(n * 65_536), 'N'));
    expect(() => unpickle(raw(start, '}(', ...pairs, 'u.'))).toThrow(refusal(/numbers as keys/));
    const words = Array.from({ length: mostEntries + 1 }, (_, n) => raw(text(String(n)), 'N'));
    expect(() => unpickle(raw(start, '}(', ...words, 'u.'))).toThrow(refusal(/numbers as keys/));
    const names = Array.from({ length: 2 * mostEntries }, (_, n) => raw(text(`layer ${n}`), 'N'));
    expect(unpickle(raw(start, '}(', ...names, 'u.'))).toHaveProperty('size', 2 * mostEntries);
  });

  test('when its memo leaps', () => {
    expect(() => unpickle(raw(start, 'Nr', [0, 0, 0, 255], '.'))).toThrow(refusal(/far from the others/));
  });

  test('when an encoding is a list without end', () => {
    const bytes = raw(start, laughs, global('_codecs', 'encode'), text('x'), 'h', [60], [0x86], 'R.');
    expect(() => unpickle(bytes)).toThrow(refusal(/encode bytes as a list of 2/));
  });

  test('when an empty tensor begins outside its storage', () => {
    const tensor = new PickleTensor({ dtype: 'float32', key: '0', elements: 4, start: 0 }, 2 ** 40, [0], [1]);
    expect(() => unpickle(pickle(tensor))).toThrow(refusal(/reaches element/));
  });
});

describe('values that have no end as text, or bring their own toString', () => {
  const hostile = raw(laughs, config(raw('}', text('toString'), 'Ns')), 'q', [70], '0');
  const values = [raw('h', [60]), raw('h', [70]), raw('](h', [70], 'h', [60], 'e'), deep];

  test.each(values.map((value, index) => [index, value] as const))(
    '%i: are refused as what they are',
    async (_, value) => {
      const root = (pairs: Buffer) => torch(torchZip(raw(start, hostile, pairs, '.')));
      const first = raw(
        '}(',
        text('model'),
        '}',
        text('meta'),
        '}',
        text('model_args'),
        '}(',
        text('causal'),
        value,
        'uu',
      );
      expect(() => planTransformer(root(first), 'first', 'float32')).toThrow(refusal(/first stage/));
      const keys = raw('}', value, 'Ns');
      if (value !== deep) {
        expect(() => planTransformer(root(keys), 'first', 'float32')).toThrow(refusal(/top level has/));
        expect(() => planCodecFromTorch(root(keys))).toThrow(refusal(/weights of EnCodec/));
        expect(() => planSpeakerEncoder(root(keys))).toThrow(refusal(/speaker encoder/));
      }
      const container = await legacy('speaker_encoder.pt');
      const version = container.indexOf(pickle(1001));
      const lying = Buffer.concat([container.subarray(0, version), raw(start, hostile, value, '.')]);
      expect(() => torch(lying)).toThrow(refusal(/of the old torch container/));
    },
  );

  test('are refused among the arguments of a model', async () => {
    for (const name of ['n_layer', 'n_head', 'vocab_sizes', 'norm_type', 'rmsnorm_eps', 'spk_emb_on_text'])
      for (const value of values) {
        const { value: root, storages } = await loadFixture('first_stage.pt');
        const args = root.get('model_args') as Map<unknown, unknown>;
        args.set(name, value);
        const bytes = torchZip(raw(start, hostile, code(root), '.'), storages);
        expect(() => planTransformer(torch(bytes), 'first', 'float32')).toThrow(refusal(new RegExp(name)));
      }
  });
});

describe('a checkpoint is refused', () => {
  test('when its tensors are one number, seen a million million times', () => {
    const storage = { dtype: 'float32', key: '0', elements: 1, start: 0 } as const;
    const bytes = torchZip(
      pickle({ model_state: { 'linear.weight': new PickleTensor(storage, 0, [2 ** 20, 2 ** 20], [0, 0]) } }),
      { 0: Buffer.alloc(4) },
    );
    expect(() => planSpeakerEncoder(torch(bytes))).toThrow(refusal(/views that spread/));
  });

  test('quickly when a dictionary holds another a hundred thousand times, and that one another', () => {
    const many = (content: Buffer, index: number) =>
      raw('}q', [index], '(', ...Array.from({ length: 100_000 }, (_, n) => raw(text(`k${n}`), content)), 'u');
    const nested = raw(
      start,
      many(raw('N'), 0),
      '0',
      many(raw('h', [0]), 1),
      '0',
      many(raw('h', [1]), 2),
      '.',
    );
    expect(() => planCodecFromTorch(torch(torchZip(nested)))).toThrow(refusal(/weights of EnCodec/));
  });

  test('with a message that no terminal obeys, and that ends', () => {
    const name = `\u001b]0;gone\u0007${'x'.repeat(60_000)}`;
    const read = () => torch(zip([{ name, data: new Uint8Array(4) }]));
    expect(read).toThrow(/^x\.pt: /);
    try {
      read();
    } catch (error) {
      expect((error as Error).message).not.toMatch(/\p{Cc}/u);
      expect((error as Error).message.length).toBeLessThan(3000);
    }
  });
});

describe('a safetensors header is refused', () => {
  const entry = (fields: object) =>
    JSON.stringify({ a: { dtype: 'F32', shape: [0], data_offsets: [0, 0], ...fields } });

  test('when a type brings its own toString, or has no end', () => {
    expect(() => tensors(entry({ dtype: { toString: 1, valueOf: 1 } }))).toThrow(
      refusal(/unknown type an object/),
    );
    const lists = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
    expect(() => tensors(`{"a":{"dtype":${lists}}}`)).toThrow(refusal(/unknown type a list/));
  });

  test('when it has more dimensions or tensors than any model', () => {
    expect(() => tensors(entry({ shape: Array(17).fill(0) }))).toThrow(refusal(/damaged/));
    const entries = Array.from({ length: mostEntries + 1 }, (_, n) => [
      n,
      { dtype: 'U8', shape: [0], data_offsets: [0, 0] },
    ]);
    expect(() => tensors(JSON.stringify(Object.fromEntries(entries)))).toThrow(refusal(/at most 16384/));
  });
});

describe('a manifest is refused', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'metavoice-hostile-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const tokenizer = {
    name: 't',
    pattern: '.',
    ranks: ['6Q=='],
    special: { end: 1 } as Record<string, number>,
    offset: 5,
  };
  const stage = {
    file: 'a.safetensors',
    bytes: 100,
    dtype: 'float32',
    layers: 1,
    heads: 1,
    width: 2,
    feedForward: 4,
    positions: 4,
    vocabularies: [2 ** 30],
    outputs: [7],
    tied: true,
    speakerEmbedding: 1,
    norm: 'rmsnorm',
    normEpsilon: 1e-5,
    activation: 'swiglu',
    tokenizer,
  };
  const manifest = (changes: object) => ({
    format: 'metavoice-model',
    version: 1,
    firstStage: { ...stage, ...changes },
    secondStage: null,
    speakerEncoder: null,
    codec: null,
    speakers: [],
    provenance: { sources: [], digest: '', converter: '' },
  });

  test('when it speaks of more layers than could be looked for', () => {
    expect(() => checkManifest('m', manifest({ layers: 2e9 }))).toThrow(
      refusal(/1 to 10000.*firstStage\.layers/),
    );
  });

  test('but not for a quarter of a million special tokens', () => {
    const special = Object.fromEntries(Array.from({ length: 250_000 }, (_, n) => [`<${n}>`, n + 1]));
    const sound = manifest({ tokenizer: { ...tokenizer, special } });
    expect(checkManifest('m', sound)).toBe(sound);
  });

  test('when a value brings its own constructor', () => {
    const value = JSON.parse('{"constructor":{"name":{"toString":1}}}');
    expect(() => checkManifest('m', manifest({ heads: value }))).toThrow(refusal(/an object of type Object/));
  });

  test('when it is larger than any, without reading it', async () => {
    const file = join(folder, 'metavoice.json');
    await writeFile(file, '{');
    await truncate(file, 2 ** 33);
    await expect(readManifest(folder)).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      details: { found: 2 ** 33 },
    });
  });
});

import { describe, expect, test } from 'vitest';
import { unpickle } from '../../../dist/checkpoint/pickle.js';
import { PickleObject, PickleTensor } from '../../../dist/checkpoint/pickle-values.js';
import { TorchFile } from '../../../dist/checkpoint/torch-file.js';
import { code, fixture, global, pickle, raw, start, text } from './torch-save.js';

const read = async (bytes: Uint8Array) => (await unpickle(bytes, 'x.pt')).value;
const refused = (bytes: Uint8Array, message: RegExp) =>
  expect(read(bytes)).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT',
    message: expect.stringMatching(message),
  });

const long = (bytes: number): Buffer => {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes));
  return length;
};

describe('a pickle is refused', () => {
  test.each([
    ['GLOBAL and REDUCE', raw(start, global('posix', 'system'), '(', text('id'), 'tR.'), 'posix.system'],
    [
      'STACK_GLOBAL',
      raw([0x80, 4], text('os'), text('system'), [0x93], text('id'), [0x85], 'R.'),
      'os.system',
    ],
    ['INST', raw(start, '(', text('id'), 'inos\nsystem\n.').subarray(0), 'nos.system'],
    ['NEWOBJ', raw(start, global('subprocess', 'Popen'), ')', [0x81], '.'), 'subprocess.Popen'],
    ['builtins', raw(start, global('builtins', 'eval'), ')R.'), 'builtins.eval'],
    ['getattr', raw(start, global('__builtin__', 'getattr'), ')R.'), '__builtin__.getattr'],
    [
      'a nested name',
      raw([0x80, 4], text('torch'), text('load.__globals__'), [0x93], '.'),
      'torch.load.__globals__',
    ],
    ['a name of objects', raw(start, global('constructor', 'prototype'), ')R.'), 'constructor.prototype'],
  ])('that names what is not on the list, by %s', (_, bytes, name) =>
    refused(bytes, new RegExp(`refuses to run ${name.replaceAll('.', '\\.')}`)),
  );

  test('for calling what is no name', () => refused(raw(start, text('x'), ')R.'), /refuses to call/));

  test('for opcodes of protocol 0, extensions and buffers', async () => {
    await refused(raw(start, 'I1\n.'), /protocol 0/);
    await refused(raw(start, [0x82, 1], '.'), /opcode 0x82/);
    await refused(raw([0x80, 5], [0x97], '.'), /opcode 0x97/);
    await refused(raw([0x80, 1], 'N.'), /protocol 1/);
  });

  test('for lengths past its end, at once', async () => {
    await refused(raw(start, 'X', [255, 255, 255, 255]), /truncated/);
    await refused(raw(start, 'B', [255, 255, 255, 127]), /truncated/);
    await refused(raw([0x80, 4], [0x8e], long(2 ** 52)), /past the end/);
    await refused(raw([0x80, 5], [0x96], long(2 ** 40)), /past the end/);
    await refused(raw(start, [0x8b, 255, 255, 255, 127]), /integer of/);
  });

  test('for taking what is not there', async () => {
    await refused(raw(start, '0.'), /takes more/);
    await refused(raw(start, 't.'), /mark/);
    await refused(raw(start, 'N(0.'), /takes more/);
    await refused(raw(start, 'h', [3], '.'), /memo 3/);
    await refused(raw(start, '.'), /one value/);
    await refused(raw(start, 'NN.'), /one value/);
    await refused(raw(start, 'N(.'), /one value/);
  });

  test('for items and keys of values that have none', async () => {
    await refused(raw(start, 'NNa.'), /not a list/);
    await refused(raw(start, 'NNNs.'), /not a dictionary/);
    await refused(raw(start, '}(Nu.'), /without a value/);
    await refused(raw(start, 'N}b.'), /state/);
  });

  test('for building far more than it holds', async () => {
    const letters = text('a'.repeat(1 << 20));
    const call = raw('h', [0], 'h', [1], [0x85], 'R0');
    const bomb = raw(
      start,
      global('_codecs', 'encode'),
      'q',
      [0],
      '0',
      letters,
      'q',
      [1],
      '0',
      ...Array(2000).fill(call),
      'N.',
    );
    await refused(bomb, /far more data/);
    const list = raw('](', Buffer.from('N'.repeat(1 << 16)), 'e');
    const copies = raw('h', [0], 'h', [1], [0x85], 'R0');
    await refused(
      raw(
        start,
        global('builtins', 'list'),
        'q',
        [0],
        '0',
        list,
        'q',
        [1],
        '0',
        ...Array(2000).fill(copies),
        'N.',
      ),
      /far more data/,
    );
  });

  test('for bytes of a declared length or of wide letters', async () => {
    await refused(raw(start, global('builtins', 'bytearray'), '(', code(2 ** 30), 'tR.'), /bytes/);
    await refused(raw(start, global('_codecs', 'encode'), '(', text('Ā'), text('latin1'), 'tR.'), /past 255/);
    await refused(raw(start, global('_codecs', 'encode'), '(', text('a'), text('rot13'), 'tR.'), /rot13/);
  });

  test('for tensors that leave their storage', async () => {
    const { value } = await unpickle(pickle(1), 'x');
    expect(value).toBe(1);
    const storage = { dtype: 'float32', key: '0', elements: 10, start: 0 } as const;
    const inside = new PickleTensor(storage, 4, [2, 3], [3, 1]);
    expect(await read(pickle(inside))).toMatchObject({ offset: 4, shape: [2, 3], strides: [3, 1] });
    await refused(pickle(new PickleTensor(storage, 5, [2, 3], [3, 1])), /reaches element 10/);
    await refused(pickle(new PickleTensor(storage, 0, [2], [2 ** 40])), /reaches element/);
    await refused(pickle(new PickleTensor(storage, -1, [2], [1])), /not made of/);
    await refused(pickle(new PickleTensor(storage, 0, [2, 2], [1])), /not made of/);
  });

  test('for storages that are not of numbers, or of two types', async () => {
    await refused(
      raw(
        start,
        '(',
        text('storage'),
        global('collections', 'OrderedDict'),
        text('0'),
        text('cpu'),
        code(1),
        'tQ.',
      ),
      /persistent/,
    );
    await refused(raw(start, '(', text('module'), 'N', 'tQ.'), /persistent/);
    await refused(raw(start, global('torch', 'ComplexFloatStorage'), '.'), /ComplexFloatStorage/);
    const [one, other] = (['float32', 'float16'] as const).map(
      (dtype) => new PickleTensor({ dtype, key: '0', elements: 1, start: 0 }, 0, [1], [1]),
    );
    await refused(pickle([one, other]), /two types/);
  });

  test('anywhere it is cut', async () => {
    const whole = pickle({ a: [1, 2.5, 'x', new Uint8Array([1, 200])], b: { c: null } });
    for (let length = 0; length < whole.length; length++)
      await refused(whole.subarray(0, length), /truncated/);
  });
});

describe('a pickle gives', () => {
  test('simple values, integers of any size, text and bytes', async () => {
    const value = {
      n: null,
      t: true,
      f: false,
      i: -7,
      big: 2 ** 40,
      x: 0.1,
      s: 'héllo ✓',
      b: new Uint8Array([0, 128, 255]),
    };
    expect(await read(pickle(value))).toEqual(new Map(Object.entries(value)));
    const huge = raw(start, [0x8a, 10], Buffer.from('6cfc9c46f9206aa85019', 'hex'), '.');
    expect(await read(huge)).toBe(0x1950a86a20f9469cfc6cn);
    expect(await read(raw(start, [0x8a, 0], '.'))).toBe(0);
    expect(await read(raw(start, [0x8a, 1, 255], '.'))).toBe(-1);
  });

  test('dictionaries with any keys', async () => {
    const map = (await read(
      pickle(
        new Map<unknown, unknown>([
          [1, 'one'],
          [new Uint8Array([65]), 2],
          ['k', 3],
        ]),
      ),
    )) as Map<unknown, unknown>;
    expect([...map.keys()]).toEqual([1, new Uint8Array([65]), 'k']);
    expect(map.get(1)).toBe('one');
  });

  test('the values of protocol 5: frames, short text, bytes, sets, memo', async () => {
    const bytes = raw(
      [0x80, 5, 0x95],
      long(40),
      '(',
      [0x8c, 2],
      'hi',
      [0x94],
      [0x43, 2, 1, 2],
      [0x8f],
      '(',
      'K',
      [1],
      'K',
      [2],
      [0x90],
      'h',
      [0],
      [0x96],
      long(1),
      [9],
      't.',
    );
    expect(await read(bytes)).toEqual([
      'hi',
      new Uint8Array([1, 2]),
      new Set([1, 2]),
      'hi',
      new Uint8Array([9]),
    ]);
  });

  test('numpy scalars as opaque data', async () => {
    const dtype = raw(global('numpy', 'dtype'), '(', text('f8'), 'tR');
    const value = await read(
      raw(start, global('numpy.core.multiarray', 'scalar'), '(', dtype, code(new Uint8Array(8)), 'tR.'),
    );
    expect(value).toBeInstanceOf(PickleObject);
    expect(value).toMatchObject({ type: 'numpy.core.multiarray.scalar' });
  });

  test('parameters as their tensors, dictionaries without their attributes', async () => {
    const tensor = new PickleTensor({ dtype: 'bfloat16', key: '7', elements: 4, start: 0 }, 0, [4], [1]);
    const parameter = raw(global('torch._utils', '_rebuild_parameter'), '(', code(tensor), code(true), 'NtR');
    expect(await read(raw(start, parameter, '.'))).toMatchObject({ shape: [4], dtype: 'bfloat16' });
    expect(
      await read(raw(start, global('collections', 'OrderedDict'), ')R}', text('_metadata'), 'Nsb.')),
    ).toEqual(new Map());
  });

  test('a hundred thousand nested lists and cycles without running out of stack', async () => {
    const depth = 100_000;
    let value = await read(raw(start, ']'.repeat(depth), 'a'.repeat(depth - 1), '.'));
    let found = 0;
    while (Array.isArray(value)) {
      found++;
      value = value[0];
    }
    expect(found).toBe(depth);
    const cycle = (await read(raw(start, ']q', [0], 'h', [0], 'a.'))) as unknown[];
    expect(cycle[0]).toBe(cycle);
  });

  test('configurations of omegaconf as plain data, band by band', async () => {
    const { value } = await TorchFile.read(fixture('mbd_comp_8.pt'));
    const file = value as Map<unknown, unknown>;
    expect([...file.keys()]).toEqual(['sample_rate', 'n_bands', 0, 1, 2, 3]);
    const configurations = [0, 1, 2, 3].map(
      (band) =>
        (file.get(band) as Map<string, unknown>).get('cfg') as Record<string, Record<string, unknown>>,
    );
    expect(configurations[0]).toMatchObject({
      channels: 1,
      diffusion_unet: { hidden: 4, depth: 4, growth: 2, bilstm: false },
      schedule: { num_steps: 1000, n_bands: null },
    });
    expect(configurations.map((cfg) => cfg.processor!.use)).toEqual([false, false, true, true]);
    const prototypes = configurations.map((cfg) => Object.getPrototypeOf(cfg));
    expect(new Set(prototypes)).toEqual(new Set([Object.prototype]));
    const state = (file.get(0) as Map<string, Map<string, unknown>>).get('model_state')!;
    expect(state.get('conv_codec.weight')).toBeInstanceOf(PickleTensor);
  });

  test('a configuration that contains itself, or a hostile key, as harmless data', async () => {
    const config = raw(global('omegaconf.dictconfig', 'DictConfig'), ')', [0x81], 'q', [0]);
    const state = raw('}', text('_content'), '}', text('__proto__'), 'h', [0], 'ss');
    const value = (await read(raw(start, config, state, 'b.'))) as Record<string, unknown>;
    expect(Object.keys(value)).toEqual(['__proto__']);
    expect(Object.getOwnPropertyDescriptor(value, '__proto__')?.value).toBe(value);
  });
});

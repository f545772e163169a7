/** Pickles as fast-check values: opcodes in any order with sound arguments, and whole values. */
import fc from 'fast-check';

/** @param {...(string | readonly number[] | Uint8Array)} pieces @returns {Buffer} */
export const raw = (...pieces) =>
  Buffer.concat(
    pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece, 'latin1') : Buffer.from(piece))),
  );

/** @param {number} value */
const uint32 = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
/** @param {string} value */
export const text = (value) => raw('X', uint32(Buffer.byteLength(value)), Buffer.from(value));
/** @param {string} name with its module */
export const global = (name) => {
  const dot = name.lastIndexOf('.');
  return raw(`c${name.slice(0, dot)}\n${name.slice(dot + 1)}\n`);
};
/** @param {number} value */
export const integer = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return raw('J', bytes);
};
/** @param {Buffer[]} entries keys and values in turn */
export const dictionary = (...entries) => raw('}(', ...entries, 'u');
/** @param {Buffer[]} items */
export const tuple = (...items) => raw('(', ...items, 't');

/** A float32 tensor, contiguous. @param {string} key @param {readonly number[]} shape */
export function tensor(
  key,
  shape,
  { elements = shape.reduce((a, b) => a * b, 1), offset = 0, strides = contiguous(shape) } = {},
) {
  const id = raw(
    tuple(text('storage'), global('torch.FloatStorage'), text(key), text('cpu'), integer(elements)),
    'Q',
  );
  const hooks = raw(global('collections.OrderedDict'), ')R');
  return raw(
    global('torch._utils._rebuild_tensor_v2'),
    tuple(
      id,
      integer(offset),
      tuple(...shape.map(integer)),
      tuple(...strides.map(integer)),
      raw([0x89]),
      hooks,
    ),
    'R',
  );
}

/** @param {readonly number[]} shape */
const contiguous = (shape) => shape.map((_, d) => shape.slice(d + 1).reduce((a, b) => a * b, 1));

const names = [
  'collections.OrderedDict',
  'collections.defaultdict',
  '_codecs.encode',
  'torch._utils._rebuild_tensor_v2',
  'torch._utils._rebuild_parameter',
  'torch.Size',
  'torch.FloatStorage',
  'torch.HalfStorage',
  'builtins.dict',
  'builtins.list',
  'builtins.set',
  'builtins.frozenset',
  'builtins.bytes',
  '__builtin__.bytearray',
  'builtins.int',
  'omegaconf.dictconfig.DictConfig',
  'omegaconf.listconfig.ListConfig',
  'omegaconf.nodes.AnyNode',
  'numpy.dtype',
  'posix.system',
];

const words = [
  '', '0', '7', 'storage', 'cpu', 'latin1', 'utf-8', 'a', '\u00e9\u0100', '__proto__', 'constructor', 'toString',
  '_content', '_val', '_metadata', 'model', 'model_args', 'config', 'meta', 'tokenizer', 'model_state', 'n_layer',
  'decoder.model.0.conv.conv.weight_v', 'lstm.weight_ih_l0', 'little_endian',
]; // biome-ignore format: a list of words

const number = fc.oneof(
  fc.nat({ max: 4 }),
  fc.constantFrom(-1, 127, 255, 256, 1001, 65_536, 2 ** 31 - 1, -(2 ** 31)),
  fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
);

const simple = fc.oneof(
  fc.constantFrom(raw('N'), raw([0x88]), raw([0x89]), raw(']'), raw('}'), raw(')'), raw([0x8f])),
  fc.nat({ max: 255 }).map((value) => raw('K', [value])),
  number.map(integer),
  fc.double().map((value) => {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(value);
    return raw('G', bytes);
  }),
  fc.uint8Array({ maxLength: 12 }).map((value) => raw([0x8a, value.length], value)),
  fc.uint8Array({ maxLength: 8 }).map((value) => raw('C', [value.length], value)),
  fc.uint8Array({ maxLength: 8 }).map((value) => raw('U', [value.length], value)),
  fc.constantFrom(...words).map(text),
  fc.constantFrom(...names).map(global),
);

/** One opcode with its argument, or a value. */
const step = fc.oneof(
  { weight: 3, arbitrary: simple },
  {
    weight: 4,
    arbitrary: fc
      .constantFrom(
        ...'(tlude.asR012bQo',
        '\x85',
        '\x86',
        '\x87',
        '\x90',
        '\x91',
        '\x93',
        '\x94',
        '\x81',
        '\x92',
      )
      .map((code) => raw(code)),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom('q', 'h'), fc.nat({ max: 7 }))
      .map(([code, index]) => raw(code, [index])),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom('r', 'j'), fc.nat({ max: 0xffffffff }))
      .map(([code, index]) => raw(code, uint32(index))),
  },
  {
    weight: 1,
    arbitrary: fc.nat({ max: 0xffffffff }).map((length) => raw([0x95], uint32(length), uint32(0))),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom('X', 'T', 'B', '\x8b'), number)
      .map(([code, length]) => raw(code, uint32(length >>> 0))),
  },
  { weight: 1, arbitrary: fc.nat({ max: 255 }).map((code) => raw([code])) },
);

/** Opcodes in any order. */
export const soup = fc.array(step, { maxLength: 48 }).map((steps) => raw([0x80, 2], ...steps, '.'));

const shape = fc.array(fc.nat({ max: 3 }), { maxLength: 3 });

/** Values that are whole, deep ones rarely. */
const { value } = fc.letrec((/** @type {(key: string) => import('fast-check').Arbitrary<any>} */ tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    simple,
    fc
      .array(tie('value'), { maxLength: 4 })
      .map((items) => raw('](', .../** @type {Buffer[]} */ (items), 'e')),
    fc.array(tie('value'), { maxLength: 3 }).map((items) => tuple(.../** @type {Buffer[]} */ (items))),
    fc
      .array(fc.tuple(fc.oneof(fc.constantFrom(...words).map(text), simple), tie('value')), { maxLength: 5 })
      .map((pairs) => dictionary(.../** @type {Buffer[]} */ (pairs.flat()))),
    fc
      .tuple(fc.constantFrom(...names), fc.array(tie('value'), { maxLength: 4 }))
      .map(([name, items]) => raw(global(name), tuple(.../** @type {Buffer[]} */ (items)), 'R')),
    fc
      .tuple(fc.constantFrom(...names), tie('value'))
      .map(([name, state]) =>
        raw(global(name), ')', [0x81], '}', text('_content'), /** @type {Buffer} */ (state), 'sb'),
      ),
    fc
      .tuple(tie('value'), fc.nat({ max: 3 }))
      .map(([item, index]) => raw(/** @type {Buffer} */ (item), 'q', [index])),
    fc.nat({ max: 3 }).map((index) => raw('h', [index])),
    fc
      .tuple(fc.constantFrom('0', '1', '2'), shape, number, number, fc.array(number, { maxLength: 3 }))
      .map(([key, sizes, elements, offset, strides]) =>
        tensor(
          key,
          sizes,
          elements % 3 === 0 ? {} : { elements, offset, ...(offset % 2 === 0 && { strides }) },
        ),
      ),
  ),
}));

export const whole = /** @type {import('fast-check').Arbitrary<Buffer>} */ (value).map((code) =>
  raw([0x80, 2], code, '.'),
);

/** Any pickle of the above. */
export const pickle = fc.oneof(soup, whole);

import { mostDimensions } from './limits.js';
import {
  dtypeBytes,
  PickleGlobal,
  PickleObject,
  PickleStorage,
  PickleTensor,
  type TensorDtype,
} from './pickle-values.js';
import { shown } from './refuse.js';

/** What building a value may use: a way to refuse, and a budget for what is built. */
export interface BuildContext {
  refuse(message: string): Error;
  /** Counts bytes of a new value; throws when the file builds far more than its size. */
  spend(amount: number): void;
  /** Counts a new key; throws when too many could be chosen to collide. */
  key(value: unknown): void;
}

type Build = (args: readonly unknown[], context: BuildContext) => unknown;

const storageTypes: Readonly<Record<string, TensorDtype>> = {
  'torch.DoubleStorage': 'float64',
  'torch.FloatStorage': 'float32',
  'torch.HalfStorage': 'float16',
  'torch.BFloat16Storage': 'bfloat16',
  'torch.LongStorage': 'int64',
  'torch.IntStorage': 'int32',
  'torch.ShortStorage': 'int16',
  'torch.CharStorage': 'int8',
  'torch.ByteStorage': 'uint8',
  'torch.BoolStorage': 'bool',
};

const isNatural = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const areNaturals = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length <= mostDimensions && value.every(isNatural);

function latin1(text: string, context: BuildContext): Uint8Array {
  context.spend(text.length);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 255) throw context.refuse('a byte string has a letter past 255');
    bytes[i] = unit;
  }
  return bytes;
}

/** `_codecs.encode(text, encoding)`: how old pickles write byte strings. */
const encode: Build = ([text, encoding = 'utf-8'], context) => {
  if (typeof text !== 'string') throw context.refuse('expected a string to encode');
  const name = typeof encoding === 'string' ? encoding.toLowerCase().replace(/[-_]/g, '') : '';
  if (name === 'latin1' || name === 'iso88591') return latin1(text, context);
  if (name === 'utf8') {
    context.spend(3 * text.length);
    return new Uint8Array(Buffer.from(text, 'utf8'));
  }
  throw context.refuse(`refuses to encode bytes as ${shown(encoding)}; expected latin1`);
};

const bytes: Build = (args, context) => {
  const [value] = args;
  if (args.length === 0) return new Uint8Array();
  if (typeof value === 'string') return encode(args, context);
  if (value instanceof Uint8Array) {
    context.spend(value.length);
    return value.slice();
  }
  if (Array.isArray(value) && value.every((item) => isNatural(item) && item < 256)) {
    context.spend(value.length);
    return Uint8Array.from(value);
  }
  throw context.refuse('expected a string, bytes or small integers for bytes');
};

function items(value: unknown, context: BuildContext): unknown[] {
  if (value === undefined) return [];
  if (!Array.isArray(value) && !(value instanceof Set)) throw context.refuse('expected a list of items');
  context.spend(8 * (Array.isArray(value) ? value.length : value.size));
  return [...value];
}

function setOf(value: unknown, context: BuildContext): Set<unknown> {
  const list = items(value, context);
  for (const item of list) context.key(item);
  return new Set(list);
}

const dictionary: Build = ([content], context) => {
  if (content instanceof Map) {
    for (const key of content.keys()) context.key(key);
    return new Map(content);
  }
  return new Map(
    items(content, context).map((pair) => {
      if (!Array.isArray(pair) || pair.length !== 2) throw context.refuse('expected pairs for a dictionary');
      context.key(pair[0]);
      return pair as [unknown, unknown];
    }),
  );
};

function tensor(args: readonly unknown[], context: BuildContext): PickleTensor {
  const [storage, offset, shape, strides] = args;
  const sound =
    storage instanceof PickleStorage &&
    isNatural(offset) &&
    areNaturals(shape) &&
    areNaturals(strides) &&
    shape.length === strides.length;
  if (!sound) throw context.refuse('a tensor is not made of a storage, an offset, a shape and strides');
  const elements = shape.reduce((product, size) => product * size, 1);
  const last =
    elements > 0 ? shape.reduce((sum, size, d) => sum + (size - 1) * strides[d]!, offset) : offset - 1;
  if (last >= storage.elements)
    throw context.refuse(
      `a tensor of shape [${shape.join(', ')}] reaches element ${last} of a storage of ${storage.elements}`,
    );
  // Copies: a pickle may go on editing the lists it gave.
  return new PickleTensor(storage, offset, [...shape], [...strides]);
}

const parameter: Build = ([value], context) => {
  if (!(value instanceof PickleTensor)) throw context.refuse('a parameter is not a tensor');
  return value;
};

const opaque =
  (type: string): Build =>
  (args) =>
    new PickleObject(type, args);

const builtins: Readonly<Record<string, Build>> = {
  dict: dictionary,
  list: ([content], context) => items(content, context),
  tuple: ([content], context) => items(content, context),
  set: ([content], context) => setOf(content, context),
  frozenset: ([content], context) => setOf(content, context),
  bytes,
  bytearray: bytes,
  ...Object.fromEntries(
    ['int', 'long', 'float', 'bool', 'str', 'unicode', 'complex', 'object'].map((name) => [
      name,
      opaque(`builtins.${name}`),
    ]),
  ),
};

const omegaconf = [
  'omegaconf.dictconfig.DictConfig',
  'omegaconf.listconfig.ListConfig',
  'omegaconf.base.Metadata',
  'omegaconf.base.ContainerMetadata',
  'omegaconf.nodes.AnyNode',
  'omegaconf.nodes.ValueNode',
  'omegaconf.nodes.StringNode',
  'omegaconf.nodes.IntegerNode',
  'omegaconf.nodes.FloatNode',
  'omegaconf.nodes.BooleanNode',
  'omegaconf.nodes.BytesNode',
];

const numpy = [
  'numpy.dtype',
  'numpy.ndarray',
  'numpy.core.multiarray.scalar',
  'numpy._core.multiarray.scalar',
  'numpy.core.multiarray._reconstruct',
  'numpy._core.multiarray._reconstruct',
];

/** Everything a checkpoint may name, and what it makes; each one only builds data. */
const allowed: ReadonlyMap<string, Build> = new Map<string, Build>([
  ['collections.OrderedDict', dictionary],
  ['collections.defaultdict', ([, content], context) => dictionary([content], context)],
  ['_codecs.encode', encode],
  ['torch._utils._rebuild_tensor_v2', tensor],
  ['torch._utils._rebuild_parameter', parameter],
  ['torch.Size', ([content], context) => items(content, context)],
  ...Object.entries(builtins).flatMap(([name, build]): [string, Build][] => [
    [`builtins.${name}`, build],
    [`__builtin__.${name}`, build],
  ]),
  ...[...Object.keys(storageTypes), ...omegaconf, ...numpy, 'typing.Any'].map((name): [string, Build] => [
    name,
    opaque(name),
  ]),
]);

/** The named thing as data, or null when it is not on the list. */
export function findGlobal(module: string, name: string): PickleGlobal | null {
  const full = `${module}.${name}`;
  return allowed.has(full) ? new PickleGlobal(full) : null;
}

/** What calling an allowed name gives. */
export function callGlobal(callee: PickleGlobal, args: readonly unknown[], context: BuildContext): unknown {
  return allowed.get(callee.name)!(args, context);
}

/** `('storage', type, key, location, elements[, view])`: the reference from a pickle to its numbers. */
export function persistentStorage(id: unknown, context: BuildContext): PickleStorage {
  const [kind, type, key, , elements, view] = Array.isArray(id) ? (id as unknown[]) : [];
  const dtype = type instanceof PickleGlobal ? storageTypes[type.name] : undefined;
  if (kind !== 'storage' || !dtype || typeof key !== 'string' || !isNatural(elements))
    throw context.refuse('a persistent reference that is not a storage of numbers');
  if (elements * dtypeBytes[dtype] > Number.MAX_SAFE_INTEGER)
    throw context.refuse(`storage ${key} is said to hold ${elements} elements`);
  if (view === undefined || view === null) return new PickleStorage(dtype, key, elements);
  const [, start, length] = Array.isArray(view) ? (view as unknown[]) : [];
  if (!isNatural(start) || !isNatural(length) || start + length > elements)
    throw context.refuse(`a view into storage ${key} lies outside of it`);
  return new PickleStorage(dtype, key, length, start);
}

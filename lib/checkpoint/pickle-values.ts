/** What a pickle may hold, as data. Nothing here runs anything. */

export type TensorDtype =
  | 'float64'
  | 'float32'
  | 'float16'
  | 'bfloat16'
  | 'int64'
  | 'int32'
  | 'int16'
  | 'int8'
  | 'uint8'
  | 'bool';

export const dtypeBytes: Readonly<Record<TensorDtype, number>> = {
  float64: 8,
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint8: 1,
  bool: 1,
};

/** A name of Python's that was allowed: `omegaconf.nodes.AnyNode`. It stands for itself and is never called as code. */
export class PickleGlobal {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

/** An object of an allowed class that is carried along as data: its class, arguments and state. */
export class PickleObject {
  readonly type: string;
  readonly args: readonly unknown[];
  state: unknown = null;

  constructor(type: string, args: readonly unknown[]) {
    this.type = type;
    this.args = args;
  }
}

/** A run of numbers in the container, by its key. */
export class PickleStorage {
  readonly dtype: TensorDtype;
  readonly key: string;
  readonly elements: number;
  /** First element, where the storage is a view into another one (old container only). */
  readonly start: number;

  constructor(dtype: TensorDtype, key: string, elements: number, start = 0) {
    this.dtype = dtype;
    this.key = key;
    this.elements = elements;
    this.start = start;
  }
}

/** A tensor: where its numbers are, and how they lie there. */
export class PickleTensor {
  readonly storage: PickleStorage;
  /** In elements, from the beginning of the storage. */
  readonly offset: number;
  readonly shape: readonly number[];
  /** In elements. */
  readonly strides: readonly number[];

  constructor(storage: PickleStorage, offset: number, shape: readonly number[], strides: readonly number[]) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }

  get dtype(): TensorDtype {
    return this.storage.dtype;
  }
}

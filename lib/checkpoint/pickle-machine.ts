import { mostEntries, pickleAllowance } from './limits.js';
import { type BuildContext, callGlobal, findGlobal, persistentStorage } from './pickle-globals.js';
import { PickleGlobal, PickleObject, type TensorDtype } from './pickle-values.js';
import { refuseCheckpoint } from './refuse.js';

const longestName = 256;
const longestInteger = 256;
/** How far the number of a memo may lie ahead: picklers count them, and number keys are limited (see `mostEntries`). */
const memoGap = 1 << 20;

/** What values take, in bytes, generously. */
const cost = { slot: 32, container: 256, entry: 64 } as const;

/** Thrown when the bytes end. */
export class PickleEnd extends Error {}

/**
 * The stack machine of a pickle: its bytes, stack, marks and memo, and what the opcodes do with them. It builds data
 * only; every name and call goes through the list of pickle-globals.ts.
 */
export class PickleMachine implements BuildContext {
  readonly #view: DataView;
  readonly #bytes: Buffer;
  readonly #file: string;
  readonly #stack: unknown[] = [];
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, unknown>();
  readonly storages = new Map<string, TensorDtype>();
  #at: number;
  #budget: number;
  #numberKeys = 0;
  /** Set by STOP. */
  done = false;

  constructor(bytes: Uint8Array, file: string, start: number) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#file = file;
    this.#at = start;
    this.#budget = pickleAllowance(bytes.byteLength - start);
  }

  get position(): number {
    return this.#at;
  }

  get result(): unknown {
    return this.#stack[0];
  }

  refuse(message: string): Error {
    return refuseCheckpoint(this.#file, `${message} (byte ${this.#at} of its pickle)`);
  }

  spend(amount: number): void {
    this.#budget -= amount;
    if (this.#budget < 0) throw this.refuse('the pickle builds far more data than it holds');
  }

  key(value: unknown): void {
    this.spend(cost.entry);
    const isNumber = typeof value === 'number' || typeof value === 'bigint';
    // Short strings of digits are hashed like the number that they spell.
    if (!isNumber && !(typeof value === 'string' && /^\d{1,10}$/.test(value))) return;
    if (++this.#numberKeys > mostEntries)
      throw this.refuse(`more than ${mostEntries} numbers as keys of its dictionaries`);
  }

  // ---------------------------------------------------------------- bytes

  take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new PickleEnd('the pickle ends too early');
    const piece = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return piece;
  }

  byte(): number {
    if (this.#at >= this.#bytes.length) throw new PickleEnd('the pickle ends too early');
    return this.#bytes[this.#at++]!;
  }

  #number(width: number, read: (at: number) => number): number {
    const at = this.#at;
    this.take(width);
    return read(at);
  }

  uint16 = (): number => this.#number(2, (at) => this.#view.getUint16(at, true));
  uint32 = (): number => this.#number(4, (at) => this.#view.getUint32(at, true));
  int32 = (): number => this.#number(4, (at) => this.#view.getInt32(at, true));
  float64 = (): number => this.#number(8, (at) => this.#view.getFloat64(at, false));

  uint64(): number {
    const at = this.#at;
    this.take(8);
    const value = this.#view.getBigUint64(at, true);
    if (value > BigInt(this.#bytes.length)) throw this.refuse('a length past the end of the pickle');
    return Number(value);
  }

  line(): string {
    const end = this.#bytes.indexOf(10, this.#at);
    if (end < 0 && this.#bytes.length - this.#at <= longestName)
      throw new PickleEnd('the pickle ends too early');
    if (end < 0 || end - this.#at > longestName) throw this.refuse('a name of more than 256 bytes');
    const text = this.take(end - this.#at).toString('utf8');
    this.#at++;
    return text;
  }

  integer(length: number): number | bigint {
    if (length > longestInteger) throw this.refuse(`an integer of ${length} bytes`);
    const little = this.take(length);
    if (length === 0) return 0;
    const value = BigInt.asIntN(length * 8, BigInt(`0x${Buffer.from(little).reverse().toString('hex')}`));
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }

  // ---------------------------------------------------------------- stack

  push(value: unknown): void {
    this.spend(cost.slot);
    this.#stack.push(value);
  }

  /** A list, dictionary, object: anything that lies apart. */
  pushNew(value: object): void {
    this.spend(cost.container);
    this.push(value);
  }

  get #floor(): number {
    return this.#marks.at(-1) ?? 0;
  }

  pop(): unknown {
    if (this.#stack.length <= this.#floor) throw this.refuse('the pickle takes more than it put down');
    return this.#stack.pop();
  }

  top(): unknown {
    if (this.#stack.length <= this.#floor) throw this.refuse('the pickle takes more than it put down');
    return this.#stack.at(-1);
  }

  mark(): void {
    this.spend(cost.slot);
    this.#marks.push(this.#stack.length);
  }

  /** Everything above the last mark. */
  popMark(): unknown[] {
    const mark = this.#marks.pop();
    if (mark === undefined) throw this.refuse('the pickle takes a mark that it did not set');
    return this.#stack.splice(mark);
  }

  tuple(length: number): void {
    const items: unknown[] = new Array(length);
    for (let i = length - 1; i >= 0; i--) items[i] = this.pop();
    this.pushNew(items);
  }

  stop(): void {
    if (this.#stack.length !== 1 || this.#marks.length > 0)
      throw this.refuse('the pickle ends with more or less than one value');
    this.done = true;
  }

  // ---------------------------------------------------------------- memo

  put(index: number): void {
    this.spend(cost.entry);
    if (index > this.#memo.size + memoGap) throw this.refuse(`memo ${index} is far from the others`);
    this.#memo.set(index, this.top());
  }

  memoize(): void {
    this.put(this.#memo.size);
  }

  get(index: number): void {
    if (!this.#memo.has(index)) throw this.refuse(`memo ${index} is empty`);
    this.push(this.#memo.get(index));
  }

  // ---------------------------------------------------------------- names and objects

  named(module: unknown, name: unknown): void {
    if (typeof module !== 'string' || typeof name !== 'string') throw this.refuse('a name that is not text');
    const found = findGlobal(module, name);
    if (!found) {
      const full = `${module}.${name}`.slice(0, 200);
      throw refuseCheckpoint(
        this.#file,
        `refuses to run ${full}: a checkpoint holds numbers and plain data, and this is not on the list of what those need. Use a file from a source you trust, or save it again with torch.save of the state dict alone`,
        { found: full },
      );
    }
    this.pushNew(found);
  }

  call(callee: unknown, args: unknown): void {
    if (!(callee instanceof PickleGlobal))
      throw this.refuse('refuses to call what is not a name of the list');
    if (!Array.isArray(args)) throw this.refuse('expected a tuple of arguments');
    this.spend(cost.container);
    this.push(callGlobal(callee, args, this));
  }

  persistent(): void {
    const storage = persistentStorage(this.pop(), this);
    this.key(storage.key);
    const known = this.storages.get(storage.key) ?? storage.dtype;
    if (known !== storage.dtype) throw this.refuse(`storage ${storage.key} has two types`);
    this.storages.set(storage.key, storage.dtype);
    this.pushNew(storage);
  }

  build(): void {
    const state = this.pop();
    const target = this.top();
    if (target instanceof PickleObject) target.state = state;
    else if (!(target instanceof Map)) throw this.refuse('a state for a value that has none');
    // The attributes of a dictionary (`_metadata` of a state dict) are of no use here.
  }

  extend(values: unknown[]): void {
    const list = this.top();
    if (!Array.isArray(list)) throw this.refuse('items for a value that is not a list');
    for (const value of values) {
      this.spend(cost.slot);
      list.push(value);
    }
  }

  assign(pairs: unknown[]): void {
    const map = this.top();
    if (!(map instanceof Map)) throw this.refuse('keys for a value that is not a dictionary');
    if (pairs.length % 2 !== 0) throw this.refuse('a key without a value');
    for (let i = 0; i < pairs.length; i += 2) {
      this.key(pairs[i]);
      map.set(pairs[i], pairs[i + 1]);
    }
  }

  include(values: unknown[]): void {
    const set = this.top();
    if (!(set instanceof Set)) throw this.refuse('members for a value that is not a set');
    this.#fill(set, values);
  }

  dictionary(pairs: unknown[]): void {
    this.pushNew(new Map());
    this.assign(pairs);
  }

  set(values: unknown[]): void {
    const set = new Set();
    this.pushNew(set);
    this.#fill(set, values);
  }

  #fill(set: Set<unknown>, values: unknown[]): void {
    for (const value of values) {
      this.key(value);
      set.add(value);
    }
  }
}

import { PickleEnd, PickleMachine } from './pickle-machine.js';
import type { TensorDtype } from './pickle-values.js';
import { plainConfigurations } from './plain-configurations.js';
import { ask, pause, type Reading, readAsync } from './reading.js';
import { refuseCheckpoint } from './refuse.js';

/** Operations between two turns of the event loop: a millisecond or two, before they are compiled. */
const slice = 2_000;

export interface Unpickled {
  /**
   * Dictionaries are `Map`s (of any keys), lists and tuples are arrays, byte strings `Uint8Array`s, integers numbers or
   * bigints, tensors `PickleTensor`s, configurations of omegaconf plain objects.
   */
  value: unknown;
  /** Bytes that the pickle took. */
  bytes: number;
  /** Element type of each storage that the pickle names, by key. */
  storages: ReadonlyMap<string, TensorDtype>;
}

/**
 * Reads one pickle (binary, protocols 2 to 5) with an allow-list of names; nothing is executed. Rejects with
 * ERR_CHECKPOINT: a forbidden name is named in it, and `details.truncated` is true when the bytes end too early.
 */
export function unpickle(bytes: Uint8Array, file: string, start = 0): Promise<Unpickled> {
  return readAsync(unpickling(bytes, file, start));
}

/** Fails with ERR_CHECKPOINT like `unpickle`. */
export function* unpickling(bytes: Uint8Array, file: string, start = 0): Reading<Unpickled> {
  const machine = new PickleMachine(bytes, file, start);
  try {
    while (!run(machine, slice)) yield* ask(pause);
  } catch (error) {
    if (!(error instanceof PickleEnd)) throw error;
    throw refuseCheckpoint(file, 'its pickle ends too early; the file is truncated or damaged', {
      truncated: true,
    });
  }
  return {
    value: yield* plainConfigurations(machine.result, machine),
    bytes: machine.position - start,
    storages: machine.storages,
  };
}

type Step = (machine: PickleMachine) => void;

/** Takes at most so many steps; true when the pickle is through. */
function run(machine: PickleMachine, most: number): boolean {
  for (let left = most; left > 0; left--) {
    const code = machine.byte();
    const step = table[code];
    if (!step) throw refuseOpcode(machine, code);
    step(machine);
    if (machine.done) return true;
  }
  return false;
}

function refuseOpcode(machine: PickleMachine, code: number): Error {
  const name = `0x${code.toString(16).padStart(2, '0')}`;
  return machine.refuse(
    'ILFSVgpP'.includes(String.fromCharCode(code))
      ? `refuses pickle opcode ${name} of protocol 0; expected a binary pickle, protocols 2 to 5`
      : `refuses pickle opcode ${name}`,
  );
}

function text(m: PickleMachine, length: number, encoding: 'utf8' | 'latin1'): void {
  const bytes = m.take(length);
  m.spend(2 * length);
  m.push(bytes.toString(encoding));
}

function data(m: PickleMachine, length: number): void {
  const bytes = m.take(length);
  m.spend(length);
  m.pushNew(new Uint8Array(bytes));
}

function pair(m: PickleMachine, use: (first: unknown, second: unknown) => void): void {
  const second = m.pop();
  use(m.pop(), second);
}

function protocol(m: PickleMachine): void {
  const version = m.byte();
  if (version < 2 || version > 5) throw m.refuse(`pickle protocol ${version}; expected 2 to 5`);
}

function newObject(m: PickleMachine): void {
  const keywords = m.pop();
  if (!(keywords instanceof Map) || keywords.size > 0) throw m.refuse('refuses keyword arguments');
  pair(m, (callee, args) => m.call(callee, args));
}

/** Opcodes by their byte. What is missing here is refused. */
const steps: Readonly<Record<number, Step>> = {
  128: protocol,
  149: (m) => void m.uint64(), // FRAME
  46: (m) => m.stop(),
  // simple values
  78: (m) => m.push(null),
  136: (m) => m.push(true),
  137: (m) => m.push(false),
  74: (m) => m.push(m.int32()),
  75: (m) => m.push(m.byte()),
  77: (m) => m.push(m.uint16()),
  138: (m) => m.push(m.integer(m.byte())),
  139: (m) => m.push(m.integer(m.uint32())),
  71: (m) => m.push(m.float64()),
  // text and bytes
  88: (m) => text(m, m.uint32(), 'utf8'),
  140: (m) => text(m, m.byte(), 'utf8'),
  141: (m) => text(m, m.uint64(), 'utf8'),
  84: (m) => text(m, m.uint32(), 'latin1'),
  85: (m) => text(m, m.byte(), 'latin1'),
  66: (m) => data(m, m.uint32()),
  67: (m) => data(m, m.byte()),
  142: (m) => data(m, m.uint64()),
  150: (m) => data(m, m.uint64()),
  // containers
  40: (m) => m.mark(),
  41: (m) => m.pushNew([]),
  93: (m) => m.pushNew([]),
  125: (m) => m.pushNew(new Map()),
  143: (m) => m.pushNew(new Set()),
  116: (m) => m.pushNew(m.popMark()),
  108: (m) => m.pushNew(m.popMark()),
  100: (m) => m.dictionary(m.popMark()),
  145: (m) => m.set(m.popMark()),
  133: (m) => m.tuple(1),
  134: (m) => m.tuple(2),
  135: (m) => m.tuple(3),
  97: (m) => {
    const value = m.pop();
    m.extend([value]);
  },
  101: (m) => m.extend(m.popMark()),
  115: (m) => pair(m, (key, value) => m.assign([key, value])),
  117: (m) => m.assign(m.popMark()),
  144: (m) => m.include(m.popMark()),
  // stack and memo
  48: (m) => void m.pop(),
  49: (m) => void m.popMark(),
  50: (m) => m.push(m.top()),
  104: (m) => m.get(m.byte()),
  106: (m) => m.get(m.uint32()),
  113: (m) => m.put(m.byte()),
  114: (m) => m.put(m.uint32()),
  148: (m) => m.memoize(),
  // names and objects
  99: (m) => {
    const module = m.line();
    m.named(module, m.line());
  },
  147: (m) => pair(m, (module, name) => m.named(module, name)),
  82: (m) => pair(m, (callee, args) => m.call(callee, args)),
  129: (m) => pair(m, (callee, args) => m.call(callee, args)),
  146: newObject,
  111: (m) => {
    const [callee, ...args] = m.popMark();
    m.call(callee, args);
  },
  98: (m) => m.build(),
  81: (m) => m.persistent(),
};

/** INST names its class in the stream: refused by that name, like every other name. */
const inst: Step = (m) => {
  const module = m.line();
  m.named(module, m.line());
  m.call(m.pop(), m.popMark());
};

const table: readonly (Step | undefined)[] = Array.from({ length: 256 }, (_, code) =>
  code === 105 ? inst : steps[code],
);

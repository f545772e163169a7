/** Values that no option expects, by name, and what may come of them. */

/** What traps and getters of the values below throw: a caller's own error, which passes through as it is. */
export const theirs = new Error('thrown by a value of the caller');

const fail = () => {
  throw theirs;
};

const traps: ProxyHandler<object> = {
  get: fail,
  has: fail,
  ownKeys: fail,
  getPrototypeOf: fail,
  getOwnPropertyDescriptor: fail,
};

class Stranger {
  readonly seed = 1;
}

export const wrongValues: readonly (readonly [name: string, value: unknown])[] = [
  ['null', null],
  ['NaN', Number.NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
  ['-0', -0],
  ['-1', -1],
  ['0.5', 0.5],
  ['2^53', 2 ** 53],
  ['1e308', 1e308],
  ['an empty string', ''],
  ['a blank string', ' '],
  ['a numeral', '1'],
  ['true', true],
  ['false', false],
  ['a bigint', 1n],
  ['a symbol', Symbol('x')],
  ['a function', () => 1],
  ['an array', []],
  ['an array of numbers', [1, 2]],
  ['an empty object', {}],
  ['an object without a prototype', Object.create(null)],
  ['an instance of a class', new Stranger()],
  [
    'an object with inherited properties',
    Object.create({ seed: 1, file: 'x', speaker: 'y', aborted: false }),
  ],
  ['an object with a strange constructor', { constructor: { name: Symbol('x') } }],
  ['an object with a constructor of null', { constructor: null }],
  ['an object with a key of the prototype', JSON.parse('{ "__proto__": { "seed": 1 } }')],
  ['a getter that throws', Object.defineProperty({}, 'seed', { get: fail, enumerable: true })],
  ['a proxy that throws', new Proxy({}, traps)],
  ['a function behind a proxy that throws', new Proxy(() => 1, traps)],
  ['a revoked proxy', revoked()],
  ['a date', new Date(0)],
  ['a map', new Map([['seed', 1]])],
  ['a regular expression', /x/],
  ['an error', new Error('x')],
  ['a promise', Promise.resolve(1)],
  ['a boxed string', new String('cpu')],
  ['a boxed number', new Number(1)],
  ['bytes', new Uint8Array(4)],
  ['floats', new Float64Array(4)],
  ['a URL', new URL('file:///tmp/x.wav')],
];

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

export interface Outcome {
  error?: unknown;
}

/** Runs what may throw at once or later. */
export async function outcomeOf(call: () => unknown): Promise<Outcome> {
  try {
    await call();
    return {};
  } catch (error) {
    return { error };
  }
}

/**
 * Whether a failure is a clean refusal: a TypeError or RangeError in the one sentence of lib/is.ts, or the caller's own
 * error out of a value that throws. Gives the reason where it is not.
 */
export function whyUnclean(error: unknown): string | null {
  if (error === theirs) return null;
  const { name, message } = error as Error;
  // In the words of the language itself.
  if (name === 'TypeError' && message.endsWith('proxy that has been revoked')) return null;
  if (!['TypeError', 'RangeError'].includes(name)) return `${name}: ${message}`;
  return /^expected .+ for `[\w.[\]]+` but received .+/s.test(message) ? null : `${name}: ${message}`;
}

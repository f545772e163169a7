/**
 * Readers that do not care how their bytes come. A reader is written once, as a generator that yields what it wants and
 * goes on with the answer; `readAsync` awaits the answers, `readSync` takes them at once.
 */

import { setImmediate } from 'node:timers/promises';

/** Something wanted from outside, and both ways to get it. */
export interface Ask<T> {
  sync(): T;
  async(): Promise<T>;
}

/** A reader at work: it yields one ask, or several that do not depend on each other. */
export type Reading<T> = Generator<Ask<unknown> | readonly Ask<unknown>[], T, unknown>;

/** Asks that the asynchronous driver has under way at a time. */
const width = 32;

/** One answer: `const facts = yield* ask(statOf(path))`. */
export function* ask<T>(wanted: Ask<T>): Reading<T> {
  return (yield wanted) as T;
}

/** Several readings, side by side where they are awaited. Their order decides which failure is told. */
export function* all<T extends readonly unknown[]>(
  readings: {
    [Index in keyof T]: () => Reading<T[Index]>;
  },
): Reading<T> {
  const asks = (readings as readonly (() => Reading<unknown>)[]).map((start) => ({
    sync: () => readSync(start()),
    async: () => readAsync(start()),
  }));
  return (yield asks) as T;
}

/** Lets the event loop turn; nothing where nobody waits. */
export const pause: Ask<void> = { sync: () => {}, async: () => setImmediate() };

/** Runs a reading to its end without ever waiting for the event loop. */
export function readSync<T>(reading: Reading<T>): T {
  let step = reading.next();
  while (!step.done) {
    let answer: unknown;
    try {
      const wanted = step.value;
      answer = 'sync' in wanted ? wanted.sync() : wanted.map((each) => each.sync());
    } catch (error) {
      step = reading.throw(error);
      continue;
    }
    step = reading.next(answer);
  }
  return step.value;
}

/** Runs a reading to its end; same result and same error as `readSync`. */
export async function readAsync<T>(reading: Reading<T>): Promise<T> {
  let step = reading.next();
  while (!step.done) {
    let answer: unknown;
    try {
      const wanted = step.value;
      answer = 'async' in wanted ? await wanted.async() : await sideBySide(wanted);
    } catch (error) {
      step = reading.throw(error);
      continue;
    }
    step = reading.next(answer);
  }
  return step.value;
}

/** Answers in the order of the asks. Settles when nothing is under way any more; the first of the asks that fail is told. */
async function sideBySide(asks: readonly Ask<unknown>[]): Promise<unknown[]> {
  const answers: unknown[] = new Array(asks.length);
  const failures = new Map<number, unknown>();
  let next = 0;
  const lane = async () => {
    while (next < asks.length && failures.size === 0) {
      const index = next++;
      try {
        answers[index] = await asks[index]!.async();
      } catch (error) {
        failures.set(index, error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, asks.length) }, lane));
  if (failures.size > 0) throw failures.get(Math.min(...failures.keys()));
  return answers;
}

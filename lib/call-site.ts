/** Native errors are born on another thread, without a stack that says who asked. This gives them the caller's. */

import { fromNative } from './errors.js';

/** Where the user called; `frames` starts at the line that called `above`. */
export interface CallSite {
  readonly stack?: string;
}

/** Remembers the stack down to the caller of `above`, a function of the public API. */
export function callSite(above: (...args: never[]) => unknown): CallSite {
  const site: CallSite = {};
  Error.captureStackTrace(site, above);
  return site;
}

/** The error as the user shall see it: of our class, with the caller's stack instead of the engine's. */
export function fromEngine(error: unknown, site: CallSite): unknown {
  const known = fromNative(error);
  if (!(known instanceof Error) || !site.stack) return known;
  const frames = site.stack.slice(site.stack.indexOf('\n') + 1);
  if (frames.trimStart().startsWith('at ')) known.stack = `${known.name}: ${known.message}\n${frames}`;
  return known;
}

/** Awaits one native call. */
export async function asking<T>(site: CallSite, call: () => T | Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw fromEngine(error, site);
  }
}

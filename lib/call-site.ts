/** Errors are born on other threads and behind queues, with a stack that doesn't say who asked. This gives them the caller's. */

import { fromNative, MetaVoiceError } from './errors.js';

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

/**
 * The error as the user shall see it: of our class, with the caller's stack instead of ours. Errors of others, such as
 * the reason of a signal or what a callback threw, keep theirs; those of the file system have none to keep.
 */
export function fromEngine(error: unknown, site: CallSite): unknown {
  const known = fromNative(error);
  if (!(known instanceof Error) || !site.stack || !(MetaVoiceError.isInstance(known) || isBare(known)))
    return known;
  const frames = site.stack.slice(site.stack.indexOf('\n') + 1);
  if (frames.trimStart().startsWith('at ')) known.stack = `${known.name}: ${known.message}\n${frames}`;
  return known;
}

const isBare = (error: Error): boolean => error.stack === undefined || !/\n\s+at /.test(error.stack);

/** Awaits work that the user asked for, of the engine or of our own. */
export async function asking<T>(site: CallSite, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fromEngine(error, site);
  }
}

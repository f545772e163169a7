/** What one check says, and how a check fails without taking the others with it. */

export type Status = 'ok' | 'note' | 'problem';

export interface Check {
  /** Stable; the key in JSON. */
  readonly name: string;
  /** `note`: worth knowing, and speech works; `problem`: something that should be mended. */
  readonly status: Status;
  /** One sentence. */
  readonly found: string;
  /** More lines under it. */
  readonly details?: readonly string[];
  /** What to do. */
  readonly advice?: string;
  /** The same for programs; keys are stable. */
  readonly facts?: Readonly<Record<string, unknown>>;
}

export type Outcome<T> = { readonly value: T } | { readonly error: unknown };

/** The value, or why there is none. */
export async function settle<T>(work: () => T | Promise<T>): Promise<Outcome<T>> {
  try {
    return { value: await work() };
  } catch (error) {
    return { error };
  }
}

/** A check that throws becomes a problem in the words of what it threw. Aborted work rejects with the signal's reason. */
export async function attempt(
  name: string,
  signal: AbortSignal | undefined,
  work: () => Check | Promise<Check>,
): Promise<Check> {
  signal?.throwIfAborted();
  const outcome = await settle(work);
  signal?.throwIfAborted();
  return 'value' in outcome ? outcome.value : { name, status: 'problem', ...inWords(outcome.error) };
}

/** An error as a sentence and the lines under it. */
export function inWords(error: unknown): Required<Pick<Check, 'found' | 'details' | 'facts'>> {
  const [found = '', ...details] = (error instanceof Error ? error.message : String(error)).split('\n');
  const code = (error as { code?: unknown } | null)?.code;
  return {
    found,
    details: details.map((line) => line.trim()).filter((line) => line !== ''),
    facts: { code: typeof code === 'string' ? code : null },
  };
}

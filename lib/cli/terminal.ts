/** What a command sees of the world around it. */

import type { Writable } from 'node:stream';

export interface Terminal {
  readonly stdin: NodeJS.ReadableStream & { isTTY?: boolean };
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** Aborts on ^C, on SIGTERM, and when the reader of stdout has left. */
  readonly signal: AbortSignal;
  /** Shows a line that replaces the one before, where stderr is a terminal; null removes it. */
  progress(line: string | null): void;
}

/** A wrong command line: exit code 2. */
export class UsageError extends Error {}

/** Also what parseArgs refuses, and option values that the library refuses. */
export const isUsage = (error: unknown): boolean =>
  error instanceof UsageError ||
  String((error as { code?: unknown })?.code).startsWith('ERR_PARSE_ARGS') ||
  ((error instanceof TypeError || error instanceof RangeError) && error.message.startsWith('expected '));

/** Writes and waits until it is on its way; rejects with EPIPE and the like. */
export function write(stream: Writable, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(text, (error) => (error ? reject(error) : resolve()));
  });
}

/** The terminal of a process. `close` gives the signals back. */
export function openTerminal(
  host: Pick<NodeJS.Process, 'stdin' | 'stdout' | 'stderr' | 'on' | 'off' | 'exit'>,
): Terminal & { close(): void } {
  const control = new AbortController();
  const interrupt = () => {
    // The second ^C means it.
    if (control.signal.aborted) host.exit(1);
    control.abort(new Error('interrupted'));
  };
  const leave = (error: Error) => control.abort(error);
  host.on('SIGINT', interrupt);
  host.on('SIGTERM', interrupt);
  host.stdout.on('error', leave);
  host.stderr.on('error', () => {});
  return {
    // A getter, because opening stdin can keep the process alive.
    get stdin() {
      return host.stdin;
    },
    stdout: host.stdout,
    stderr: host.stderr,
    signal: control.signal,
    progress: progressLine(host.stderr),
    close() {
      host.off('SIGINT', interrupt);
      host.off('SIGTERM', interrupt);
    },
  };
}

/** At most ten lines a second, cut to the width of the terminal. */
function progressLine(stderr: NodeJS.WriteStream): (line: string | null) => void {
  let shown = false;
  let last = Number.NEGATIVE_INFINITY;
  return (line) => {
    if (!stderr.isTTY) return;
    if (line === null) {
      if (shown) stderr.write('\r\x1b[K');
      shown = false;
      last = Number.NEGATIVE_INFINITY;
    } else if (performance.now() - last >= 100) {
      last = performance.now();
      shown = true;
      stderr.write(`\r\x1b[K${line.slice(0, (stderr.columns || 80) - 1)}`);
    }
  };
}

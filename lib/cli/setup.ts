/** `metavoice setup`: gets libtorch. */

import { parseArgs } from 'node:util';
import { setupRuntime } from '../runtime/load.js';
import { requirePositionals, share } from './arguments.js';
import { type Terminal, write } from './terminal.js';

export const help = `Usage: metavoice setup [OPTIONS]

Fetches the libtorch that this version needs into your cache, with pip. Does nothing when it is there.

  --cuda              a CUDA build, chosen from driver and GPUs
  --json              tell about it in JSON
`;

const known = { cuda: { type: 'boolean' }, json: { type: 'boolean' } } as const;

export async function run(args: string[], terminal: Terminal): Promise<void> {
  const { values, positionals } = parseArgs({ args, options: known, allowPositionals: true });
  requirePositionals(positionals, []);
  const { version, directory, cuda, reason } = await setupRuntime({
    cuda: values.cuda ?? false,
    signal: terminal.signal,
    onProgress: ({ message, loaded, total }) =>
      terminal.progress(loaded !== undefined && total ? `${message}, ${share(loaded, total)}` : message),
  });
  terminal.progress(null);
  await write(
    terminal.stdout,
    values.json
      ? `${JSON.stringify({ version, directory, cuda, reason })}\n`
      : `libtorch ${version} in ${directory} (${reason})\n`,
  );
}

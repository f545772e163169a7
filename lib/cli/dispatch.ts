/** The dispatch of `metavoice`: finds the subcommand, and turns whatever happens into words on stderr and an exit code. */

import { readFileSync } from 'node:fs';
import { isUsage, type Terminal, UsageError, write } from './terminal.js';

interface Command {
  summary: string;
  load: () => Promise<{ run: Run; help: string }>;
}

/** A command that says for itself how it went gives the exit code; for the others it is 0. */
type Run = (args: string[], terminal: Terminal) => Promise<void> | Promise<number>;

const commands: Record<string, Command> = {
  say: { summary: 'speak a text into a WAV file', load: () => import('./say.js') },
  voice: {
    summary: 'make a voice of a recording, and say what it is worth',
    load: () => import('./voice.js'),
  },
  download: { summary: 'fetch a model from the Hugging Face hub', load: () => import('./download.js') },
  convert: { summary: 'turn published checkpoints into a model folder', load: () => import('./convert.js') },
  setup: { summary: 'get libtorch, which does the computing', load: () => import('./setup.js') },
  plan: { summary: 'say what a model takes of memory, and whether it fits', load: () => import('./plan.js') },
  doctor: { summary: 'see whether speech works here, and why not', load: () => import('./doctor.js') },
};

const help = `Usage: metavoice COMMAND [OPTIONS]

Commands
${Object.entries(commands)
  .map(([name, { summary }]) => `  ${name.padEnd(9)} ${summary}`)
  .join('\n')}

Options
  --help, -h   this text; after a command, its own
  --version    the version

Results go to stdout, progress to stderr. Exit code: 0 done, 1 failed, 2 wrong usage.
`;

/** Runs one command line and gives the exit code. */
export async function main(args: string[], terminal: Terminal): Promise<number> {
  try {
    const code = await dispatch(args, terminal);
    return typeof code === 'number' ? code : 0;
  } catch (error) {
    return report(error, args[0], terminal);
  } finally {
    terminal.progress(null);
  }
}

async function dispatch([name, ...rest]: string[], terminal: Terminal): Promise<unknown> {
  if (name === '--version') return write(terminal.stdout, `${version()}\n`);
  if (name === 'help' && rest[0] !== undefined) return dispatch([rest[0], '--help'], terminal);
  if (name === '--help' || name === '-h' || name === 'help') return write(terminal.stdout, help);
  if (name === undefined) throw new UsageError('expected a command but received none');
  if (!Object.hasOwn(commands, name))
    throw new UsageError(
      `expected one of the commands ${Object.keys(commands).join(', ')} but received \`${name}\``,
    );
  const command = await commands[name]!.load();
  const end = rest.indexOf('--');
  const options = end < 0 ? rest : rest.slice(0, end);
  if (options.includes('--help') || options.includes('-h')) return write(terminal.stdout, command.help);
  return command.run(rest, terminal);
}

function report(thrown: unknown, name: string | undefined, terminal: Terminal): number {
  terminal.progress(null);
  // After ^C whatever fails, fails for that.
  const error = terminal.signal.aborted ? terminal.signal.reason : thrown;
  // Whoever read our output has had enough: `metavoice say … | head`.
  if ((error as NodeJS.ErrnoException)?.code === 'EPIPE') return 0;
  terminal.stderr.write(`metavoice: ${error instanceof Error ? error.message : String(error)}\n`);
  if (!isUsage(error)) return 1;
  const command = name !== undefined && Object.hasOwn(commands, name) ? ` ${name}` : '';
  terminal.stderr.write(`Try \`metavoice${command} --help\`.\n`);
  return 2;
}

const version = (): string =>
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version;

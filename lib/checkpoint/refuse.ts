import { basename } from 'node:path';
import { MetaVoiceError } from '../errors.js';

/** A checkpoint that cannot be used: `<file>: <what is wrong>`, with the facts in `details`. */
export function refuseCheckpoint(
  file: string,
  message: string,
  details: Record<string, unknown> = {},
): MetaVoiceError {
  return new MetaVoiceError('ERR_CHECKPOINT', `${basename(file)}: ${message}`, {
    details: { file, ...details },
  });
}

/** Names for a message: the first few, and how many more. */
export function few(names: Iterable<string>, most = 5): string {
  const all = [...names];
  const shown = all.slice(0, most).join(', ');
  return all.length > most ? `${shown} and ${all.length - most} more` : shown;
}

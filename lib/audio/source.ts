import { constants, open } from 'node:fs/promises';
import { MetaVoiceError } from '../errors.js';
import { AudioProblem, acceptedFormats, maximumBytes } from './limits.js';

/** Opening a pipe would wait for somebody to write into it, for ever if need be. */
const readOnly = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/**
 * The bytes of a regular file of a sane size.
 * @param most bytes that it may have
 * @throws {@link AudioProblem}, or the signal's own reason
 */
export async function readRecording(
  path: string,
  signal?: AbortSignal | undefined,
  most: number = maximumBytes,
): Promise<Uint8Array<ArrayBuffer>> {
  signal?.throwIfAborted();
  const file = await open(path, readOnly).catch((cause: NodeJS.ErrnoException) => {
    throw new AudioProblem(reasons[cause.code ?? ''] ?? cause.message, checkPath, cause);
  });
  try {
    const facts = await file.stat();
    if (facts.isDirectory()) throw new AudioProblem('a folder', checkPath);
    if (!facts.isFile()) throw new AudioProblem('something that is not a regular file', checkPath);
    if (facts.size > most)
      throw new AudioProblem(`${facts.size} bytes`, `give a file of at most ${most} bytes`);
    const content = await file.readFile(signal ? { signal } : {});
    // Small buffers may share their memory with others, and shared memory cannot be moved to a worker.
    const whole = content.byteLength === content.buffer.byteLength;
    return whole ? new Uint8Array(content.buffer as ArrayBuffer) : Uint8Array.from(content);
  } catch (error) {
    signal?.throwIfAborted();
    throw error instanceof AudioProblem
      ? error
      : new AudioProblem((error as Error).message, checkPath, error);
  } finally {
    await file.close();
  }
}

const checkPath = 'check the path';

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  ENOTDIR: 'no such file',
  EISDIR: 'a folder',
  EACCES: 'a file that may not be read',
  EPERM: 'a file that may not be read',
};

/** The refusal with the recording's name (null where it has none); other errors stay what they are. */
export function namedProblem(error: unknown, name: string | null): unknown {
  if (!(error instanceof AudioProblem)) return error;
  const place = name === null ? 'as the reference' : `at "${name}"`;
  const advice = error.advice ?? 'give another recording, or convert this one';
  return new MetaVoiceError(
    'ERR_REFERENCE_AUDIO',
    `expected ${acceptedFormats} ${place} but found ${error.message}; ${advice}`,
    {
      cause: error.cause,
      details: {
        file: name,
        found: error.message,
        accepted: ['wav', 'flac', 'mp3', 'ogg-vorbis', 'ogg-opus'],
      },
    },
  );
}

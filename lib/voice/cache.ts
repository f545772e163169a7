import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAtomically } from '../files.js';
import { parseVoice, type Voice } from './voice.js';

/**
 * Voices kept on disk, by their id: a recording is embedded once. A broken entry counts as absent and is written anew,
 * and a folder that cannot be written only costs time: the cache never fails a request.
 */
export class VoiceCache {
  readonly #folder: string | null;

  /** @param cacheDirectory the folder above; null keeps nothing */
  constructor(cacheDirectory: string | null) {
    this.#folder = cacheDirectory === null ? null : join(cacheDirectory, 'voices');
  }

  /** The voice with this id, made by this encoder; null when it is not there or broken. */
  async get(id: string, encoder: string): Promise<Voice | null> {
    if (this.#folder === null) return null;
    const path = this.#path(id);
    try {
      const voice = parseVoice(await readFile(path, 'utf8'), path);
      return voice.id === id && voice.encoder === encoder ? voice : null;
    } catch {
      return null;
    }
  }

  /** Keeps a voice; false when it could not be written. */
  async put(voice: Voice): Promise<boolean> {
    if (this.#folder === null) return false;
    try {
      await mkdir(this.#folder, { recursive: true });
      await writeAtomically(this.#path(voice.id), (file) => file.writeFile(`${JSON.stringify(voice)}\n`));
      return true;
    } catch {
      return false;
    }
  }

  #path(id: string): string {
    return join(this.#folder!, `${id}.json`);
  }
}

/** The held-out sentences: texts that the training never saw, with flite's reading of them as the yardstick. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

/**
 * @typedef {object} Sentence
 * @property {number} id
 * @property {string} speaker
 * @property {string} text
 * @property {number} fliteSeconds
 * @property {string} fliteTranscript What the recogniser hears in flite's reading.
 */

const file = fileURLToPath(new URL('../held-out.json', import.meta.url));

/** In their order, the speakers taking turns. @param {number} [limit] @returns {Promise<Sentence[]>} */
export async function readSentences(limit) {
  const { sentences } = JSON.parse(await readFile(file, 'utf8'));
  return sentences.slice(0, limit);
}

/** The speech synthesiser that the bundled voice learned from, where it is installed. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Complaint } from '../../../scripts/log.mjs';

/** flite's own names, where they are not ours. @type {Record<string, string>} */
const voices = { kal: 'kal16' };

export const hasFlite = () =>
  promisify(execFile)('flite', ['-lv']).then(
    () => true,
    () => false,
  );

/**
 * @param {string} text @param {string} speaker
 * @returns {Promise<{ samples: Int16Array, sampleRate: number }>}
 */
export async function fliteReads(text, speaker) {
  const folder = await mkdtemp(join(tmpdir(), 'metavoice-flite-'));
  const file = join(folder, 'speech.wav');
  try {
    await promisify(execFile)('flite', ['-voice', voices[speaker] ?? speaker, '-t', text, '-o', file]);
    return parseWav(await readFile(file));
  } catch (error) {
    throw new Complaint(`flite did not speak: ${/** @type {Error} */ (error).message}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What flite writes: a header of 44 bytes, then 16-bit mono. @param {Buffer} wav */
function parseWav(wav) {
  const channels = wav.readUInt16LE(22);
  const bits = wav.readUInt16LE(34);
  if (wav.toString('latin1', 36, 40) !== 'data' || channels !== 1 || bits !== 16)
    throw new Complaint(`expected a plain 16-bit mono WAV of flite, found ${bits} bit, ${channels} channels`);
  const samples = Int16Array.from({ length: (wav.length - 44) >> 1 }, (_, i) => wav.readInt16LE(44 + 2 * i));
  return { samples, sampleRate: wav.readUInt32LE(24) };
}

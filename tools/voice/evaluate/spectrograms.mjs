/** flite's reading beside ours, as pictures: one held-out sentence for each speaker. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { root, say } from '../../../scripts/log.mjs';
import { findPackages } from '../../../scripts/python.mjs';
import { fliteReads, hasFlite } from './flite.mjs';

/**
 * Writes docs/voice/spectrogram-<speaker>.png. Without flite the pictures stay as they are.
 *
 * @param {import('../../../dist/metavoice.js').MetaVoice} tts
 * @param {readonly import('./sentences.mjs').Sentence[]} sentences
 * @param {number} seed
 */
export async function drawSpectrograms(tts, sentences, seed) {
  if (!(await hasFlite())) return say('no new spectrograms: flite is not installed (`apt install flite`)');
  const { command, env } = await findPackages('figures');
  const folder = await mkdtemp(join(tmpdir(), 'metavoice-spectrograms-'));
  try {
    const pictures = [];
    for (const speaker of tts.speakers) {
      const sentence = sentences.find((one) => one.speaker === speaker);
      if (sentence) pictures.push(await recordBoth(tts, sentence, seed, folder));
    }
    await mkdir(join(root, 'docs', 'voice'), { recursive: true });
    const job = join(folder, 'job.json');
    await writeFile(job, JSON.stringify(pictures));
    const script = fileURLToPath(new URL('spectrograms.py', import.meta.url));
    await promisify(execFile)(command, [script, job], { env: { ...env, MPLCONFIGDIR: folder } });
    say(`drew ${pictures.length} spectrograms`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * @param {import('../../../dist/metavoice.js').MetaVoice} tts @param {import('./sentences.mjs').Sentence} sentence
 * @param {number} seed @param {string} folder
 */
async function recordBoth(tts, { speaker, text }, seed, folder) {
  const flite = await fliteReads(text, speaker);
  const ours = await tts.synthesize(text, { voice: { speaker }, seed });
  const save = async (/** @type {string} */ name, /** @type {Float32Array} */ samples) => {
    const file = join(folder, `${speaker}-${name}.f32`);
    await writeFile(file, new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength));
    return file;
  };
  return {
    text: `${speaker}: “${text}”`,
    output: join(root, 'docs', 'voice', `spectrogram-${speaker}.png`),
    panels: [
      {
        title: 'flite',
        file: await save(
          'flite',
          Float32Array.from(flite.samples, (sample) => sample / 32768),
        ),
        sampleRate: flite.sampleRate,
      },
      { title: 'metavoice', file: await save('ours', ours.samples), sampleRate: ours.sampleRate },
    ],
  };
}

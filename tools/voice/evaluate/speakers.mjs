/** Whose voice a speech has, by the model's own speaker encoder. */
import { cosine } from './statistics.mjs';

/** What the encoder looks at once; a shorter sound would be judged by the silence it is filled up with. */
const sliceSeconds = 1.6;

/**
 * The names of the speakers with their cosine, the nearest first.
 *
 * Speech below 1.6 s (a voice of the public API asks for as much) is repeated until the silence that is trimmed off its ends
 * can no longer make it shorter than that.
 *
 * @param {import('../../../dist/stages.js').Stages} stages
 * @param {ReadonlyMap<string, Float32Array>} speakers Embeddings by name.
 * @param {Float32Array} samples @param {number} sampleRate
 * @returns {Promise<{ name: string, similarity: number }[]>}
 */
export async function nearestSpeakers(stages, speakers, samples, sampleRate) {
  const embedding = await stages.embedSpeaker(repeated(samples, 2 * sliceSeconds * sampleRate), sampleRate);
  return [...speakers]
    .map(([name, known]) => ({ name, similarity: cosine(embedding, known) }))
    .sort((a, b) => b.similarity - a.similarity);
}

/** @param {Float32Array} samples @param {number} wanted */
function repeated(samples, wanted) {
  const times = Math.ceil(wanted / samples.length);
  if (times <= 1) return samples;
  const result = new Float32Array(samples.length * times);
  for (let i = 0; i < times; i++) result.set(samples, i * samples.length);
  return result;
}

/** @param {import('../../../dist/metavoice.js').MetaVoice} tts @returns {Promise<Map<string, Float32Array>>} */
export async function speakerEmbeddings(tts) {
  const entries = tts.speakers.map(
    async (speaker) => /** @type {const} */ ([speaker, (await tts.voice({ speaker })).embedding]),
  );
  return new Map(await Promise.all(entries));
}

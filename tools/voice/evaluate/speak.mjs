/** Speaks the sentences through the Node API and notes what can be measured of each. */
import { nearestSpeakers, speakerEmbeddings } from './speakers.mjs';
import { wordErrors } from './words.mjs';

/**
 * @typedef {object} Utterance
 * @property {number} id
 * @property {string} speaker
 * @property {string} heard
 * @property {number} errors
 * @property {number} words
 * @property {{ errors: number, words: number }} flite
 * @property {number} seconds
 * @property {number} durationRatio To flite's reading.
 * @property {'end' | 'limit' | 'silent'} endReason `silent`: the model ended before the first frame.
 * @property {string} nearest The speaker that it sounds most like.
 * @property {number} similarity To the speaker that was asked for.
 * @property {number} margin Similarity to that speaker less that to the best of the others.
 * @property {number} realTimeFactor
 * @property {number} firstAudioSeconds
 *
 * @typedef {object} Tools
 * @property {import('../../../dist/metavoice.js').MetaVoice} tts
 * @property {import('../../../dist/stages.js').Stages} stages
 * @property {import('./recognizer.mjs').Recognizer} recognizer
 */

/**
 * One at a time, and none is spoken while another is recognised: the times are those of an idle machine.
 *
 * @param {Tools} tools
 * @param {readonly import('./sentences.mjs').Sentence[]} sentences
 * @param {{ quality: 'stream' | 'whole', seed: number, onUtterance?: (done: number) => void }} settings
 * @returns {Promise<{ utterances: Utterance[], codes: (import('../../../dist/stages.js').Codes | null)[] }>}
 */
export async function speakAll(tools, sentences, { quality, seed, onUtterance }) {
  const speakers = await speakerEmbeddings(tools.tts);
  const utterances = [];
  const codes = [];
  for (const sentence of sentences) {
    const speech = await speak(tools.tts, sentence, quality, seed);
    utterances.push(speech ? await judge(tools, speakers, sentence, speech) : silence(sentence));
    codes.push(speech?.codes ?? null);
    onUtterance?.(utterances.length);
  }
  return { utterances, codes };
}

/**
 * @param {import('../../../dist/metavoice.js').MetaVoice} tts
 * @param {import('./sentences.mjs').Sentence} sentence
 * @param {'stream' | 'whole'} quality @param {number} seed
 */
async function speak(tts, { text, speaker }, quality, seed) {
  try {
    return await tts.synthesize(text, { voice: { speaker }, seed, quality });
  } catch (error) {
    if (/** @type {{ code?: string }} */ (error).code === 'ERR_NO_AUDIO') return null;
    throw error;
  }
}

/**
 * @param {Tools} tools @param {ReadonlyMap<string, Float32Array>} speakers
 * @param {import('./sentences.mjs').Sentence} sentence @param {import('../../../dist/stream/collect.js').Speech} speech
 * @returns {Promise<Utterance>}
 */
async function judge({ stages, recognizer }, speakers, sentence, speech) {
  const { samples, sampleRate, durationSeconds, timings, endReason } = speech;
  const heard = await recognizer.hear(samples, sampleRate);
  const ranking = await nearestSpeakers(stages, speakers, samples, sampleRate);
  const asked = ranking.find(({ name }) => name === sentence.speaker)?.similarity ?? Number.NaN;
  const other = ranking.find(({ name }) => name !== sentence.speaker)?.similarity ?? -1;
  return {
    ...common(sentence, heard),
    seconds: durationSeconds,
    durationRatio: durationSeconds / sentence.fliteSeconds,
    endReason,
    nearest: ranking[0]?.name ?? '',
    similarity: asked,
    margin: asked - other,
    realTimeFactor: timings.realTimeFactor,
    firstAudioSeconds: timings.firstAudio / 1000,
  };
}

/** All words of it are lost. @param {import('./sentences.mjs').Sentence} sentence @returns {Utterance} */
const silence = (sentence) => ({
  ...common(sentence, ''),
  ...{ seconds: 0, durationRatio: 0, endReason: 'silent', nearest: '' },
  ...{ similarity: -1, margin: -2, realTimeFactor: 0, firstAudioSeconds: 0 },
});

/** @param {import('./sentences.mjs').Sentence} sentence @param {string} heard */
const common = ({ id, speaker, text, fliteTranscript }, heard) => ({
  ...{ id, speaker, heard },
  ...wordErrors(text, heard),
  flite: wordErrors(text, fliteTranscript),
});

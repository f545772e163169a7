/**
 * The bundled voice is understood: a recogniser writes down what it says. `npm run eval:voice` measures more of it, and
 * docs/voice.md has the figures.
 */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MetaVoice } from '../../dist/index.js';
import { Stages } from '../../dist/stages.js';
import { knownPackages } from '../../scripts/python.mjs';
import { openRecognizer, type Recognizer } from '../../tools/voice/evaluate/recognizer.mjs';
import { readSentences, type Sentence } from '../../tools/voice/evaluate/sentences.mjs';
import { speakAll, type Utterance } from '../../tools/voice/evaluate/speak.mjs';
import { durationRange } from '../../tools/voice/evaluate/summary.mjs';
import { wordErrorRate, wordErrors } from '../../tools/voice/evaluate/words.mjs';

/**
 * The highest word error rate over the sentences below, in which the recogniser mishears no word of flite's. Twelve
 * sentences are few: what is measured lies below, so that other kernels, which draw other codes, pass, too. Of all 200
 * the present weights get 48 % wrong (docs/voice.md), noise 95 % and more; better weights bring the bound down.
 */
const highestWordErrorRate = 0.7;

/** Three short ones of each speaker: slt, rms, awb, kal. None was in the training. */
const ids = [32, 184, 96, 57, 9, 141, 182, 90, 138, 131, 19, 55];

const python = await knownPackages('recognizer');
if (!python)
  console.warn(
    `skipped: the bundled voice was not listened to. ${process.env.METAVOICE_NO_RECOGNIZER ?? 'PocketSphinx is not in the cache; `npm test` and `npm run eval:voice` fetch it'}`,
  );

describe.skipIf(!python)('the bundled voice', () => {
  let recognizer: Recognizer;
  let sentences: Sentence[];

  beforeAll(async () => {
    recognizer = await openRecognizer(python!);
    sentences = (await readSentences()).filter(({ id }) => ids.includes(id));
  });
  afterAll(() => recognizer?.close());

  describe.each(['float32', 'bfloat16'] as const)('in %s', (dtype) => {
    let tts: MetaVoice;
    let stages: Stages;

    beforeAll(async () => {
      tts = await MetaVoice.load({ model: 'bundled', device: 'cpu', dtype });
      stages = await Stages.open(tts.model, { device: 'cpu', dtype });
    });
    afterAll(() => Promise.all([tts?.dispose(), stages?.dispose()]));

    it.each(['stream', 'whole'] as const)(
      'is understood, is as long as its teacher, and is itself (quality %s)',
      async (quality) => {
        const tools = { tts, stages, recognizer };
        const { utterances } = await speakAll(tools, sentences, { quality, seed: 1 });
        expect(utterances).toHaveLength(ids.length);
        const told = utterances.map(describeUtterance).join('\n');
        expect(wordErrorRate(utterances), told).toBeLessThanOrEqual(highestWordErrorRate);
        const [shortest, longest] = durationRange;
        for (const { durationRatio, endReason, nearest, speaker } of utterances) {
          expect(durationRatio, told).toBeGreaterThanOrEqual(shortest);
          expect(durationRatio, told).toBeLessThanOrEqual(longest);
          expect(endReason, told).toBe('end');
          expect(nearest, told).toBe(speaker);
        }
      },
      120_000,
    );
  });

  it('does not pass by chance: sentences of others are not what is heard', () => {
    const shifted = sentences.map((sentence, i) => ({
      ...sentence,
      text: sentences[(i + 1) % sentences.length]!.text,
      // flite's transcript stands for a voice that is understood perfectly.
      heard: sentence.fliteTranscript,
    }));
    expect(wordErrorRate(shifted.map(({ text, heard }) => wordErrors(text, heard)))).toBeGreaterThan(0.8);
    expect(wordErrorRate(sentences.map((one) => wordErrors(one.text, one.fliteTranscript)))).toBe(0);
  });
});

const describeUtterance = ({ id, speaker, heard, errors, durationRatio, nearest }: Utterance) =>
  `${id} ${speaker} (nearest ${nearest}, ${durationRatio.toFixed(2)} × flite): "${heard}", ${errors} errors`;

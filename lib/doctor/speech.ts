/** A spoken test: one short sentence through the whole pipeline. */

import { MetaVoice } from '../metavoice.js';
import type { LoadOptions, VoiceSource } from '../options.js';
import type { Speech } from '../stream/collect.js';
import type { Check } from './check.js';
import { testSpeaker } from './test-speaker.js';

const sentence = 'Hello. This is a test.';
/** So much is spoken: enough to be heard, and soon over on a slow machine. */
const mostSeconds = 1;
/** The least peak of a signal that is not silence: the quietest that 16 bits hold well. */
const leastPeak = 1e-3;

/** Loads the model and speaks. Rejects with what loading or speaking rejects with. */
export async function checkSpeech(options: LoadOptions): Promise<Check> {
  const tts = await MetaVoice.load({ ...options, maxSeconds: mostSeconds });
  try {
    const [voice, voiceWords] = chooseVoice(tts);
    const speech = await tts.synthesize(sentence, {
      voice,
      seed: 1,
      ...(options.signal && { signal: options.signal }),
    });
    return judge(tts, speech, voiceWords);
  } finally {
    await tts.dispose();
  }
}

/** A speaker that ships with the model; without one, a recording that is made up. */
function chooseVoice(tts: MetaVoice): [VoiceSource, string] {
  const [speaker] = tts.speakers;
  return speaker === undefined
    ? [testSpeaker(), 'a synthetic recording']
    : [{ speaker }, `its speaker ${speaker}`];
}

/** What was heard: samples must be numbers, and not silent. */
export function judge(
  tts: Pick<MetaVoice, 'device' | 'dtype' | 'quantization' | 'reason' | 'model'>,
  speech: Pick<Speech, 'samples' | 'sampleRate' | 'durationSeconds' | 'endReason' | 'timings'>,
  voice: string,
): Check {
  const { samples, sampleRate, durationSeconds, endReason, timings } = speech;
  const { finite, peak } = listen(samples);
  const { device, dtype, quantization, reason, model } = tts;
  const realTimeFactor = timings.realTimeFactor;
  const facts = {
    text: sentence,
    voice,
    model,
    device,
    dtype,
    quantization,
    reason,
    seconds: durationSeconds,
    sampleRate,
    endReason,
    realTimeFactor,
    peak: finite ? peak : null,
  };
  const numbers = quantization === 'none' ? dtype : `${dtype} and ${quantization}`;
  const found = `${durationSeconds.toFixed(2)} s of audio at ${sampleRate} Hz on ${device} in ${numbers}, real-time factor ${realTimeFactor.toFixed(2)}, with ${voice}`;
  if (!finite)
    return {
      name: 'speech',
      status: 'problem',
      found: `${found}, but with samples that are not numbers`,
      facts,
    };
  if (!(peak >= leastPeak))
    return {
      name: 'speech',
      status: 'problem',
      found: `${found}, but silent (peak ${peak.toExponential(1)})`,
      facts,
    };
  return { name: 'speech', status: 'ok', found: `${found}, peak ${peak.toFixed(3)}`, facts };
}

function listen(samples: Float32Array): { finite: boolean; peak: number } {
  let peak = 0;
  for (const sample of samples) {
    if (!Number.isFinite(sample)) return { finite: false, peak };
    peak = Math.max(peak, Math.abs(sample));
  }
  return { finite: true, peak };
}

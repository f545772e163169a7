/** The self-check on speech of the model that ships with the package: what it lets pass, and what it finds. */

import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { bundledModel } from '../../../dist/bundled.js';
import { Checker } from '../../../dist/check/checker.js';
import { restsOf } from '../../../dist/check/rests.js';
import { MetaVoice, type Speech } from '../../../dist/index.js';
import { Stages } from '../../../dist/stages.js';
import { expectedSeconds } from '../../../dist/text/spoken-length.js';
import { spliced, stepped, zeroed } from './voices.js';

const text = 'The museum sold off its collection of old paintings to raise money.';
const other = 'We walked along the river until it was dark.';

let tts: MetaVoice;
let stages: Stages;
let speech: Speech;
let voice: Float32Array;

beforeAll(async () => {
  tts = await MetaVoice.load({ model: bundledModel(), device: 'cpu' });
  stages = await Stages.open(bundledModel(), { device: 'cpu' });
  speech = await tts.synthesize(text, { voice: { speaker: 'rms' }, seed: 1 });
  voice = (await tts.voice({ speaker: 'rms' })).embedding;
});
afterAll(async () => {
  await tts?.dispose();
  await stages?.dispose();
});

async function judge(samples: Float32Array) {
  const checker = new Checker({
    segment: 0,
    attempt: 0,
    sampleRate: speech.sampleRate,
    expected: { seconds: expectedSeconds(text), rests: restsOf(text, expectedSeconds) },
    voice: { embedding: voice, embed: (sound, rate) => stages.embedSpeaker(sound, rate) },
  });
  checker.add(samples);
  return checker.finish('end');
}
const kinds = async (samples: Float32Array) => [
  ...new Set((await judge(samples)).findings.map(({ kind }) => kind)),
];

test('it finds nothing in a sound sentence, and is sure of the voice', async () => {
  expect(speech.check).toMatchObject({
    mode: 'report',
    segments: 1,
    respoken: 0,
    findings: [],
    unchecked: [],
  });
  expect(speech.check.leastCosine).toBeGreaterThan(0.6);
  // The model's own encoder on its own thread, and the stage by itself.
  expect((await judge(speech.samples)).voice!.least).toBeCloseTo(speech.check.leastCosine!, 5);
});

describe('it finds in that sentence', () => {
  it('another speaker', async () => {
    const { samples, sampleRate } = await tts.synthesize(other, { voice: { speaker: 'slt' }, seed: 1 });
    const part = samples.slice(0.3 * sampleRate, 2.1 * sampleRate);
    expect(await kinds(spliced(speech.samples, part, sampleRate, 0.8))).toContain('drift');
  });

  it('another voice altogether', async () => {
    const { samples } = await tts.synthesize(text, { voice: { speaker: 'kal' }, seed: 1 });
    const { findings } = await judge(samples);
    expect(findings.map(({ kind }) => kind)).toContain('drift');
    expect(findings.find(({ kind }) => kind === 'drift')!.durationSeconds).toBeGreaterThan(2);
  });

  it('a dropout', async () => {
    const { samples, sampleRate } = speech;
    const at = loudest(samples, sampleRate);
    expect(await kinds(zeroed(samples, sampleRate, at - 0.03, at + 0.03))).toEqual(['hole']);
  });

  it('a step', async () => {
    const { samples, sampleRate } = speech;
    expect(await kinds(stepped(samples, sampleRate, loudest(samples, sampleRate), 1))).toEqual(['click']);
  });

  it('that half of it is missing, or that it was said twice', async () => {
    const { samples } = speech;
    expect(await kinds(samples.subarray(0, samples.length * 0.45))).toEqual(['duration']);
    expect(await kinds(Float32Array.from([...samples, ...samples]))).toContain('duration');
  });

  it('that a limit cut it', async () => {
    const { check } = await tts.synthesize(text, { voice: { speaker: 'rms' }, seed: 1, maxSeconds: 1 });
    expect(check.findings).toMatchObject([{ kind: 'limit', value: 1 }]);
  });
});

/** Seconds of the loudest sample: in the middle of a vowel. */
function loudest(samples: Float32Array, sampleRate: number): number {
  let at = 0;
  for (let i = 0; i < samples.length; i++) if (Math.abs(samples[i]!) > Math.abs(samples[at]!)) at = i;
  return at / sampleRate;
}

it('holds and speaks again with the same bytes, alone or several at a time', {
  timeout: 300_000,
}, async () => {
  const long = `${other}\n\n${text}\n\n${other} Nobody had told him that the train was late.`;
  const options = { seed: 3, check: 'respeak' } as const;
  const alone = await tts.synthesize(long, options);
  await using batched = await MetaVoice.load({ model: bundledModel(), device: 'cpu', batchSize: 4 });
  const ahead = await batched.synthesize(long, options);
  expect(ahead.samples).toEqual(alone.samples);
  expect(ahead.check).toEqual(alone.check);
  expect(ahead.check.segments).toBe(4);
  const off = await tts.synthesize(long, { seed: 3, check: 'off' });
  if (alone.check.respoken === 0) expect(off.samples).toEqual(alone.samples);
  else expect(alone.check.findings.length).toBeGreaterThan(0);
});

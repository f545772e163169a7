/**
 * `node tools/voice/evaluate/self-check.mjs [--limit N]`: what the self-check finds in the bundled voice as it is, and in
 * the same speech with damage that is heard. The tables of docs/self-check.md, on stdout.
 */
import { parseArgs } from 'node:util';
import { Checker } from '../../../dist/check/checker.js';
import { LevelMeter } from '../../../dist/check/level.js';
import { restsOf } from '../../../dist/check/rests.js';
import { MetaVoice } from '../../../dist/index.js';
import { Stages } from '../../../dist/stages.js';
import { expectedSeconds } from '../../../dist/text/spoken-length.js';
import { program, say } from '../../../scripts/log.mjs';
import { damages } from './damage.mjs';
import { fliteReads, hasFlite } from './flite.mjs';
import { markdown, percent } from './format.mjs';
import { readSentences } from './sentences.mjs';
import { speakerEmbeddings } from './speakers.mjs';
import { quantile, randomFrom } from './statistics.mjs';

/** @typedef {import('./damage.mjs').Spoken} Spoken */

/** From one word to ten seconds; every speaker reads each. */
const texts = [
  'Yes.',
  'Thank you.',
  'Hello there.',
  'Good morning, everyone.',
  'Not today.',
  'The kettle is on.',
  'Where did you leave the keys?',
  'It stopped raining at noon.',
  'I would like two tickets, please.',
  'Stop, look, and listen.',
  'The box has a voice of its own.',
  'She asked whether the shop was still open.',
  'Open the window before you go to bed.',
  'We walked along the river until it was dark.',
  'Nobody had told him that the train was late.',
  'He dealt with the thief mercifully, and then he went home.',
  'The museum sold off its collection of old paintings to raise money.',
  'After the storm, the harbour was full of broken boats.',
  'My brother works at the bank in the middle of the town.',
  'If you hear the bell, leave the building at once.',
  'The new secretary had to endure a lot of remarks that nobody would have made to her face.',
  'When the bread is brown, take it out of the oven, and let it cool on the table.',
  'The old house at the end of the road, which nobody had lived in for years, was sold last week.',
  'There were four of them; the tallest carried a lamp, and the others followed him in silence.',
  'The committee will meet again on Tuesday to decide what should be done about the bridge.',
  'I had been waiting at the station for almost an hour when a man in a grey coat sat down beside me and asked for the time.',
  'The road climbs slowly through the forest, crosses two small streams, and comes out at last on a wide green hill above the sea.',
  'Most of the people in the village had never seen a ship, and so they all came down to the shore when the news was told.',
  'It was the kind of morning on which everything seems possible and nobody is in a hurry to begin with any of it before noon.',
  'She put the letter back into the drawer, locked it, hung the key around her neck, and went downstairs to meet the guests who had begun to arrive.',
];

program(async () => {
  const { values } = parseArgs({ options: { limit: { type: 'string' } } });
  const tts = await MetaVoice.load({ model: 'bundled', device: 'cpu' });
  const stages = await Stages.open(tts.model, { device: 'cpu' });
  try {
    const speech = await speakAll(tts, Number(values.limit ?? Infinity));
    await report(stages, await speakerEmbeddings(tts), speech);
  } finally {
    await stages.dispose();
    await tts.dispose();
  }
});

/** @param {MetaVoice} tts @param {number} limit @returns {Promise<Spoken[]>} */
async function speakAll(tts, limit) {
  const own = texts.flatMap((text) => tts.speakers.map((speaker) => ({ text, speaker, seed: 1 })));
  const held = (await readSentences()).map(({ text, speaker }) => ({ text, speaker, seed: 2 }));
  const asked = [...own, ...held].slice(0, limit);
  const speech = [];
  for (const { text, speaker, seed } of asked) {
    const { samples, sampleRate } = await tts.synthesize(text, { voice: { speaker }, seed });
    speech.push(spoken(text, speaker, samples, sampleRate));
    if (speech.length % 20 === 0) say(`spoken: ${speech.length} of ${asked.length}`);
  }
  return speech;
}

/** @param {string} text @param {string} speaker @param {Float32Array} samples @param {number} sampleRate @returns {Spoken} */
function spoken(text, speaker, samples, sampleRate) {
  const meter = new LevelMeter(sampleRate);
  meter.add(samples);
  const { decibels, loud, extent, frame } = meter.level();
  const [start, end] = extent ?? [0, 0];
  return { text, speaker, samples, sampleRate, decibels, loud, extent: [start * frame, end * frame] };
}

/** @param {Stages} stages @param {ReadonlyMap<string, Float32Array>} speakers @param {Spoken[]} speech */
async function report(stages, speakers, speech) {
  const judge = judging(stages, speakers);
  const checks = [];
  for (const each of speech) checks.push(await judge(each, each.samples, each.speaker));
  const rows = [];
  for (const damage of damages) {
    say(`damage: ${damage.name}`);
    rows.push(await found(damage, speech, judge));
  }
  say('the same speech against the other speakers');
  const others = [];
  for (const each of speech)
    for (const other of speakers.keys())
      if (other !== each.speaker) others.push((await judge(each, each.samples, other)).voice?.least);
  process.stdout.write(`${markdown(['damage', 'found as', 'of', 'found'], rows)}\n\n`);
  const ofOwn = checks.map(({ voice }) => voice?.least);
  const paces = speech.map(
    ({ extent, sampleRate, text }) => (extent[1] - extent[0]) / sampleRate / expectedSeconds(text),
  );
  const distributions = [
    distribution('least cosine of a segment to its own voice', ofOwn),
    distribution('least cosine of a segment to another voice', others),
    distribution('seconds spoken over seconds expected', paces),
  ];
  process.stdout.write(
    `${markdown(['', 'least', '1 %', 'median', '99 %', 'most'], distributions)}\n\nUndamaged: ${speech.length}\n`,
  );
  await tellFindings(speech, checks);
}

/** @param {Stages} stages @param {ReadonlyMap<string, Float32Array>} speakers */
const judging =
  (stages, speakers) =>
  /** @param {Spoken} speech @param {Float32Array} samples @param {string | null} speaker Null: the voice is not judged. */
  async ({ text, sampleRate }, samples, speaker) => {
    const embedding = speaker === null ? undefined : speakers.get(speaker);
    const checker = new Checker({
      segment: 0,
      attempt: 0,
      sampleRate,
      expected: { seconds: expectedSeconds(text), rests: restsOf(text, expectedSeconds) },
      voice: embedding
        ? { embedding, embed: (sound, rate) => stages.embedSpeaker(sound, rate).catch(() => null) }
        : null,
    });
    checker.add(samples);
    return checker.finish('end');
  };

/** @param {import('./damage.mjs').Damage} damage @param {Spoken[]} speech @param {ReturnType<typeof judging>} judge */
async function found({ name, kind, inflict }, speech, judge) {
  const random = randomFrom(11);
  let inflicted = 0;
  let hits = 0;
  for (const each of speech) {
    const damaged = inflict(each, random, speech);
    if (!damaged) continue;
    inflicted++;
    const { findings } = await judge(each, damaged.samples, kind === 'drift' ? each.speaker : null);
    const [start, end] = damaged.place;
    const hit = findings.some(
      (one) =>
        one.kind === kind &&
        one.startSeconds <= end + 0.1 &&
        one.startSeconds + one.durationSeconds >= start - 0.1,
    );
    if (hit) hits++;
  }
  return [name, `\`${kind}\``, String(inflicted), percent(hits / inflicted)];
}

/** @param {string} name @param {readonly (number | undefined)[]} values */
function distribution(name, values) {
  const known = values.filter((value) => value !== undefined);
  return [name, ...[0, 0.01, 0.5, 0.99, 1].map((share) => quantile(known, share).toFixed(2))];
}

/**
 * Each finding of undamaged speech, beside what the teacher takes for the same sentence.
 *
 * @param {Spoken[]} speech
 * @param {import('../../../dist/check/findings.js').SegmentCheck[]} checks
 */
async function tellFindings(speech, checks) {
  const flite = await hasFlite();
  for (const [index, { findings }] of checks.entries())
    for (const { kind, message } of findings) {
      const { text, speaker } = /** @type {Spoken} */ (speech[index]);
      const teacher = flite ? `${(await teacherSeconds(text, speaker)).toFixed(2)} s` : 'not installed';
      process.stdout.write(`${kind}, ${speaker}, "${text}": ${message}; flite: ${teacher}\n`);
    }
}

/** From the first sound to the last. @param {string} text @param {string} speaker */
async function teacherSeconds(text, speaker) {
  const { samples, sampleRate } = await fliteReads(text, speaker);
  const [start, end] = spoken(
    text,
    speaker,
    Float32Array.from(samples, (each) => each / 32768),
    sampleRate,
  ).extent;
  return (end - start) / sampleRate;
}

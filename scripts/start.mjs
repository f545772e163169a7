/**
 * `npm start [-- "words to speak"]`: from a fresh clone to a spoken sentence in hello.wav, with the model that ships.
 */
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bootstrap } from './bootstrap.mjs';
import { program, root, say } from './log.mjs';

program(async () => {
  const text = process.argv.slice(2).join(' ').trim() || 'Hello there. This is the voice of a machine.';
  await bootstrap();
  await speak(text);
});

/** @param {string} text */
async function speak(text) {
  const { MetaVoice } = await import(pathToFileURL(join(root, 'dist', 'index.js')).href);
  say('loading the model that ships with the package');
  const tts = await MetaVoice.load({ model: 'bundled' });
  try {
    const [speaker] = tts.speakers;
    say(`speaking as ${speaker}`);
    const started = performance.now();
    const speech = await tts.synthesize(text, { voice: { speaker }, seed: 1 });
    const seconds = (performance.now() - started) / 1000;
    const file = join(process.cwd(), 'hello.wav');
    await speech.save(file);
    report({ tts, speaker, speech, seconds, file, text });
  } finally {
    await tts.dispose();
  }
}

/** @param {{ tts: any, speaker: string, speech: any, seconds: number, file: string, text: string }} facts */
function report({ tts, speaker, speech, seconds, file, text }) {
  const others = tts.speakers.filter((/** @type {string} */ name) => name !== speaker).join(', ');
  const cut = speech.endReason === 'limit' ? ', cut where the window of the model ends' : '';
  const lines = [
    '',
    `Wrote ${relative(process.cwd(), file)}: "${text}"`,
    `  duration          ${speech.durationSeconds.toFixed(2)} s of audio at ${speech.sampleRate} Hz${cut}`,
    `  real-time factor  ${(seconds / speech.durationSeconds).toFixed(2)} (${seconds.toFixed(2)} s of work; below 1 is faster than speech)`,
    `  speaker           ${speaker} (also there: ${others})`,
    `  device            ${tts.device}`,
    `  dtype             ${tts.dtype}`,
    `  why               ${tts.reason}`,
    '',
    'This is the small model that ships with the package: ten million parameters that learned from the four voices',
    'of flite, an old synthesizer. It speaks plain English in their manner, less clearly than they do, and blurs many a word',
    '(docs/voice.md); of a recording it takes the nearest of these voices. It shows every stage of the pipeline.',
    'MetaVoice-1B, which clones voices, is loaded by the same code: `npx metavoice download`, then',
    "MetaVoice.load({ model: 'metavoiceio/metavoice-1B-v0.1' }), or `model:` with a folder of its files.",
  ];
  console.log(lines.join('\n'));
}

/**
 * `npm start [-- "words to speak"]`: from a fresh clone to a spoken sentence in hello.wav.
 */
import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bootstrap } from './bootstrap.mjs';
import { program, root, say } from './log.mjs';

const model = join(root, 'test', 'fixtures', 'model');
const voice = join(root, 'test', 'fixtures', 'voices', 'bria.mp3');

program(async () => {
  const text = process.argv.slice(2).join(' ').trim() || 'Hello there. This is the voice of a machine.';
  await bootstrap();
  await speak(text);
});

/** @param {string} text */
async function speak(text) {
  const { MetaVoice } = await import(pathToFileURL(join(root, 'dist', 'index.js')).href);
  say(`loading the test model (${relative(root, model)}); the first time it is converted into the cache`);
  const tts = await MetaVoice.load({ model });
  try {
    say(`speaking with the voice of ${relative(root, voice)}`);
    const started = performance.now();
    const speech = await tts.synthesize(text, { voice, seed: 1 });
    const seconds = (performance.now() - started) / 1000;
    const file = join(process.cwd(), 'hello.wav');
    await speech.save(file);
    report({ tts, speech, seconds, file, text });
  } finally {
    await tts.dispose();
  }
}

/** @param {{ tts: any, speech: any, seconds: number, file: string, text: string }} facts */
function report({ tts, speech, seconds, file, text }) {
  const again = existsSync(file) ? relative(process.cwd(), file) || file : file;
  const lines = [
    '',
    `Wrote ${again}: "${text}"`,
    `  duration          ${speech.durationSeconds.toFixed(2)} s of audio at ${speech.sampleRate} Hz`,
    `  real-time factor  ${(seconds / speech.durationSeconds).toFixed(2)} (${seconds.toFixed(2)} s of work, the voice included; below 1 is faster than speech)`,
    `  device            ${tts.device}`,
    `  dtype             ${tts.dtype}`,
    `  why               ${tts.reason}`,
    '',
    'This is the small test model. It was never trained, so what it speaks is noise: it shows that every stage runs.',
    'For speech, give a trained model: MetaVoice.load({ model: <folder with the published checkpoints> }).',
  ];
  console.log(lines.join('\n'));
}

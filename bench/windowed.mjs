/**
 * How far diffusion in windows, as a stream speaks, is from diffusion of the whole, as published. For owners of the published
 * weights: what random ones give says nothing of the ear.
 *
 *   node bench/windowed.mjs --model FOLDER [--recording FILE] [--seconds 8] [--seed 1] [--steps 20] [--device D] [--out FILE] [--wav FOLDER]
 *
 * Codes are those of a recording (default: the one of the tests). Each pair is compared by log-spectral distance (dB, over
 * frames and bins, lower is nearer) and by signal to difference (dB, higher is nearer). The yardstick is the whole with another
 * seed: what is no further away differs by its noise alone. With `--wav` everything that was compared is written to be heard.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { logSpectralDistance, signalToDifference } from './distances.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    recording: { type: 'string', default: join(root, 'test', 'fixtures', 'voices', 'bria.mp3') },
    seconds: { type: 'string', default: '8' },
    seed: { type: 'string', default: '1' },
    steps: { type: 'string', default: '20' },
    device: { type: 'string', default: 'auto' },
    out: { type: 'string' },
    wav: { type: 'string' },
  },
});
if (!values.model) {
  process.stderr.write('usage: node bench/windowed.mjs --model FOLDER [--recording FILE] [--seconds N] …\n');
  process.exit(2);
}

const { decodeAudio, Stages } = await import('../dist/stages.js');
const { encodeWav } = await import('../dist/audio/wav.js');
const { chunkEnds } = await import('../dist/stream/schedule.js');
const { defaults } = await import('../dist/options.js');

const device = /** @type {import('../lib/options.js').DeviceOption} */ (values.device);
const stages = await Stages.open(values.model, { device });
const { codec } = stages.manifest;
if (!codec) throw new Error(`expected a codec in ${values.model}`);
const { sampleRate } = codec;
const frameRate = sampleRate / codec.ratios.reduce((product, ratio) => product * ratio, 1);
const { samples, sampleRate: recorded } = await decodeAudio(values.recording);
const codes = await stages.encode(samples.slice(0, Number(values.seconds) * recorded), recorded);
const ends = [...chunkEnds(frameRate, defaults.chunkSeconds, codes.frames, 7)];
const [seed, steps] = [Number(values.seed), Number(values.steps)];

/** @param {string} words */
const say = (words) => process.stderr.write(`${words}\n`);
say(`${(codes.frames / frameRate).toFixed(1)} s on ${stages.device} in ${stages.dtype}`);
say('the whole');
const whole = await stages.diffuse(codes, { seed, steps });
say('in windows');
const windows = await stages.diffuse(codes, { seed, steps, chunkEnds: ends });
say('the whole again, with another seed');
const other = await stages.diffuse(codes, { seed: seed + 1, steps });
const encodec = await stages.decode(codes);
await stages.dispose();

const pairs = {
  'in windows': windows,
  'the whole with another seed': other,
  "EnCodec's own decoder": encodec,
};
const rows = Object.entries(pairs).map(([name, sound]) => ({
  name,
  logSpectralDistance: logSpectralDistance(sound, whole),
  signalToDifference: signalToDifference(sound, whole),
}));
process.stdout.write('against the whole             log-spectral distance   signal to difference\n');
for (const { name, logSpectralDistance: distance, signalToDifference: ratio } of rows)
  process.stdout.write(
    `${name.padEnd(30)}${`${distance.toFixed(2)} dB`.padStart(21)}${`${ratio.toFixed(1)} dB`.padStart(23)}\n`,
  );
if (values.out)
  await writeFile(
    values.out,
    `${JSON.stringify({ model: values.model, recording: values.recording, seconds: codes.frames / frameRate, seed, steps, ends, rows }, null, 2)}\n`,
  );
if (values.wav) {
  await mkdir(values.wav, { recursive: true });
  for (const [name, sound] of Object.entries({ whole, windows, other, encodec }))
    await writeFile(join(values.wav, `${name}.wav`), encodeWav(sound, sampleRate));
}

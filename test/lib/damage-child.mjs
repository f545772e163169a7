/**
 * A process that loads damaged models: `node damage-child.mjs KIND SEED TIMES`. Each is refused with an error of ours, or
 * loads and speaks, or is refused while it speaks. Prints how often each came, and what was none of these.
 */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { convertModel } from '../../dist/checkpoint/convert.js';
import { MetaVoice, MetaVoiceError } from '../../dist/index.js';
import { loadEngine } from '../../dist/runtime/load.js';
import { decodeAudio } from '../../dist/stages.js';

const fixtures = join(dirname(fileURLToPath(import.meta.url)), '..', 'fixtures');
const published = join(fixtures, 'model');
const [kind = '', seed = '1', times = '1'] = process.argv.slice(2);

const folder = mkdtempSync(join(tmpdir(), 'metavoice-damage-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
await loadEngine();
process.env.METAVOICE_CACHE = join(folder, 'cache');
const converted = join(folder, 'whole');
await convertModel(published, converted, { dtype: 'float32' });

/** Mulberry32: the same numbers for the same seed, below `limit`. */
let state = Number(seed);
/** @param {number} limit */
function random(limit) {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * limit);
}
/** @template T @param {readonly T[]} items @returns {T} */
const any = (items) => /** @type {T} */ (items[random(items.length)]);

/** One to three bits between two bytes. @param {Buffer} bytes */
function flip(bytes, from = 0, to = bytes.length) {
  const copy = Buffer.from(bytes);
  for (let i = 1 + random(3); i > 0; i--) {
    const at = from + random(to - from);
    copy[at] = /** @type {number} */ (copy[at]) ^ (1 << random(8));
  }
  return copy;
}

/** @param {Buffer} bytes */
const headerBytes = (bytes) => 8 + Number(bytes.readBigUInt64LE());

const strange = [
  0,
  1,
  -1,
  2,
  3,
  7,
  0.5,
  1e308,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 53,
  null,
  '',
  'x',
  '../x',
  [],
  {},
  true,
  [[]],
  [-1],
  '\0',
];

/** One field of a value, however deep, becomes something strange, or is taken away. @param {any} value */
function meddle(value) {
  let place = value;
  for (;;) {
    const keys = Object.keys(place);
    const key = any(keys);
    const inner = place[key];
    if (typeof inner === 'object' && inner !== null && Object.keys(inner).length > 0 && random(8) > 0) {
      place = inner;
      continue;
    }
    if (random(6) === 0) delete place[key];
    else if (typeof inner === 'number' && random(2) === 0) place[key] = inner + any([-1, 1, 2, 64, -64]);
    else place[key] = any(strange);
    return;
  }
}

/** The damaged file of a model, and the model that the others are of. @type {Record<string, () => { base: string, name: string, bytes: Buffer }>} */
const damages = {
  'a bit of the manifest'() {
    const name = 'metavoice.json';
    return { base: converted, name, bytes: flip(readFileSync(join(converted, name))) };
  },
  'a field of the manifest'() {
    const name = 'metavoice.json';
    const manifest = JSON.parse(readFileSync(join(converted, name), 'utf8'));
    // The long list of tokens would get nearly all of it.
    meddle(
      random(4) > 0
        ? any([manifest.firstStage, manifest.secondStage, manifest.codec, manifest.speakerEncoder])
        : manifest,
    );
    return { base: converted, name, bytes: Buffer.from(JSON.stringify(manifest)) };
  },
  'a header of safetensors'() {
    const name = any(readdirSync(converted).filter((file) => file.endsWith('.safetensors')));
    const bytes = readFileSync(join(converted, name));
    return { base: converted, name, bytes: flip(bytes, 0, headerBytes(bytes)) };
  },
  'numbers of safetensors'() {
    const name = any(readdirSync(converted).filter((file) => file.endsWith('.safetensors')));
    const bytes = readFileSync(join(converted, name));
    let damaged = bytes;
    // Many exponents: a single bit would hardly be heard.
    for (let i = 0; i < 200; i++) damaged = flip(damaged, headerBytes(bytes));
    return { base: converted, name, bytes: damaged };
  },
  'a published file'() {
    const name = any(
      readdirSync(published).filter((file) => /^(first|second|speaker|encodec).*\.(pt|th)$/.test(file)),
    );
    const bytes = readFileSync(join(published, name));
    // Pickle and directory lie at the two ends; the numbers between them have checksums.
    const [from, to] = any([
      [0, 20_000],
      [bytes.length - 20_000, bytes.length],
      [bytes.length - 200, bytes.length],
      [0, bytes.length],
    ]);
    return { base: published, name, bytes: flip(bytes, from, to) };
  },
  'the end of a file'() {
    const base = any([published, converted]);
    const name = any(
      readdirSync(base).filter((file) =>
        /^(first|second|speaker|encodec|codec|metavoice).*\.(pt|th|safetensors|json)$/.test(file),
      ),
    );
    const bytes = readFileSync(join(base, name));
    return {
      base,
      name,
      bytes: bytes.subarray(0, any([random(bytes.length), random(200), bytes.length - random(200) - 1])),
    };
  },
};

const tone = {
  samples: Float32Array.from({ length: 40_000 }, (_, i) => 0.3 * Math.sin(i * 0.05) * Math.sin(i / 3000)),
  sampleRate: 16_000,
};

/** @param {number} round */
async function model(round) {
  const { base, name, bytes } = /** @type {any} */ (damages[kind])();
  const damaged = join(folder, `damaged-${round}`);
  mkdirSync(damaged);
  for (const file of readdirSync(base)) if (file !== name) symlinkSync(join(base, file), join(damaged, file));
  writeFileSync(join(damaged, name), bytes);
  try {
    const tts = await MetaVoice.load({ model: damaged, device: 'cpu', dtype: 'float32' });
    try {
      const speech = await tts.synthesize('Hi.', { voice: tone, seed: 1, maxSeconds: 0.1 });
      return speech.samples.every(Number.isFinite) ? 'spoken' : 'spoken, not finite';
    } finally {
      await tts.dispose();
    }
  } finally {
    rmSync(damaged, { recursive: true });
    rmSync(join(folder, 'cache', 'models'), { recursive: true, force: true });
  }
}

async function recording() {
  const names = readdirSync(join(fixtures, 'audio')).filter((file) => /\.(wav|flac|mp3|ogg)$/.test(file));
  const bytes = readFileSync(join(fixtures, 'audio', any(names)));
  const damaged =
    random(4) === 0 ? bytes.subarray(0, random(bytes.length)) : flip(bytes, 0, any([64, 200, bytes.length]));
  const { samples } = await decodeAudio(new Uint8Array(damaged));
  return samples.every(Number.isFinite) ? 'decoded' : 'decoded, not finite';
}

/** @type {Record<string, number>} */
const counts = {};
/** @type {string[]} */
const strangers = [];
for (let round = 0; round < Number(times); round++) {
  const before = state;
  let outcome;
  try {
    outcome = await (kind === 'a recording' ? recording() : model(round));
  } catch (error) {
    outcome = MetaVoiceError.isInstance(error) ? error.code : 'stranger';
    if (outcome === 'stranger' || outcome === 'ERR_INTERNAL')
      strangers.push(`state ${before}: ${/** @type {any} */ (error)?.stack}`);
  }
  counts[outcome] = (counts[outcome] ?? 0) + 1;
}
process.stdout.write(JSON.stringify({ counts, strangers: strangers.slice(0, 20) }));

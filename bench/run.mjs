/**
 * `npm run bench`: the numbers we promise, measured on this machine; a table on stdout, JSON in bench/results/.
 *
 *   node bench/run.mjs [--model FOLDER] [--small] [--device D] [--dtype T] [--quantization Q] [--kv-cache C] [--seconds N]
 *     [--callers] [--out FILE] [--anyway]
 *
 * `--steps-only` measures nothing but decode steps of the first stage (bench/steps.mjs, which also says what its figures are).
 * `--sound [--steps N]` measures nothing but what makes the sound (bench/sound.mjs), on the CPU unless a device is named.
 * `--callers` measures 1 to 64 callers of one model, too: of the bundled one, and of the one that is measured.
 *
 * Without `--model` a random model of the published size is made once in the cache (5 GB) and converted. Each part runs in a
 * process of its own, so that its peak memory is its own. Ratios hold within one run: machines are noisy.
 */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { cacheDirectory } from '../lib/runtime/paths.js';

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(here);
const { values: options } = parseArgs({
  options: {
    model: { type: 'string' },
    small: { type: 'boolean', default: false },
    device: { type: 'string', default: 'auto' },
    dtype: { type: 'string', default: 'auto' },
    quantization: { type: 'string' },
    'kv-cache': { type: 'string' },
    seconds: { type: 'string', default: '3' },
    callers: { type: 'boolean', default: false },
    sound: { type: 'boolean', default: false },
    steps: { type: 'string', default: '2' },
    'steps-only': { type: 'boolean', default: false },
    repeats: { type: 'string', default: '5' },
    'no-libtorch': { type: 'boolean', default: false },
    out: { type: 'string' },
    anyway: { type: 'boolean', default: false },
  },
});

/** @param {string} text */
const say = (text) => process.stderr.write(`${text}\n`);

/** Runs a script in a process of its own and gives what it measured. @param {string[]} words */
async function measured(...words) {
  const [script = '', ...rest] = words;
  const { stdout } = await promisify(execFile)(process.execPath, [join(here, script), ...rest], {
    maxBuffer: 1 << 26,
  });
  return JSON.parse(stdout);
}

const { device, quantization, 'kv-cache': kvCache } = options;
/** How the first stage is held; what is not named is left to the model and the library. */
const held = { ...(quantization && { quantization }), ...(kvCache && { kvCache }) };

/** One part in a process of its own. @param {string} name @param {object} settings */
const part = (name, settings) => measured('part.mjs', name, JSON.stringify({ device, ...held, ...settings }));

const counts = [1, 2, 4, 8, 16, 32, 64];

/** 1 to 64 callers, and eight of them one after another. @param {object} settings */
const callersOf = (settings) =>
  measured('callers.mjs', JSON.stringify({ counts, serial: 8, batchSize: 16, device, ...held, ...settings }));

/** @param {string} name @param {any} found @returns {string[][]} */
const callerRows = (name, { together, oneByOne }) => [
  [
    `${name}, eight callers one after another: audio s/s, first audio p50 p95`,
    `${format(oneByOne.audioSecondsPerSecond)}  ${format(oneByOne.firstAudioP50)} ${format(oneByOne.firstAudioP95)} s`,
  ],
  ...together.map((/** @type {any} */ row) => [
    `  ${row.callers} at once: audio s/s (times that), first audio p50 p95, silent while playing`,
    `${format(row.audioSecondsPerSecond)} (${format(row.ratio)})  ${format(row.firstAudioP50)} ${format(row.firstAudioP95)} s  ${format(row.underrunSeconds, 1)} s`,
  ]),
];

function refuseBusyMachine() {
  const load = loadavg()[0] ?? 0;
  if (options.anyway || load < 0.5 * cpus().length) return;
  say(
    `the machine is busy (load ${load.toFixed(2)} on ${cpus().length} cores): figures would mean little; wait, or --anyway`,
  );
  process.exit(1);
}

/** The folder of published files that is measured. */
async function publishedFolder() {
  if (options.small) return join(root, 'test', 'fixtures', 'model');
  const folder = join(cacheDirectory(), 'bench', 'full-size');
  if (existsSync(join(folder, 'first_stage.pt'))) return folder;
  say(`making a random model of the published size in ${folder}`);
  await mkdir(folder, { recursive: true });
  const made = spawnSync(process.execPath, [join(here, 'full-size-checkpoint.mjs'), folder], {
    stdio: ['ignore', 2, 2],
  });
  if (made.status !== 0) process.exit(1);
  return folder;
}

/** @param {number | null | undefined} value */
const format = (value, digits = 2) => (value === null || value === undefined ? '–' : value.toFixed(digits));
/** @param {import('./step-figures.mjs').Spread | null} found */
const spread = (found) =>
  found === null ? '–' : `${format(found.median)} (${format(found.low)}, ${format(found.high)})`;
/** @param {number | null} bytes */
const gigabytes = (bytes) => (bytes === null ? '–' : `${(bytes / 1e9).toFixed(2)} GB`);

/** What was measured, in words. @param {any} result @returns {string[][]} */
function rows({ convert, warm, speak, steps, memory, eventLoop, callers }) {
  const { first } = speak;
  const held = Object.entries({
    load: 'cold load',
    voice: 'voice of 7 minutes',
    speak: 'speaking',
    convert: 'converting',
  });
  return [
    ...(convert
      ? [
          ['convert: seconds', format(convert.seconds, 1)],
          ['convert: peak resident', gigabytes(convert.peakBytes)],
        ]
      : []),
    ['load, warm page cache: seconds', format(warm.loadSeconds)],
    ['  of it libtorch', format(warm.runtimeSeconds)],
    [`read bandwidth of ${speak.device}`, `${format(speak.bandwidth / 1e9, 1)} GB/s`],
    ['first stage: steps per second', format(first.stepsPerSecond)],
    [`  bytes per step, mean position ${Math.round(first.meanPosition)}`, gigabytes(first.bytesPerStep)],
    ['  share of the read bandwidth', `${format(first.shareOfBandwidth * 100, 0)} %`],
    ...[...steps.positions, steps.mean].map((/** @type {any} */ one) => [
      `  at ${one.position ?? `the mean of ${one.from}–${one.to}`}: steps/s (least, most), share; by libtorch alone`,
      `${spread(one.stepsPerSecond)}, ${format(one.shareOfBandwidth.median * 100, 0)} %; ${spread(one.libtorch)}`,
    ]),
    [`first stage: prefill of ${first.promptTokens} tokens, ms`, format(first.prefillMilliseconds, 0)],
    ['second stage: ms per pass', format(speak.secondStageMillisecondsPerPass, 0)],
    ['EnCodec decoder: ms per second of audio', format(speak.decoderMillisecondsPerSecond, 0)],
    ['first audio: seconds', format(speak.firstAudioSeconds)],
    ['real-time factor', format(speak.realTimeFactor)],
    ['peak resident', gigabytes(speak.peakBytes)],
    ...(speak.device === 'cpu' ? [] : [['peak on the device', gigabytes(speak.peakMemory)]]),
    ...memory.map((/** @type {any} */ { dtype, planned, measured, ratio }) => [
      `memory, two utterances, ${dtype}: planned and measured`,
      `${gigabytes(planned)} ${gigabytes(measured)}, ${format(ratio * 100, 0)} %`,
    ]),
    ...held
      .filter(([name]) => eventLoop[name])
      .map(([name, words]) => [
        `event loop, ${words}: p99 and longest turn, ms`,
        `${format(eventLoop[name].p99, 1)} ${format(eventLoop[name].longest, 1)}`,
      ]),
    ...(callers ? Object.entries(callers).flatMap(([name, found]) => callerRows(name, found)) : []),
  ];
}

refuseBusyMachine();
const seconds = Number(options.seconds);
if (options.sound) {
  const { model, dtype, steps, out } = options;
  const { measureSound } = await import('./sound.mjs');
  await measureSound({
    device: device === 'auto' ? 'cpu' : device,
    dtype,
    seconds,
    steps: Number(steps),
    say,
    ...(model && { model }),
    ...(out && { out }),
  });
  process.exit(0);
}
if (options['steps-only']) {
  const { measureSteps } = await import('./steps.mjs');
  const { model, small, dtype, out } = options;
  await measureSteps({
    model: model ?? (await publishedFolder()),
    named: model ?? (small ? 'test checkpoints' : 'random, published size'),
    published: model === undefined && !small,
    ...{ device, dtype, say },
    quantizations: quantization?.split(',') ?? ['none'],
    kvCaches: kvCache?.split(',') ?? [undefined],
    repeats: Number(options.repeats),
    libtorch: !options['no-libtorch'],
    ...(out && { out }),
  });
  process.exit(0);
}
const temporary = join(cacheDirectory(), 'bench', `converted-${process.pid}`);
let model = options.model;
/** @type {string | null} */
let published = null;
let convert = null;
try {
  if (!model) {
    published = await publishedFolder();
    say('converting');
    convert = await part('convert', { source: published, destination: temporary, dtype: options.dtype });
    model = temporary;
  }
  say('loading, twice: the second time from a warm page cache');
  await part('load', { model, dtype: options.dtype });
  const warm = await part('load', { model, dtype: options.dtype });
  say(`speaking ${seconds} s`);
  const speak = await part('speak', { model, dtype: options.dtype, seconds });
  say('measuring decode steps');
  const { stepsOf } = await import('./steps.mjs');
  const steps = await stepsOf({
    ...{ model, device, ...held, dtype: options.dtype, repeats: 3, steps: 3 },
    libtorch: !options['no-libtorch'],
  });
  say('measuring memory against the plan: in the dtype of the files, and copied into another');
  const other = speak.dtype === 'float32' ? 'bfloat16' : 'float32';
  const short = Math.min(seconds, 0.5);
  const memory = [
    await part('memory', { model, dtype: speak.dtype, seconds: short }),
    await part('memory', { model, dtype: other, seconds: short }),
  ];
  say('watching the event loop');
  const destination = `${temporary}-again`;
  const eventLoop = await part('eventLoop', { model, published, destination, dtype: options.dtype, seconds });
  let callers = null;
  if (options.callers) {
    say('many callers of the bundled model, then of this one');
    callers = {
      bundled: await callersOf({ model: 'bundled', dtype: options.dtype }),
      [options.model ?? (options.small ? 'test checkpoints' : 'published size')]: await callersOf({
        model,
        dtype: options.dtype,
        seconds: short,
        maxSeconds: 1,
      }),
    };
  }
  const result = {
    date: new Date().toISOString(),
    commit:
      spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).stdout?.trim() ||
      null,
    command: ['npm run bench --', ...process.argv.slice(2)].join(' ').trim(),
    machine: {
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      gpu: speak.gpu,
      node: process.version,
    },
    model: options.model ? options.model : options.small ? 'test checkpoints' : 'random, published size',
    convert,
    warm,
    speak,
    steps,
    memory,
    eventLoop,
    callers,
  };
  const out = options.out ?? join(here, 'results', 'latest.json');
  await mkdir(dirname(out), { recursive: true });
  await writeFile(out, `${JSON.stringify(result, null, 2)}\n`);
  const table = rows(result);
  const width = Math.max(...table.map(([name = '']) => name.length));
  process.stdout.write(
    `${speak.device}${speak.gpu ? ` (${speak.gpu})` : ''} ${speak.dtype}, ${result.machine.cpu}, ${result.machine.cores} cores, libtorch ${speak.libtorch}\n`,
  );
  for (const [name = '', value = ''] of table) process.stdout.write(`${name.padEnd(width)}  ${value}\n`);
  say(`JSON: ${out}`);
} finally {
  if (existsSync(temporary)) await rm(temporary, { recursive: true });
}

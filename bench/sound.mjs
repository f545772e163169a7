/**
 * `npm run bench -- --sound [--seconds N] [--steps N] [--device D] [--dtype T] [--model FOLDER] [--out FILE]`: what turns
 * codes into the sound that comes out, stage by stage, at the published sizes with random numbers; a table on stdout, JSON in
 * bench/results/. Diffusion is measured over one short window and a few of its steps, and told for all 20.
 */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { cacheDirectory } from '../lib/runtime/paths.js';

const here = dirname(fileURLToPath(import.meta.url));
const allSteps = 20;

/**
 * Milliseconds for a second of sound that others reached or that follow from arithmetic, on two cores and on an H200: published
 * figures, computed ones, and, of diffusion, ones for networks of 3.0 TFLOP scaled to the 5.26 of the published file.
 *
 * @type {Record<string, { cpu?: number, gpu?: number }>}
 */
const limits = {
  encodec: { cpu: 30, gpu: 1 },
  diffusion: { cpu: Math.round((6400 * 5.26) / 3), gpu: Math.round((8 * 5.26) / 3) },
  enhancer: { cpu: 40, gpu: 40 },
};

const words = {
  encodec: 'EnCodec decoder',
  diffusion: 'multi-band diffusion, 20 steps',
  loudness: 'running loudness',
  enhancer: 'enhancer, from 24 kHz',
  resampler: 'resampler, 48 to 44.1 kHz',
};

/** @param {number | null | undefined} value */
const format = (value, digits = 1) => (value === null || value === undefined ? '–' : value.toFixed(digits));
/** @param {number | null} bytes */
const megabytes = (bytes) => (bytes === null ? '–' : `${(bytes / 1e6).toFixed(0)} MB`);

/**
 * @param {{ model?: string, device: string, dtype: string, seconds: number, steps: number, out?: string, say: (text: string) => void }} options
 */
export async function measureSound({ model, device, dtype, seconds, steps, out, say }) {
  const { devices } = await import('../dist/index.js');
  const found = devices().find(({ id }) => id === device) ?? devices().at(-1);
  const taken = dtype === 'auto' ? (found?.recommended.dtype ?? 'float32') : dtype;
  let folder = model;
  if (!folder) {
    folder = join(cacheDirectory(), 'bench', `sound-${taken}`);
    if (!existsSync(folder)) {
      say(`making random networks of the published shapes in ${folder}`);
      const { writeSoundModel } = await import('./sound-model.mjs');
      await writeSoundModel(folder, /** @type {import('../lib/native/contract.js').Dtype} */ (taken));
    }
  }
  /** @type {Record<string, any>} */
  const stages = {};
  for (const name of Object.keys(words)) {
    say(`measuring ${name}`);
    // A window that a stream begins with; the others are too quick for so little.
    const settings = {
      model: folder,
      device,
      dtype: taken,
      seconds: name === 'diffusion' ? 0.25 : seconds,
      steps,
    };
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [join(here, 'sound-part.mjs'), name, JSON.stringify(settings)],
      { maxBuffer: 1 << 26 },
    );
    const measured = JSON.parse(stdout);
    const scale = name === 'diffusion' ? allSteps / steps : 1;
    const limit = limits[name]?.[device === 'cpu' ? 'cpu' : 'gpu'] ?? null;
    stages[name] = {
      ...measured,
      ...(name === 'diffusion' && { measuredSteps: steps }),
      millisecondsPerSecond: measured.millisecondsPerSecond * scale,
      limit,
    };
  }
  const result = {
    date: new Date().toISOString(),
    commit:
      spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: here, encoding: 'utf8' }).stdout.trim() ||
      null,
    command: ['npm run bench --', ...process.argv.slice(2)].join(' ').trim(),
    machine: { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version },
    device,
    dtype: taken,
    model: model ?? 'random, published shapes',
    stages,
  };
  const file = out ?? join(here, 'results', 'latest-sound.json');
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, `${JSON.stringify(result, null, 2)}\n`);
  const head = ['', 'ms per second of sound', 'limit', 'peak resident', 'of it the work', 'on the device'];
  const rows = Object.entries(words).map(([name, label]) => {
    const { millisecondsPerSecond, limit, peakBytes, risenBytes, deviceBytes } = stages[name];
    return [
      label,
      format(millisecondsPerSecond),
      format(limit, 0),
      megabytes(peakBytes),
      megabytes(risenBytes),
      megabytes(deviceBytes),
    ];
  });
  const widths = head.map((_, column) =>
    Math.max(...[head, ...rows].map((row) => (row[column] ?? '').length)),
  );
  process.stdout.write(
    `${device}, diffusion in ${taken}, ${result.machine.cpu}, ${result.machine.cores} cores\n`,
  );
  for (const row of [head, ...rows])
    process.stdout.write(
      `${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  ')}\n`,
    );
  say(`JSON: ${file}`);
  return result;
}

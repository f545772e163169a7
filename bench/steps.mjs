/**
 * `npm run bench -- --steps-only`: decode steps of the first stage and nothing else, in a few minutes; a table on stdout, JSON
 * in bench/results/. Its options are those of bench/run.mjs, and
 *
 *   --quantization LIST   none,int8,int4: each in a process of its own
 *   --kv-cache LIST       16bit,int8: each with each of those
 *   --repeats N           rounds, of which medians and extremes are told; 5
 *   --no-libtorch         leaves out the steps by libtorch alone
 *
 * A step is the whole of it: from one id to the next one drawn, two rows of guidance. It is taken at exactly the position that
 * is told (on a GPU whose kernels take some in one launch, in a launch around it), behind keys and values of random numbers,
 * however the model would have ended. The JSON:
 *
 *   date, commit, command, machine { cpu, cores, node }, model
 *   runs[]              one for each quantisation and cache
 *     device, gpu, dtype, quantization, kvCache, libtorch (version), publishedSize, loadSeconds, peakDeviceBytes, repeats, steps (timed at each position; one of libtorch alone)
 *     readBandwidth     bytes per second { median, low, high } over the rounds
 *     weightBytes       that a step reads, as they are held; positionBytes: of keys and values, for each position before it
 *     positions[]       { position, bytes, stepsPerSecond, shareOfBandwidth, libtorch, ratio }: each { median, low, high };
 *                       `libtorch` steps per second by libtorch alone, `ratio` how many times faster ours are; null where not measured
 *     mean              the same of the mean over positions { from, to }
 *     verdicts[]        { name, value, limit, passed }: the targets of this device, for the published size alone
 */
import { execFile, spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { columns } from '../tools/voice/evaluate/format.mjs';
import { judgeSteps } from './step-figures.mjs';

const here = dirname(fileURLToPath(import.meta.url));

/** @typedef {import('./step-figures.mjs').Spread} Spread @typedef {import('./step-figures.mjs').Figure} Figure */

/**
 * One model held one way.
 *
 * @param {{ model: string, device: string, dtype: string, quantization?: string, kvCache?: string, repeats: number, steps: number, libtorch: boolean }} settings
 */
export async function stepsOf(settings) {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [join(here, 'steps-part.mjs'), JSON.stringify(settings)],
    { maxBuffer: 1 << 26 },
  );
  return JSON.parse(stdout);
}

/** @param {Spread | null} spread @param {number} digits @param {number} [scale] */
function told(spread, digits, scale = 1) {
  if (spread === null) return ['–', ''];
  const { median, low, high } = spread;
  return [
    (median * scale).toFixed(digits),
    `${(low * scale).toFixed(digits)}–${(high * scale).toFixed(digits)}`,
  ];
}

/** @param {any} run @returns {string[][]} */
export function stepRows({ positions, mean }) {
  const digits = mean.stepsPerSecond.median < 100 ? 1 : 0;
  const row = (/** @type {string} */ name, /** @type {Figure} */ figure) => {
    const { bytes, stepsPerSecond, shareOfBandwidth, libtorch, ratio } = figure;
    return [
      ...[name, (bytes / 1e6).toFixed(0), ...told(stepsPerSecond, digits)],
      ...[...told(shareOfBandwidth, 0, 100), ...told(libtorch, digits), told(ratio, 2)[0] ?? ''],
    ];
  };
  return [
    ['position', 'MB a step', 'steps/s', '', '% of bandwidth', '', 'libtorch steps/s', '', 'times'],
    ...positions.map((/** @type {Figure & { position: number }} */ one) => row(String(one.position), one)),
    row(`mean ${mean.from}–${mean.to}`, mean),
  ];
}

/**
 * @param {{ model: string, named: string, device: string, dtype: string, quantizations: string[], kvCaches: (string | undefined)[],
 *   repeats: number, libtorch: boolean, out?: string, say: (text: string) => void }} options
 */
export async function measureSteps(options) {
  const { model, named, device, dtype, repeats, libtorch, out, say } = options;
  const runs = [];
  for (const quantization of options.quantizations)
    for (const kvCache of options.kvCaches) {
      say(`measuring ${quantization}${kvCache ? `, keys and values in ${kvCache}` : ''}`);
      const held = { quantization, ...(kvCache && { kvCache }) };
      const run = await stepsOf({ ...{ model, device, dtype, repeats, libtorch }, steps: 3, ...held });
      runs.push({ ...run, verdicts: run.publishedSize ? judgeSteps(run, run) : [] });
    }
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: here, encoding: 'utf8' });
  const result = {
    date: new Date().toISOString(),
    commit: commit.stdout?.trim() || null,
    command: ['npm run bench --', ...process.argv.slice(2)].join(' ').trim(),
    machine: { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version },
    model: named,
    runs,
  };
  const file = out ?? join(here, 'results', 'latest-steps.json');
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, `${JSON.stringify(result, null, 2)}\n`);
  for (const run of runs) process.stdout.write(`${wordsOf(run, result.machine)}\n`);
  say(`JSON: ${file}`);
  return result;
}

/** @param {any} run @param {{ cpu: string, cores: number }} machine */
function wordsOf(run, { cpu, cores }) {
  const [bandwidth, range] = told(run.readBandwidth, 1, 1e-9);
  const where = run.gpu ?? `${cpu}, ${cores} cores`;
  const head = `${run.device} ${where}, ${run.dtype}, quantization ${run.quantization}, keys and values in ${run.kvCache}, reads ${bandwidth} GB/s (${range})`;
  const verdicts = run.verdicts.map(
    (/** @type {ReturnType<typeof judgeSteps>[number]} */ { name, value, limit, passed }) =>
      `${passed ? 'holds' : 'does not hold'}: ${name} ${value.toFixed(2)}, at least ${limit.toFixed(2)}`,
  );
  return [head, columns(stepRows(run)), ...verdicts, ''].join('\n');
}

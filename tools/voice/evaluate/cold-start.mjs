/**
 * From the start of a process to its first sound, in a process of its own: run as a program it loads the model, says `first`
 * at the first chunk, and at the end its highest resident size.
 *
 *   node tools/voice/evaluate/cold-start.mjs '{"model":"bundled","dtype":"auto","speaker":"slt","text":"…","seed":1}'
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { median } from './statistics.mjs';

const script = fileURLToPath(import.meta.url);

/**
 * Several times, because one start may meet a busy moment.
 *
 * @param {{ model: string, dtype: string, speaker: string, text: string, seed: number }} settings
 */
export async function measureColdStart(settings, times = 5) {
  const runs = [];
  for (let i = 0; i < times; i++) runs.push(await startOnce(settings));
  const seconds = runs.map((run) => run.firstAudioSeconds);
  const bytes = runs.flatMap(({ peakBytes }) => (peakBytes === null ? [] : [peakBytes]));
  return {
    firstAudioSeconds: median(seconds),
    slowestFirstAudioSeconds: Math.max(...seconds),
    peakBytes: bytes.length > 0 ? Math.max(...bytes) : null,
    runs: times,
  };
}

/** @param {object} settings @returns {Promise<{ firstAudioSeconds: number, peakBytes: number | null }>} */
async function startOnce(settings) {
  const start = performance.now();
  const child = spawn(process.execPath, [script, JSON.stringify(settings)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let firstAudioSeconds = Number.NaN;
  let peakBytes = null;
  for await (const line of createInterface({ input: child.stdout })) {
    if (line === 'first') firstAudioSeconds = (performance.now() - start) / 1000;
    else peakBytes = JSON.parse(line).peakBytes;
  }
  if (Number.isNaN(firstAudioSeconds))
    throw new Error('expected a first chunk but the process ended without');
  return { firstAudioSeconds, peakBytes };
}

/** The highest resident size so far, in bytes; null where the system does not tell. */
function peakResident() {
  try {
    const found = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
    return found ? Number(found[1]) * 1024 : null;
  } catch {
    return null;
  }
}

/** @param {any} settings */
async function main({ model, dtype, speaker, text, seed }) {
  const { MetaVoice } = await import('../../../dist/index.js');
  const tts = await MetaVoice.load({ model, dtype });
  let first = true;
  for await (const _ of tts.stream(text, { voice: { speaker }, seed })) {
    if (first) process.stdout.write('first\n');
    first = false;
  }
  process.stdout.write(`${JSON.stringify({ peakBytes: peakResident() })}\n`);
  await tts.dispose();
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href)
  await main(JSON.parse(process.argv[2] ?? '{}'));

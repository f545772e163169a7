/** PocketSphinx in a process of its own: loaded once, asked for one utterance after another. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** @typedef {{ hear: (samples: Float32Array | Int16Array, sampleRate: number) => Promise<string>, close: () => Promise<void> }} Recognizer */

/**
 * @param {import('../../../scripts/python.mjs').Python} python With the set `recognizer`.
 * @returns {Promise<Recognizer>}
 */
export async function openRecognizer({ command, env }) {
  const script = fileURLToPath(new URL('recognize.py', import.meta.url));
  const child = spawn(command, [script], { env, stdio: ['pipe', 'pipe', 'inherit'], windowsHide: true });
  const ended = once(child, 'close');
  child.stdin.on('error', () => {}); // its end is told by the missing answer
  await once(child, 'spawn');
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async () => {
    const { value, done } = await answers.next();
    if (done) throw new Error(`expected an answer of ${script} but it ended`);
    return JSON.parse(value);
  };
  await answer(); // ready

  let last = Promise.resolve('');
  /** One at a time: answers come in the order of the questions. @type {Recognizer['hear']} */
  const hear = (samples, sampleRate) => {
    const asked = last.then(async () => {
      child.stdin.write(`${JSON.stringify({ samples: samples.length, sampleRate })}\n`);
      child.stdin.write(pcmOf(samples));
      return (await answer()).text;
    });
    last = asked.catch(() => '');
    return asked;
  };
  const close = async () => {
    child.stdin.end();
    await ended;
  };
  return { hear, close };
}

/** 16-bit little-endian. @param {Float32Array | Int16Array} samples */
function pcmOf(samples) {
  const bytes = Buffer.alloc(samples.length * 2);
  const isFloat = samples instanceof Float32Array;
  for (const [index, sample] of samples.entries())
    bytes.writeInt16LE(isFloat ? Math.round(Math.max(-1, Math.min(1, sample)) * 32767) : sample, index * 2);
  return bytes;
}

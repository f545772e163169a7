/** What happens to a process that stops at any stage of a model's life: it ends, with its own exit code, by no signal. */

import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';

const child = fileURLToPath(new URL('./lifetime-child.mjs', import.meta.url));
const limit = 60_000;

/** Runs one stage in a process of its own. */
function live(stage: string): Promise<{ code: number | null; signal: string | null; output: string }> {
  return new Promise((resolve, reject) => {
    const life = fork(child, [stage], {
      execArgv: ['--expose-gc'],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    const timer = setTimeout(() => life.kill('SIGKILL'), limit);
    let output = '';
    life.stdout!.on('data', (text) => (output += text));
    life.stderr!.on('data', (text) => (output += text));
    life.on('error', reject);
    life.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, output });
    });
  });
}

describe('a process that exits', () => {
  it.each([
    'while loading',
    'after loading',
    'while embedding',
    'before the first chunk',
    'between chunks',
    'after speaking',
    'while diffusing',
    'while enhancing',
    'while disposing',
    'by itself, with a stream that nobody reads on',
    'by an error that nobody catches',
  ])('%s leaves with code 0 and no signal', { timeout: limit }, async (stage) => {
    expect(await live(stage)).toEqual({ code: 0, signal: null, output: '' });
  });
});

describe('a worker that ends', () => {
  it.each([
    'after loading',
    'before the first chunk',
    'between chunks',
    'while diffusing',
    'while enhancing',
    'while disposing',
  ])('%s does not harm the process', { timeout: limit }, async (stage) => {
    const worker = new Worker(child, { workerData: { stage } });
    const code = await new Promise((resolve, reject) => {
      worker.on('error', reject);
      worker.on('exit', resolve);
    });
    expect(code).toBe(0);
  });

  it('by terminate(), at any moment, does not harm the process', { timeout: limit }, async () => {
    for (const milliseconds of [0, 100, 250, 400, 550, 700, 850, 1000]) {
      const worker = new Worker(child, {
        workerData: { stage: 'by itself, with a stream that nobody reads on' },
      });
      await new Promise((resolve) => setTimeout(resolve, milliseconds));
      await worker.terminate();
    }
  });
});

describe('one model', () => {
  it('keeps promises of objects that nobody holds', { timeout: limit }, async () => {
    expect(await live('collected')).toEqual({ code: 0, signal: null, output: 'decoded 96000 samples\n' });
  });

  it('speaks the same bytes alone and in company, also beside a stream that rests', {
    timeout: limit,
  }, async () => {
    const { code, output } = await live('in company');
    expect({ code, output }).toEqual({ code: 0, output: 'true true true\nbeside a resting one: 112\n' });
  });
});

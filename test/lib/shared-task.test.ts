import { describe, expect, it, vi } from 'vitest';
import { SharedTask } from '../../dist/shared-task.js';

/** A task that waits to be settled from outside, and stops when it is told to. */
function open() {
  let resolve: (value: string) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  let inner: AbortSignal | undefined;
  const onFailure = vi.fn();
  const task = new SharedTask<string>((signal) => {
    inner = signal;
    return new Promise((yes, no) => {
      resolve = yes;
      reject = no;
      signal.addEventListener('abort', () => no(signal.reason));
    });
  }, onFailure);
  return {
    task,
    onFailure,
    resolve: (v: string) => resolve(v),
    reject: (e: unknown) => reject(e),
    inner: () => inner!,
  };
}

describe('a shared task', () => {
  it('gives its result to all, early and late', async () => {
    const { task, resolve, onFailure } = open();
    const early = [task.join(), task.join(new AbortController().signal)];
    resolve('done');
    expect(await Promise.all([...early, task.join(), task.join(new AbortController().signal)])).toEqual(
      Array(4).fill('done'),
    );
    expect(onFailure).not.toHaveBeenCalled();
  });

  it('stops when the last caller has given up, with that reason', async () => {
    const { task, onFailure, inner } = open();
    const [a, b] = [new AbortController(), new AbortController()];
    const [first, second] = [task.join(a.signal), task.join(b.signal)];
    a.abort('a');
    await expect(first).rejects.toBe('a');
    expect(inner().aborted).toBe(false);
    b.abort('b');
    expect(onFailure).toHaveBeenCalledTimes(1);
    await expect(second).rejects.toBe('b');
    expect(inner().reason).toBe('b');
  });

  it('goes on for a caller without a signal', async () => {
    const { task, resolve, inner } = open();
    const control = new AbortController();
    const [left, stays] = [task.join(control.signal), task.join()];
    control.abort('enough');
    await expect(left).rejects.toBe('enough');
    expect(inner().aborted).toBe(false);
    resolve('done');
    await expect(stays).resolves.toBe('done');
  });

  it('tells of its failure once, and fails for all', async () => {
    const { task, reject, onFailure } = open();
    const joined = [task.join(), task.join(new AbortController().signal)];
    reject(new Error('broken'));
    for (const one of joined) await expect(one).rejects.toThrow('broken');
    expect(onFailure).toHaveBeenCalledTimes(1);
  });

  it('is not stopped by who gives up after the end', async () => {
    const { task, resolve, onFailure } = open();
    const control = new AbortController();
    const joined = task.join(control.signal);
    resolve('done');
    await joined;
    control.abort();
    await expect(task.join(AbortSignal.abort('late'))).rejects.toBe('late');
    await expect(task.join()).resolves.toBe('done');
    expect(onFailure).not.toHaveBeenCalled();
  });
});

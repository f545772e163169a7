import { describe, expect, it, test } from 'vitest';
import {
  numberArgument,
  requirePositionals,
  share,
  showProgress,
  sizeWords,
} from '../../../dist/cli/arguments.js';
import { isUsage, UsageError } from '../../../dist/cli/terminal.js';

describe('numbers on the command line', () => {
  test.each(['', ' ', 'x', '1,5', '1 2'])('refuse %j', (value) => {
    expect(() => numberArgument(value, 'seed')).toThrow(/a number for `--seed`/);
  });
  test.each([
    ['7', 7],
    ['0.5', 0.5],
    ['1e3', 1000],
    [' 4 ', 4],
  ])('read %j', (value, expected) => {
    expect(numberArgument(value, 'seed')).toBe(expected);
  });
  it('leave out what was not given', () => {
    expect(numberArgument(undefined, 'seed')).toBeUndefined();
  });
});

describe('words on the command line', () => {
  it('are as many as the command takes', () => {
    expect(requirePositionals(['a', 'b'], ['IN', 'OUT'])).toEqual(['a', 'b']);
    expect(() => requirePositionals(['a'], ['IN', 'OUT'])).toThrow('expected IN and OUT but received a');
    expect(() => requirePositionals(['a'], [])).toThrow('expected options only but received a');
  });
});

describe('sizes', () => {
  test.each([
    [0, '0 B'],
    [999, '999 B'],
    [1500, '1.5 kB'],
    [62_400_000, '62 MB'],
    [4_972_765_184, '5.0 GB'],
  ])('%d is %s', (bytes, words) => {
    expect(sizeWords(bytes)).toBe(words);
  });
  it('are shares of a whole', () => {
    expect(share(41, 100)).toBe('41 % of 100 B');
    expect(share(0, 0)).toBe('0 % of 0 B');
  });
});

describe('progress', () => {
  it.each([
    [
      { phase: 'download', file: 'anna/voice/first_stage.pt', bytes: 2e9, totalBytes: 5e9 },
      'fetching anna/voice/first_stage.pt, 40 % of 5.0 GB',
    ],
    [{ phase: 'convert', bytes: 1, totalBytes: 4 }, 'converting the model, 25 % of 4 B'],
    [{ phase: 'load', part: 'runtime' }, 'opening libtorch'],
    [{ phase: 'load', part: 'model' }, 'loading the model'],
    [{ phase: 'speak', seconds: 1.25, segment: 0, segments: 1 }, 'speaking, 1.3 s'],
  ] as const)('%j', (progress, words) => {
    const lines: (string | null)[] = [];
    const terminal = { progress: (line: string | null) => lines.push(line) } as never;
    showProgress(terminal)(progress);
    expect(lines).toEqual([words]);
  });
});

describe('wrong usage', () => {
  it('is told from failure', () => {
    expect(isUsage(new UsageError('x'))).toBe(true);
    expect(isUsage(new RangeError('expected a for `b` but received c'))).toBe(true);
    expect(isUsage(Object.assign(new TypeError('x'), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' }))).toBe(true);
    expect(isUsage(new TypeError('x is not a function'))).toBe(false);
    expect(isUsage(new Error('expected a file'))).toBe(false);
  });
});

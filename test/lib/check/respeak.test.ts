import { describe, expect, it, test } from 'vitest';
import { excess, type Finding, isBetter, placed, type SegmentCheck } from '../../../dist/check/findings.js';
import { checkedSegment } from '../../../dist/check/respeak.js';
import { MetaVoiceError } from '../../../dist/errors.js';
import type { CheckMode } from '../../../dist/options.js';

type Chunk = { samples: Float32Array; endReason: 'end' | 'limit' | null; name: string };

const finding = (kind: Finding['kind'] = 'click', value = 7, expected = 3.5): Finding => ({
  kind,
  segment: 0,
  attempt: 0,
  heard: true,
  startSeconds: 0.5,
  durationSeconds: 0,
  value,
  expected,
  message: 'a finding',
});

const checkOf = (findings: Finding[], attempt = 0): SegmentCheck => ({
  segment: 0,
  attempt,
  heard: true,
  findings,
  voice: null,
  unchecked: [],
});

interface Scene {
  mode?: CheckMode;
  segment?: number;
  /** What is found in each attempt. */
  found?: Finding[][];
  /** What fails in each attempt, before its second chunk or its first. */
  failures?: (Error | undefined)[];
  failAt?: number;
  judging?: Promise<void>;
}

/** Three chunks an attempt; notes what happens in order. */
function stage({ mode = 'respeak', segment = 1, found = [], failures = [], failAt = 0, judging }: Scene) {
  const log: string[] = [];
  const reports: Promise<SegmentCheck[]>[] = [];
  const halt = new AbortController();
  const chunks = checkedSegment<Chunk>({
    mode,
    segment,
    signal: halt.signal,
    async *speak(which, attempt) {
      expect(which).toBe(segment);
      log.push(`speak ${attempt}`);
      try {
        for (let k = 0; k < 3; k++) {
          if (failures[attempt] && k === failAt) throw failures[attempt];
          halt.signal.throwIfAborted();
          const endReason = k === 2 ? ('end' as const) : null;
          yield { samples: new Float32Array(10), endReason, name: `${attempt}.${k}` };
        }
      } finally {
        log.push(`stop ${attempt}`);
      }
    },
    checker(which, attempt) {
      expect(which).toBe(segment);
      let samples = 0;
      return {
        add: (piece) => {
          samples += piece.length;
        },
        async finish(endReason, signal) {
          log.push(`check ${attempt}: ${samples}, ${endReason}`);
          await judging;
          signal?.throwIfAborted();
          return checkOf(found[attempt] ?? [], attempt);
        },
      };
    },
    report: (checks) => {
      log.push('report');
      reports.push(checks);
    },
  });
  return { chunks, log, reports, halt };
}

async function play(scene: Scene) {
  const { chunks, log, reports } = stage(scene);
  const names: string[] = [];
  for await (const { name } of chunks) {
    log.push(`chunk ${name}`);
    names.push(name);
  }
  return { names, log, reports: (await Promise.all(reports)).flat() };
}

const first = ['0.0', '0.1', '0.2'];
const second = ['1.0', '1.1', '1.2'];

describe('a segment that is reported', () => {
  test.each([
    { mode: 'report', segment: 0 },
    { mode: 'report', segment: 4 },
    { mode: 'respeak', segment: 0 },
  ] as const)('streams at once: %j', async (scene) => {
    const { names, log, reports } = await play({ ...scene, found: [[finding()]] });
    expect(names).toEqual(first);
    expect(log).toEqual([
      'speak 0',
      'chunk 0.0',
      'chunk 0.1',
      'check 0: 30, end',
      'report',
      'chunk 0.2',
      'stop 0',
    ]);
    expect(reports).toEqual([checkOf([finding()])]);
  });

  it('waits for no check', async () => {
    const { chunks, reports } = stage({ mode: 'report', judging: new Promise(() => {}) });
    const names: string[] = [];
    for await (const { name } of chunks) names.push(name);
    expect(names).toEqual(first);
    expect(reports).toHaveLength(1);
  });

  it('fails as it is spoken, and nothing is told of it', async () => {
    const failure = new MetaVoiceError('ERR_NO_AUDIO', 'nothing');
    const { chunks, reports } = stage({ mode: 'report', failures: [failure], failAt: 1 });
    await chunks.next();
    await expect(chunks.next()).rejects.toBe(failure);
    expect(reports).toEqual([]);
  });
});

test('nothing is judged where the check is off', async () => {
  const { names, log } = await play({ mode: 'off', found: [[finding()]] });
  expect(names).toEqual(first);
  expect(log).toEqual(['speak 0', 'chunk 0.0', 'chunk 0.1', 'chunk 0.2', 'stop 0']);
});

describe('a segment that may be spoken again', () => {
  it('is held until it is judged, and handed out where it is sound', async () => {
    const { log, names, reports } = await play({});
    expect(names).toEqual(first);
    expect(log.slice(0, 4)).toEqual(['speak 0', 'stop 0', 'check 0: 30, end', 'report']);
    expect(reports).toEqual([checkOf([])]);
  });

  it('is spoken once more with a finding, and the sound attempt is handed out', async () => {
    const { names, log, reports } = await play({ found: [[finding()], []] });
    expect(names).toEqual(second);
    expect(log.slice(0, 7)).toEqual([
      'speak 0',
      'stop 0',
      'check 0: 30, end',
      'speak 1',
      'stop 1',
      'check 1: 30, end',
      'report',
    ]);
    expect(reports.map(({ attempt }) => attempt)).toEqual([0, 1]);
    expect(reports.map(({ heard }) => heard)).toEqual([false, true]);
    expect(reports[0]!.findings).toEqual([{ ...finding(), heard: false }]);
  });

  it('is spoken no third time', async () => {
    const { log } = await play({ found: [[finding()], [finding(), finding()], []] });
    expect(log.filter((line) => line.startsWith('speak'))).toEqual(['speak 0', 'speak 1']);
  });

  test.each([
    ['fewer findings', [finding(), finding()], [finding('click', 99)], second],
    ['more findings', [finding('click', 99)], [finding(), finding()], first],
    ['smaller findings', [finding('click', 7)], [finding('click', 5)], second],
    ['greater findings', [finding('click', 5)], [finding('click', 7)], first],
    ['the same', [finding()], [finding()], first],
  ])('%s in the second attempt', async (_, one, two, expected) => {
    const { names, reports } = await play({ found: [one, two] });
    expect(names).toEqual(expected);
    const heard = reports.map(({ findings }) => findings.map((each) => each.heard));
    expect(heard).toEqual([one.map(() => expected === first), two.map(() => expected === second)]);
  });

  test.each(['ERR_NO_AUDIO', 'ERR_NUMERIC', 'ERR_OUT_OF_MEMORY'] as const)(
    'is handed out as it is where the second attempt ends with %s',
    async (code) => {
      const failures = [undefined, new MetaVoiceError(code, 'failed')];
      const { names, reports } = await play({ found: [[finding()]], failures });
      expect(names).toEqual(first);
      expect(reports).toEqual([checkOf([finding()])]);
    },
  );

  it('is spoken again where the model said nothing, and fails where it does so twice', async () => {
    const failures = [new MetaVoiceError('ERR_NO_AUDIO', 'one'), new MetaVoiceError('ERR_NO_AUDIO', 'two')];
    const nothing = finding('duration', 0, 1);
    const { names } = await play({ found: [[nothing]], failures: failures.slice(0, 1) });
    expect(names).toEqual(second);
    const worse = await play({ found: [[nothing], [finding(), finding()]], failures: failures.slice(0, 1) });
    expect(worse.names).toEqual(second);
    await expect(play({ found: [[nothing]], failures })).rejects.toBe(failures[0]);
  });

  it('fails as it is spoken otherwise', async () => {
    for (const failure of [new MetaVoiceError('ERR_NUMERIC', 'broken'), new Error('of others')])
      await expect(play({ failures: [failure], failAt: 1 })).rejects.toBe(failure);
    for (const failure of [new MetaVoiceError('ERR_DISPOSED', 'gone'), new Error('of others')])
      await expect(play({ found: [[finding()]], failures: [undefined, failure] })).rejects.toBe(failure);
  });

  it('is not handed out any more when it was stopped', async () => {
    const reason = new Error('enough');
    const { chunks, halt, reports } = stage({
      found: [[finding()]],
      judging: new Promise((resolve) => setTimeout(resolve, 5)),
    });
    const next = chunks.next();
    halt.abort(reason);
    await expect(next).rejects.toBe(reason);
    expect(reports).toEqual([]);
  });

  it('is spoken no second time when it was stopped in the first, which ends early then', async () => {
    const halt = new AbortController();
    const spoken: number[] = [];
    const chunks = checkedSegment<Chunk>({
      mode: 'respeak',
      segment: 1,
      signal: halt.signal,
      async *speak(_, attempt) {
        spoken.push(attempt);
        yield { samples: new Float32Array(10), endReason: null, name: 'one' };
        halt.abort();
      },
      checker: () => ({ add() {}, finish: async () => checkOf([finding()]) }),
      report: () => {},
    });
    await expect(chunks.next()).rejects.toThrow(/aborted/);
    expect(spoken).toEqual([0]);
  });

  it('stops being spoken when its reader leaves', async () => {
    const { chunks, log } = stage({ mode: 'report' });
    await chunks.next();
    await chunks.return();
    expect(log.at(-1)).toBe('stop 0');
  });
});

describe('findings', () => {
  it('are the greater the farther they lie beyond their bound, on either side', () => {
    expect(excess(finding('click', 7, 3.5))).toBe(1);
    expect(excess(finding('hole', 0.8, 0.4))).toBe(1);
    expect(excess(finding('drift', 0.1, 0.5))).toBeCloseTo(0.4, 9);
    expect(excess(finding('duration', 1, 2))).toBeCloseTo(excess(finding('duration', 4, 2)), 9);
    expect(excess(finding('duration', 0, 2))).toBe(10);
    expect(isBetter(checkOf([]), checkOf([finding()]))).toBe(true);
    expect(isBetter(checkOf([]), checkOf([]))).toBe(false);
  });

  it('are placed in the speech', () => {
    const findings = [finding()];
    expect(placed(findings, 10)).toEqual([{ ...finding(), startSeconds: 10.5 }]);
    expect(findings[0]!.startSeconds).toBe(0.5);
  });
});

import { expect, it } from 'vitest';
import type { SegmentCheck } from '../../../dist/check/findings.js';
import { CheckedUtterance } from '../../../dist/stream/checked-utterance.js';
import { FakeModel } from '../fake-native.js';

/** A held segment whose check answers when it is let to, with a finding. */
function held(native = new FakeModel(30)) {
  let answer = () => {};
  let judging = 0;
  const judged = new Promise<void>((resolve) => {
    answer = resolve;
  });
  const check = { segment: 1, heard: true, voice: null, unchecked: [] };
  const utterance = new CheckedUtterance({
    mode: 'respeak',
    segment: 1,
    start(attempt) {
      return native.start({
        firstStageIds: new Int32Array(1),
        secondStageIds: new Int32Array(1),
        context: new Uint16Array(0),
        speaker: new Float32Array(4),
        seed: 1,
        segment: 1,
        attempt,
        sampling: {
          temperature: 1,
          topP: 1,
          topK: 0,
          guidance: { speaker: 1, prompt: 1 },
          constrain: true,
        },
        diffusionSteps: 0,
        chunkEnds: Int32Array.of(10, 20),
        lookAhead: 16,
        whole: false,
        loudness: null,
        maximumFrames: 100,
        waitingChunks: 2,
        likelyFrames: 0,
      });
    },
    checker: (attempt) => ({
      add() {},
      async finish(): Promise<SegmentCheck> {
        judging++;
        await judged;
        const found = { kind: 'limit' as const, value: 2 + attempt, expected: 1 };
        const place = { segment: 1, heard: true, startSeconds: 0, durationSeconds: 0, message: '' };
        return { ...check, attempt, findings: [{ ...found, ...place, attempt }] };
      },
    }),
  });
  return { utterance, native, answer, judging: () => judging };
}

it('speaks and judges before it is asked, and then gives the better attempt chunk by chunk', async () => {
  const { utterance, native, answer } = held();
  answer();
  await expect.poll(() => native.started.length).toBe(2);
  const frames: number[] = [];
  for (let chunk = await utterance.next(); chunk; chunk = await utterance.next())
    frames.push(chunk.firstFrame);
  expect(frames).toEqual([0, 10, 20]);
  expect(await utterance.next()).toBeNull();
  expect((await utterance.checks).map(({ attempt, heard }) => [attempt, heard])).toEqual([
    [0, true],
    [1, false],
  ]);
});

it('begins nothing after it was ended, whenever that is', async () => {
  for (let wait = 0; wait < 60; wait++) {
    const { utterance, native, answer, judging } = held();
    await expect.poll(judging, { interval: 1 }).toBe(1);
    answer();
    for (let k = 0; k < wait; k++) await Promise.resolve();
    utterance.cancel();
    utterance.cancel();
    expect(await utterance.next()).toBeNull();
    await new Promise(setImmediate);
    for (const begun of native.started.slice(1)) expect(begun.cancelled).toBeGreaterThan(0);
  }
});

it('tells a failure when it is asked, and not before', async () => {
  const native = new FakeModel(30);
  native.failAt = 1;
  const { utterance } = held(native);
  await new Promise((resolve) => setTimeout(resolve, 10));
  await expect(utterance.next()).rejects.toMatchObject({ code: 'ERR_NUMERIC' });
  expect(await utterance.next()).toBeNull();
});

/** What listens to a speech, wired to it: what is told, what is spoken once more, and what nobody waits for. */

import { afterEach, describe, expect, it, test, vi } from 'vitest';
import type { UtteranceRequest } from '../../../dist/native/contract.js';
import type { SpeakOptions } from '../../../dist/options.js';
import type { AudioChunk } from '../../../dist/stream/chunks.js';
import type { SpeechStream } from '../../../dist/stream/speech-stream.js';
import { fakeMetaVoice } from '../fake-metavoice.js';
import { FakeModel, FakeUtterance, hop, nativeError } from '../fake-native.js';

const rate = 24_000;
/** Three segments of some 4 s each, as long as their letters say. */
const sentence = 'This is a sentence of some length that takes more than three seconds to be spoken.';
const text = [sentence, sentence, sentence].join('\n\n');
const frames = 300;
const seconds = (frames * hop) / rate;

afterEach(() => void vi.useRealTimers());

type Damage = (samples: Float32Array, request: UtteranceRequest, firstFrame: number) => void;

/** A model whose samples are damaged before they are handed out. */
function damagedModel(damage: Damage, model = new FakeModel(frames)): FakeModel {
  model.start = (request) => {
    const utterance = new FakeUtterance(model, request);
    const next = utterance.next.bind(utterance);
    utterance.next = async () => {
      const chunk = await next();
      if (chunk) damage(chunk.samples, request, chunk.firstFrame);
      return chunk;
    };
    model.started.push(utterance);
    return utterance;
  };
  return model;
}

/** A hole of 60 ms, 0.4 s into the second chunk of these attempts at a segment. */
const holed =
  (...attempts: [segment: number, attempt: number][]): Damage =>
  (samples, { segment, attempt }, firstFrame) => {
    if (firstFrame > 0 && firstFrame < 57 && attempts.some((each) => `${each}` === `${[segment, attempt]}`))
      samples.fill(0, 0.4 * rate, 0.46 * rate);
  };
/** Frames of the first chunk. */
const firstChunk = 19;
const holeAt = (firstChunk * hop) / rate + 0.4;

async function read(stream: SpeechStream) {
  const chunks: AudioChunk[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return { chunks, samples: Float32Array.from(chunks.flatMap(({ samples }) => [...samples])) };
}

async function speak(native: FakeModel, options: SpeakOptions = {}, batchSize = 1) {
  const { tts } = fakeMetaVoice(native, {}, {}, batchSize);
  const stream = tts.stream(text, { seed: 5, ...options });
  return { stream, ...(await read(stream)), native };
}

const attemptsOf = ({ started }: FakeModel) =>
  started.map(({ request: { segment, attempt } }) => [segment, attempt]);

describe('a speech that is sound', () => {
  test.each(['report', 'respeak'] as const)('has an empty report: %s', async (check) => {
    const native = new FakeModel(frames);
    const { stream } = await speak(native, { check });
    expect(stream.check).toEqual({
      mode: check,
      segments: 3,
      respoken: 0,
      findings: [],
      unchecked: [],
      leastCosine: expect.closeTo(0.5, 6),
    });
    expect(native.embeds).toBeGreaterThan(0);
  });

  it('has the same bytes whether somebody listens or not', async () => {
    const off = await speak(new FakeModel(frames), { check: 'off' });
    for (const check of ['report', 'respeak'] as const)
      for (const batchSize of [1, 4])
        expect((await speak(new FakeModel(frames), { check }, batchSize)).samples).toEqual(off.samples);
    expect(off.native.embeds).toBe(0);
    expect(off.stream.check).toEqual({
      mode: 'off',
      segments: 0,
      respoken: 0,
      findings: [],
      unchecked: [],
      leastCosine: null,
    });
  });

  it('says so when the model cannot tell voices', async () => {
    const native = new FakeModel(frames);
    const { tts } = fakeMetaVoice(native, { speakerEncoder: null });
    const { check } = await tts.synthesize(text);
    expect(native.embeds).toBe(0);
    expect(check).toMatchObject({
      segments: 3,
      leastCosine: null,
      unchecked: [{ kind: 'drift', reason: 'the model has no speaker encoder' }],
    });
  });
});

describe('a finding', () => {
  it('is told with its place in the speech, streamed and collected, whatever the chunks', async () => {
    const native = () => damagedModel(holed([1, 0], [2, 0]));
    const { stream } = await speak(native());
    const { findings } = stream.check;
    expect(findings).toMatchObject([
      { kind: 'hole', segment: 1, attempt: 0, heard: true },
      { kind: 'hole', segment: 2, attempt: 0, heard: true },
    ]);
    const pause = 0.7;
    expect(findings[0]!.startSeconds).toBeCloseTo(seconds + pause + holeAt, 1);
    expect(findings[1]!.startSeconds).toBeCloseTo(2 * (seconds + pause) + holeAt, 1);
    const { tts } = fakeMetaVoice(native());
    const speech = await tts.synthesize(text, { seed: 5 });
    expect(speech.check).toEqual(stream.check);
    speech.check.findings.pop();
    expect(stream.check.findings).toHaveLength(2);
  });

  it('is told with its place behind a pause that was not known before', async () => {
    const { tts } = fakeMetaVoice(damagedModel(holed([1, 0])));
    const pieces = async function* () {
      yield `${sentence}\n\n`;
      await new Promise((resolve) => setTimeout(resolve, 60));
      yield sentence;
    };
    const stream = tts.stream(pieces(), { seed: 5, flushSeconds: 0.01 });
    const { chunks } = await read(stream);
    expect(chunks.some(({ codes }) => codes.frames === 0)).toBe(true);
    const { findings } = stream.check;
    expect(findings).toMatchObject([{ kind: 'hole', segment: 1 }]);
    expect(findings[0]!.startSeconds).toBeCloseTo(seconds + 0.7 + holeAt, 1);
  });

  it('does not come from the joins between segments', async () => {
    const pauseSeconds = { paragraph: 3 };
    expect((await speak(new FakeModel(frames), { pauseSeconds })).stream.check.findings).toEqual([]);
  });

  it('is another voice, a length, a limit', async () => {
    const other = new FakeModel(frames);
    other.embedSpeaker = async () => ({
      embedding: Float32Array.of(0, 0, 1, 0),
      trim: [0, 1] as [number, number],
      samples16k: 1,
    });
    const kinds = async (native: FakeModel, options: SpeakOptions = {}) =>
      (await speak(native, options)).stream.check.findings.map(({ kind, segment }) => `${kind} ${segment}`);
    expect(await kinds(other)).toEqual(['drift 0', 'drift 1', 'drift 2']);
    expect(await kinds(new FakeModel(100))).toEqual(['duration 0', 'duration 1', 'duration 2']);
    expect(await kinds(new FakeModel(frames), { maxSeconds: 2 })).toEqual(['limit 0']);
  });
});

describe('speaking again', () => {
  it('takes the sound attempt, with the random key of the next try', async () => {
    const native = damagedModel(holed([1, 0]));
    const { stream, samples } = await speak(native, { check: 'respeak' });
    expect(attemptsOf(native)).toEqual([
      [0, 0],
      [1, 0],
      [1, 1],
      [2, 0],
    ]);
    expect(stream.check).toMatchObject({ respoken: 1, segments: 3 });
    expect(stream.check.findings).toMatchObject([{ kind: 'hole', segment: 1, attempt: 0, heard: false }]);
    expect(samples).toEqual((await speak(new FakeModel(frames), { check: 'off' })).samples);
  });

  it('leaves the first segment, which streams at once', async () => {
    const native = damagedModel(holed([0, 0]));
    const { stream } = await speak(native, { check: 'respeak' });
    expect(attemptsOf(native)).toEqual([
      [0, 0],
      [1, 0],
      [2, 0],
    ]);
    expect(stream.check.findings).toMatchObject([{ segment: 0, heard: true }]);
  });

  it('is done ahead of the reader where the model speaks several at a time, with the same bytes', async () => {
    const native = damagedModel(holed([1, 0], [2, 0], [2, 1]));
    const { tts } = fakeMetaVoice(native, {}, {}, 4);
    const stream = tts.stream(text, { seed: 5, check: 'respeak' });
    const reader = stream[Symbol.asyncIterator]();
    await reader.next();
    await vi.waitFor(() => expect(attemptsOf(native)).toContainEqual([2, 1]));
    expect(stream.check.segments).toBe(0);
    const rest: number[] = [];
    for await (const { segment } of reader) rest.push(segment);
    expect([...new Set(rest)]).toEqual([0, 1, 2]);
    expect(stream.check).toMatchObject({ respoken: 2, segments: 3 });
    expect(stream.check.findings.map(({ segment, attempt, heard }) => [segment, attempt, heard])).toEqual([
      [1, 0, false],
      [2, 0, true],
      [2, 1, false],
    ]);
    const alone = await speak(damagedModel(holed([1, 0], [2, 0], [2, 1])), { check: 'respeak' });
    expect(stream.check).toEqual(alone.stream.check);
  });

  it('is tried where the model said nothing', async () => {
    const native = new FakeModel(frames);
    const start = native.start.bind(native);
    native.start = (request) => {
      const utterance = start(request);
      if (request.segment === 1 && request.attempt === 0)
        utterance.next = () => Promise.reject(nativeError('ERR_NO_AUDIO', 'the model said nothing'));
      return utterance;
    };
    const { stream } = await speak(native, { check: 'respeak' });
    expect(stream.check.findings).toMatchObject([{ kind: 'duration', segment: 1, heard: false, value: 0 }]);
    await expect(speak(native)).rejects.toMatchObject({ code: 'ERR_NO_AUDIO' });
  });
});

describe('the check', () => {
  /** A model whose encoder answers when it is let to. */
  function slowEncoder() {
    const native = new FakeModel(frames);
    let answer = () => {};
    const waits = new Promise<void>((resolve) => {
      answer = resolve;
    });
    const { embedSpeaker } = native;
    native.embedSpeaker = async (samples) => {
      await waits;
      return embedSpeaker.call(native, samples);
    };
    return { native, answer };
  }

  it('keeps no chunk waiting; only the end comes after it', async () => {
    const { native, answer } = slowEncoder();
    const { tts } = fakeMetaVoice(native);
    const stream = tts.stream(text);
    const reader = stream[Symbol.asyncIterator]();
    for (;;) if ((await reader.next()).value?.last) break;
    expect(stream.check.segments).toBe(0);
    let ended = false;
    const end = reader.next().then(({ done }) => {
      ended = done === true;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(ended).toBe(false);
    answer();
    await end;
    expect(ended).toBe(true);
    expect(stream.check.segments).toBe(3);
  });

  it('ends with the speech: by leaving, by cancel, by the signal', async () => {
    for (const how of ['return', 'cancel', 'signal'] as const) {
      const { native, answer } = slowEncoder();
      const { tts } = fakeMetaVoice(native);
      const controller = new AbortController();
      const reason = new Error('enough');
      const stream = tts.stream(text, { signal: controller.signal });
      const reader = stream[Symbol.asyncIterator]();
      for (;;) if ((await reader.next()).value?.last) break;
      const end = how === 'return' ? reader.return() : reader.next();
      if (how === 'cancel') stream.cancel();
      if (how === 'signal') controller.abort(reason);
      answer();
      if (how === 'signal') await expect(end).rejects.toBe(reason);
      else expect((await end).done).toBe(true);
      expect(stream.check.findings).toEqual([]);
    }
  });

  it('stops held speech when the reader leaves', async () => {
    const native = damagedModel(holed([1, 0]));
    const { tts } = fakeMetaVoice(native, {}, {}, 4);
    const reader = tts.stream(text, { check: 'respeak' })[Symbol.asyncIterator]();
    await reader.next();
    await reader.return();
    const begun = native.started.length;
    expect(native.started.every(({ cancelled }) => cancelled > 0)).toBe(true);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(native.started).toHaveLength(begun);
  });

  it('fails no speech, and tells why it was not made', async () => {
    const native = new FakeModel(frames);
    native.embedSpeaker = () =>
      Promise.reject(nativeError('ERR_OUT_OF_MEMORY', 'expected room for a window'));
    const { stream } = await speak(native, { check: 'respeak' });
    expect(stream.check).toMatchObject({
      segments: 3,
      findings: [],
      unchecked: [{ kind: 'drift', reason: 'expected room for a window' }],
    });
  });

  it('is not asked of what a limit of the request cut off', async () => {
    const { stream, chunks } = await speak(new FakeModel(frames), { maxSeconds: 6 });
    expect(chunks.at(-1)!.endReason).toBe('limit');
    expect(stream.check).toMatchObject({ segments: 1, findings: [] });
  });
});

/** Several segments as one speech: what lies between them, and what each is asked for. */

import { describe, expect, it, test } from 'vitest';
import type { SpeakOptions } from '../../../dist/options.js';
import type { AudioChunk } from '../../../dist/stream/chunks.js';
import { fadeIn, fadeOut, withSilence } from '../../../dist/stream/joins.js';
import { fakeMetaVoice } from '../fake-metavoice.js';
import { FakeModel, hop } from '../fake-native.js';

const rate = 24_000;
const fade = 120;
const long = 'This is a sentence of some length that takes more than three seconds to be spoken by a voice.';
const clause = 'he said all that he had ever wanted to say about it and nobody had ever asked him for';
/** Segments that end with a paragraph, a sentence, a clause and the text. */
const text = `One.\n\n${long} So ${clause}; ${clause}.`;

async function speak(options: SpeakOptions = {}, native = new FakeModel(100), spoken = text) {
  const chunks: AudioChunk[] = [];
  const { tts } = fakeMetaVoice(native);
  for await (const chunk of tts.stream(spoken, { seed: 5, ...options })) chunks.push(chunk);
  return { chunks, samples: Float32Array.from(chunks.flatMap(({ samples }) => [...samples])), native, tts };
}

/** What the fake speaks, before anything is joined. */
const spoken = (segment: number, frames = 100) =>
  Float32Array.from({ length: frames * hop }, (_, i) => Math.sin(5 + segment * 10 + i / 50) / 2);

const segmentOf = (chunks: AudioChunk[], segment: number) =>
  chunks.filter((chunk) => chunk.segment === segment).flatMap(({ samples }) => [...samples]);

const splitAt = (chunks: AudioChunk[], segment: number) =>
  [
    chunks.filter((chunk) => chunk.segment < segment),
    chunks.filter((chunk) => chunk.segment >= segment),
  ] as const;

describe('a long text', () => {
  it('is spoken segment by segment, each with a random key of its own', async () => {
    const { native, chunks } = await speak();
    expect(native.started.map(({ request }) => [request.segment, request.seed, request.attempt])).toEqual(
      [0, 1, 2, 3].map((segment) => [segment, 5, 0]),
    );
    expect(chunks.map(({ index }) => index)).toEqual(chunks.map((_, k) => k));
    expect(chunks.map(({ last }) => last)).toEqual(chunks.map((_, k) => k === chunks.length - 1));
    expect(chunks.at(-1)!.endReason).toBe('end');
    const ids = native.started.map(({ request }) => request.firstStageIds);
    const alone = await speak({}, new FakeModel(100), 'One.');
    expect(ids[0]).toEqual(alone.native.started[0]!.request.firstStageIds);
    expect(new Set(ids.map((list) => list.length)).size).toBeGreaterThan(1);
  });

  it('starts a segment only when the one before was read', async () => {
    const { tts, native } = fakeMetaVoice(new FakeModel(30));
    const iterator = tts.stream(text)[Symbol.asyncIterator]();
    await iterator.next();
    expect(native.started).toHaveLength(1);
    await iterator.next();
    await iterator.next();
    expect(native.started).toHaveLength(2);
    await iterator.return();
    expect(native.started.at(-1)!.cancelled).toBeGreaterThan(0);
  });

  it('is silent between segments for as long as their last marks say, to the sample', async () => {
    const { chunks, samples } = await speak();
    const lengths = [0, 1, 2, 3].map((segment) => segmentOf(chunks, segment).length - 100 * hop);
    expect(lengths).toEqual([0.7 * rate, 0.3 * rate, 0.1 * rate, 0]);
    expect(samples).toHaveLength(400 * hop + 1.1 * rate);
    for (const [segment, pause] of lengths.entries()) {
      const silence = segmentOf(chunks, segment).slice(100 * hop);
      expect(silence).toEqual(Array.from({ length: pause }, () => 0));
    }
  });

  test.each([
    [{ sentence: 0, clause: 0, paragraph: 0 }, [0, 0, 0]],
    [{ sentence: 0.00004 }, [0.7 * rate, 1, 0.1 * rate]],
    [{ paragraph: 10, clause: 0.5 }, [10 * rate, 0.3 * rate, 0.5 * rate]],
  ])('with the pauses %j', async (pauseSeconds, expected) => {
    const { chunks } = await speak({ pauseSeconds });
    expect([0, 1, 2].map((segment) => segmentOf(chunks, segment).length - 100 * hop)).toEqual(expected);
  });

  it('counts the pauses in every time, and not in the frames', async () => {
    const { chunks } = await speak();
    let samples = 0;
    let frames = 0;
    for (const chunk of chunks) {
      expect(chunk.startSeconds).toBe(samples / rate);
      expect(chunk.durationSeconds).toBe(chunk.samples.length / rate);
      expect(chunk.firstFrame).toBe(frames);
      samples += chunk.samples.length;
      frames += chunk.codes.frames;
    }
    expect(frames).toBe(400);
    const seconds: number[] = [];
    const { tts } = fakeMetaVoice(new FakeModel(100));
    const onProgress = (step: { phase: string; seconds?: number }) => seconds.push(step.seconds!);
    const speech = await tts.synthesize(text, { onProgress });
    expect(speech.durationSeconds).toBeCloseTo(400 / 75 + 1.1, 9);
    expect(seconds.at(-1)).toBe(speech.durationSeconds);
    expect(speech.codes.frames).toBe(400);
  });

  it('is the same collected as streamed, in both qualities', async () => {
    for (const quality of ['stream', 'whole'] as const) {
      const { samples, tts, chunks } = await speak({ quality });
      expect((await tts.synthesize(text, { seed: 5, quality })).samples).toEqual(samples);
      if (quality === 'whole') expect(chunks.map(({ segment }) => segment)).toEqual([0, 1, 2, 3]);
    }
  });
});

describe("continuity 'continue'", () => {
  const coarse = (frames: number) =>
    Uint16Array.from({ length: 2 * frames }, (_, i) => (Math.floor(i / frames) * 100 + (i % frames)) % 1024);

  it('gives each segment the text and the coarse codes of the one before, as far as the windows hold both', async () => {
    const apart = await speak({}, new FakeModel(100));
    const { native } = await speak({ continuity: 'continue' }, new FakeModel(100));
    expect(native.started).toHaveLength(4);
    expect(native.started[0]!.request.context).toEqual(new Uint16Array(0));
    for (const [index, { request }] of native.started.entries()) {
      if (index === 0) continue;
      expect(request.context).toEqual(coarse(100));
      // Both texts, and one end of text.
      const ids = [index - 1, index].map((k) => apart.native.started[k]!.request.firstStageIds.length);
      expect(request.firstStageIds.length).toBeGreaterThan(ids[1]!);
      expect(request.firstStageIds.length).toBeLessThanOrEqual(ids[0]! + ids[1]! + 1);
    }
    for (const { request } of apart.native.started) expect(request.context).toEqual(new Uint16Array(0));
  });

  it('begins anew behind a segment that leaves no room', async () => {
    const { native } = await speak({ continuity: 'continue' }, new FakeModel(940));
    for (const { request } of native.started) expect(request.context).toEqual(new Uint16Array(0));
  });

  it('begins a segment only when the one before was read, whatever the batch', async () => {
    const { tts, native } = fakeMetaVoice(new FakeModel(30), {}, {}, 4);
    const iterator = tts.stream(text, { continuity: 'continue' })[Symbol.asyncIterator]();
    await iterator.next();
    await iterator.next();
    expect(native.started).toHaveLength(1);
    await iterator.return();
  });

  it('is the same whole and in pieces', async () => {
    const { samples } = await speak({ continuity: 'continue' });
    const again = await speak({ continuity: 'continue' });
    expect(again.samples).toEqual(samples);
    const speech = await again.tts.synthesize(text, { seed: 5, continuity: 'continue' });
    expect(speech.samples).toEqual(samples);
  });
});

describe('a join', () => {
  it('fades the end of a segment and the beginning of the next, and nothing else', async () => {
    for (const quality of ['stream', 'whole'] as const) {
      const { chunks } = await speak({ quality });
      for (const segment of [0, 1, 2, 3]) {
        const found = Float32Array.from(segmentOf(chunks, segment).slice(0, 100 * hop));
        const raw = spoken(segment);
        const from = segment === 0 ? 0 : fade;
        const to = raw.length - (segment === 3 ? 0 : fade);
        expect(found.slice(from, to)).toEqual(raw.slice(from, to));
        if (segment > 0) expect(Math.abs(found[0]!)).toBe(0);
        if (segment < 3) expect(Math.abs(found.at(-1)!)).toBe(0);
      }
    }
  });

  it('has no step larger than the speech itself makes', async () => {
    const step = (samples: Float32Array) =>
      samples.slice(1).reduce((most, value, i) => Math.max(most, Math.abs(value - samples[i]!)), 0);
    for (const pauseSeconds of [undefined, { sentence: 0, clause: 0, paragraph: 0 }]) {
      const { samples } = await speak(pauseSeconds ? { pauseSeconds } : {});
      // Up to half the scale, the ramp's steepest place adds 0.5 · 1.5 / 120.
      expect(step(samples)).toBeLessThan(step(spoken(0)) + 0.5 * (1.5 / fade));
    }
  });

  it('leaves a text of one segment as the model spoke it', async () => {
    const { samples } = await speak({}, new FakeModel(100), 'Hello there. How are you?');
    expect(samples).toEqual(spoken(0));
  });

  it('ramps in place, smoothly, however few samples there are', () => {
    const ones = new Float32Array(1000).fill(1);
    fadeIn(ones, rate);
    fadeOut(ones, rate);
    expect(ones[0]).toBe(0);
    expect(ones[fade / 2]).toBe(0.5);
    expect(ones[fade]).toBe(1);
    expect(ones[999 - fade]).toBe(1);
    expect(ones[999]).toBe(0);
    for (const length of [0, 1, 2, 50]) {
      const few = new Float32Array(length).fill(1);
      fadeIn(few, rate);
      fadeOut(few, rate);
      expect(few.every((value) => value >= 0 && value <= 1)).toBe(true);
    }
    expect([...withSilence(Float32Array.of(1, 2), 3)]).toEqual([1, 2, 0, 0, 0]);
  });
});

describe('maxSeconds', () => {
  const seconds = 100 / 75;

  it('counts pauses, and cuts a later segment', async () => {
    const { chunks, samples, native } = await speak({ maxSeconds: 3 });
    expect(samples.length).toBeLessThanOrEqual(3 * rate);
    expect(samples.length).toBeGreaterThan(3 * rate - hop);
    // Every segment is asked for the same; what is too much is cut here.
    expect(native.started.map(({ request }) => request.maximumFrames)).toEqual([225, 225]);
    const room = Math.floor((3 - seconds - 0.7) * 75 + 1e-6);
    const [, cut] = splitAt(chunks, 1);
    expect(cut.reduce((frames, { codes }) => frames + codes.frames, 0)).toBe(room);
    for (const { codes, samples: said } of cut) {
      expect(said).toHaveLength(codes.frames * hop);
      for (const list of codes.codebooks) expect(list).toHaveLength(codes.frames);
    }
    expect([...cut.at(-1)!.codes.codebooks[3]!].at(-1)).toBe(300 + room - 1);
    expect(chunks.at(-1)).toMatchObject({ segment: 1, last: true, endReason: 'limit' });
    // It ends as it was spoken: nothing follows.
    expect(samples.at(-1)).not.toBe(0);
  });

  it('cuts a pause, and ends there', async () => {
    const { chunks, samples, native } = await speak({ maxSeconds: 1.6 });
    expect(samples).toHaveLength(1.6 * rate);
    expect(native.started).toHaveLength(1);
    expect(chunks.at(-1)).toMatchObject({ segment: 0, last: true, endReason: 'limit' });
  });

  it('at the very end of a segment leaves it as it was spoken', async () => {
    const { samples, chunks } = await speak({ maxSeconds: seconds });
    expect(samples).toEqual(spoken(0));
    expect(chunks.at(-1)!.endReason).toBe('limit');
  });

  it('keeps to its length whatever it is', async () => {
    for (let maxSeconds = 0.1; maxSeconds < 7; maxSeconds += 0.37) {
      const { samples, chunks } = await speak({ maxSeconds, chunkSeconds: { first: 0.5, largest: 0.5 } });
      expect(samples.length).toBeLessThanOrEqual(maxSeconds * rate + 1e-3);
      expect(chunks.filter(({ last }) => last)).toEqual([chunks.at(-1)]);
      expect(chunks.at(-1)!.endReason).toBe(maxSeconds < 400 / 75 + 1.1 ? 'limit' : 'end');
    }
  });
});

test('a failure in a later segment ends the speech', async () => {
  const native = new FakeModel(100);
  const start = native.start.bind(native);
  native.start = (request) => {
    if (request.segment === 2) native.failAt = 0;
    return start(request);
  };
  const seen: number[] = [];
  const { tts } = fakeMetaVoice(native);
  const read = async () => {
    for await (const { segment } of tts.stream(text)) seen.push(segment);
  };
  await expect(read()).rejects.toMatchObject({ code: 'ERR_NUMERIC' });
  expect([...new Set(seen)]).toEqual([0, 1]);
});

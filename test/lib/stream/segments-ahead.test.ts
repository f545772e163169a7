/** Segments that begin before their turn: how many, when, and that nobody hears it. */

import { describe, expect, it, test } from 'vitest';
import type { NativeUtterance, UtteranceRequest } from '../../../dist/native/contract.js';
import type { AudioChunk } from '../../../dist/stream/chunks.js';
import { fakeMetaVoice } from '../fake-metavoice.js';
import { FakeModel, type FakeUtterance, nativeError } from '../fake-native.js';

const settle = () => new Promise((resolve) => setTimeout(resolve, 5));
const text = 'One.\n\nTwo.\n\nThree.\n\nFour.\n\nFive.\n\nSix.\n\nSeven.';

async function all(stream: AsyncIterable<AudioChunk>): Promise<AudioChunk[]> {
  const chunks: AudioChunk[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const samplesOf = (chunks: AudioChunk[]) => Float32Array.from(chunks.flatMap(({ samples }) => [...samples]));

/** Counts the utterances that were begun and neither read to their end nor cancelled. */
class CountingModel extends FakeModel {
  readonly live = new Set<FakeUtterance>();
  most = 0;
  override start(request: UtteranceRequest): NativeUtterance {
    const utterance = super.start(request) as FakeUtterance;
    this.live.add(utterance);
    this.most = Math.max(this.most, this.live.size);
    const next = utterance.next.bind(utterance);
    utterance.next = async () => {
      const chunk = await next();
      if (!chunk || chunk.endReason) this.live.delete(utterance);
      return chunk;
    };
    const cancel = utterance.cancel.bind(utterance);
    utterance.cancel = () => {
      cancel();
      this.live.delete(utterance);
    };
    return utterance;
  }
}

function model(batchSize: number, frames = 60) {
  const native = new CountingModel(frames);
  return { native, tts: fakeMetaVoice(native, {}, {}, batchSize).tts };
}

describe('segments ahead', () => {
  test.each([
    [1, 1],
    [2, 2],
    [3, 3],
    [4, 4],
    [64, 4],
  ])('with a batch of %d are at most %d at a time, and the same bytes', async (batchSize, most) => {
    const { tts, native } = model(batchSize);
    const chunks = await all(tts.stream(text, { seed: 3 }));
    expect(native.most).toBe(most);
    expect(native.started.map(({ request }) => request.segment)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    const alone = await all(model(1).tts.stream(text, { seed: 3 }));
    expect(samplesOf(chunks)).toEqual(samplesOf(alone));
    expect(chunks.map(({ segment, firstFrame }) => [segment, firstFrame])).toEqual(
      alone.map(({ segment, firstFrame }) => [segment, firstFrame]),
    );
  });

  it('begin with the first chunk, which they do not delay, and rest when nobody reads', async () => {
    const { tts, native } = model(4);
    const iterator = tts.stream(text)[Symbol.asyncIterator]();
    native.stalls = true;
    const first = iterator.next();
    await settle();
    expect(native.started).toHaveLength(1);
    native.stalls = false;
    native.started[0]!.wake();
    await first;
    await settle();
    expect(native.started).toHaveLength(4);
    expect(native.started.map(({ pulls }) => pulls)).toEqual([1, 0, 0, 0]);
    await iterator.return();
  });

  it('may be spoken to their end before they are read; the first is not', async () => {
    const { tts, native } = model(2);
    await all(tts.stream(text));
    const [first, ...others] = native.started.map(({ request }) => request);
    expect(first!.waitingChunks).toBe(2);
    for (const { waitingChunks, chunkEnds } of others) expect(waitingChunks).toBe(chunkEnds.length);
    const serial = model(1);
    await all(serial.tts.stream(text));
    expect(serial.native.started.every(({ request }) => request.waitingChunks === 2)).toBe(true);
  });

  it('are read in order, however the reader dawdles', async () => {
    const dawdling = model(3);
    const chunks: AudioChunk[] = [];
    for await (const chunk of dawdling.tts.stream(text, { seed: 3 })) {
      chunks.push(chunk);
      if (chunk.index % 3 === 0) await settle();
    }
    expect(samplesOf(chunks)).toEqual(samplesOf(await all(model(4).tts.stream(text, { seed: 3 }))));
  });
});

describe('maxSeconds', () => {
  test.each([0.3, 0.8, 0.85, 1.5, 1.6, 2.9, 3.1, 5, 60])(
    'of %d cuts the same, whatever is begun ahead',
    async (maxSeconds) => {
      const options = { seed: 3, maxSeconds, chunkSeconds: { first: 0.2, largest: 0.3 } };
      const one = await all(model(1).tts.stream(text, options));
      const many = model(4);
      const four = await all(many.tts.stream(text, options));
      expect(samplesOf(four)).toEqual(samplesOf(one));
      expect(four.at(-1)).toMatchObject({ last: true, endReason: maxSeconds < 60 ? 'limit' : 'end' });
      const limits = new Set(many.native.started.map(({ request }) => request.maximumFrames));
      expect([...limits]).toEqual([Math.min(1024, Math.floor(maxSeconds * 75 + 1e-6))]);
      expect(many.native.live.size).toBe(0);
    },
  );
});

describe('all of them end with the request', () => {
  const begun = async (native: CountingModel, iterator: AsyncIterator<AudioChunk>) => {
    await iterator.next();
    await settle();
    expect(native.live.size).toBe(4);
  };

  it('when the loop is left', async () => {
    const { tts, native } = model(4);
    const iterator = tts.stream(text)[Symbol.asyncIterator]();
    await begun(native, iterator);
    await iterator.return();
    expect(native.live.size).toBe(0);
  });

  it('when the stream is cancelled, before anybody pulls', async () => {
    const { tts, native } = model(4);
    const stream = tts.stream(text);
    const iterator = stream[Symbol.asyncIterator]();
    await begun(native, iterator);
    stream.cancel();
    expect(native.live.size).toBe(0);
    await expect(iterator.next()).resolves.toMatchObject({ done: true });
  });

  it('when the signal aborts, at once', async () => {
    const { tts, native } = model(4);
    const control = new AbortController();
    const reason = new Error('enough');
    const iterator = tts.stream(text, { signal: control.signal })[Symbol.asyncIterator]();
    await begun(native, iterator);
    control.abort(reason);
    expect(native.live.size).toBe(0);
    await expect(iterator.next()).rejects.toBe(reason);
  });

  it('when the model is disposed of', async () => {
    const { tts, native } = model(4);
    const iterator = tts.stream(text)[Symbol.asyncIterator]();
    await begun(native, iterator);
    await tts.dispose();
    expect(native.live.size).toBe(0);
    await expect(iterator.next()).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  });

  it('when one of them fails', async () => {
    const { tts, native } = model(4);
    const iterator = tts.stream(text)[Symbol.asyncIterator]();
    await begun(native, iterator);
    native.failAt = 1;
    await expect(iterator.next()).rejects.toMatchObject({ code: 'ERR_NUMERIC' });
    expect(native.live.size).toBe(0);
  });
});

it('tells why one could not begin when its turn comes, and begins none after it', async () => {
  const { tts, native } = model(4);
  const start = native.start.bind(native);
  native.start = (request) => {
    if (request.segment === 2) throw nativeError('ERR_OUT_OF_MEMORY', 'expected memory');
    return start(request);
  };
  const seen: number[] = [];
  const read = async () => {
    for await (const { segment } of tts.stream(text)) seen.push(segment);
  };
  await expect(read()).rejects.toMatchObject({ name: 'MetaVoiceError', code: 'ERR_OUT_OF_MEMORY' });
  expect([...new Set(seen)]).toEqual([0, 1]);
  expect(native.started).toHaveLength(2);
  expect(native.live.size).toBe(0);
});

it('leaves no listener on a model', async () => {
  const { tts } = model(2);
  for (let i = 0; i < 20; i++) await tts.stream('One.')[Symbol.asyncIterator]().next();
  for (let i = 0; i < 3; i++) await tts.synthesize(text);
  await tts.dispose();
});

/** A text that comes in pieces, spoken as it comes. */

import { readFileSync } from 'node:fs';
import { describe, expect, it, test } from 'vitest';
import type { SpeakOptions, TextSource } from '../../../dist/options.js';
import type { AudioChunk } from '../../../dist/stream/chunks.js';
import { fakeMetaVoice } from '../fake-metavoice.js';
import { FakeModel, hop } from '../fake-native.js';
import { fixture } from '../fixtures.js';

const rate = 24_000;
const settle = (milliseconds = 5) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));
const sentence = 'This is a sentence of some length that takes more than three seconds to be spoken.';

async function all(stream: AsyncIterable<AudioChunk>): Promise<AudioChunk[]> {
  const chunks: AudioChunk[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const samplesOf = (chunks: AudioChunk[]) => Float32Array.from(chunks.flatMap(({ samples }) => [...samples]));

async function speak(
  text: TextSource,
  options: SpeakOptions = {},
  batchSize = 1,
  native = new FakeModel(30),
) {
  const { tts } = fakeMetaVoice(native, {}, {}, batchSize);
  return { chunks: await all(tts.stream(text, { seed: 5, ...options })), native, tts };
}

async function* tokens(text: string, length = 4) {
  for (let at = 0; at < text.length; at += length) {
    await Promise.resolve();
    yield text.slice(at, at + length);
  }
}

/** A source that is told what to do, and tells what was done to it. */
function source() {
  const pieces: (() => Promise<IteratorResult<string>>)[] = [];
  let wake = () => {};
  const state = { asked: 0, returned: 0 };
  const add = (make: () => Promise<IteratorResult<string>>) => {
    pieces.push(make);
    wake();
  };
  return {
    state,
    give: (value: string) => add(async () => ({ done: false, value })),
    end: () => add(async () => ({ done: true, value: undefined })),
    fail: (error: unknown) => add(() => Promise.reject(error)),
    text: {
      [Symbol.asyncIterator]: () => ({
        async next() {
          state.asked++;
          while (pieces.length === 0) await new Promise<void>((resolve) => (wake = resolve));
          return pieces.shift()!();
        },
        async return() {
          state.returned++;
          return { done: true as const, value: undefined };
        },
      }),
    } satisfies AsyncIterable<string>,
  };
}

describe('the law of pieces', () => {
  const text = `Hello.\n\n${sentence} ${sentence}\n\nGood bye, my dear.\n`;
  test.each([1, 2, 4])(
    'with the same segments it is the same speech, with a batch of %d',
    async (batchSize) => {
      const whole = await speak(text);
      const facts = (chunks: AudioChunk[]) =>
        chunks.map(({ readyMilliseconds: _, samples: __, ...chunk }) => chunk);
      for (const pieces of [tokens(text), tokens(text, 1), [text], text.split(/(?= )/)]) {
        const streamed = await speak(pieces, {}, batchSize);
        expect(facts(streamed.chunks)).toEqual(facts(whole.chunks));
        expect(samplesOf(streamed.chunks)).toEqual(samplesOf(whole.chunks));
        const ids = ({ native }: typeof whole) => native.started.map(({ request }) => request.firstStageIds);
        expect(ids(streamed)).toEqual(ids(whole));
      }
    },
  );

  it('is the same collected as streamed, whatever the pieces and the reader', async () => {
    const alice = readFileSync(fixture('alice.txt'), 'utf8').slice(0, 3000);
    const { chunks } = await speak(tokens(alice, 3), { chunkSeconds: { first: 0.1, largest: 0.2 } }, 3);
    const { tts } = fakeMetaVoice(new FakeModel(30));
    const speech = await tts.synthesize([...alice], { seed: 5, chunkSeconds: { first: 0.1, largest: 0.2 } });
    expect(speech.samples).toEqual(samplesOf(chunks));
    const end = chunks.at(-1)!;
    expect(end.textOffset + end.textLength).toBe(alice.length);
  });

  it('covers two thousand words exactly once', async () => {
    const alice = readFileSync(fixture('alice.txt'), 'utf8');
    const { chunks } = await speak(tokens(alice, 5), {}, 4, new FakeModel(8));
    let end = 0;
    for (const { segment, textOffset, textLength } of chunks.filter(
      (chunk, k) => chunk.segment !== chunks[k - 1]?.segment,
    )) {
      expect(textOffset).toBe(end);
      end += textLength;
      expect(segment).toBeLessThan(chunks.length);
    }
    expect(end).toBe(alice.length);
  });
});

describe('a source', () => {
  it('is not touched before the first pull, and read no further than the speech needs', async () => {
    const { tts, native } = fakeMetaVoice(new FakeModel(30));
    let given = 0;
    const endless = (function* () {
      for (;;) {
        given++;
        yield `${sentence} `;
      }
    })();
    const iterator = tts.stream(endless, { flushSeconds: 0.01 })[Symbol.asyncIterator]();
    await settle();
    expect(given).toBe(0);
    await iterator.next();
    await settle(30);
    // The one that is spoken, one that waits, and the word that tells its end.
    expect(given).toBe(3);
    expect(native.started).toHaveLength(1);
    for (let k = 0; k < 20; k++) await iterator.next();
    expect(given).toBe(native.started.length + 2);
    await iterator.return();
  });

  it('is spoken from its first clause on, while it is still being written', async () => {
    const { text, give, end } = source();
    const { tts } = fakeMetaVoice(new FakeModel(30));
    const iterator = tts.stream(text)[Symbol.asyncIterator]();
    const first = iterator.next();
    give('The answer to that question is short, and ');
    expect((await first).value).toMatchObject({ segment: 0, textOffset: 0, textLength: 38, last: false });
    await iterator.next();
    const second = iterator.next();
    give('you will like it.');
    end();
    expect((await second).value).toMatchObject({ segment: 1, textOffset: 38, textLength: 21 });
    expect((await iterator.next()).value).toMatchObject({ last: true, endReason: 'end' });
    expect((await iterator.next()).done).toBe(true);
  });

  it('begins segments ahead as they are written, while a chunk is waited for', async () => {
    const { text, give, end } = source();
    const { tts, native } = fakeMetaVoice(new FakeModel(30), {}, {}, 3);
    const iterator = tts.stream(text)[Symbol.asyncIterator]();
    const first = iterator.next();
    give(`${sentence} And `);
    await first;
    native.stalls = true;
    const second = iterator.next();
    await settle();
    expect(native.started).toHaveLength(1);
    give(`${sentence} And ${sentence} And `);
    await settle();
    expect(native.started).toHaveLength(3);
    native.stalls = false;
    for (const utterance of native.started) utterance.wake();
    await second;
    end();
    expect((await all({ [Symbol.asyncIterator]: () => iterator })).at(-1)).toMatchObject({
      segment: 3,
      last: true,
    });
  });

  it('passes its error through as it is, after what was spoken before', async () => {
    for (const batchSize of [1, 4]) {
      const mine = Object.assign(new Error('connection lost'), { stack: 'mine' });
      const { text, give, fail, state } = source();
      give(`${sentence} ${sentence} And then`);
      fail(mine);
      const { tts, native } = fakeMetaVoice(new FakeModel(30), {}, {}, batchSize);
      const seen: number[] = [];
      const read = async () => {
        for await (const { segment } of tts.stream(text)) seen.push(segment);
      };
      await expect(read()).rejects.toBe(mine);
      expect(mine.stack).toBe('mine');
      expect([...new Set(seen)]).toEqual([0, 1]);
      expect(native.started).toHaveLength(2);
      expect(state.returned).toBe(0);
      const broken = { [Symbol.iterator]: () => ({ next: () => Promise.reject(mine) }) };
      await expect(tts.synthesize(broken as never)).rejects.toBe(mine);
    }
  });

  it('with a wrong letter is refused by its place in the whole text, with the stack of the caller', async () => {
    const before = `${sentence} ${sentence} `;
    for (const [wrong, message] of [
      ['Then 😀 came', /U\+1F600\) at index (\d+);/],
      ['Then <|endoftext|> came', /<\|endoftext\|> at index (\d+);/],
      ['“Oh… <|endoftext|> came”', /<\|endoftext\|> at index (\d+);/],
    ] as const) {
      const { tts } = fakeMetaVoice(new FakeModel(30));
      const seen: number[] = [];
      const callerOfStream = () => tts.stream(tokens(before + wrong, 1));
      const read = async () => {
        for await (const { segment } of callerOfStream()) seen.push(segment);
      };
      const error = await read().catch((caught) => caught);
      expect(error).toMatchObject({ code: 'ERR_TEXT', message: expect.stringMatching(message) });
      const place = Number(message.exec(error.message)![1]);
      expect((before + wrong).slice(place)).toMatch(/^(?:😀|<\|endoftext\|>) came/);
      expect(error.stack).toMatch(/^MetaVoiceError: .*\n\s+at callerOfStream/);
      expect([...new Set(seen)]).toEqual([0, 1]);
    }
  });

  it('of nothing is refused, and so is what is no string', async () => {
    const { tts, native } = fakeMetaVoice(new FakeModel(30));
    for (const nothing of [[], ['', ' \n'], tokens('')])
      await expect(tts.synthesize(nothing)).rejects.toMatchObject({ code: 'ERR_TEXT' });
    await expect(tts.synthesize(['Hello. ', null] as never)).rejects.toThrow(
      new TypeError('expected a string for `text[1]` but received null'),
    );
    await expect(tts.synthesize(new Uint8Array([104, 105]) as never)).rejects.toThrow(/`text\[0\]`.*104/);
    expect(native.started).toHaveLength(0);
  });

  it('is let go when the speech is left, cancelled, cut, fails or has no voice', async () => {
    const ways: Record<
      string,
      (read: AsyncGenerator<AudioChunk>, native: FakeModel, cancel: () => void) => Promise<unknown>
    > = {
      return: (iterator) => iterator.return(undefined),
      cancel: async (iterator, _, cancel) => {
        const next = iterator.next();
        await settle();
        cancel();
        return next;
      },
      failure: async (iterator, native) => {
        native.failAt = 1;
        await expect(all(iterator)).rejects.toMatchObject({ code: 'ERR_NUMERIC' });
      },
    };
    for (const [name, way] of Object.entries(ways)) {
      const { text, give, state } = source();
      give(`${sentence} And`);
      give(' then');
      const { tts, native } = fakeMetaVoice(new FakeModel(30));
      const stream = tts.stream(text);
      const iterator = stream[Symbol.asyncIterator]();
      await iterator.next();
      await way(iterator, native, () => stream.cancel());
      expect(state.returned, name).toBe(1);
      await expect(iterator.next(), name).resolves.toMatchObject({ done: true });
    }
    const cut = source();
    cut.give(`${sentence} And `);
    const { chunks } = await speak(cut.text, { maxSeconds: 0.2 });
    expect(chunks.at(-1)).toMatchObject({ last: true, endReason: 'limit' });
    expect(cut.state.returned).toBe(1);

    const mute = source();
    await expect(speak(mute.text, { voice: 'nowhere.wav' })).rejects.toThrow();
    expect(mute.state.returned).toBe(1);
  });
});

describe('an abort', () => {
  const reason = new Error('enough');

  it('while the source is waited for returns to it, and rejects with its own reason', async () => {
    for (const given of ['', `${sentence} And`]) {
      const { text, give, state } = source();
      if (given) give(given);
      const { tts } = fakeMetaVoice(new FakeModel(30));
      const control = new AbortController();
      const speech = tts.synthesize(text, { signal: control.signal });
      await settle(20);
      control.abort(reason);
      await expect(speech).rejects.toBe(reason);
      expect(state.returned).toBe(1);
    }
  });

  it('before the first pull touches nothing', async () => {
    const { text, state } = source();
    const { tts } = fakeMetaVoice();
    await expect(tts.synthesize(text, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(state).toEqual({ asked: 0, returned: 0 });
  });
});

it('rejects with ERR_DISPOSED when the model is disposed of while the source is waited for', async () => {
  const { text, state } = source();
  const { tts } = fakeMetaVoice();
  const speech = tts.synthesize(text);
  await settle();
  await tts.dispose();
  await expect(speech).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  expect(state.returned).toBe(1);
});

describe('a pause of the source', () => {
  const paused = async (rest: string | null, options: SpeakOptions = {}, batchSize = 1) => {
    const { text, give, end } = source();
    const { tts } = fakeMetaVoice(new FakeModel(30), {}, {}, batchSize);
    const iterator = tts.stream(text, { seed: 5, flushSeconds: 0.03, ...options })[Symbol.asyncIterator]();
    const chunks: AudioChunk[] = [];
    const read = (async () => {
      for await (const chunk of { [Symbol.asyncIterator]: () => iterator }) chunks.push(chunk);
    })();
    give('Let me look that up.');
    while (chunks.length < 2) await settle();
    await settle(40);
    const before = [...chunks];
    if (rest !== null) give(rest);
    end();
    await read;
    return { before, after: chunks.slice(before.length), chunks };
  };

  it('speaks what is there at once, to its end', async () => {
    const { before } = await paused(null);
    expect(before.map(({ segment, codes, last }) => [segment, codes.frames, last])).toEqual([
      [0, 19, false],
      [0, 11, false],
    ]);
    expect(Math.abs(before.at(-1)!.samples.at(-1)!)).toBe(0);
  });

  it('then goes on with the pause that what follows asks for', async () => {
    for (const [rest, seconds] of [
      [' Here it is.', 0.3],
      ['\n\nHere it is.', 0.7],
    ] as const) {
      const { after, chunks } = await paused(rest, {}, 2);
      expect(after[0]).toMatchObject({ segment: 0, textOffset: 0, textLength: 20, last: false });
      expect(after[0]!.samples).toEqual(new Float32Array(seconds * rate));
      expect(after[0]!.codes).toEqual({
        codebooks: Array.from({ length: 8 }, () => new Uint16Array(0)),
        frames: 0,
      });
      expect(after[1]).toMatchObject({ segment: 1, textOffset: 20, textLength: rest.length, firstFrame: 30 });
      expect(chunks.map(({ index }) => index)).toEqual(chunks.map((_, k) => k));
      expect(chunks.reduce((sum, { samples }) => sum + samples.length, 0)).toBe(60 * hop + seconds * rate);
      let start = 0;
      for (const chunk of chunks) {
        expect(chunk.startSeconds).toBe(start / rate);
        start += chunk.samples.length;
      }
      expect(chunks.at(-1)).toMatchObject({ last: true, endReason: 'end' });
    }
  });

  it('or ends with an empty chunk, which covers what is left of the text', async () => {
    for (const rest of [null, ' \n ']) {
      const { after } = await paused(rest);
      expect(after).toHaveLength(1);
      expect(after[0]).toMatchObject({ last: true, endReason: 'end', segment: 0, durationSeconds: 0 });
      expect(after[0]).toMatchObject({ textOffset: 20, textLength: rest?.length ?? 0 });
      expect(after[0]!.samples).toHaveLength(0);
    }
  });

  it('may be cut by maxSeconds in what follows', async () => {
    const { chunks } = await paused(' Here it is.', { maxSeconds: 0.5 });
    expect(chunks.reduce((sum, { samples }) => sum + samples.length, 0)).toBe(Math.floor(0.5 * 75) * hop);
    expect(chunks.at(-1)).toMatchObject({ last: true, endReason: 'limit', codes: { frames: 0 } });
  });

  it('gives no empty bytes', async () => {
    for (const form of ['toNodeReadable', 'toWebStream'] as const) {
      const { text, give, end } = source();
      const { tts } = fakeMetaVoice(new FakeModel(30));
      give('Let me look that up.');
      const bytes = tts
        .stream(text, { flushSeconds: 0.02 })
        [form]({ format: 'pcm' }) as AsyncIterable<Uint8Array>;
      setTimeout(end, 80);
      const lengths: number[] = [];
      for await (const piece of bytes) lengths.push(piece.length);
      expect(lengths).toEqual([19 * hop * 2, 11 * hop * 2]);
    }
  });
});

it('counts the segments that were read so far', async () => {
  const seen: unknown[] = [];
  await speak(['One.\n\n', 'Two.\n\n', 'Three.'], {
    quality: 'whole',
    onProgress: (progress) => progress.phase === 'speak' && seen.push([progress.segment, progress.segments]),
  });
  expect(seen.at(-1)).toEqual([2, 3]);
  expect(seen).toHaveLength(3);
});

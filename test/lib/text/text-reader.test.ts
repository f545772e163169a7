/** What a source of text may do, and what is done to it. */

import { describe, expect, it, vi } from 'vitest';
import { normalizeText } from '../../../dist/text/normalize.js';
import { SegmentStream } from '../../../dist/text/segment-stream.js';
import { TextReader } from '../../../dist/text/text-reader.js';

const settle = (milliseconds = 5) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));
const sentence = 'This is a sentence of some length that takes more than three seconds to speak. ';

function reader(source: AsyncIterable<unknown> | Iterable<unknown>, flushSeconds = 60) {
  const segments = new SegmentStream({
    tokens: 10_000,
    seconds: () => 15,
    leastTokens: (text) => text.length,
    countTokens: (text) => text.length,
    judge: (text, offset) => void normalizeText(text, offset),
  });
  return new TextReader(source, segments, flushSeconds);
}

async function all(from: TextReader): Promise<string[]> {
  const texts: string[] = [];
  for (let segment = await from.next(); segment; segment = await from.next()) texts.push(segment.text);
  return texts;
}

/** Gives what is put into it; counts what is asked of it. */
class Tap implements AsyncIterable<unknown>, AsyncIterator<unknown> {
  asked = 0;
  returned = 0;
  #waiting: ((result: IteratorResult<unknown>) => void)[] = [];
  [Symbol.asyncIterator]() {
    return this;
  }
  next() {
    this.asked++;
    return new Promise<IteratorResult<unknown>>((resolve) => this.#waiting.push(resolve));
  }
  async return() {
    this.returned++;
    return { done: true as const, value: undefined };
  }
  async give(value: unknown) {
    await settle();
    this.#waiting.shift()!({ done: false, value });
  }
  async end() {
    await settle();
    this.#waiting.shift()!({ done: true, value: undefined });
  }
}

describe('a source', () => {
  it('may be of any kind', async () => {
    const said = ['Hello there, you all.', 'How are you?'];
    async function* generator() {
      yield* ['Hello ', 'there, ', 'you all.\n', '\nHow are', ' you?'];
    }
    const web = () =>
      new ReadableStream<string>({
        start(control) {
          control.enqueue('Hello there, you all.\n\nHow');
          control.enqueue(' are you?');
          control.close();
        },
      });
    const { Readable } = await import('node:stream');
    const sources = [
      generator(),
      ['Hello there, you all.\n\n', '', 'How are you?'],
      new Set(['Hello there, ', 'you all.\n\nHow are you?']),
      web() as unknown as AsyncIterable<string>,
      Readable.from(['Hello there, ', 'you all.\n\nHow are you?']),
      new String('Hello there, you all.\n\nHow are you?'),
    ];
    for (const source of sources) expect(await all(reader(source))).toEqual(said);
  });

  it('is asked for no more than the segment that is wanted needs', async () => {
    let given = 0;
    function* endless() {
      for (;;) {
        given++;
        yield sentence;
      }
    }
    const from = reader(endless());
    await settle();
    expect(given).toBe(0);
    await from.next();
    expect(given).toBe(2);
    for (let k = 0; k < 10; k++) await from.next();
    expect(given).toBe(12);
    from.cancel();
  });

  it('that never waits does not hold the event loop', async () => {
    let stop = false;
    function* nothing() {
      while (!stop) yield '';
    }
    const from = reader(nothing());
    const next = from.next();
    await settle();
    stop = true;
    await expect(next).rejects.toMatchObject({ code: 'ERR_TEXT' });
  });

  it('that gives what is no string is told which, and let go', async () => {
    const tap = new Tap();
    const from = reader(tap);
    const next = from.next();
    await tap.give(sentence);
    await tap.give('Then. ');
    await next;
    const failing = from.next();
    await tap.give({ text: 'x' });
    await expect(failing).rejects.toThrow(
      new TypeError('expected a string for `text[2]` but received an object of type Object'),
    );
    expect(tap.returned).toBe(1);
    await expect(from.next()).resolves.toBe(null);
  });

  it('that throws passes its error through as it is, and is not returned to', async () => {
    const mine = new Error('connection lost');
    const late = {
      returned: 0,
      asked: 0,
      [Symbol.asyncIterator]() {
        return this;
      },
      async next() {
        if (this.asked++ < 3) return { done: false, value: sentence };
        throw mine;
      },
      async return() {
        this.returned++;
        return { done: true, value: undefined };
      },
    };
    const from = reader(late as AsyncIterable<string>);
    expect((await from.next())!.text).toBe(sentence.trim());
    expect((await from.next())!.text).toBe(sentence.trim());
    await expect(from.next()).rejects.toBe(mine);
    expect(from.sourceFailed).toBe(true);
    expect(late.returned).toBe(0);

    for (const fail of ['first next', 'iterator', 'sync next']) {
      const broken = {
        [Symbol.asyncIterator]: () => {
          if (fail === 'iterator') throw mine;
          return {
            next: () => {
              if (fail === 'sync next') throw mine;
              return Promise.reject(mine);
            },
          };
        },
      };
      await expect(reader(broken as AsyncIterable<string>).next()).rejects.toBe(mine);
    }
  });

  it('with a wrong letter is let go', async () => {
    const tap = new Tap();
    const from = reader(tap);
    const next = from.next();
    await tap.give('Hello there, my ');
    await tap.give('\ud83d');
    await tap.give('\ude00, and so on and so');
    await tap.give(' on. And so forth. ');
    await expect(next).rejects.toMatchObject({
      code: 'ERR_TEXT',
      details: { letters: [{ codePoint: 'U+1F600', positions: [16] }] },
    });
    expect(tap.returned).toBe(1);
    expect(from.sourceFailed).toBe(false);
  });
});

describe('cancel()', () => {
  it('answers a call that waits, and returns to the source once, whatever that does', async () => {
    for (const back of [
      undefined,
      () => Promise.reject(new Error('x')),
      () => new Promise(() => {}),
      fails,
    ]) {
      const tap = new Tap();
      const returned = vi.fn(back);
      Object.assign(tap, { return: returned });
      const from = reader(tap);
      const next = from.next();
      await settle();
      from.cancel();
      await expect(next).resolves.toBe(null);
      from.cancel();
      expect(returned).toHaveBeenCalledTimes(1);
      await tap.give('Hello there.');
      await expect(from.next()).resolves.toBe(null);
    }
  });

  it('before anything was asked touches nothing', () => {
    const tap = new Tap();
    reader(tap).cancel();
    expect(tap).toMatchObject({ asked: 0, returned: 0 });
  });

  it('after the end does nothing', async () => {
    const tap = new Tap();
    const from = reader(tap);
    const next = from.next();
    await tap.give('Hello there.');
    await tap.end();
    await next;
    from.cancel();
    expect(tap.returned).toBe(0);
  });
});

function fails(): never {
  throw new Error('x');
}

describe('a pause of the source', () => {
  it('gives what is there, and goes on with the piece that is still to come', async () => {
    const tap = new Tap();
    const from = reader(tap, 0.02);
    const first = from.next();
    await tap.give('Let me');
    expect((await first)!.text).toBe('Let me');
    const second = from.next();
    await settle(40);
    await tap.give(' see.');
    expect((await second)!.text).toBe('see.');
    expect(tap.asked).toBe(3);
    const last = from.next();
    await tap.end();
    await expect(last).resolves.toBe(null);
  });

  it('that ends while segments of a flush wait loses nothing', async () => {
    const tap = new Tap();
    const from = reader(tap, 0.02);
    const first = from.next();
    await tap.give('Well.\n\nAnd');
    expect((await first)!.text).toBe('Well.');
    await tap.give(' then it went on.');
    await settle();
    expect((await from.next())!.text).toBe('And');
    const third = from.next();
    await tap.end();
    expect((await third)!.text).toBe('then it went on.');
    await expect(from.next()).resolves.toBe(null);
  });

  it('is not noticed before there are words, while nobody asks, or of a source that has ended', async () => {
    const timers = vi.spyOn(globalThis, 'setTimeout');
    const tap = new Tap();
    const from = reader(tap, 12.345);
    const pauses = () => timers.mock.calls.filter(([, delay]) => delay === 12_345).length;
    const next = from.next();
    await tap.give('  "');
    await settle();
    expect(pauses()).toBe(0);
    await tap.give('Hello');
    await settle();
    expect(pauses()).toBe(1);
    await tap.end();
    await next;
    await from.next();
    expect(pauses()).toBe(1);
    timers.mockRestore();
  });

  it('leaves no timer', async () => {
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const before = timers();
    const tap = new Tap();
    const from = reader(tap, 60);
    const next = from.next();
    await tap.give('Hello');
    await settle();
    expect(timers()).toBe(before + 1);
    from.cancel();
    await next;
    expect(timers()).toBe(before);
  });
});

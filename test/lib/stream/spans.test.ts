/** What each chunk says of its text and of its time. */

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { SpeakOptions } from '../../../dist/options.js';
import type { AudioChunk } from '../../../dist/stream/chunks.js';
import { fakeMetaVoice } from '../fake-metavoice.js';
import { FakeModel } from '../fake-native.js';
import { fixture } from '../fixtures.js';

const wait = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

async function speak(text: string, native = new FakeModel(40), options: SpeakOptions = {}) {
  const chunks: AudioChunk[] = [];
  for await (const chunk of fakeMetaVoice(native).tts.stream(text, options)) chunks.push(chunk);
  return chunks;
}

/** [offset, length] of each segment; all chunks of one must agree. */
function spansOf(chunks: AudioChunk[]): [number, number][] {
  const spans: [number, number][] = [];
  for (const { segment, textOffset, textLength } of chunks) {
    spans[segment] ??= [textOffset, textLength];
    expect(spans[segment]).toEqual([textOffset, textLength]);
  }
  return spans;
}

function expectOnce(spans: [number, number][], text: string): void {
  let end = 0;
  for (const [offset, length] of spans) {
    expect(offset).toBe(end);
    expect(length).toBeGreaterThan(0);
    end += length;
  }
  expect(end).toBe(text.length);
}

describe('the spans of the chunks', () => {
  it('cover two thousand words exactly once', async () => {
    const text = readFileSync(fixture('alice.txt'), 'utf8');
    expect(text.match(/\S+/g)!.length).toBeGreaterThan(2000);
    const spans = spansOf(await speak(text));
    expect(spans.length).toBeGreaterThan(60);
    expectOnce(spans, text);
    const said = spans.map(([offset, length]) => text.slice(offset, offset + length).trim());
    expect(said[0]).toBe("ALICE'S ADVENTURES IN WONDERLAND by Lewis Carroll.");
    expect(said[1]).toBe('CHAPTER I: Down the Rabbit-Hole.');
  });

  it('are in UTF-16 units of the text as it was given, with white space and marks', async () => {
    const text = '  \n“One”…\r\n\r\n* * *\n\n Two. \n\n';
    const spans = spansOf(await speak(text));
    expect(spans).toEqual([
      [0, text.indexOf('Two')],
      [text.indexOf('Two'), 'Two. \n\n'.length],
    ]);
  });

  it('are those of whole quality, too', async () => {
    const text = 'One.\n\nTwo.\n\nThree.';
    const chunks = await speak(text, new FakeModel(40), { quality: 'whole' });
    expect(
      chunks.map(({ textOffset, textLength }) => text.slice(textOffset, textOffset + textLength)),
    ).toEqual(['One.\n\n', 'Two.\n\n', 'Three.']);
  });
});

describe('the times', () => {
  const slow = (silentChunks: number) => {
    const native = new FakeModel(200);
    native.silentChunks = silentChunks;
    native.pace = () => wait(20);
    return native;
  };

  it('of chunks grow, and end with the total', async () => {
    const native = slow(0);
    const chunks = await speak('One.\n\nTwo.', native);
    const times = chunks.map(({ readyMilliseconds }) => readyMilliseconds);
    expect(times[0]).toBeGreaterThan(15);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times.at(-1)! - times[0]!).toBeGreaterThan((chunks.length - 1) * 15);
  });

  it('of the first sound is that of the first chunk that is not silent', async () => {
    for (const silent of [0, 2]) {
      const { tts } = fakeMetaVoice(slow(silent));
      const stream = tts.stream('Hello there.');
      const speech = await stream.collect();
      const chunks = await speak('Hello there.', slow(silent));
      const quiet = chunks.findIndex(({ samples }) => samples.some((value) => Math.abs(value) >= 0.001));
      expect(quiet).toBe(silent);
      expect(speech.timings.firstAudio).toBeGreaterThan(15 * (silent + 1));
      expect(speech.timings.firstAudio).toBeLessThan(speech.timings.total);
    }
  });

  it('without any sound is the total', async () => {
    const { tts } = fakeMetaVoice(slow(99));
    const { timings } = await tts.synthesize('Hello there.');
    expect(timings.firstAudio).toBe(timings.total);
  });

  it('leave out what a reader waits before the first pull, and count what the call took', async () => {
    const native = slow(0);
    const stream = fakeMetaVoice(native).tts.stream('Hello there.');
    await wait(700);
    const chunks: AudioChunk[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(chunks[0]!.readyMilliseconds).toBeLessThan(600);

    const options: SpeakOptions = {};
    Object.defineProperty(options, 'seed', {
      enumerable: true,
      get() {
        const until = performance.now() + 100;
        while (performance.now() < until);
        return 1;
      },
    });
    const [first] = await speak('Hello there.', slow(0), options);
    expect(first!.readyMilliseconds).toBeGreaterThan(100);
  });
});

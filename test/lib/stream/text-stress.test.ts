/** Many texts in pieces, read and left in every way, from a seed: what was read is right, and nothing is left running. */

import { readFileSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import type { NativeUtterance, UtteranceRequest } from '../../../dist/native/contract.js';
import type { AudioChunk } from '../../../dist/stream/chunks.js';
import { fakeMetaVoice } from '../fake-metavoice.js';
import { FakeModel, type FakeUtterance } from '../fake-native.js';
import { fixture } from '../fixtures.js';

const alice = readFileSync(fixture('alice.txt'), 'utf8');
const seconds = 5;
const unhandled: unknown[] = [];
const note = (reason: unknown) => unhandled.push(reason);
process.on('unhandledRejection', note);
afterAll(() => void process.off('unhandledRejection', note));

/** Park and Miller's generator: numbers in [0, 1). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

class LiveModel extends FakeModel {
  readonly live = new Set<NativeUtterance>();
  override start(request: UtteranceRequest): NativeUtterance {
    const utterance = super.start(request) as FakeUtterance;
    this.live.add(utterance);
    const { next, cancel } = utterance;
    utterance.next = async () => {
      const chunk = await next.call(utterance);
      if (!chunk || chunk.endReason) this.live.delete(utterance);
      return chunk;
    };
    utterance.cancel = () => {
      cancel.call(utterance);
      this.live.delete(utterance);
    };
    return utterance;
  }
}

const wait = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));
const broken = new Error('the source is broken');
const enough = new Error('enough');

interface Case {
  text: string;
  maxSeconds: number;
  batchSize: number;
  end: 'end' | 'broken' | 'left' | 'cancelled' | 'aborted' | 'disposed';
}

/** Reads a stream of pieces until something happens to it; gives what was read, and what it ended with. */
async function read(random: () => number, { text, maxSeconds, batchSize, end }: Case) {
  const state = { opened: 0, closed: 0 };
  async function* pieces() {
    state.opened++;
    try {
      for (let at = 0; at < text.length; ) {
        const length = 1 + Math.floor(random() * 30);
        if (random() < 0.05) await wait(random() * 4);
        yield text.slice(at, at + length);
        at += length;
        if (end === 'broken' && at > text.length * 0.7) throw broken;
      }
    } finally {
      state.closed++;
    }
  }
  const native = new LiveModel(20 + Math.floor(random() * 60));
  native.pace = () => (random() < 0.2 ? wait(random() * 2) : Promise.resolve());
  const { tts } = fakeMetaVoice(native, {}, {}, batchSize);
  const control = new AbortController();
  const stream = tts.stream(pieces(), { seed: 7, maxSeconds, signal: control.signal, flushSeconds: 60 });
  const stop = 1 + Math.floor(random() * 12);
  const chunks: AudioChunk[] = [];
  let error: unknown = null;
  try {
    for await (const chunk of stream) {
      chunks.push(chunk);
      if (random() < 0.1) await wait(random() * 3);
      if (chunks.length !== stop) continue;
      if (end === 'left') break;
      if (end === 'cancelled') stream.cancel();
      if (end === 'aborted') control.abort(enough);
      if (end === 'disposed') await tts.dispose();
    }
  } catch (caught) {
    error = caught;
  }
  await wait(6);
  return { chunks, error, native, state };
}

test(`${seconds} seconds of it`, async () => {
  const until = performance.now() + seconds * 1000;
  const ends = ['end', 'broken', 'left', 'cancelled', 'aborted', 'disposed'] as const;
  let rounds = 0;
  for (; performance.now() < until; rounds++) {
    const random = generator(rounds + 1);
    const from = Math.floor(random() * 5000);
    const given: Case = {
      text: alice.slice(from, from + 200 + Math.floor(random() * 1500)),
      maxSeconds: random() < 0.3 ? 0.5 + random() * 6 : 1000,
      batchSize: 1 + Math.floor(random() * 5),
      end: ends[rounds % ends.length]!,
    };
    const { chunks, error, native, state } = await read(random, given);
    const what = `round ${rounds}: ${given.end}`;
    expect(native.live.size, what).toBe(0);
    expect(state.closed, what).toBe(state.opened);
    const done = chunks.at(-1)?.last === true;
    if (given.end === 'broken' && !done) expect(error, what).toBe(broken);
    else if (given.end === 'aborted' && error) expect(error, what).toBe(enough);
    else if (given.end === 'disposed' && error) expect(error, what).toMatchObject({ code: 'ERR_DISPOSED' });
    else expect(error, what).toBe(null);
    if (given.end === 'end') expect(done, what).toBe(true);

    // The same in one piece, read at once and one segment at a time, is what it began with.
    const plain = fakeMetaVoice(new FakeModel(native.frames), {}, {}, 1).tts;
    let k = 0;
    for await (const chunk of plain.stream([given.text], { seed: 7, maxSeconds: given.maxSeconds })) {
      const other = chunks[k++];
      if (!other) break;
      const { readyMilliseconds: _, samples, ...facts } = chunk;
      expect(other, what).toMatchObject(facts);
      expect(Buffer.compare(Buffer.from(samples.buffer), Buffer.from(other.samples.buffer)), what).toBe(0);
    }
  }
  expect(rounds).toBeGreaterThan(10);
  expect(unhandled).toEqual([]);
});

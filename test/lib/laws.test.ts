/** The two laws of all that streams, on the bundled voice: what was said never changes, and pieces are the whole. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AudioChunk, MetaVoice, type SpeakOptions, type TextSource } from '../../dist/index.js';

const limit = 300_000;
const opening = 'The kettle is on.\n\nSeven ships sailed, and two came back.\n\n';
const later = ['Nobody knew why.', 'Then it rained for a week, and the river rose.'];
/** Hz, and the frames of the second stage's look-ahead in seconds. */
const rate = 16_000;
const lookAhead = 16 / 25;
const options: SpeakOptions = { seed: 11, check: 'off' };

let tts: MetaVoice;
beforeAll(async () => {
  tts = await MetaVoice.load({ model: 'bundled', device: 'cpu', batchSize: 4 });
});
afterAll(async () => await tts?.dispose());

interface Heard {
  segment: number;
  samples: Float32Array;
}

/** Chunks as they were when they came; at the end each must still be what it was. */
async function listen(text: TextSource, extra: SpeakOptions = {}, model = tts): Promise<Heard[]> {
  const kept: { chunk: AudioChunk; heard: Heard }[] = [];
  for await (const chunk of model.stream(text, { ...options, ...extra }))
    kept.push({ chunk, heard: { segment: chunk.segment, samples: chunk.samples.slice() } });
  for (const { chunk, heard } of kept) expect(same(chunk.samples, heard.samples)).toBe(true);
  return kept.map(({ heard }) => heard);
}

const same = (a: Float32Array, b: Float32Array) =>
  a.length === b.length &&
  Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength));

const joined = (chunks: Heard[]) => Float32Array.from(chunks.flatMap(({ samples }) => [...samples]));

const audioOf = (chunks: Heard[], segments: number) =>
  joined(chunks.filter(({ segment }) => segment < segments));

async function* wordByWord(text: string) {
  for (const word of text.split(/(?<= )/)) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    yield word;
  }
}

describe('what was said never changes', () => {
  it.each(['independent', 'continue'] as const)(
    'whatever text follows, %s',
    { timeout: limit },
    async (continuity) => {
      const [one, other] = await Promise.all(later.map((end) => listen(opening + end, { continuity })));
      const first = audioOf(one!, 2);
      expect(first.length).toBeGreaterThan(rate);
      expect(same(audioOf(other!, 2), first)).toBe(true);
      expect(joined(other!).length).not.toBe(joined(one!).length);
    },
  );

  it('wherever a limit cuts', { timeout: limit }, async () => {
    const text = 'Seven ships sailed, and two came back.';
    const whole = await listen(text);
    for (const maxSeconds of [1.4, 2]) {
      const cut = await listen(text, { maxSeconds });
      expect(Math.abs(joined(cut).length / rate - maxSeconds)).toBeLessThan(0.05);
      let end = 0;
      let compared = 0;
      for (const [k, { samples }] of cut.entries()) {
        end += samples.length / rate;
        // Near the cut the second stage sees less of what follows.
        if (end + lookAhead > maxSeconds) break;
        expect(same(samples, whole[k]!.samples), `chunk ${k}, cut at ${maxSeconds} s`).toBe(true);
        compared++;
      }
      expect(compared).toBeGreaterThan(1);
    }
  });

  it('whoever comes and goes meanwhile', { timeout: limit }, async () => {
    const alone = await listen(opening);
    const strangers = new AbortController();
    const ours = listen(opening);
    const others = [1, 2, 3, 4].map(async (seed) => {
      const text = `${later[1]} ${later[0]}`;
      for await (const _ of tts.stream(text, { seed, check: 'off', signal: strangers.signal }))
        if (seed === 2) break;
    });
    setTimeout(() => strangers.abort(new Error('enough')), 700);
    await Promise.allSettled(others);
    const heard = await ours;
    expect(heard.map(({ samples }) => samples.length)).toEqual(alone.map(({ samples }) => samples.length));
    expect(same(joined(heard), joined(alone))).toBe(true);
  });
});

describe('pieces are the whole', () => {
  it('of the text, and of the reading', { timeout: limit }, async () => {
    const text = opening + later[0];
    const whole = joined(await listen(text));
    expect(same(joined(await listen(wordByWord(text), { flushSeconds: 60 })), whole)).toBe(true);
    expect(same((await tts.synthesize(text, options)).samples, whole)).toBe(true);
  });
});

describe.each(['16bit', 'int8'] as const)('with keys and values in %s', (kvCache) => {
  const text = 'Seven ships sailed, and two came back.';
  let small: MetaVoice;
  let alone: Float32Array;
  beforeAll(async () => {
    small = await MetaVoice.load({ model: 'bundled', device: 'cpu', batchSize: 1, kvCache });
    alone = joined(await listen(text, {}, small));
  });
  afterAll(async () => await small?.dispose());

  it('pieces are the whole', { timeout: limit }, async () => {
    expect(alone.length).toBeGreaterThan(rate);
    expect(same((await small.synthesize(text, options)).samples, alone)).toBe(true);
    expect(same(joined(await listen(wordByWord(text), { flushSeconds: 60 }, small)), alone)).toBe(true);
    // Float16 may draw the same ids as float32; in int8 some are others.
    if (kvCache === 'int8') expect(same(joined(await listen(text)), alone)).toBe(false);
  });

  it('what was said never changes, in company and while others have its memory', {
    timeout: limit,
  }, async () => {
    const heard: Heard[] = [];
    const strangers = [1, 2, 3, 4, 5, 6].map((seed) => small.stream(text, { ...options, seed }));
    const readers = strangers.map((stranger) => stranger[Symbol.asyncIterator]());
    for await (const { segment, samples } of small.stream(text, options)) {
      heard.push({ segment, samples: samples.slice() });
      if (heard.length > 1) continue;
      // They begin, and rest; nobody else has room then.
      for (const reader of readers) await reader.next();
      await small.synthesize(text, { ...options, seed: 7 });
      expect(small.stats().parked).toBeGreaterThan(0);
    }
    for (const stranger of strangers) stranger.cancel();
    expect(same(joined(heard), alone)).toBe(true);
  });
});

describe.each(['int8', 'int4'] as const)('with weights in %s', (quantization) => {
  const text = `The kettle is on.\n\n${later[0]}`;

  it('pieces are the whole, and company changes nothing', { timeout: limit }, async () => {
    await using model = await MetaVoice.load({ model: 'bundled', device: 'cpu', batchSize: 4, quantization });
    const alone = await listen(text, {}, model);
    const heard = joined(alone);
    expect(heard.length).toBeGreaterThan(rate);
    expect(same((await model.synthesize(text, options)).samples, heard)).toBe(true);
    expect(same(joined(await listen(wordByWord(text), { flushSeconds: 60 }, model)), heard)).toBe(true);
    const others = [1, 2, 3].map((seed) => listen(opening, { seed }, model));
    const [among] = await Promise.all([listen(text, {}, model), ...others]);
    expect(same(joined(among), heard)).toBe(true);
    // Other numbers say the same otherwise.
    expect(same(joined(await listen(text)), heard)).toBe(false);
  });
});

describe('the sound that comes out', () => {
  const first = 'The kettle is on.\n\n';
  const [text, other] = [`${first}Nobody knew why.`, `${first}Two came back.`];
  const settings: SpeakOptions[] = [
    { loudness: -14 },
    { loudness: -30, quality: 'whole' },
    { sampleRate: 8000 },
    { loudness: -14, sampleRate: 44_100 },
  ];

  it.each(settings)('streamed is collected, and never changes: %j', { timeout: limit }, async (setting) => {
    const chunks = await listen(text, setting);
    const speech = await tts.synthesize(text, { ...options, ...setting });
    expect(same(speech.samples, joined(chunks))).toBe(true);
    expect(speech.loudness).toBe(setting.loudness ?? 'off');
    expect(speech.sampleRate).toBe(setting.sampleRate ?? rate);
    expect(same(audioOf(await listen(other, setting), 1), audioOf(chunks, 1))).toBe(true);
  });

  it.each(['independent', 'continue'] as const)(
    'has one loudness that runs through all segments, with the same bytes in any company: %s',
    { timeout: limit },
    async (continuity) => {
      const setting: SpeakOptions = { loudness: -14, continuity };
      const levelled = await listen(opening + later[0], setting);
      await using alone = await MetaVoice.load({ model: 'bundled', device: 'cpu', batchSize: 1 });
      const speech = await alone.synthesize(opening + later[0], { ...options, ...setting });
      expect(same(speech.samples, joined(levelled))).toBe(true);

      // The gain that a sample got, from what it was without; and how much was spoken before, without the pauses.
      const plain = await listen(opening + later[0], { continuity });
      const gains: { segment: number; seconds: number; decibels: number }[] = [];
      let spoken = 0;
      for (const [k, { segment, samples }] of plain.entries()) {
        for (const [i, x] of samples.entries())
          if (Math.abs(x) > 0.02)
            gains.push({
              segment,
              seconds: (spoken + i) / rate,
              decibels: 20 * Math.log10(Math.atanh(levelled[k]!.samples[i]!) / x),
            });
        spoken += samples.length;
      }
      const joins = gains.flatMap((gain, i) => {
        const before = gains[i - 1];
        return before && before.segment < gain.segment ? [{ before, gain }] : [];
      });
      expect(joins).toHaveLength(2);
      // No faster than anywhere else: 6 dB up and 12 dB down in a second.
      for (const { before, gain } of joins) {
        const change = gain.decibels - before.decibels;
        const seconds = gain.seconds - before.seconds;
        expect(change).toBeLessThan(6 * seconds + 0.3);
        expect(change).toBeGreaterThan(-12 * seconds - 0.3);
      }
    },
  );

  it('has the codes, the length and the check of the speech as the model spoke it', {
    timeout: limit,
  }, async () => {
    const asked: SpeakOptions = { seed: 1, voice: { speaker: 'kal' }, check: 'respeak' };
    const plain = await tts.synthesize(text, asked);
    const changed = await tts.synthesize(text, { ...asked, loudness: -14, sampleRate: 8000 });
    expect(changed.codes).toEqual(plain.codes);
    expect(changed.check).toEqual(plain.check);
    expect(changed.durationSeconds).toBeCloseTo(plain.durationSeconds, 3);
  });

  it('is as loud as was asked for', { timeout: limit }, async () => {
    const decibels = async (setting: SpeakOptions) => {
      const { samples } = await tts.synthesize(first, { ...options, ...setting });
      return 10 * Math.log10(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
    };
    for (const quality of ['stream', 'whole'] as const)
      expect(await decibels({ quality, loudness: -24 })).toBeCloseTo(
        10 + (await decibels({ quality, loudness: -34 })),
        0,
      );
  });
});

describe('two thousand words', () => {
  it('are spoken exactly once, in memory that stays flat', { timeout: 1_200_000 }, async () => {
    // In a process of its own, whose memory is that of speaking alone, and where the C library gives back at once what is
    // freed: what it keeps for later is not held.
    const book = fileURLToPath(new URL('../../bench/book.mjs', import.meta.url));
    // Its exit code judges by one moment, which is for longer texts.
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--expose-gc', book, '--words', '2000', '--every', '1'],
      { maxBuffer: 1 << 26, env: { ...process.env, ...candid } },
    ).catch((error: Error & { stdout?: string }) => {
      if (!error.stdout) throw error;
      return { stdout: error.stdout };
    });
    const { misplaced, segments, audioSeconds, memory } = JSON.parse(stdout) as Book;
    expect(misplaced).toEqual([]);
    expect(segments).toBeGreaterThan(50);
    // English is read at two to four words a second.
    expect(audioSeconds).toBeGreaterThan(500);
    expect(audioSeconds).toBeLessThan(1000);
    const most = (samples: Book['memory']['samples']) => Math.max(...samples.map(({ bytes }) => bytes));
    // Until the longest sentences have met, pages of the key-value pool are touched for the first time.
    const settled = memory.samples.filter(({ covered }) => covered < 0.5);
    expect(settled.length).toBeGreaterThan(10);
    expect(memory.samples.length).toBeGreaterThan(1.5 * settled.length);
    expect(most(memory.samples)).toBeLessThan(1.05 * most(settled));
  });
});

const candid = { MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: '65536', MALLOC_TRIM_THRESHOLD_: '65536' };

/** What bench/book.mjs tells. */
interface Book {
  misplaced: string[];
  segments: number;
  audioSeconds: number;
  memory: { samples: { seconds: number; bytes: number; covered: number }[] };
}

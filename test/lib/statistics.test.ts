/** What operators see of a model: statistics, and the diagnostics channel. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { SpeechEvent } from '../../dist/index.js';
import { RecentTimes } from '../../dist/recent-times.js';
import { statisticsOf } from '../../dist/statistics.js';
import { fakeEnhancer, fakeMetaVoice } from './fake-metavoice.js';
import { FakeModel } from './fake-native.js';

describe('stats()', () => {
  it('tells load, memory, rates, times and totals', async () => {
    const { tts } = fakeMetaVoice();
    expect(tts.stats().firstAudio).toBeNull();
    const { timings } = await tts.synthesize('Hello.', { check: 'off' });
    const { firstAudio } = timings;
    expect(tts.stats()).toEqual({
      active: 1,
      resting: 0,
      parked: 0,
      queued: 2,
      keyValueCache: { pages: 64, usedPages: 8, peakUsedPages: 16, pageBytes: 1024 },
      stepsPerSecond: 10,
      audioSecondsPerSecond: 0.2,
      firstAudio: { p50: firstAudio, p95: firstAudio },
      peaks: { active: 3, queued: 4 },
      totals: {
        ended: 5,
        cancelled: 1,
        failed: 0,
        refused: 0,
        steps: 100,
        utterancesPerStep: 1.5,
        audioSeconds: 2,
      },
    });
  });

  it('knows no times before the first sound, and divides by nothing', () => {
    const native = {
      ...new FakeModel().statistics(),
      batchSteps: 0,
      steps: 0,
    };
    const { firstAudio, totals } = statisticsOf(native, new RecentTimes().percentiles());
    expect(firstAudio).toBeNull();
    expect(totals.utterancesPerStep).toBe(0);
  });

  it('measures the first sound where its reader gets it: behind the enhancer, and none of silence', async () => {
    const native = new FakeModel(300);
    const { tts } = fakeMetaVoice(native, { enhancer: fakeEnhancer });
    const make = () => new FakeModel().enhancer();
    native.enhancer = () => {
      const plain = make();
      return {
        ...plain,
        push: async (samples) => {
          await wait(60);
          return plain.push(samples);
        },
      };
    };
    const { timings } = await tts.synthesize('Hello.', { check: 'off' });
    expect(timings.firstAudio).toBeGreaterThan(55);
    expect(tts.stats().firstAudio).toEqual({ p50: timings.firstAudio, p95: timings.firstAudio });
    native.silentChunks = 100;
    await tts.synthesize('Hello.', { check: 'off' });
    expect(tts.stats().firstAudio).toEqual({ p50: timings.firstAudio, p95: timings.firstAudio });
  });

  it('tells the middle and the slowest of the last 256 first sounds, by nearest rank', () => {
    const times = new RecentTimes();
    expect(times.percentiles()).toBeNull();
    for (let i = 1; i <= 100; i++) times.add(i);
    expect(times.percentiles()).toEqual({ p50: 50, p95: 95 });
    for (let i = 0; i < 1000; i++) times.add(i < 744 ? 9000 : 5);
    expect(times.percentiles()).toEqual({ p50: 5, p95: 5 });
  });

  it('is refused after dispose', async () => {
    const { tts } = fakeMetaVoice();
    await tts.dispose();
    expect(() => tts.stats()).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }));
  });
});

describe('the channel metavoice:speech', () => {
  async function heard(act: () => Promise<unknown>): Promise<SpeechEvent[]> {
    const events: SpeechEvent[] = [];
    const listen = (event: unknown) => events.push(event as SpeechEvent);
    subscribe('metavoice:speech', listen);
    try {
      await act();
    } finally {
      unsubscribe('metavoice:speech', listen);
    }
    return events;
  }

  it('has the beginning, the first sound and the end of a request', async () => {
    const { tts } = fakeMetaVoice(new FakeModel(75));
    const [begin, firstAudio, end, ...more] = await heard(() =>
      tts.synthesize('Hello.', { seed: 7, check: 'off' }),
    );
    expect(more).toEqual([]);
    const { request } = begin!;
    expect(begin).toEqual({ event: 'begin', request, seed: 7 });
    expect(firstAudio).toEqual({ event: 'firstAudio', request, milliseconds: expect.any(Number) });
    expect(end).toEqual({
      event: 'end',
      request,
      outcome: 'ended',
      milliseconds: expect.any(Number),
      audioSeconds: 1,
      segments: 1,
      steps: 150,
    });
    const [next] = await heard(() => tts.synthesize('Hello.', { seed: 7, check: 'off' }));
    expect(next!.request).toBe(request + 1);
  });

  it('tells who left, who aborted and what failed', async () => {
    const { tts, native } = fakeMetaVoice(new FakeModel(300));
    const outcome = async (act: () => Promise<unknown>) => (await heard(act)).at(-1);
    const left = await outcome(async () => {
      for await (const _ of tts.stream('Hello.')) break;
    });
    expect(left).toMatchObject({ event: 'end', outcome: 'left' });
    const reason = new Error('enough');
    const aborted = await outcome(async () => {
      const signal = AbortSignal.abort(reason);
      await expect(tts.synthesize('Hello.', { signal })).rejects.toBe(reason);
    });
    expect(aborted).toMatchObject({ event: 'end', outcome: 'aborted', audioSeconds: 0, segments: 0 });
    native.failAt = 0;
    const failed = await outcome(async () => {
      await expect(tts.synthesize('Hello.')).rejects.toThrow('not finite');
    });
    expect(failed).toMatchObject({ event: 'end', outcome: 'failed', error: { code: 'ERR_NUMERIC' } });
  });

  it('says nothing of a stream that nobody pulls', async () => {
    const { tts } = fakeMetaVoice();
    expect(await heard(async () => void tts.stream('Hello.'))).toEqual([]);
  });
});

/** Many callers of the bundled model at once: each hears what it would hear alone. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stress } from '../../bench/stress.mjs';
import { MetaVoice } from '../../dist/index.js';

const first = ['Open', 'Close', 'Watch', 'Paint', 'Leave', 'Find', 'Bring', 'Hold'];
const second = ['the door', 'a box', 'this gate', 'her boat', 'my coat', 'that lamp', 'your hat', 'the cup'];
const callers = 64;
const textOf = (caller: number) => `${first[caller % 8]} ${second[(caller >> 3) % 8]}.`;
const optionsOf = (caller: number) =>
  ({ seed: caller, voice: { speaker: ['slt', 'rms', 'awb', 'kal'][caller % 4]! }, check: 'off' }) as const;

describe('64 streams of one model', () => {
  let tts: MetaVoice;
  beforeAll(async () => {
    tts = await MetaVoice.load({ model: 'bundled', device: 'cpu', batchSize: 16 });
  });
  afterAll(async () => await tts?.dispose());

  it('all end, with the bytes of each spoken alone', { timeout: 600_000 }, async () => {
    const together = await Promise.all(
      Array.from({ length: callers }, (_, caller) => tts.synthesize(textOf(caller), optionsOf(caller))),
    );
    // A reader hears the end a moment before the engine has let go of the utterance.
    const held = ({ active, queued, keyValueCache: { usedPages } } = tts.stats()) => ({
      active,
      queued,
      usedPages,
    });
    await expect.poll(held).toEqual({ active: 0, queued: 0, usedPages: 0 });
    const { totals, peaks } = tts.stats();
    expect(totals).toMatchObject({ ended: callers, cancelled: 0, failed: 0, refused: 0 });
    expect(totals.utterancesPerStep).toBeGreaterThan(4);
    // Short utterances share what is planned for long ones.
    expect(peaks.active).toBeGreaterThan(16);
    for (const [caller, speech] of together.entries()) {
      const alone = await tts.synthesize(textOf(caller), optionsOf(caller));
      expect(alone.durationSeconds, textOf(caller)).toBeGreaterThan(0.2);
      expect(
        Buffer.from(speech.samples.buffer).equals(Buffer.from(alone.samples.buffer)),
        textOf(caller),
      ).toBe(true);
    }
  });
});

describe('callers who behave badly, for a minute', () => {
  it('harm nobody, and leave nothing behind', { timeout: 600_000 }, async () => {
    const { wrong, leaks, outcomes, heard } = await stress({ seconds: 60, seed: 5, callers: 24 });
    expect(wrong).toEqual([]);
    expect(leaks).toEqual([]);
    expect(heard).toBeGreaterThan(50);
    // Every way to go was gone.
    expect(Object.keys(outcomes).sort()).toEqual(
      expect.arrayContaining(['ERR_DISPOSED', 'aborted', 'broke', 'ended']),
    );
  });
});

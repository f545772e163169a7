/** How a segment is fed and judged: in any pieces, copied once, beside the event loop. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Checker } from '../../../dist/check/checker.js';
import { judge, pitchEncoder, spliced, stepped, voiced, zeroed } from './voices.js';

const rate = 24_000;

describe('the pieces', () => {
  const other = voiced(2, rate, 240).subarray(0.2 * rate, 2.2 * rate);
  const damaged = stepped(zeroed(spliced(voiced(6, rate), other, rate, 3), rate, 1, 1.05), rate, 1.503, 0.4);
  const asked = () => ({ seconds: 3, voice: pitchEncoder() });

  it('equal the whole, wherever they are cut', async () => {
    const whole = await judge(damaged, asked());
    expect(whole.findings.map(({ kind }) => kind).sort()).toEqual(['click', 'drift', 'duration', 'hole']);
    const cuts = fc.array(fc.integer({ min: 0, max: damaged.length }), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(cuts, async (places) => {
        expect(await judge(damaged, asked(), places)).toEqual(whole);
      }),
      { numRuns: 20 },
    );
  });

  it('equal the whole sample by sample about a step', async () => {
    const whole = await judge(damaged, asked());
    const places = Array.from({ length: 2_400 }, (_, i) => Math.round(1.5 * rate) + i);
    expect(await judge(damaged, asked(), places)).toEqual(whole);
  });

  it('are the checker\u2019s own: who gave them may change and transfer them', async () => {
    const samples = Float32Array.from(voiced(2, rate));
    const checker = new Checker({
      segment: 3,
      attempt: 1,
      sampleRate: rate,
      expected: { seconds: 2.5, rests: [] },
      voice: null,
    });
    checker.add(samples);
    samples.fill(0);
    structuredClone(samples.buffer, { transfer: [samples.buffer] });
    expect(await checker.finish('end')).toMatchObject({ segment: 3, attempt: 1, findings: [] });
  });
});

describe('the event loop', () => {
  it('goes on while a segment of 13 s is judged', async () => {
    const samples = voiced(13, rate);
    let turns = 0;
    let going = true;
    const turn = () => {
      turns++;
      if (going) setImmediate(turn);
    };
    setImmediate(turn);
    await judge(samples, { seconds: 16 });
    going = false;
    // A turn for each slice, so that no turn has more than a slice's arithmetic.
    expect(turns).toBeGreaterThanOrEqual(Math.floor(samples.length / 2 ** 15));
  });

  it('is let go at once by a signal', async () => {
    const reason = new Error('enough');
    const controller = new AbortController();
    const judging = judge(voiced(13, rate), { signal: controller.signal });
    controller.abort(reason);
    await expect(judging).rejects.toBe(reason);
    const voice = pitchEncoder();
    const late = new AbortController();
    const { embed } = voice;
    voice.embed = async (...sound) => {
      late.abort(reason);
      return embed(...sound);
    };
    await expect(judge(voiced(6, rate), { voice, signal: late.signal })).rejects.toBe(reason);
    expect(voice.heard).toHaveLength(1);
  });
});

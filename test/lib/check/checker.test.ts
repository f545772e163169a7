import { describe, expect, it, test } from 'vitest';
import { voiceReference } from '../../../dist/check/checker.js';
import { nativeError } from '../fake-native.js';
import { judge, noiseOf, paused, pitchEncoder, spliced, stepped, voiced, zeroed } from './voices.js';

const rate = 24_000;
const speech = voiced(2, rate);
const kinds = async (...asked: Parameters<typeof judge>) =>
  (await judge(...asked)).findings.map(({ kind }) => kind);

describe('speech that is sound', () => {
  test.each([8_000, 16_000, 22_050, 24_000, 44_100, 48_000])(
    'has no findings at %d Hz',
    async (sampleRate) => {
      const check = await judge(voiced(3, sampleRate), { sampleRate, seconds: 3.5, voice: pitchEncoder() });
      expect(check).toEqual({
        segment: 0,
        attempt: 0,
        heard: true,
        findings: [],
        voice: { windows: 3, least: expect.closeTo(1, 1) },
        unchecked: [],
      });
    },
  );

  it('has none whatever its level and whatever pitch a voice has', async () => {
    for (const gain of [0.02, 0.3, 1.5]) expect(await kinds(speech.map((each) => gain * each))).toEqual([]);
    for (const pitch of [70, 100, 180, 260, 350]) expect(await kinds(voiced(2, rate, pitch))).toEqual([]);
  });

  it('has none in hiss', async () => {
    const noise = noiseOf(3);
    expect(
      await kinds(speech.map((each, i) => each + (i > 20_000 && i < 24_000 ? 0.1 * noise() : 0))),
    ).toEqual([]);
  });
});

describe('a click', () => {
  test.each([0.3, 0.9, 1.31])('at %d s is found where it is', async (at) => {
    const { findings } = await judge(stepped(speech, rate, at, 0.3));
    expect(findings).toHaveLength(1);
    expect(findings[0]).toMatchObject({
      kind: 'click',
      segment: 0,
      attempt: 0,
      heard: true,
      durationSeconds: 0,
    });
    expect(Math.abs(findings[0]!.startSeconds - at)).toBeLessThan(0.001);
    expect(findings[0]!.value).toBeGreaterThan(findings[0]!.expected);
    expect(findings[0]!.message).toMatch(/^a step stands \d+\.\d times above/);
  });

  it('of one sample is found, and so are two', async () => {
    const clicks = speech.slice();
    clicks[20_000]! += 0.4;
    clicks[30_000]! -= 0.4;
    const { findings } = await judge(clicks);
    expect(findings.map(({ kind, startSeconds }) => [kind, Math.round(startSeconds * 1000)])).toEqual([
      ['click', 833],
      ['click', 1250],
    ]);
  });

  it('that nobody hears is none', async () => {
    expect(await kinds(stepped(speech, rate, 1, 0.0005))).toEqual([]);
  });

  it('as the speech begins is none: a model begins where it likes', async () => {
    expect(await kinds(speech.subarray(0.25 * rate))).toEqual([]);
  });

  it('comes at most ten times: the worst ones', async () => {
    const clicks = speech.slice();
    for (let k = 0; k < 14; k++) clicks[8_000 + 2_400 * k]! += k < 4 ? 0.2 : 2;
    const { findings } = await judge(clicks);
    expect(findings).toHaveLength(10);
    expect(Math.min(...findings.map(({ startSeconds }) => startSeconds))).toBeGreaterThan(0.5);
    const times = findings.map(({ startSeconds }) => startSeconds);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });
});

describe('a hole', () => {
  it('of zeros is found even where the text rests, and its edges are no clicks', async () => {
    const { findings } = await judge(zeroed(speech, rate, 1, 1.06), { rests: [1.2] });
    expect(findings).toHaveLength(1);
    expect(findings[0]).toMatchObject({ kind: 'hole', message: 'the speech drops out for 60 ms' });
    expect(findings[0]!.startSeconds).toBeCloseTo(1, 2);
    expect(findings[0]!.durationSeconds).toBeCloseTo(0.06, 1);
  });

  it('that is soft is one where it is long and the text has no rest there', async () => {
    const long = paused(speech, rate, 0.8, 1.4);
    const { findings } = await judge(long);
    expect(findings).toMatchObject([{ kind: 'hole', expected: 0.4 }]);
    expect(findings[0]!.message).toMatch(/^expected silence of at most 400 ms but found 6\d\d ms$/);
    expect(await kinds(long, { rests: [1.1] })).toEqual([]);
    expect(await kinds(paused(speech, rate, 0.8, 1.1))).toEqual([]);
  });

  it('is one far from where the text rests, and where it rests too long', async () => {
    const far = paused(voiced(6, rate), rate, 0.8, 1.4);
    expect(await kinds(far, { seconds: 7, rests: [6] })).toEqual(['hole']);
    expect(await kinds(far, { seconds: 7, rests: [1.2] })).toEqual([]);
    const longer = paused(voiced(6, rate), rate, 2, 3.5);
    expect(await kinds(longer, { seconds: 7, rests: [3] })).toEqual(['hole']);
  });

  it('is a long silence before and after the speech', async () => {
    const late = new Float32Array(speech.length + 2 * rate);
    late.set(speech, rate);
    const { findings } = await judge(late);
    expect(findings.map(({ kind, startSeconds }) => [kind, startSeconds > 2])).toEqual([
      ['hole', false],
      ['hole', true],
    ]);
  });

  it('is speech that is all silent, which is too short besides', async () => {
    for (const silent of [new Float32Array(2 * rate), new Float32Array(2 * rate).fill(1e-5)]) {
      const check = await judge(silent, { voice: pitchEncoder() });
      expect(check.findings.map(({ kind, durationSeconds }) => [kind, durationSeconds])).toEqual([
        ['duration', 0],
        ['hole', 2],
      ]);
    }
  });
});

describe('the length', () => {
  test.each([
    [1, ['duration']],
    [1.5, ['duration']],
    [1.65, []],
    [2.5, []],
    [3.9, []],
    [4.2, ['duration']],
    [8, ['duration']],
  ])('of 2 s where the text takes about %d s', async (seconds, expected) => {
    expect(await kinds(speech, { seconds })).toEqual(expected);
  });

  it('is told with the bound that it lies beyond', async () => {
    const { findings } = await judge(speech, { seconds: 8 });
    expect(findings).toMatchObject([{ kind: 'duration', expected: 4 }]);
    expect(findings[0]!.value).toBeCloseTo(2, 1);
    expect(findings[0]!.startSeconds).toBeCloseTo(0.2, 1);
    expect(findings[0]!.message).toBe('expected at least 4.00 s of speech for the text but found 2.00 s');
    const long = await judge(speech, { seconds: 1 });
    expect(long.findings[0]!.message).toBe('expected at most 1.30 s of speech for the text but found 2.00 s');
  });

  it('of nothing at all is found', async () => {
    expect((await judge(new Float32Array(0))).findings).toMatchObject([{ kind: 'duration', value: 0 }]);
  });

  it('is not judged besides where a limit cut it', async () => {
    const { findings } = await judge(speech, { seconds: 1, endReason: 'limit' });
    expect(findings).toMatchObject([{ kind: 'limit', expected: 1, startSeconds: 0 }]);
    expect(findings[0]!.value).toBeCloseTo(2.4, 9);
    expect(findings[0]!.durationSeconds).toBeCloseTo(2.4, 9);
    expect(findings[0]!.message).toBe('the speech was cut after 2.4 s; about 1.0 s were expected');
  });
});

describe('the voice', () => {
  const long = voiced(6, rate);
  const other = voiced(2, rate, 240).subarray(0.2 * rate, 2.2 * rate);
  const changed = spliced(long, other, rate, 2.5);

  it('is found where it is another, as one finding', async () => {
    const check = await judge(changed, { seconds: 7, voice: pitchEncoder() });
    expect(check.findings.map(({ kind }) => kind)).toEqual(['drift']);
    const [{ startSeconds, durationSeconds, value, expected, message }] = check.findings as [
      (typeof check.findings)[0],
    ];
    expect(startSeconds).toBeGreaterThan(1.4);
    expect(startSeconds).toBeLessThan(3);
    expect(startSeconds + durationSeconds).toBeGreaterThan(4);
    expect(startSeconds + durationSeconds).toBeLessThan(5.6);
    expect(expected).toBe(0.5);
    expect(value).toBe(check.voice!.least);
    expect(value).toBeLessThan(0.1);
    expect(message).toMatch(
      /^the voice is another for \d\.\d s: a cosine of 0\.0\d, at least 0\.5 was expected$/,
    );
  });

  it('is looked at in whole windows that cover the speech, one at a time', async () => {
    for (const seconds of [1.6, 1.7, 3, 5.9, 13]) {
      const voice = pitchEncoder();
      let at = 0;
      const { embed } = voice;
      voice.embed = async (...sound) => {
        expect(at++).toBe(0);
        await new Promise(setImmediate);
        at--;
        return embed(...sound);
      };
      const check = await judge(voiced(seconds, rate), { seconds, voice });
      expect(check.voice!.windows).toBe(voice.heard.length);
      expect(voice.heard.length).toBeGreaterThanOrEqual(Math.floor((seconds - 1.6) / 0.8) + 1);
      expect(voice.heard.length).toBeLessThanOrEqual(Math.ceil((seconds - 1.6) / 0.8) + 2);
      expect(voice.heard.every(({ length }) => length >= 1.6 * rate)).toBe(true);
    }
  });

  it('of a short sound is judged on its repetition, of a very short one not at all', async () => {
    const voice = pitchEncoder();
    const check = await judge(voiced(0.7, rate), { seconds: 1, voice });
    expect(check).toMatchObject({
      voice: { windows: 1, least: expect.closeTo(1, 1) },
      findings: [],
      unchecked: [],
    });
    expect(voice.heard[0]!.length).toBeGreaterThanOrEqual(1.6 * rate);
    const reason = 'the speech is too short to tell a voice';
    expect(await judge(voiced(0.25, rate), { seconds: 0.3, voice })).toMatchObject({
      voice: null,
      findings: [],
      unchecked: [{ kind: 'drift', reason }],
    });
  });

  it('is not judged without a speaker encoder, and the check says so', async () => {
    const check = await judge(changed, { seconds: 7 });
    expect(check.findings).toEqual([]);
    expect(check.voice).toBeNull();
    expect(check.unchecked).toEqual([{ kind: 'drift', reason: 'the model has no speaker encoder' }]);
  });

  it('fails no speech: an encoder that fails is told, what else was found stays', async () => {
    const embed = async () => Promise.reject(new Error('expected memory but there was none'));
    const voice = { embedding: Float32Array.of(1, 0), embed };
    const check = await judge(stepped(changed, rate, 0.9, 0.3), { seconds: 7, voice });
    expect(check.findings.map(({ kind }) => kind)).toEqual(['click']);
    expect(check.unchecked).toEqual([{ kind: 'drift', reason: 'expected memory but there was none' }]);
  });

  it('is asked of the model, and silence has none', async () => {
    const asked: number[] = [];
    const native = {
      async embedSpeaker(samples: unknown) {
        asked.push((samples as Float32Array).length);
        if (asked.length === 1) throw nativeError('ERR_REFERENCE_AUDIO', 'nothing is left');
        if (asked.length === 2) throw nativeError('ERR_DISPOSED', 'expected an open model');
        return { embedding: Float32Array.of(0, 1), trim: [0, 1] as [number, number], samples16k: 1 };
      },
    };
    const voice = voiceReference(native, Float32Array.of(1, 0));
    expect(await voice.embed(speech, rate)).toBeNull();
    await expect(voice.embed(speech, rate)).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    expect(await voice.embed(speech, rate)).toEqual(Float32Array.of(0, 1));
    expect(asked).toEqual([speech.length, speech.length, speech.length]);
  });
});

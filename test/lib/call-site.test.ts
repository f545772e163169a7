/** Whose frames an error shows: the caller's, also when it was born in a worker, in the engine or for several callers. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { encodeWav } from '../../dist/audio/wav.js';
import { MetaVoice, synthesize } from '../../dist/index.js';
import { Stages } from '../../dist/stages.js';
import { fakeMetaVoice } from './fake-metavoice.js';
import { FakeModel } from './fake-native.js';

const folder = mkdtempSync(join(tmpdir(), 'metavoice-frames-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const silence = join(folder, 'silence.wav');
writeFileSync(silence, encodeWav(new Float32Array(80_000), 16_000));
const empty = join(folder, 'empty');
mkdirSync(empty);

async function failure(promise: Promise<unknown>): Promise<Error> {
  const outcome = await promise.then(
    () => null,
    (error: Error) => error,
  );
  if (!(outcome instanceof Error)) throw new Error('expected a failure');
  return outcome;
}

const { tts } = fakeMetaVoice();
const broken = fakeMetaVoice(Object.assign(new FakeModel(), { failAt: 0 })).tts;

describe('an error points at the line that asked', () => {
  test.each<[string, () => Promise<unknown>, string]>([
    ['voice, of a file that is not there', () => tts.voice(join(folder, 'no.wav')), 'ERR_REFERENCE_AUDIO'],
    ['voice, judged in a worker', () => tts.voice(silence), 'ERR_REFERENCE_AUDIO'],
    ['synthesize, of its voice', () => tts.synthesize('hi', { voice: silence }), 'ERR_REFERENCE_AUDIO'],
    ['stream, of the engine', () => broken.stream('hi').collect(), 'ERR_NUMERIC'],
    ['load', () => MetaVoice.load({ model: empty }), 'ERR_MODEL_NOT_FOUND'],
    ['the one-call synthesize', () => synthesize('hi', { model: empty }), 'ERR_MODEL_NOT_FOUND'],
    ['the stages', () => Stages.open(empty), 'ERR_MODEL_NOT_FOUND'],
  ])('%s', async (_, call, code) => {
    const error = await failure(call());
    expect(error).toMatchObject({ name: 'MetaVoiceError', code });
    const [first = '', frame = ''] = error
      .stack!.slice(error.stack!.indexOf(error.message))
      .split(/\n(?=\s+at )/);
    expect(first).toContain(error.message);
    expect(frame).toContain('call-site.test');
  });

  test('the first line of which is name and message', async () => {
    const error = await failure(tts.voice(silence));
    expect(error.stack!.startsWith(`MetaVoiceError: ${error.message}\n`)).toBe(true);
  });
});

describe('what others threw is left alone', () => {
  const theirs = (): [Error, string | undefined] => {
    const error = new Error('theirs');
    return [error, error.stack];
  };

  test('the reason of a signal', async () => {
    const [reason, stack] = theirs();
    expect(await failure(tts.voice(silence, { signal: AbortSignal.abort(reason) }))).toBe(reason);
    expect(reason.stack).toBe(stack);
  });

  test('an error of a callback', async () => {
    const [mistake, stack] = theirs();
    const onProgress = () => {
      throw mistake;
    };
    expect(await failure(tts.synthesize('hi', { onProgress }))).toBe(mistake);
    expect(await failure(MetaVoice.load({ model: empty, onProgress }))).toBe(mistake);
    expect(mistake.stack).toBe(stack);
  });
});

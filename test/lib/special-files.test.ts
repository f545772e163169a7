/** What is no file, where a file is read: refused at once, never waited for and never read without end. */

import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { convertModel } from '../../dist/checkpoint/convert.js';
import { MetaVoice, plan, Voice } from '../../dist/index.js';
import { decodeAudio, Stages } from '../../dist/stages.js';
import { fakeMetaVoice } from './fake-metavoice.js';
import { fixture } from './fixtures.js';

const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'metavoice-special-'));
const place = (name: string): string => join(folder, name);
const { tts } = fakeMetaVoice();
let server: Server;

beforeAll(async () => {
  mkdirSync(place('folder'));
  writeFileSync(place('empty'), '');
  execFileSync('mkfifo', [place('pipe')]);
  symlinkSync('/dev/zero', place('endless'));
  symlinkSync('/dev/null', place('nothing'));
  symlinkSync(place('nowhere'), place('dangling'));
  symlinkSync(place('circle'), place('circle'));
  symlinkSync(place('pipe'), place('link to a pipe'));
  server = createServer();
  await new Promise<void>((listening) => server.listen(place('socket'), listening));
});
afterAll(async () => {
  await new Promise((closed) => server.close(closed));
  rmSync(folder, { recursive: true });
});

/** By name; what an empty path would be is refused as an option. */
const all = {
  folder: () => place('folder'),
  'an empty file': () => place('empty'),
  'a pipe that nobody writes to': () => place('pipe'),
  'a link to one': () => place('link to a pipe'),
  'a device without end': () => place('endless'),
  'a device without anything': () => place('nothing'),
  'a socket': () => place('socket'),
  'a link to nowhere': () => place('dangling'),
  'a link to itself': () => place('circle'),
  'a path through a file': () => place('empty/more'),
  'a name with a NUL': () => place('a\0b'),
  'a name of 10 kB': () => place('x'.repeat(10_000)),
  'a path of 10 kB': () => place('x/'.repeat(5_000)),
  'a name of strange letters': () => place('😀 \n\u202e\ud800'),
};
const cases = Object.entries(all);

describe('a recording', () => {
  test.each(cases)('%s', async (_, path) => {
    const refusal = { code: 'ERR_REFERENCE_AUDIO' };
    await expect(tts.voice(path())).rejects.toMatchObject(refusal);
    await expect(tts.synthesize('hi', { voice: { file: path() } })).rejects.toMatchObject(refusal);
    await expect(decodeAudio(path())).rejects.toMatchObject(refusal);
  });

  test('a pipe is named as what it is', async () => {
    await expect(tts.voice(place('pipe'))).rejects.toThrow(
      /something that is not a regular file; check the path/,
    );
  });
});

describe('a saved voice', () => {
  test.each(cases)('%s', async (_, path) => {
    await expect(Voice.load(path())).rejects.toMatchObject({ code: 'ERR_REFERENCE_AUDIO' });
  });

  test('a file of two megabytes', async () => {
    writeFileSync(place('large.json'), `{${' '.repeat(2 ** 21)}}`);
    await expect(Voice.load(place('large.json'))).rejects.toThrow(/2097154 bytes/);
    await expect(tts.voice(place('large.json'))).rejects.toMatchObject({ code: 'ERR_REFERENCE_AUDIO' });
  });
});

describe('a model', () => {
  test.each(cases)('%s', async (_, path) => {
    const refusal = { code: 'ERR_MODEL_NOT_FOUND' };
    await expect(MetaVoice.load({ model: path() })).rejects.toMatchObject(refusal);
    await expect(Stages.open(path())).rejects.toMatchObject(refusal);
    expect(() => plan({ model: path() })).toThrow(expect.objectContaining(refusal));
    await expect(convertModel(path(), place('out'), { dtype: 'float32' })).rejects.toMatchObject(refusal);
  });
});

describe('a file of a model', () => {
  const names = ['first_stage.pt', 'encodec_24khz-x.th', 'encodec.safetensors', 'metavoice.json'];
  test.each(names.flatMap((name) => cases.slice(0, 9).map(([kind, path]) => [name, kind, path] as const)))(
    '%s: %s',
    async (name, _, path) => {
      const model = mkdtempSync(place('model-'));
      symlinkSync(path(), join(model, name));
      await expect(MetaVoice.load({ model })).rejects.toMatchObject({
        code: expect.stringMatching(/^ERR_(MODEL_NOT_FOUND|CHECKPOINT)$/),
      });
    },
  );
});

describe('a folder of libtorch', () => {
  test.each(cases)('%s', async (_, path) => {
    await expect(MetaVoice.load({ model: fixture('model'), libtorch: path() })).rejects.toMatchObject({
      code: 'ERR_RUNTIME_NOT_FOUND',
    });
  });
});

describe('a place to save to', () => {
  test('a folder, a path through a file, a link to itself: with the errors of the file system', async () => {
    const speech = await tts.synthesize('hi');
    const voice = await tts.voice({ speaker: 'ada' });
    for (const save of [(path: string) => speech.save(path), (path: string) => voice.save(path)]) {
      await expect(save(place('folder'))).rejects.toMatchObject({ code: 'EISDIR' });
      await expect(save(place('empty/more'))).rejects.toMatchObject({ code: 'ENOTDIR' });
      await expect(save(place('nowhere/x.wav'))).rejects.toMatchObject({ code: 'ENOENT' });
      await expect(save(place('x'.repeat(10_000)))).rejects.toMatchObject({ code: 'ENAMETOOLONG' });
      await expect(save(place('a\0b'))).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' });
    }
  });
});

describe('the text of the command line', () => {
  const say = (...args: string[]): Promise<{ code: number; stderr: string }> =>
    new Promise((resolve) => {
      execFile(
        process.execPath,
        [program, 'say', '--model', fixture('model'), ...args],
        { cwd: folder, timeout: 20_000 },
        (error, _, stderr) =>
          resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, stderr }),
      );
    });

  test.each([
    ['folder', /expected a text file at .*folder but found a folder/],
    ['empty', /expected a text to speak/],
    ['nothing', /expected a text to speak/],
    ['endless', /at most \d+ bytes in .*endless but found more/],
    ['dangling', /ENOENT/],
    ['circle', /ELOOP/],
  ])('%s', async (name, message) => {
    const { code, stderr } = await say('--speaker', 'ada', '-f', place(name));
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(code).toBe(1);
  });
});

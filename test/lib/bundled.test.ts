/** The model that ships with the package: what it may weigh, and that it speaks with nothing said about it. */

import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, test, vi } from 'vitest';
import { bundledModel } from '../../dist/bundled.js';
import { type Manifest, readManifest } from '../../dist/checkpoint/manifest.js';
import { readSafetensors } from '../../dist/checkpoint/safetensors.js';
import { MetaVoice, plan, type Speech, synthesize } from '../../dist/index.js';
import { Stages } from '../../dist/stages.js';
import { barePackage } from './bare-package.js';
import { fixture, peak } from './fixtures.js';

const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const speakers = ['slt', 'rms', 'awb', 'kal'];
const sentence = 'The box has a voice of its own.';
const short = { seed: 1, maxSeconds: 4 };

let folder: string;
let manifest: Manifest;
let tts: MetaVoice;

beforeAll(async () => {
  vi.stubEnv('METAVOICE_MODEL', '');
  folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
  manifest = await readManifest(bundledModel());
  tts = await MetaVoice.load();
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await tts?.dispose();
  await rm(folder, { recursive: true, force: true });
});

describe('the files', () => {
  test.each([
    ['firstStage', 7e6],
    ['secondStage', 2e6],
    ['speakerEncoder', 1.4e6],
    ['codec', 2e6],
  ] as const)('of the %s have at most %d parameters', async (name, most) => {
    const { tensors } = await readSafetensors(join(bundledModel(), manifest[name]!.file));
    const sizes = [...tensors.values()].map(({ shape }) => shape.reduce((count, size) => count * size, 1));
    const parameters = sizes.reduce((sum, count) => sum + count, 0);
    expect(parameters).toBeGreaterThan(1e5);
    expect(parameters).toBeLessThanOrEqual(most);
  });

  it('weigh 25 MB at most, all together', async () => {
    let bytes = 0;
    for (const name of await readdir(bundledModel())) bytes += (await stat(join(bundledModel(), name))).size;
    expect(bytes).toBeLessThanOrEqual(25e6);
  });

  it('have the language models in float16, in sizes that fast kernels take', () => {
    const { firstStage, secondStage } = manifest;
    expect([firstStage!.dtype, secondStage!.dtype]).toEqual(['float16', 'float16']);
    const { width, feedForward, speakerEmbedding } = firstStage!;
    expect([width % 128, feedForward % 128, speakerEmbedding % 128]).toEqual([0, 0, 0]);
    expect(speakerEmbedding).toBeGreaterThan(0);
  });

  it('have a speaker encoder of their own, and a codec that only decodes', () => {
    expect(manifest.speakerEncoder).toMatchObject({ hidden: 128, embedding: 128 });
    expect(manifest.codec).toMatchObject({
      sampleRate: 16_000,
      codebooks: 8,
      codebookSize: 1024,
      encoder: false,
    });
    expect(manifest.speakers.map(({ name }) => name)).toEqual(speakers);
  });
});

/** Sound, of a length that a sentence may have. */
function expectSpeech({ samples, sampleRate, durationSeconds, health }: Speech): void {
  expect(sampleRate).toBe(16_000);
  expect(samples.every(Number.isFinite)).toBe(true);
  expect(peak(samples)).toBeGreaterThan(0.01);
  expect(durationSeconds).toBeGreaterThan(0.5);
  expect(health).toEqual({ redoneSteps: 0, redoneWindows: 0 });
}

describe('the folder', () => {
  it('is looked for outside an archive of Electron, and its absence is told', async () => {
    const place = (archive: string) => join(folder, archive, 'node_modules', 'metavoice');
    const bare = barePackage(place('app.asar'));
    const { bundledModel: found } = (await import(bare.url('dist/bundled.js'))) as {
      bundledModel: typeof bundledModel;
    };
    const unpacked = join(place('app.asar.unpacked'), 'voices', 'bundled');
    expect(() => found()).toThrow(
      expect.objectContaining({
        code: 'ERR_MODEL_NOT_FOUND',
        details: { model: 'bundled', folder: unpacked },
      }),
    );
    await mkdir(unpacked, { recursive: true });
    await writeFile(join(unpacked, 'metavoice.json'), '{}');
    expect(found()).toBe(unpacked);
  });
});

describe('the model', () => {
  it('is the default, and has the name "bundled"', async () => {
    expect(tts.model).toBe(bundledModel());
    expect(tts.speakers).toEqual(speakers);
    await using named = await MetaVoice.load({ model: 'bundled' });
    expect(named.model).toBe(bundledModel());
    await using stages = await Stages.open(bundledModel());
    expect(stages.manifest).toEqual(manifest);
  });

  it('is planned by its name as by its folder, in less memory than it may take', () => {
    const { model, ...named } = plan({ model: 'bundled', device: 'cpu' });
    expect(model).toBe('bundled');
    const { parts, fits, total } = plan({ model: bundledModel(), device: 'cpu' });
    expect(named).toMatchObject({ parts, fits: true });
    expect(fits).toBe(true);
    expect(total).toBeLessThan(400e6);
    // A codec that is counted from its file: 4 bytes a number, and its header.
    expect(parts.codec).toBeGreaterThanOrEqual(4 * Math.floor(manifest.codec!.bytes / 4));
  });

  it('speaks in one call without options, as its first speaker', async () => {
    expectSpeech(await synthesize('Hello there.'));
    const speech = await synthesize(sentence, short);
    const first = await tts.synthesize(sentence, { ...short, voice: { speaker: 'slt' } });
    expect(speech.samples).toEqual(first.samples);
  });

  it('speaks as each of its speakers, and each speaks otherwise', async () => {
    const spoken = new Set<string>();
    for (const speaker of speakers) {
      const speech = await tts.synthesize(sentence, { ...short, voice: { speaker } });
      expectSpeech(speech);
      spoken.add(Buffer.from(speech.samples.buffer).toString('base64'));
    }
    expect(spoken.size).toBe(speakers.length);
  });

  it('is drawn as it advises, which its user may overrule', async () => {
    const { temperature = 1, topP = 0.95, topK, guidance = 3 } = manifest.sampling ?? {};
    const advised = { temperature, topP, guidance, ...(topK !== undefined && { topK }) };
    const [plain, same, other] = [
      await tts.synthesize(sentence, short),
      await tts.synthesize(sentence, { ...short, sampling: advised }),
      await tts.synthesize(sentence, { ...short, sampling: { temperature: 0 } }),
    ];
    expect(same.samples).toEqual(plain.samples);
    expect(other.samples).not.toEqual(plain.samples);
  });

  it('streams its speech, the first piece before the rest', async () => {
    const stream = tts.stream(sentence, short);
    const pieces: number[] = [];
    for await (const { samples } of stream) pieces.push(samples.length);
    const whole = await tts.synthesize(sentence, short);
    expect(pieces.length).toBeGreaterThan(1);
    expect(pieces.reduce((sum, length) => sum + length, 0)).toBe(whole.samples.length);
  });

  it('speaks a text in pieces, with segments ahead, as it speaks it whole', async () => {
    const text = 'Good morning.\n\nIt is late.\n\nGood night.';
    const whole = await tts.synthesize(text, short);
    expectSpeech(whole);
    const batched = await MetaVoice.load({ batchSize: 2 });
    try {
      for (const each of [tts, batched]) {
        const speech = await each.synthesize([...text], short);
        expect(speech.samples).toEqual(whole.samples);
        expect(speech.codes).toEqual(whole.codes);
      }
    } finally {
      await batched.dispose();
    }
  });

  it('goes on from the sentence before, with the same bytes every time, and other ones than anew', async () => {
    const text = 'The rain has stopped for today.\n\nWe can walk to the old mill.';
    const options = { seed: 3, check: 'off' } as const;
    const on = await tts.synthesize(text, { ...options, continuity: 'continue' });
    const anew = await tts.synthesize(text, options);
    expect((await tts.synthesize(text, { ...options, continuity: 'continue' })).samples).toEqual(on.samples);
    const whole = await tts.synthesize(text, { ...options, continuity: 'continue', quality: 'whole' });
    expect(whole.codes.codebooks[0]).toEqual(on.codes.codebooks[0]);
    expect(on.endReason).toBe('end');
    // The first sentence is the same, the second one is not.
    const first = [on, anew].map(({ samples }) => Buffer.from(samples.buffer, 0, 4 * 16_000));
    expect(first[0]!.equals(first[1]!)).toBe(true);
    expect(on.samples).not.toEqual(anew.samples);
  });

  it('makes a voice of a recording, and speaks with it', async () => {
    const voice = await tts.voice(fixture('voices/bria.mp3'));
    expect(voice.embedding).toHaveLength(128);
    expect(Math.hypot(...voice.embedding)).toBeCloseTo(1, 4);
    expect(voice.quality?.speechSeconds).toBeGreaterThan(10);
    const speech = await tts.synthesize(sentence, { ...short, voice });
    expectSpeech(speech);
    const known = await tts.synthesize(sentence, { ...short, voice: { speaker: 'slt' } });
    expect(speech.samples).not.toEqual(known.samples);
  });
});

describe('on the command line', () => {
  function say(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
    const environment = { ...process.env };
    for (const name of ['METAVOICE_MODEL', 'METAVOICE_DEVICE', 'METAVOICE_DTYPE']) delete environment[name];
    const child = spawn(process.execPath, [program, 'say', ...args], { cwd: folder, env: environment });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (data) => (stdout += data));
    child.stderr.on('data', (data) => (stderr += data));
    return new Promise((resolve) => {
      child.on('close', (code) => resolve({ code, stdout, stderr }));
    });
  }

  it('a speaker says a sentence, with no model named', async () => {
    const { code, stdout, stderr } = await say(sentence, '--speaker', 'rms', '--seed', '1', '--json');
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({
      file: 'speech.wav',
      sampleRate: 16_000,
      model: bundledModel(),
    });
    expect(code).toBe(0);
    const file = await readFile(join(folder, 'speech.wav'));
    expect(file.toString('latin1', 0, 4)).toBe('RIFF');
    const { durationSeconds } = JSON.parse(stdout);
    expect(file.length).toBe(44 + Math.round(durationSeconds * 16_000) * 2);
  });

  it('a speaker that is not there is refused with those that are', async () => {
    const { code, stdout, stderr } = await say('Hello.', '--speaker', 'hal');
    expect(stderr).toMatch(/expected one of 'slt', 'rms', 'awb', 'kal' for `voice\.speaker`.*"hal"/);
    expect(stdout).toBe('');
    expect(code).toBe(2);
  });

  it('a recording is spoken like, but not with a speaker besides', async () => {
    const voice = ['--voice', fixture('voices/bria.mp3')];
    const both = await say('Hello.', ...voice, '--speaker', 'slt');
    expect(both).toMatchObject({ code: 2, stderr: expect.stringMatching(/`--voice` or `--speaker`.*both/) });
    const { code, stdout } = await say(
      'Hello.',
      ...voice,
      '--seed',
      '1',
      '--max-seconds',
      '2',
      '-o',
      'b.wav',
    );
    expect(stdout).toMatch(/^b\.wav: \d+\.\d\d s/);
    expect(code).toBe(0);
  });
});

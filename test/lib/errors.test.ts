/** One list of codes: each is provoked here, each is explained in docs/errors.md. */

import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { convertModel } from '../../dist/checkpoint/convert.js';
import { resolveDevicePolicy } from '../../dist/device/policy.js';
import { type ErrorCode, errorCodes, MetaVoice, MetaVoiceError, Voice } from '../../dist/index.js';
import { explanations } from '../../scripts/error-explanations.mjs';
import { errorsPage, page } from '../../scripts/errors-doc.mjs';
import { box, driver, gpu } from './device/boxes.js';
import { fakeMetaVoice } from './fake-metavoice.js';
import { FakeModel, nativeError } from './fake-native.js';
import { fixture } from './fixtures.js';
import { writeSparseModel } from './sparse-model.js';

let folder: string;
let tts: MetaVoice;
const model = fixture('model');
const bria = fixture('voices/bria.mp3');
const load = () => MetaVoice.load({ model, device: 'cpu', dtype: 'float32' });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-errors-'));
  tts = await load();
});
afterAll(async () => {
  await tts.dispose();
  await rm(folder, { recursive: true });
});

/** A model whose engine answers every request with this. */
function refusingEngine(code: ErrorCode): MetaVoice {
  const native = new FakeModel();
  native.start = () => {
    throw nativeError(code, 'as the engine would say it');
  };
  return fakeMetaVoice(native).tts;
}

const t4 = box(driver(550, [gpu('T4')]), 'cu126');

interface Case {
  /** `api`: as a user meets it. Else what stands in for what this machine has not got, or must not have. */
  by: 'api' | 'facts of another machine' | 'fake engine';
  provoke(): unknown;
}

/** A code without a case does not compile. */
const cases: Record<ErrorCode, Case> = {
  ERR_TEXT: { by: 'api', provoke: () => tts.stream('', { voice: bria }) },
  ERR_TEXT_TOO_LONG: { by: 'api', provoke: () => tts.synthesize('word'.repeat(2000), { voice: bria }) },
  ERR_VOICE_REQUIRED: { by: 'api', provoke: () => tts.synthesize('hi') },
  ERR_REFERENCE_AUDIO: { by: 'api', provoke: () => tts.voice(folder) },
  ERR_MODEL_NOT_FOUND: { by: 'api', provoke: () => MetaVoice.load({ model: join(folder, 'nowhere') }) },
  ERR_DOWNLOAD: {
    by: 'api',
    async provoke() {
      const { HF_HOME, HF_HUB_OFFLINE } = process.env;
      Object.assign(process.env, { HF_HOME: folder, HF_HUB_OFFLINE: '1' });
      try {
        return await MetaVoice.load({ model: 'nobody/nothing', download: true });
      } finally {
        for (const [name, value] of Object.entries({ HF_HOME, HF_HUB_OFFLINE }))
          if (value === undefined) delete process.env[name];
          else process.env[name] = value;
      }
    },
  },
  ERR_CHECKPOINT: {
    by: 'api',
    async provoke() {
      await writeFile(join(folder, 'first_stage.pt'), 'version https://git-lfs.github.com/spec/v1\n');
      return MetaVoice.load({ model: folder });
    },
  },
  ERR_CUDA_UNAVAILABLE: { by: 'api', provoke: () => MetaVoice.load({ model, device: 'cuda:999' }) },
  ERR_DTYPE_UNSUPPORTED: {
    by: 'facts of another machine',
    provoke: () => resolveDevicePolicy(t4, { device: 'cuda', dtype: 'bfloat16', quantization: 'none' }),
  },
  ERR_OUT_OF_MEMORY: {
    by: 'api',
    async provoke() {
      const large = join(folder, 'large');
      await writeSparseModel(large, 'float32');
      return MetaVoice.load({ model: large, device: 'cpu', batchSize: 256 });
    },
  },
  ERR_NO_AUDIO: {
    by: 'api',
    // So hot that all tokens are equally likely: this seed draws the end of the speech first.
    provoke: () =>
      tts.synthesize('hi', {
        voice: bria,
        seed: 1283,
        maxSeconds: 0.02,
        sampling: { temperature: 1e6, topP: 1, guidance: 1 },
      }),
  },
  ERR_NUMERIC: { by: 'api', provoke: () => Voice.fromEmbedding(Float32Array.of(1, Number.NaN), 'any') },
  ERR_QUEUE_FULL: {
    by: 'api',
    async provoke() {
      await using busy = await MetaVoice.load({ model, device: 'cpu', maxQueue: 0 });
      // Four short ones share the memory of a long one.
      const streams = [1, 2, 3, 4, 5].map((seed) => busy.stream('hi', { voice: bria, seed }));
      return await Promise.all(streams.map((stream) => stream[Symbol.asyncIterator]().next()));
    },
  },
  ERR_RUNTIME_NOT_FOUND: {
    by: 'api',
    provoke: () => MetaVoice.load({ model, libtorch: join(folder, 'nowhere') }),
  },
  ERR_UNSUPPORTED: {
    by: 'api',
    async provoke() {
      const quantized = join(folder, 'quantized');
      await convertModel(model, quantized, { dtype: 'float32', quantization: 'int8' });
      return MetaVoice.load({ model: quantized, device: 'cpu', quantization: 'int4' });
    },
  },
  ERR_DISPOSED: {
    by: 'api',
    async provoke() {
      const other = await load();
      await other.dispose();
      return other.synthesize('hi', { voice: bria });
    },
  },
  ERR_INTERNAL: {
    by: 'fake engine',
    provoke() {
      const native = new FakeModel();
      native.start = () => ({ next: async () => null, cancel() {} });
      return fakeMetaVoice(native).tts.synthesize('hi');
    },
  },
};

async function failure(provoke: () => unknown): Promise<unknown> {
  try {
    await provoke();
  } catch (error) {
    return error;
  }
  throw new Error('expected a failure');
}

describe('every code', () => {
  it('has a case here', () => {
    expect(Object.keys(cases).sort()).toEqual(Object.keys(errorCodes).sort());
  });

  test.each(Object.entries(cases) as [ErrorCode, Case][])('%s is provoked', async (code, { provoke }) => {
    const error = await failure(provoke);
    if (!MetaVoiceError.isInstance(error)) throw error;
    expect(error).toBeInstanceOf(MetaVoiceError);
    expect(error).toMatchObject({ code, name: 'MetaVoiceError' });
    expect(error.message.length).toBeGreaterThan(20);
    expect(String(error)).toBe(`MetaVoiceError: ${error.message}`);
    // Facts for programs: plain data, with the fields that are documented.
    expect(structuredClone(error.details)).toEqual(error.details);
    expect(Object.keys(explanations[code].details)).toEqual(
      expect.arrayContaining(Object.keys(error.details)),
    );
  });

  it('keeps the message of the engine, and the caller as its place', async () => {
    const error = (await failure(() => refusingEngine('ERR_QUEUE_FULL').synthesize('hi'))) as Error;
    expect(error.message).toBe('as the engine would say it');
    expect(error.stack).toContain('errors.test');
  });
});

describe('docs/errors.md', () => {
  it('is what scripts/errors-doc.mjs writes; run it when this fails', () => {
    expect(readFileSync(page, 'utf8')).toBe(errorsPage());
  });

  it('explains every code, in its order, and no other', () => {
    const headings = [...errorsPage().matchAll(/^## (\w+)$/gm)].map((match) => match[1]);
    expect(headings).toEqual(Object.keys(errorCodes));
    expect(Object.keys(explanations).sort()).toEqual(Object.keys(errorCodes).sort());
  });
});

describe('errors of another copy of the package', () => {
  it('are recognised, and strangers are not', () => {
    const marker = Symbol.for('metavoice.error');
    expect(MetaVoiceError.isInstance({ [marker]: true })).toBe(true);
    for (const stranger of [undefined, null, 'ERR_TEXT', new Error('x'), { code: 'ERR_TEXT' }, () => 1])
      expect(MetaVoiceError.isInstance(stranger)).toBe(false);
  });
});

import { execFile } from 'node:child_process';
import { mkdtemp, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { convertModel } from '../../dist/checkpoint/convert.js';
import { type MemoryPlan, MetaVoice, type PlanOptions, plan } from '../../dist/index.js';
import { fixture } from './fixtures.js';
import { writeSparseModel } from './sparse-model.js';

let folder: string;
let large: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metavoice-'));
  large = join(folder, 'large');
  await writeSparseModel(large, 'bfloat16');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const t4 = { name: 'Tesla T4', computeCapability: '7.5', memory: 15.8e9 };
const without = ({ model: _, available: __, advice: ___, ...rest }: MemoryPlan) => rest;

describe('plan refuses', () => {
  test.each<[unknown, typeof TypeError, RegExp]>([
    [{ modell: 'x' }, TypeError, /did you mean `model`/],
    [null, TypeError, /an object for `options`/],
    [{ model: 3 }, TypeError, /for `model` but received 3/],
    [{ device: 'gpu' }, RangeError, /for `device`/],
    [{ device: { ...t4, memory: 'lots' } }, TypeError, /`device.memory`/],
    [{ device: { name: 'T4', computeCapability: '7.5' } }, TypeError, /bytes for `device.memory`/],
    [{ device: { ...t4, computeCapability: 7.5 } }, TypeError, /compute capability such as '7.5'/],
    [{ device: { ...t4, computeCapability: 'sm_75' } }, RangeError, /compute capability such as '7.5'/],
    [{ device: { ...t4, memroy: 1 } }, TypeError, /did you mean `memory`/],
    [{ dtype: 'int8' }, RangeError, /one of 'auto', 'float32'/],
    [{ quantization: 'int3' }, RangeError, /'none', 'int8', 'int4'/],
    [{ decoder: 'vocos' }, RangeError, /'auto', 'encodec', 'diffusion'/],
    [{ quality: 'best' }, RangeError, /'stream', 'whole'/],
    [{ batchSize: 0 }, RangeError, /between 1 and 256/],
    [{ maxSeconds: Number.NaN }, RangeError, /greater than 0/],
  ])('%j', (options, type, message) => {
    expect(() => plan(options as PlanOptions)).toThrow(type);
    expect(() => plan(options as PlanOptions)).toThrow(message);
  });

  it('a model that is not there, is damaged, or was never fetched', async () => {
    expect(() => plan({ model: join(folder, 'absent') })).toThrow(
      expect.objectContaining({ code: 'ERR_MODEL_NOT_FOUND' }),
    );
    expect(() => plan({ model: 'somebody/other-model' })).toThrow(
      expect.objectContaining({ code: 'ERR_MODEL_NOT_FOUND' }),
    );
    const damaged = join(folder, 'damaged');
    await convertModel(fixture('model'), damaged, { dtype: 'float32' });
    await truncate(join(damaged, 'codec.safetensors'), 1000);
    expect(() => plan({ model: damaged })).toThrow(expect.objectContaining({ code: 'ERR_CHECKPOINT' }));
  });

  it('what the device cannot do', () => {
    expect(() => plan({ device: t4, dtype: 'bfloat16' })).toThrow(
      expect.objectContaining({ code: 'ERR_DTYPE_UNSUPPORTED' }),
    );
    const old = { name: 'GTX 1080', computeCapability: '6.1', memory: 8e9 };
    expect(() => plan({ device: old })).toThrow(expect.objectContaining({ code: 'ERR_CUDA_UNAVAILABLE' }));
  });
});

describe('plan', () => {
  it('says the same of a model folder, of the files it was made of, and of the same options again', async () => {
    const target = join(folder, 'converted');
    await convertModel(fixture('model'), target, { dtype: 'bfloat16' });
    const options = { device: 'cpu', dtype: 'bfloat16', maxSeconds: 5 } as const;
    const published = plan({ ...options, model: fixture('model') });
    const converted = plan({ ...options, model: target });
    expect(published.fits).toBe(true);
    expect(converted.parts.firstStage).toBe(published.parts.firstStage);
    expect(converted.parts.keyValueCache).toBe(published.parts.keyValueCache);
    expect(published.parts.enhancer).toBeGreaterThan(0);
    expect(plan({ ...options, device: t4, dtype: 'float16', model: fixture('model') }).parts.enhancer).toBe(
      0,
    );
    // The header of a file is counted with its numbers.
    expect(Math.abs(converted.total - published.total)).toBeLessThan(100_000);
    expect(plan({ ...options, model: target })).toMatchObject(without(converted));
  });

  it('reads the sizes of a model of the published size from its headers, and knows them without any', () => {
    const options = { device: t4, batchSize: 3 } as const;
    const known = plan(options);
    expect(known.model).toBe('published sizes');
    expect(plan({ ...options, model: 'metavoiceio/metavoice-1B-v0.1' }).total).toBe(known.total);
    const { parts } = plan({ ...options, model: large });
    expect(parts).toEqual({ ...known.parts, speakerEncoder: 0, codec: 0 });
  });

  it('counts the diffusion networks that lie beside a model, else the published ones', () => {
    const counted = (model: string) => plan({ model, decoder: 'diffusion', device: t4 }).parts.diffusion;
    expect(counted(fixture('model'))).toBeLessThan(10e6);
    expect(counted(large)).toBe(2 * 1_145_740_032);
  });

  it('counts the decoder that `auto` would take: diffusion where the model has it, the device is fast and it fits', () => {
    const model = fixture('model');
    const decoderOn = (device: PlanOptions['device'], options: PlanOptions = {}) =>
      plan({ model, device, ...options }).decoder;
    expect(decoderOn(t4)).toBe('diffusion');
    expect(plan({ model, device: t4 }).parts.diffusion).toBeGreaterThan(0);
    expect(plan({ model, device: t4, decoder: 'encodec' }).parts.diffusion).toBe(0);
    // In float32 a T4 is slower than speech, and the CPU always.
    expect(decoderOn(t4, { dtype: 'float32' })).toBe('encodec');
    expect(decoderOn('cpu')).toBe('encodec');
    const { total } = plan({ model, device: t4, decoder: 'diffusion' });
    expect(decoderOn({ ...t4, memory: total })).toBe('diffusion');
    expect(decoderOn({ ...t4, memory: total - 1 })).toBe('encodec');
    expect(decoderOn({ ...t4, memory: total }, { quality: 'whole' })).toBe('encodec');
    // A model without, and the published one, whose diffusion is another download.
    expect(plan({ model: large, device: t4 }).decoder).toBe('encodec');
    expect(plan({ device: t4 }).decoder).toBe('encodec');
  });

  it('judges a GPU that is described as it would one that is there', () => {
    expect(plan({ device: t4 })).toMatchObject({
      device: 'Tesla T4',
      computeCapability: '7.5',
      dtype: 'float16',
      quantization: 'none',
      decoder: 'encodec',
      available: 15.8e9,
      fits: true,
    });
    expect(plan({ device: { name: 'H100', computeCapability: '9.0', memory: 80e9 } }).dtype).toBe('bfloat16');
  });

  it('opens neither libtorch nor the engine', async () => {
    const script = `
      import { readFileSync } from 'node:fs';
      import { plan } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)};
      plan({ device: 'cpu', model: ${JSON.stringify(fixture('model'))} });
      console.log(/libtorch|libmetavoice/.test(readFileSync('/proc/self/maps', 'utf8')));`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    expect(stdout.trim()).toBe(process.platform === 'linux' ? 'false' : stdout.trim());
  });
});

describe('load', () => {
  it('refuses what does not fit before anything is read, with the plan and what would fit', async () => {
    const error = await MetaVoice.load({ model: large, device: 'cpu', batchSize: 256 }).catch(
      (found) => found,
    );
    expect(error.code).toBe('ERR_OUT_OF_MEMORY');
    expect(error.message).toMatch(
      /expected .*large to fit cpu but .* needs \d+ GB and .* has .* free; what would fit: /,
    );
    expect(error.message).toMatch(/firstStage 2\.5 GB|firstStage 5\.0 GB/);
    const found = error.details.plan as MemoryPlan;
    expect(found.fits).toBe(false);
    expect(found.parts.keyValueCache).toBeGreaterThan(found.available);
    expect(found.alternatives.length).toBeGreaterThan(0);
  });

  it('tells what was planned, and the peak that was reached', async () => {
    await using tts = await MetaVoice.load({ model: fixture('model'), device: 'cpu', maxSeconds: 2 });
    const voice = await tts.voice(fixture('voices/bria.mp3'));
    await tts.synthesize('hello', { voice, maxSeconds: 1 });
    expect(tts.plan).toMatchObject({ device: 'cpu', maxSeconds: 2, batchSize: 1, fits: true });
    expect(tts.plan.parts.runtime).toBe(0); // libtorch is open already
    expect(await tts.peakMemory()).toBeGreaterThan(0);
    await tts.dispose();
    await expect(tts.peakMemory()).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  });

  it('holds requests to the seconds that were planned for', async () => {
    await using tts = await MetaVoice.load({ model: fixture('model'), device: 'cpu', maxSeconds: 2 });
    expect(() => tts.stream('hello', { maxSeconds: 3 })).toThrow(
      /expected at most 2 seconds, which the model was loaded for, for `maxSeconds` but received 3/,
    );
    expect(() => tts.stream('hello', { maxSeconds: 3 })).toThrow(RangeError);
  });
});

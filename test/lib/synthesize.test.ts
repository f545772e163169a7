import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { LeftOut } from '../../dist/checkpoint/left-out.js';
import type { Manifest } from '../../dist/checkpoint/manifest.js';
import { MetaVoice } from '../../dist/metavoice.js';
import type { ModelDescription } from '../../dist/native/contract.js';
import { synthesize } from '../../dist/synthesize.js';
import { fakeManifest } from './fake-metavoice.js';
import { FakeModel } from './fake-native.js';

/** What the mocked floors below are asked, and what they answer. */
const world = vi.hoisted(() => ({
  manifest: null as Manifest | null,
  leftOut: new Map() as LeftOut,
  models: [] as FakeModel[],
  descriptions: [] as ModelDescription[],
  opened: [] as { model: string; dtype: string }[],
  openModel: null as null | ((signal?: AbortSignal) => Promise<void>),
  cuda: null as unknown,
  libtorch: [] as unknown[],
}));

vi.mock('../../dist/runtime/load.js', () => ({
  outsideArchive: (path: string) => path,
  loadDoor: () => ({
    cpuFacts: () => ({ name: 'CPU', cores: 2, totalMemory: 8e9, freeMemory: 8e9, features: ['avx512_bf16'] }),
    cudaFacts: () => world.cuda,
  }),
  loadEngine: async (options: unknown) => {
    world.libtorch.push(options);
    return {
      engine: {
        libtorchVersion: '2.13.0',
        cuda: () => ({ available: true, architectures: ['sm_75'] }),
        loadModel: async (description: ModelDescription) => {
          world.descriptions.push(description);
          const model = new FakeModel();
          world.models.push(model);
          return model;
        },
      },
      libtorch: { version: '2.13.0', directory: '/libtorch', source: 'test', cuda: true },
      refused: [],
    };
  },
}));
vi.mock('../../dist/checkpoint/open.js', () => ({
  openModel: async (
    model: string,
    options: {
      dtype: string;
      signal?: AbortSignal;
      onProgress?: (p: { phase: string; bytes: number; totalBytes: number }) => void;
    },
  ) => {
    world.opened.push({ model, dtype: options.dtype });
    options.onProgress?.({ phase: 'first stage', bytes: 1, totalBytes: 2 });
    await world.openModel?.(options.signal);
    return { folder: '/models/m', manifest: world.manifest, leftOut: world.leftOut };
  },
}));

let name = 0;
/** Shared models live as long as the process: each test asks for one of its own. */
const fresh = () => ({ model: `m${++name}` });

beforeEach(() => {
  world.manifest = fakeManifest();
  world.leftOut = new Map();
  world.openModel = null;
  world.cuda = null;
  for (const list of [world.models, world.descriptions, world.opened, world.libtorch]) list.length = 0;
});

describe('synthesize', () => {
  it('refuses wrong options and texts before anything is loaded', async () => {
    await expect(synthesize('hello', { ...fresh(), seed: -1 })).rejects.toThrow(/`seed`/);
    await expect(synthesize(5 as unknown as string, fresh())).rejects.toThrow(/`text`/);
    await expect(synthesize('hello', { ...fresh(), signal: AbortSignal.abort('no') })).rejects.toBe('no');
    expect(world.opened).toEqual([]);
  });

  it('loads on first use and shares the model between calls of the same loading options', async () => {
    const shared = fresh();
    const [a, b] = await Promise.all([
      synthesize('hello', shared),
      synthesize('you', { ...shared, seed: 2 }),
    ]);
    await synthesize('again', { ...shared, maxSeconds: 1, onProgress() {} });
    expect(world.models).toHaveLength(1);
    expect(a.timings.load).toBeGreaterThanOrEqual(0);
    expect(b.seed).toBe(2);
    await synthesize('hello', { ...shared, dtype: 'float32' });
    expect(world.models).toHaveLength(2);
    expect(world.models.every(({ disposals }) => disposals === 0)).toBe(true);
  });

  it('draws as the model advises, unless the call says otherwise', async () => {
    world.manifest = fakeManifest({ sampling: { temperature: 0.7, topP: 0.8 } });
    const shared = fresh();
    await synthesize('hello', shared);
    await synthesize('hello', { ...shared, sampling: { topP: 0.5 } });
    const drawn = world.models[0]!.started.map(({ request }) => request.sampling);
    expect(drawn).toMatchObject([
      { temperature: 0.7, topP: 0.8, topK: 0 },
      { temperature: 0.7, topP: 0.5, topK: 0 },
    ]);
  });

  it('forgets a failed load', async () => {
    const shared = fresh();
    world.openModel = async () => {
      throw new Error('disk');
    };
    await expect(synthesize('hello', shared)).rejects.toThrow('disk');
    world.openModel = null;
    await expect(synthesize('hello', shared)).resolves.toMatchObject({ sampleRate: 24000 });
  });

  it('goes on loading for one caller when another gives up, and stops when all have', async () => {
    let stopped: unknown = null;
    let go = () => {};
    world.openModel = (signal) =>
      new Promise((resolve, reject) => {
        go = resolve;
        signal?.addEventListener('abort', () => {
          stopped = signal.reason;
          reject(signal.reason);
        });
      });
    const shared = fresh();
    const [a, b] = [new AbortController(), new AbortController()];
    const left = synthesize('hello', { ...shared, signal: a.signal });
    const stays = synthesize('hello', { ...shared, signal: b.signal });
    left.catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 5));
    a.abort('a');
    await expect(left).rejects.toBe('a');
    go();
    await expect(stays).resolves.toMatchObject({ endReason: 'end' });
    expect(stopped).toBeNull();

    const other = synthesize('hello', { ...fresh(), signal: AbortSignal.timeout(20) });
    await expect(other).rejects.toMatchObject({ name: 'TimeoutError' });
    expect(stopped).toMatchObject({ name: 'TimeoutError' });
  });
});

describe('MetaVoice.load', () => {
  it('describes to the engine what the manifest says', async () => {
    const tts = await MetaVoice.load({ ...fresh(), device: 'cpu', batchSize: 3, libtorch: '/my/libtorch' });
    expect(world.libtorch).toEqual([{ libtorch: '/my/libtorch' }]);
    expect(world.opened).toEqual([{ model: `m${name}`, dtype: 'bfloat16' }]);
    expect(world.descriptions[0]).toMatchObject({
      device: 'cpu',
      dtype: 'bfloat16',
      batchSize: 3,
      deterministic: false,
      firstStage: {
        file: '/models/m/stage.safetensors',
        heads: 2,
        codebookSize: 1024,
        endOfAudio: 2048,
        endOfText: 2561,
      },
      secondStage: { codebookSize: 1024 },
      speakerEncoder: { file: '/models/m/speaker_encoder.safetensors' },
      codec: { sampleRate: 24000, ratios: [8, 5, 4, 2], codebooks: 8 },
    });
    expect(tts).toMatchObject({ device: 'cpu', dtype: 'bfloat16', model: '/models/m' });
    expect(tts.reason).toMatch(/AVX512-BF16/);
  });

  it('decides on the facts of the machine and tells the logger', async () => {
    const device = {
      index: 0,
      name: 'Tesla T4',
      computeCapability: '7.5',
      totalMemory: 8e9,
      freeMemory: 8e9,
    };
    world.cuda = { driverCuda: '12.4', devices: [device, { ...device, index: 1, computeCapability: '6.1' }] };
    const told: [string, string][] = [];
    const logger = {
      info: (_: object, message: string) => told.push(['info', message]),
      warn: (_: object, message: string) => told.push(['warn', message]),
    };
    const tts = await MetaVoice.load({ ...fresh(), logger });
    expect(tts).toMatchObject({ device: 'cuda:0', dtype: 'float16' });
    world.cuda = { driverCuda: '12.4', devices: [{ ...device, computeCapability: '8.9', name: 'L4' }] };
    world.cuda = { driverCuda: '12.4', devices: [{ ...device, computeCapability: '9.0', name: 'H100' }] };
    await MetaVoice.load({ ...fresh(), logger });
    expect(told).toEqual([
      ['info', expect.stringMatching(/cuda:0 in float16/)],
      ['warn', expect.stringMatching(/on the CPU: .*H100.*no code for it/)],
    ]);
  });

  it('plans for the decoder that `auto` takes, and judges anew whether diffusion fits until it is loaded', async () => {
    const gpu = (freeMemory: number | null) => ({
      driverCuda: '12.4',
      devices: [{ index: 0, name: 'Tesla T4', computeCapability: '7.5', totalMemory: 16e9, freeMemory }],
    });
    world.cuda = gpu(16e9);
    const tts = await MetaVoice.load(fresh());
    expect(tts.plan).toMatchObject({ decoder: 'diffusion', quality: 'stream', available: 16e9, fits: true });
    const speak = (decoder: 'auto' | 'diffusion' = 'auto') => tts.stream('hello', { decoder }).decoder;
    expect(speak()).toEqual({ decoder: 'diffusion', reason: 'Tesla T4 computes it faster than speech' });
    // Others took the rest since then: what is left is what the model holds.
    world.cuda = gpu(0);
    expect(speak()).toEqual({
      decoder: 'encodec',
      reason: expect.stringMatching(
        /^there is no room for diffusion: .* needs .* and Tesla T4 has .* free; /,
      ),
    });
    expect(() => speak('diffusion')).toThrow(
      expect.objectContaining({
        code: 'ERR_OUT_OF_MEMORY',
        details: { plan: expect.objectContaining({ decoder: 'diffusion', fits: false }) },
      }),
    );
    // Where nobody tells what is free, what was there at load counts.
    world.cuda = gpu(null);
    expect(speak().decoder).toBe('diffusion');
    // Once it is loaded its memory is its own.
    world.cuda = gpu(0);
    world.models[0]!.diffuses = true;
    expect(speak().decoder).toBe('diffusion');
    expect(speak('diffusion').decoder).toBe('diffusion');
  });

  it('plans for the EnCodec decoder where diffusion does not fit, and speaks with it', async () => {
    const gpu = (freeMemory: number) => ({
      driverCuda: '12.4',
      devices: [{ index: 0, name: 'Tesla T4', computeCapability: '7.5', totalMemory: 16e9, freeMemory }],
    });
    world.cuda = gpu(16e9);
    const { total } = (await MetaVoice.load(fresh())).plan;
    world.cuda = gpu(total - 1);
    const tts = await MetaVoice.load(fresh());
    world.cuda = gpu(total - 1 - tts.plan.total);
    expect(tts.plan).toMatchObject({ decoder: 'encodec', fits: true });
    expect(tts.stream('hello').decoder.decoder).toBe('encodec');
  });

  it('tells the logger of parts that are left out', async () => {
    const told: [object, string][] = [];
    world.manifest = fakeManifest({ diffusion: undefined });
    world.leftOut.set('diffusion', new Error('mbd_comp_8.pt: is cut short'));
    const logger = { warn: (fields: object, message: string) => told.push([fields, message]) };
    await MetaVoice.load({ ...fresh(), logger });
    expect(told).toEqual([
      [
        { part: 'diffusion', model: '/models/m', reason: 'mbd_comp_8.pt: is cut short' },
        'the model is loaded without its diffusion decoder: mbd_comp_8.pt: is cut short',
      ],
    ]);
  });

  it('reports conversion and loading', async () => {
    const seen: unknown[] = [];
    await MetaVoice.load({ ...fresh(), onProgress: (progress) => seen.push(progress) });
    expect(seen).toEqual([
      { phase: 'load', part: 'runtime' },
      { phase: 'convert', bytes: 1, totalBytes: 2 },
      { phase: 'load', part: 'model' },
    ]);
  });

  it('gives back the memory when a part that speaks is missing', async () => {
    world.manifest = fakeManifest({ codec: null });
    await expect(MetaVoice.load(fresh())).rejects.toMatchObject({ code: 'ERR_MODEL_NOT_FOUND' });
    expect(world.models[0]?.disposals).toBe(1);
  });

  it('gives back the memory when the signal aborts while weights are loaded', async () => {
    const control = new AbortController();
    const onProgress = ({ phase, part }: { phase: string; part?: string }) => {
      if (phase === 'load' && part === 'model') queueMicrotask(() => control.abort('enough'));
    };
    await expect(MetaVoice.load({ ...fresh(), signal: control.signal, onProgress })).rejects.toBe('enough');
    expect(world.models[0]?.disposals).toBe(1);
  });

  it('refuses parts that do not belong together', async () => {
    const manifest = fakeManifest();
    world.manifest = { ...manifest, codec: { ...manifest.codec!, codebookSize: 512 } };
    await expect(MetaVoice.load(fresh())).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      message: expect.stringMatching(/codebooks of 512 codes .* makes 1024/),
    });
  });
});

/** A `MetaVoice` over the fake native model, as `MetaVoice.load` would make it. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type {
  EnhancerManifest,
  Manifest,
  TokenizerData,
  TransformerManifest,
} from '../../dist/checkpoint/manifest.js';
import { publishedSizes } from '../../dist/device/model-sizes.js';
import { planMemory } from '../../dist/device/plan.js';
import type { DevicePolicy } from '../../dist/device/policy.js';
import type { LoadedModel } from '../../dist/load-model.js';
import { create, type MetaVoice } from '../../dist/metavoice.js';
import type { NativeModel } from '../../dist/native/contract.js';
import type { Logger } from '../../dist/options.js';
import { FakeModel } from './fake-native.js';

const tokenizer = JSON.parse(
  readFileSync(new URL('../fixtures/tokenizer.json', import.meta.url), 'utf8'),
) as TokenizerData;

const stage = (offset: number, vocabularies: number[], positions: number): TransformerManifest => ({
  file: 'stage.safetensors',
  bytes: 1,
  dtype: 'float32',
  layers: 2,
  heads: 2,
  width: 64,
  feedForward: 256,
  positions,
  vocabularies,
  outputs: vocabularies,
  tied: true,
  speakerEmbedding: 4,
  norm: 'rmsnorm',
  normEpsilon: 1e-5,
  activation: 'swiglu',
  tokenizer: { ...tokenizer, offset },
});

/** Of a model that has one; not in the manifest unless it is put there. */
export const fakeEnhancer: EnhancerManifest = {
  file: 'enhancer.safetensors',
  bytes: 1,
  sampleRate: 48000,
  window: 960,
  bands: 32,
  deepBins: 96,
  order: 5,
  lookAhead: 2,
  leastBandBins: 2,
  meanSeconds: 1,
  channels: 16,
  hidden: 64,
};

export function fakeManifest(changes: Partial<Manifest> = {}): Manifest {
  return {
    format: 'metavoice-model',
    version: 1,
    firstStage: stage(2049, [2562], 2048),
    secondStage: stage(1025, [1538, 1025], 1024),
    speakerEncoder: {
      file: 'speaker_encoder.safetensors',
      bytes: 1,
      layers: 3,
      hidden: 64,
      mels: 40,
      embedding: 4,
    },
    codec: {
      file: 'codec.safetensors',
      bytes: 1,
      sampleRate: 24000,
      ratios: [8, 5, 4, 2],
      dimension: 16,
      codebookSize: 1024,
      storedCodebooks: 10,
      codebooks: 8,
      encoder: true,
    },
    diffusion: {
      file: 'diffusion.safetensors',
      bytes: 1,
      dtype: 'float32',
      sampleRate: 24000,
      latent: 16,
      bands: Array.from({ length: 4 }, () => ({
        channels: [4, 8],
        kernel: 8,
        stride: 4,
        residualBlocks: 2,
        normGroups: 4,
        steps: 1000,
        schedule: { betaStart: 1e-5, betaEnd: 0.03, exponent: 7.5, noiseScale: 1, clip: 5 },
        processor: null,
      })),
    },
    speakers: [
      { name: 'ada', embedding: Buffer.from(Float32Array.of(1, 0, 0, 0).buffer).toString('base64') },
      { name: 'bert', embedding: Buffer.from(Float32Array.of(0, 1, 0, 0).buffer).toString('base64') },
    ],
    provenance: { sources: [], digest: 'd1', converter: 'test' },
    ...changes,
  };
}

/** A folder with what is read in JavaScript: the speaker encoder, whose content names it. */
export function fakeFolder(): string {
  const folder = join(tmpdir(), 'metavoice-fake-model');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'speaker_encoder.safetensors'), 'fake');
  return folder;
}

export function fakeLoaded(native: NativeModel, changes: Partial<Manifest> = {}): LoadedModel {
  const policy: DevicePolicy = {
    device: 'cpu',
    name: 'Fake CPU',
    computeCapability: null,
    dtype: 'float32',
    dtypes: {
      firstStage: 'float32',
      secondStage: 'float32',
      diffusion: 'float32',
      speakerEncoder: 'float32',
      codec: 'float32',
      enhancer: 'float32',
    },
    quantization: 'none',
    kvCache: 'float32',
    reason: 'a fake',
    fellBack: false,
  };
  return {
    native,
    engine: { sampleDistribution: (logits) => logits.slice() },
    manifest: fakeManifest(changes),
    leftOut: new Map(),
    folder: fakeFolder(),
    source: 'models/fake',
    policy,
    plan: planMemory(
      publishedSizes,
      { id: 'cpu', name: 'a fake', computeCapability: null, available: 8e9 },
      { dtype: 'float32', quantization: 'none', decoder: 'encodec', batchSize: 1, maxSeconds: null },
      { model: 'models/fake' },
    ),
    diffusionPlan: (quality) =>
      planMemory(
        publishedSizes,
        { id: 'cpu', name: 'a fake', computeCapability: null, available: 80e9 },
        {
          dtype: 'float32',
          quantization: 'none',
          decoder: 'diffusion',
          batchSize: 1,
          maxSeconds: null,
          quality,
        },
        { model: 'models/fake' },
      ),
    residentBefore: 0,
    libtorch: { version: '0.0.0', directory: '/libtorch', source: 'test' },
  };
}

/** A model over the fake, as `MetaVoice.load` would make it. */
export function fakeMetaVoice(
  native: FakeModel = new FakeModel(),
  changes: Partial<Manifest> = {},
  logger: Logger = {},
  batchSize = 1,
): { tts: MetaVoice; native: FakeModel } {
  return { tts: create(fakeLoaded(native, changes), { batchSize, maxSeconds: null, logger }), native };
}

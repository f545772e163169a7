import { describe, expect, it, test } from 'vitest';
import { listDevices } from '../../../dist/device/devices.js';
import {
  type DeviceFacts,
  type DeviceRequest,
  type LibtorchFacts,
  resolveDevicePolicy,
} from '../../../dist/device/policy.js';
import type { CpuFacts, CudaDeviceFacts } from '../../../dist/native/contract.js';

const GiB = 2 ** 30;
const plainCpu: CpuFacts = {
  name: 'Plain CPU',
  cores: 2,
  totalMemory: 8 * GiB,
  freeMemory: 4 * GiB,
  features: ['avx2'],
};
const cpuWith = (...features: string[]): CpuFacts => ({ ...plainCpu, features: ['avx2', ...features] });

const cards = {
  gtx1080: ['NVIDIA GeForce GTX 1080', '6.1', 8],
  v100: ['Tesla V100-SXM2-16GB', '7.0', 16],
  t4: ['Tesla T4', '7.5', 15],
  a100: ['NVIDIA A100-SXM4-40GB', '8.0', 40],
  a10g: ['NVIDIA A10G', '8.6', 24],
  l4: ['NVIDIA L4', '8.9', 24],
  h100: ['NVIDIA H100 80GB HBM3', '9.0', 80],
  h200: ['NVIDIA H200', '9.0', 141],
  b200: ['NVIDIA B200', '10.0', 180],
  rtx5090: ['NVIDIA GeForce RTX 5090', '12.0', 32],
} as const;
type Card = keyof typeof cards;

const gpu = (card: Card, index = 0, freeMemory?: number | null): CudaDeviceFacts => {
  const [name, computeCapability, memory] = cards[card];
  return {
    index,
    name,
    computeCapability,
    totalMemory: memory * GiB,
    freeMemory: freeMemory === undefined ? memory * GiB : freeMemory,
  };
};

const cuda126: LibtorchFacts = {
  version: '2.13.0+cu126',
  cuda: true,
  available: true,
  architectures: ['sm_50', 'sm_60', 'sm_70', 'sm_75', 'sm_80', 'sm_86', 'sm_90'],
};
const cuda130: LibtorchFacts = {
  version: '2.13.0+cu130',
  cuda: true,
  available: true,
  architectures: ['sm_75', 'sm_80', 'sm_86', 'sm_90', 'sm_100', 'sm_120', 'compute_120'],
};
const cpuBuild: LibtorchFacts = { version: '2.13.0+cpu', cuda: false, available: false, architectures: [] };

const facts = (
  devices: CudaDeviceFacts[] | null,
  libtorch: LibtorchFacts | null = cuda130,
  cpu = plainCpu,
): DeviceFacts => ({
  cpu,
  cuda: devices && { driverCuda: '13.0', devices },
  libtorch,
});

const auto: DeviceRequest = { device: 'auto', dtype: 'auto' };
const decide = (known: DeviceFacts, request: Partial<DeviceRequest> = {}) => {
  const { device, dtype } = resolveDevicePolicy(known, { ...auto, ...request });
  return `${device} ${dtype}`;
};
const refusal = (known: DeviceFacts, request: Partial<DeviceRequest>) => {
  try {
    resolveDevicePolicy(known, { ...auto, ...request });
  } catch (error) {
    return error as { code: string; message: string; details: Record<string, unknown> };
  }
  throw new Error('expected a refusal');
};

describe('refuses', () => {
  const t4 = facts([gpu('t4')]);
  test.each<[string, DeviceFacts, Partial<DeviceRequest>, string, RegExp]>([
    [
      'a GPU without a driver',
      facts(null),
      { device: 'cuda' },
      'ERR_CUDA_UNAVAILABLE',
      /driver.*device 'cpu' or 'auto'/,
    ],
    [
      'a GPU where the driver shows none',
      facts([]),
      { device: 'cuda:0' },
      'ERR_CUDA_UNAVAILABLE',
      /CUDA_VISIBLE_DEVICES/,
    ],
    [
      'an index that is not there',
      t4,
      { device: 'cuda:1' },
      'ERR_CUDA_UNAVAILABLE',
      /only cuda:0 \(Tesla T4, compute capability 7\.5\)/,
    ],
    [
      'a GPU with a CPU build of libtorch',
      facts([gpu('t4')], cpuBuild),
      { device: 'cuda' },
      'ERR_CUDA_UNAVAILABLE',
      /Tesla T4.*CPU build.*setup --cuda/,
    ],
    [
      'a GPU whose driver is too old',
      facts([gpu('t4')], { ...cuda130, available: false }),
      { device: 'cuda:0' },
      'ERR_CUDA_UNAVAILABLE',
      /driver, which serves CUDA up to 13\.0/,
    ],
    [
      'a GTX 1080',
      facts([gpu('gtx1080')], cuda126),
      { device: 'cuda' },
      'ERR_CUDA_UNAVAILABLE',
      /GTX 1080, compute capability 6\.1.*7\.0 or higher/,
    ],
    [
      'a V100 with a libtorch without code for it',
      facts([gpu('v100')]),
      { device: 'cuda:0' },
      'ERR_CUDA_UNAVAILABLE',
      /no code for it \(only sm_75/,
    ],
    [
      'bfloat16 on a T4',
      t4,
      { device: 'cuda', dtype: 'bfloat16' },
      'ERR_DTYPE_UNSUPPORTED',
      /Tesla T4, compute capability 7\.5.*float16 or float32.*'bfloat16'.*use dtype 'float16'/,
    ],
    ['bfloat16 on a T4 chosen by auto', t4, { dtype: 'bfloat16' }, 'ERR_DTYPE_UNSUPPORTED', /device 'cpu'/],
    [
      'bfloat16 on a V100',
      facts([gpu('v100')], cuda126),
      { device: 'cuda:0', dtype: 'bfloat16' },
      'ERR_DTYPE_UNSUPPORTED',
      /7\.0/,
    ],
  ])('%s', (_, known, request, code, message) => {
    const error = refusal(known, request);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });
});

describe('auto takes', () => {
  test.each<[Card, LibtorchFacts, string]>([
    ['v100', cuda126, 'cuda:0 float16'],
    ['t4', cuda126, 'cuda:0 float16'],
    ['t4', cuda130, 'cuda:0 float16'],
    ['a10g', cuda126, 'cuda:0 bfloat16'],
    ['a100', cuda130, 'cuda:0 bfloat16'],
    ['l4', cuda130, 'cuda:0 bfloat16'],
    ['h100', cuda126, 'cuda:0 bfloat16'],
    ['h200', cuda130, 'cuda:0 bfloat16'],
    ['b200', cuda130, 'cuda:0 bfloat16'],
    ['rtx5090', cuda130, 'cuda:0 bfloat16'],
    ['gtx1080', cuda126, 'cpu float32'],
    ['v100', cuda130, 'cpu float32'],
    ['b200', cuda126, 'cpu float32'],
    ['a100', cpuBuild, 'cpu float32'],
  ])('on a %s the right thing', (card, libtorch, expected) => {
    expect(decide(facts([gpu(card)], libtorch))).toBe(expected);
  });

  test.each<[string[], string]>([
    [[], 'cpu float32'],
    [['avx512f', 'avx512_vnni'], 'cpu float32'],
    [['avx512_bf16'], 'cpu bfloat16'],
    [['amx_bf16'], 'cpu bfloat16'],
    [['bf16'], 'cpu bfloat16'],
  ])('on a CPU with %j what it computes natively', (features, expected) => {
    expect(decide(facts(null, cpuBuild, cpuWith(...features)))).toBe(expected);
  });

  it('the GPU with the most free memory', () => {
    expect(decide(facts([gpu('t4', 0), gpu('a100', 1)]))).toBe('cuda:1 bfloat16');
    expect(decide(facts([gpu('t4', 0), gpu('a100', 1, 2 * GiB)]))).toBe('cuda:0 float16');
    expect(decide(facts([gpu('a100', 0, 2 * GiB), gpu('t4', 1)]), { device: 'cuda' })).toBe('cuda:1 float16');
  });

  it('all memory of a GPU where the free part is unknown', () => {
    expect(decide(facts([gpu('t4', 0), gpu('a100', 1, null)]))).toBe('cuda:1 bfloat16');
  });

  it('a usable GPU though another is not', () => {
    expect(decide(facts([gpu('gtx1080', 0), gpu('t4', 1, GiB)], cuda126))).toBe('cuda:1 float16');
  });

  it('the GPU that computes the dtype that was asked for', () => {
    expect(decide(facts([gpu('t4', 0), gpu('a100', 1, 2 * GiB)]), { dtype: 'bfloat16' })).toBe(
      'cuda:1 bfloat16',
    );
  });
});

describe('an explicit request', () => {
  test.each<[Card, Partial<DeviceRequest>, string]>([
    ['t4', { device: 'cuda', dtype: 'float16' }, 'cuda:0 float16'],
    ['t4', { device: 'cuda', dtype: 'float32' }, 'cuda:0 float32'],
    ['a100', { device: 'cuda', dtype: 'float16' }, 'cuda:0 float16'],
    ['a100', { device: 'cuda', dtype: 'float32' }, 'cuda:0 float32'],
    ['a100', { device: 'cpu' }, 'cpu float32'],
    ['a100', { device: 'cpu', dtype: 'bfloat16' }, 'cpu bfloat16'],
    ['a100', { device: 'cpu', dtype: 'float16' }, 'cpu float16'],
  ])('on a %s machine for %j is met', (card, request, expected) => {
    expect(decide(facts([gpu(card)]), request)).toBe(expected);
  });

  it('judges each GPU by itself', () => {
    const both = facts([gpu('t4', 0), gpu('a100', 1)]);
    expect(decide(both, { device: 'cuda:0' })).toBe('cuda:0 float16');
    expect(decide(both, { device: 'cuda:1' })).toBe('cuda:1 bfloat16');
  });

  it('for a slow dtype is warned of in the reason', () => {
    const reason = (dtype: 'float16' | 'bfloat16') =>
      resolveDevicePolicy(facts(null), { device: 'cpu', dtype }).reason;
    expect(reason('float16')).toMatch(/slow/);
    expect(reason('bfloat16')).toMatch(/slow/);
    expect(
      resolveDevicePolicy(facts(null, null, cpuWith('amx_bf16')), { device: 'cpu', dtype: 'bfloat16' })
        .reason,
    ).not.toMatch(/slow/);
  });
});

describe('the decision', () => {
  it('is one dtype for the language models and float32 for everything that listens or sounds', () => {
    expect(resolveDevicePolicy(facts([gpu('t4')]), auto).dtypes).toEqual({
      firstStage: 'float16',
      secondStage: 'float16',
      diffusion: 'float16',
      speakerEncoder: 'float32',
      codec: 'float32',
      enhancer: 'float32',
    });
  });

  it('says why, and when a GPU is left aside', () => {
    const left = resolveDevicePolicy(facts([gpu('t4')], cpuBuild), auto);
    expect(left).toMatchObject({ device: 'cpu', fellBack: true, name: 'Plain CPU', computeCapability: null });
    expect(left.reason).toMatch(/no native bfloat16; cuda:0 \(Tesla T4.*is not used: .*CPU build/);
    expect(resolveDevicePolicy(facts(null), auto).fellBack).toBe(false);
    expect(resolveDevicePolicy(facts([gpu('t4')], cpuBuild), { ...auto, device: 'cpu' }).fellBack).toBe(
      false,
    );
    expect(resolveDevicePolicy(facts([gpu('t4')]), auto).reason).toMatch(/7\.5 has no native bfloat16/);
  });

  it.each([
    [['sm_86'], '8.9', true],
    [['sm_89'], '8.6', false],
    [['compute_80'], '9.0', true],
    [['compute_90'], '8.0', false],
    [['sm_90a'], '9.0', true],
    [['sm_100a'], '10.3', false],
    [['sm_100f'], '10.3', true],
    [['sm_120'], '10.0', false],
    [['gfx942'], '9.0', false],
    [[], '9.0', true],
  ])('reads %j for capability %s', (architectures, computeCapability, runs) => {
    const device = { ...gpu('h100'), computeCapability };
    const { device: chosen } = resolveDevicePolicy(facts([device], { ...cuda130, architectures }), auto);
    expect(chosen === 'cuda:0').toBe(runs);
  });
});

describe('devices', () => {
  it('lists GPUs first, with what each computes and what auto takes there', () => {
    const listed = listDevices({ ...facts([gpu('t4'), gpu('gtx1080', 1), gpu('a100', 2)]), libtorch: null });
    expect(listed.map(({ id, dtypes, recommended }) => [id, dtypes.join(' '), recommended.dtype])).toEqual([
      ['cuda:0', 'float16 float32', 'float16'],
      ['cuda:1', '', null],
      ['cuda:2', 'bfloat16 float16 float32', 'bfloat16'],
      ['cpu', 'float32 bfloat16 float16', 'float32'],
    ]);
    expect(listed[1]?.recommended.reason).toMatch(/7\.0 or higher/);
  });
});

import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { listDevices } from '../../../dist/device/devices.js';
import {
  type DeviceFacts,
  type DevicePolicy,
  type DeviceRequest,
  dtypesOf,
  resolveDevicePolicy,
  whyUnusable,
} from '../../../dist/device/policy.js';
import type { CudaFacts } from '../../../dist/native/contract.js';
import { box, type Card, cards, cpuWith, driver, type drivers, GiB, gpu, libtorch } from './boxes.js';

const auto: DeviceRequest = { device: 'auto', dtype: 'auto', quantization: 'none' };

interface Refusal {
  code: string;
  message: string;
  details: Record<string, unknown>;
}

/** The decision, or the refusal. */
function ask(facts: DeviceFacts, request: Partial<DeviceRequest>): DevicePolicy | Refusal {
  try {
    return resolveDevicePolicy(facts, { ...auto, ...request });
  } catch (error) {
    return error as Refusal;
  }
}
const decide = (facts: DeviceFacts, request: Partial<DeviceRequest> = {}): DevicePolicy =>
  resolveDevicePolicy(facts, { ...auto, ...request });
const refusal = (facts: DeviceFacts, request: Partial<DeviceRequest>): Refusal => {
  const answer = ask(facts, request);
  if (!('code' in answer)) throw new Error(`expected a refusal, not ${answer.device} ${answer.dtype}`);
  return answer;
};

/** What a refusal tells to use instead: each request with one of its options changed. */
function optionsNamedBy({ message }: Refusal): Partial<DeviceRequest>[] {
  const advice = message.slice(message.lastIndexOf('; use '));
  const [, dtypes = '', devices = ''] =
    /^; use (?:dtype (.*?)(?:, or |$))?(?:device (.*))?$/.exec(advice) ?? [];
  const quoted = (text: string) => [...text.matchAll(/'([^']+)'/g)].map((match) => match[1] as string);
  return [
    ...quoted(dtypes).map((dtype) => ({ dtype: dtype as DeviceRequest['dtype'] })),
    ...quoted(devices).map((device) => ({ device: device as DeviceRequest['device'] })),
  ];
}

// ------------------------------------------------------------------------------------------ the table

const boxes = {
  'V100, driver 550, CUDA 12.6 build': box(driver(550, [gpu('V100')]), 'cu126'),
  'V100, driver 580, CUDA 12.6 build': box(driver(580, [gpu('V100')]), 'cu126'),
  'V100, driver 580, CUDA 13 build': box(driver(580, [gpu('V100')]), 'cu130'),
  'T4 on Colab, CUDA 12.6 build': box(driver(550, [gpu('T4')]), 'cu126'),
  'T4 on Colab, CUDA 13 build': box(driver(550, [gpu('T4')]), 'cu130 closed'),
  'T4 on Colab, before libtorch': box(driver(550, [gpu('T4')]), null),
  'T4, driver 525, CUDA 12.6 build': box(driver(525, [gpu('T4')]), 'cu126'),
  'T4, driver 580': box(driver(580, [gpu('T4')])),
  A10G: box(driver(580, [gpu('A10G')])),
  A100: box(driver(580, [gpu('A100')])),
  'A100, CPU build': box(driver(580, [gpu('A100')]), 'cpu'),
  'RTX 4090': box(driver(570, [gpu('RTX 4090')]), 'cu126'),
  L4: box(driver(580, [gpu('L4')])),
  H100: box(driver(550, [gpu('H100')]), 'cu126'),
  'slice of an H100': box(driver(580, [gpu('H100 slice')])),
  H200: box(driver(580, [gpu('H200')])),
  B200: box(driver(580, [gpu('B200')])),
  'B200, CUDA 12.6 build': box(driver(570, [gpu('B200')]), 'cu126'),
  'RTX 5090': box(driver(580, [gpu('RTX 5090')])),
  'GTX 1080': box(driver(580, [gpu('GTX 1080')]), 'cu126'),
  'T4 + A100': box(driver(580, [gpu('T4', 0), gpu('A100', 1)])),
  'T4 + full A100': box(driver(580, [gpu('T4', 0), gpu('A100', 1, { freeMemory: 2 * GiB })])),
  'V100 + H100, CUDA 12.6 build': box(driver(580, [gpu('V100', 0), gpu('H100', 1)]), 'cu126'),
  'V100 + H100, CUDA 13 build': box(driver(580, [gpu('V100', 0), gpu('H100', 1)]), 'cu130'),
  'GTX 1080 + RTX 5090': box(driver(580, [gpu('GTX 1080', 0), gpu('RTX 5090', 1)])),
  'A100, driver 470': box(driver(470, [gpu('A100')]), 'cu130 closed'),
  'A100, driver 470, before libtorch': box(driver(470, [gpu('A100')]), null),
  'driver that does not start': box(
    driver(550, [], { failure: { code: 803, name: 'CUDA_ERROR_SYSTEM_DRIVER_MISMATCH' } }),
  ),
  'driver without libcuda': box(driver(550, [], { driverCuda: null })),
  'no GPU': box(null, 'cpu'),
  'no GPU, AVX512-BF16': box(null, 'cpu', cpuWith('avx512_bf16')),
  'no GPU, AMX': box(null, 'cpu', cpuWith('amx_bf16')),
  'no GPU, Arm BF16': box(null, 'cpu', cpuWith('bf16')),
  'no GPU, VNNI alone': box(null, 'cpu', cpuWith('avx512f', 'avx512_vnni')),
} satisfies Record<string, DeviceFacts>;
type Machine = keyof typeof boxes;

/** CUDA and DTYPE are refusals: ERR_CUDA_UNAVAILABLE, ERR_DTYPE_UNSUPPORTED. */
const table = `
machine                           | device | auto            | float32        | float16        | bfloat16
V100, driver 550, CUDA 12.6 build | auto   | cuda:0 float16  | cuda:0 float32 | cuda:0 float16 | DTYPE
V100, driver 550, CUDA 12.6 build | cuda   | cuda:0 float16  | cuda:0 float32 | cuda:0 float16 | DTYPE
V100, driver 580, CUDA 12.6 build | auto   | cuda:0 float16  | cuda:0 float32 | cuda:0 float16 | DTYPE
V100, driver 580, CUDA 13 build   | auto   | cpu float32     | cpu float32    | cpu float16    | cpu bfloat16
V100, driver 580, CUDA 13 build   | cuda   | CUDA            | CUDA           | CUDA           | CUDA
T4 on Colab, CUDA 12.6 build      | auto   | cuda:0 float16  | cuda:0 float32 | cuda:0 float16 | DTYPE
T4 on Colab, CUDA 12.6 build      | cuda   | cuda:0 float16  | cuda:0 float32 | cuda:0 float16 | DTYPE
T4 on Colab, CUDA 12.6 build      | cuda:0 | cuda:0 float16  | cuda:0 float32 | cuda:0 float16 | DTYPE
T4 on Colab, CUDA 12.6 build      | cuda:1 | CUDA            | CUDA           | CUDA           | CUDA
T4 on Colab, CUDA 12.6 build      | cpu    | cpu float32     | cpu float32    | cpu float16    | cpu bfloat16
T4 on Colab, CUDA 13 build        | auto   | cpu float32     | cpu float32    | cpu float16    | cpu bfloat16
T4 on Colab, CUDA 13 build        | cuda   | CUDA            | CUDA           | CUDA           | CUDA
T4 on Colab, before libtorch      | auto   | cuda:0 float16  | cuda:0 float32 | cuda:0 float16 | DTYPE
T4, driver 525, CUDA 12.6 build   | auto   | cuda:0 float16  | cuda:0 float32 | cuda:0 float16 | DTYPE
T4, driver 580                    | auto   | cuda:0 float16  | cuda:0 float32 | cuda:0 float16 | DTYPE
T4, driver 580                    | cuda   | cuda:0 float16  | cuda:0 float32 | cuda:0 float16 | DTYPE
A10G                              | auto   | cuda:0 bfloat16 | cuda:0 float32 | cuda:0 float16 | cuda:0 bfloat16
A10G                              | cuda   | cuda:0 bfloat16 | cuda:0 float32 | cuda:0 float16 | cuda:0 bfloat16
A100                              | auto   | cuda:0 bfloat16 | cuda:0 float32 | cuda:0 float16 | cuda:0 bfloat16
A100                              | cuda:1 | CUDA            | CUDA           | CUDA           | CUDA
A100                              | cpu    | cpu float32     | cpu float32    | cpu float16    | cpu bfloat16
A100, CPU build                   | auto   | cpu float32     | cpu float32    | cpu float16    | cpu bfloat16
A100, CPU build                   | cuda   | CUDA            | CUDA           | CUDA           | CUDA
RTX 4090                          | auto   | cuda:0 bfloat16 | cuda:0 float32 | cuda:0 float16 | cuda:0 bfloat16
L4                                | auto   | cuda:0 bfloat16 | cuda:0 float32 | cuda:0 float16 | cuda:0 bfloat16
H100                              | auto   | cuda:0 bfloat16 | cuda:0 float32 | cuda:0 float16 | cuda:0 bfloat16
H100                              | cuda:0 | cuda:0 bfloat16 | cuda:0 float32 | cuda:0 float16 | cuda:0 bfloat16
slice of an H100                  | auto   | cuda:0 bfloat16 | cuda:0 float32 | cuda:0 float16 | cuda:0 bfloat16
H200                              | auto   | cuda:0 bfloat16 | cuda:0 float32 | cuda:0 float16 | cuda:0 bfloat16
B200                              | auto   | cuda:0 bfloat16 | cuda:0 float32 | cuda:0 float16 | cuda:0 bfloat16
B200, CUDA 12.6 build             | auto   | cpu float32     | cpu float32    | cpu float16    | cpu bfloat16
B200, CUDA 12.6 build             | cuda   | CUDA            | CUDA           | CUDA           | CUDA
RTX 5090                          | auto   | cuda:0 bfloat16 | cuda:0 float32 | cuda:0 float16 | cuda:0 bfloat16
RTX 5090                          | cuda   | cuda:0 bfloat16 | cuda:0 float32 | cuda:0 float16 | cuda:0 bfloat16
GTX 1080                          | auto   | cpu float32     | cpu float32    | cpu float16    | cpu bfloat16
GTX 1080                          | cuda   | CUDA            | CUDA           | CUDA           | CUDA
T4 + A100                         | auto   | cuda:1 bfloat16 | cuda:1 float32 | cuda:1 float16 | cuda:1 bfloat16
T4 + A100                         | cuda   | cuda:1 bfloat16 | cuda:1 float32 | cuda:1 float16 | cuda:1 bfloat16
T4 + A100                         | cuda:0 | cuda:0 float16  | cuda:0 float32 | cuda:0 float16 | DTYPE
T4 + A100                         | cuda:1 | cuda:1 bfloat16 | cuda:1 float32 | cuda:1 float16 | cuda:1 bfloat16
T4 + A100                         | cuda:2 | CUDA            | CUDA           | CUDA           | CUDA
T4 + full A100                    | auto   | cuda:0 float16  | cuda:0 float32 | cuda:0 float16 | cuda:1 bfloat16
T4 + full A100                    | cuda   | cuda:0 float16  | cuda:0 float32 | cuda:0 float16 | cuda:1 bfloat16
V100 + H100, CUDA 12.6 build      | auto   | cuda:1 bfloat16 | cuda:1 float32 | cuda:1 float16 | cuda:1 bfloat16
V100 + H100, CUDA 12.6 build      | cuda:0 | cuda:0 float16  | cuda:0 float32 | cuda:0 float16 | DTYPE
V100 + H100, CUDA 13 build        | auto   | cuda:1 bfloat16 | cuda:1 float32 | cuda:1 float16 | cuda:1 bfloat16
V100 + H100, CUDA 13 build        | cuda:0 | CUDA            | CUDA           | CUDA           | CUDA
GTX 1080 + RTX 5090               | auto   | cuda:1 bfloat16 | cuda:1 float32 | cuda:1 float16 | cuda:1 bfloat16
GTX 1080 + RTX 5090               | cuda:0 | CUDA            | CUDA           | CUDA           | CUDA
A100, driver 470                  | auto   | cpu float32     | cpu float32    | cpu float16    | cpu bfloat16
A100, driver 470                  | cuda   | CUDA            | CUDA           | CUDA           | CUDA
A100, driver 470, before libtorch | auto   | cpu float32     | cpu float32    | cpu float16    | cpu bfloat16
driver that does not start        | auto   | cpu float32     | cpu float32    | cpu float16    | cpu bfloat16
driver that does not start        | cuda   | CUDA            | CUDA           | CUDA           | CUDA
driver without libcuda            | auto   | cpu float32     | cpu float32    | cpu float16    | cpu bfloat16
driver without libcuda            | cuda:0 | CUDA            | CUDA           | CUDA           | CUDA
no GPU                            | auto   | cpu float32     | cpu float32    | cpu float16    | cpu bfloat16
no GPU                            | cuda   | CUDA            | CUDA           | CUDA           | CUDA
no GPU                            | cpu    | cpu float32     | cpu float32    | cpu float16    | cpu bfloat16
no GPU, AVX512-BF16               | auto   | cpu bfloat16    | cpu float32    | cpu float16    | cpu bfloat16
no GPU, AVX512-BF16               | cpu    | cpu bfloat16    | cpu float32    | cpu float16    | cpu bfloat16
no GPU, AMX                       | auto   | cpu bfloat16    | cpu float32    | cpu float16    | cpu bfloat16
no GPU, Arm BF16                  | auto   | cpu bfloat16    | cpu float32    | cpu float16    | cpu bfloat16
no GPU, VNNI alone                | auto   | cpu float32     | cpu float32    | cpu float16    | cpu bfloat16
`;

const codes: Record<string, string> = { CUDA: 'ERR_CUDA_UNAVAILABLE', DTYPE: 'ERR_DTYPE_UNSUPPORTED' };
const dtypes = ['auto', 'float32', 'float16', 'bfloat16'] as const;

const rows = table
  .trim()
  .split('\n')
  .slice(1)
  .map((line) => line.split('|').map((cell) => cell.trim()));

describe('the table', () => {
  test('has every machine', () => {
    expect([...new Set(rows.map(([machine]) => machine))].sort()).toEqual(Object.keys(boxes).sort());
  });

  test.each(rows)('%s, device %s: %s, %s, %s, %s', (machine, device, ...expected) => {
    const facts = boxes[machine as Machine];
    const requests = dtypes.map((dtype) => ({ device: device as DeviceRequest['device'], dtype }));
    const answers = requests.map((request) => ask(facts, request));
    expect(
      answers.map((answer) => ('code' in answer ? answer.code : `${answer.device} ${answer.dtype}`)),
    ).toEqual(expected.map((cell) => codes[cell] ?? cell));
    for (const [index, answer] of answers.entries()) {
      const request = requests[index] as Partial<DeviceRequest>;
      if ('code' in answer) explains(facts, request, answer);
      else reasons(facts, answer);
    }
  });

  const words = (facts: DeviceFacts, device: string) => {
    const found = facts.cuda?.devices.find(({ index }) => `cuda:${index}` === device);
    return found
      ? `${device} (${found.name}, compute capability ${found.computeCapability})`
      : `cpu (${facts.cpu.name})`;
  };

  /** A decision names its device; one for the CPU names every GPU that it leaves aside. */
  function reasons(facts: DeviceFacts, policy: DevicePolicy): void {
    expect(policy.reason).toContain(words(facts, policy.device));
    if (policy.fellBack)
      for (const { index } of facts.cuda?.devices ?? [])
        expect(policy.reason).toContain(`${words(facts, `cuda:${index}`)} is not used: `);
  }

  /** A refusal names the GPUs that it speaks of, and options that work. */
  function explains(facts: DeviceFacts, request: Partial<DeviceRequest>, refused: Refusal): void {
    const gpus = facts.cuda?.devices ?? [];
    const named = gpus.filter(({ index }) => refused.message.includes(words(facts, `cuda:${index}`)));
    expect(named.length, refused.message).toBeGreaterThanOrEqual(Math.min(1, gpus.length));
    const advice = optionsNamedBy(refused);
    expect(advice.length, refused.message).toBeGreaterThan(0);
    for (const option of advice)
      expect(
        ask(facts, { ...request, ...option }),
        `${refused.message} → ${JSON.stringify(option)}`,
      ).not.toHaveProperty('code');
  }
});

// ------------------------------------------------------------------------------------------ the words

describe('a refusal says what helps', () => {
  const failing = (code: number, name: string, more: Partial<CudaFacts> = {}) =>
    box(driver(550, [], { failure: { code, name }, ...more }));
  const noDevice = (more: Partial<CudaFacts>) => failing(100, 'CUDA_ERROR_NO_DEVICE', more);
  test.each<[string, DeviceFacts, Partial<DeviceRequest>, RegExp]>([
    ['without a driver', box(null), { device: 'cuda' }, /no NVIDIA driver.*nvidia-smi.*--gpus all/],
    [
      'with CUDA_VISIBLE_DEVICES',
      noDevice({ visibleDevices: '7' }),
      { device: 'cuda' },
      /CUDA_VISIBLE_DEVICES is '7'.*unset it/,
    ],
    [
      'with a GPU in MIG mode without slices',
      noDevice({ listed: [{ name: 'NVIDIA A100', mig: true }] }),
      { device: 'cuda' },
      /NVIDIA A100 is in MIG mode.*nvidia-smi mig -cgi/,
    ],
    [
      'with a GPU that CUDA does not find',
      noDevice({ listed: [{ name: 'NVIDIA A100', mig: false }] }),
      { device: 'cuda' },
      /driver 550\.54\.15 lists NVIDIA A100, but CUDA finds no GPU/,
    ],
    [
      'with no GPU',
      noDevice({ listed: [] }),
      { device: 'cuda' },
      /driver 550\.54\.15 finds no GPU.*--gpus all/,
    ],
    [
      'after an update of the driver',
      failing(803, 'CUDA_ERROR_SYSTEM_DRIVER_MISMATCH'),
      { device: 'cuda' },
      /does not start, with CUDA_ERROR_SYSTEM_DRIVER_MISMATCH \(803\): .*reboot/,
    ],
    [
      'with forward compatibility',
      failing(804, 'CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE'),
      { device: 'cuda' },
      /forward compatibility.*cuda-compat out of LD_LIBRARY_PATH/,
    ],
    [
      'with an error nobody expects',
      failing(1234, 'CUDA error 1234'),
      { device: 'cuda' },
      /with CUDA error 1234 \(1234\); see what `nvidia-smi` says/,
    ],
    [
      'in a container without compute',
      boxes['driver without libcuda'],
      { device: 'cuda' },
      /not its libcuda\.so\.1; .*NVIDIA_DRIVER_CAPABILITIES=compute,utility/,
    ],
    [
      'for an index that is not there',
      boxes.A100,
      { device: 'cuda:1' },
      /'cuda:1' but there is only cuda:0 \(NVIDIA A100-SXM4-40GB, compute capability 8\.0\); use device 'cuda:0' or 'cpu' or 'auto'/,
    ],
    [
      'for a CPU build',
      boxes['A100, CPU build'],
      { device: 'cuda' },
      /CPU build; `npx metavoice setup --cuda` gets the CUDA 13\.0 build/,
    ],
    [
      'for the build that Colab cannot open',
      boxes['T4 on Colab, CUDA 13 build'],
      { device: 'cuda' },
      /built for CUDA 13\.0, and the NVIDIA driver 550\.54\.15 serves CUDA up to 12\.4; `npx metavoice setup --cuda` gets the CUDA 12\.6 build/,
    ],
    [
      'for a driver too old for any build',
      boxes['A100, driver 470'],
      { device: 'cuda' },
      /470\.256\.02 serves CUDA up to 11\.4.*update the driver to 525 or newer/,
    ],
    [
      'for a V100 beside the CUDA 13 build',
      boxes['V100, driver 580, CUDA 13 build'],
      { device: 'cuda' },
      /no code for it \(only sm_75.*gets the CUDA 12\.6 build/,
    ],
    [
      'for a Blackwell on an old driver',
      boxes['B200, CUDA 12.6 build'],
      { device: 'cuda' },
      /the CUDA 13\.0 build would serve it: update the NVIDIA driver to 580 or newer/,
    ],
    [
      'for a Pascal',
      boxes['GTX 1080'],
      { device: 'cuda' },
      /GTX 1080, compute capability 6\.1\) cannot be used: compute capability 7\.0 or higher is needed/,
    ],
    [
      'for bfloat16 on a T4',
      boxes['T4, driver 580'],
      { device: 'cuda', dtype: 'bfloat16' },
      /cuda:0 \(Tesla T4, compute capability 7\.5\) computes natively \(float16 or float32\) but 'bfloat16' was asked for; use dtype 'float16' or 'auto', or device 'cpu'/,
    ],
    [
      'for bfloat16 on a T4 beside an A100',
      boxes['T4 + A100'],
      { device: 'cuda:0', dtype: 'bfloat16' },
      /or device 'cuda:1' or 'cpu'$/,
    ],
  ])('%s', (_, facts, request, message) => {
    expect(refusal(facts, request).message).toMatch(message);
  });

  it('with the facts behind it', () => {
    expect(refusal(boxes['driver that does not start'], { device: 'cuda' }).details).toEqual({
      device: 'cuda',
      devices: [],
      driver: '550.54.15',
      driverCuda: '12.4',
      failure: { code: 803, name: 'CUDA_ERROR_SYSTEM_DRIVER_MISMATCH' },
    });
  });
});

describe('a decision', () => {
  it('is one dtype for the language models and float32 for everything that listens or sounds', () => {
    expect(decide(boxes['T4, driver 580']).dtypes).toEqual({
      firstStage: 'float16',
      secondStage: 'float16',
      diffusion: 'float16',
      speakerEncoder: 'float32',
      codec: 'float32',
      enhancer: 'float32',
    });
  });

  it('says why, what else was weighed, and what is left aside', () => {
    expect(decide(boxes['T4, driver 580']).reason).toBe(
      'cuda:0 (Tesla T4, compute capability 7.5) has no native bfloat16, but float16',
    );
    expect(decide(boxes['T4 + A100']).reason).toMatch(
      /computes bfloat16 natively; it has the most free memory of 2 GPUs/,
    );
    expect(decide(boxes['GTX 1080 + RTX 5090'])).toMatchObject({
      fellBack: false,
      reason: expect.stringMatching(/RTX 5090.*; cuda:0 \(NVIDIA GeForce GTX 1080.*is not used: .*7\.0/),
    });
  });

  it.each<[Machine, boolean, RegExp]>([
    ['A100, CPU build', true, /has no native bfloat16; cuda:0 \(NVIDIA A100.*is not used: .*CPU build/],
    ['driver that does not start', true, /no GPU is used: .*803.*reboot/],
    ['driver without libcuda', true, /no GPU is used: .*libcuda/],
    ['no GPU', false, /^cpu \(Plain CPU\) has no native bfloat16$/],
    ['no GPU, AMX', false, /^cpu \(Plain CPU\) computes bfloat16 natively, with AMX$/],
  ])('on "%s" falls back: %s', (machine, fellBack, reason) => {
    expect(decide(boxes[machine])).toMatchObject({
      device: 'cpu',
      name: 'Plain CPU',
      computeCapability: null,
      fellBack,
      reason: expect.stringMatching(reason),
    });
    expect(decide(boxes[machine], { device: 'cpu' }).fellBack).toBe(false);
  });

  it('for GPUs that the user has hidden is no fall back', () => {
    const failure = { code: 100, name: 'CUDA_ERROR_NO_DEVICE' };
    const listed = [{ name: 'NVIDIA A100', mig: false }];
    expect(decide(box(driver(580, [], { failure, listed, visibleDevices: '' }))).fellBack).toBe(false);
    expect(decide(box(driver(580, [], { failure, listed }))).fellBack).toBe(true);
  });

  it('counts all memory of a GPU where the free part is unknown, and takes the first of equals', () => {
    const unknown = [gpu('T4', 0), gpu('A100', 1, { freeMemory: null })];
    expect(decide(box(driver(580, unknown))).device).toBe('cuda:1');
    expect(decide(box(driver(580, [gpu('L4', 1), gpu('L4', 0)]))).device).toBe('cuda:0');
  });

  it('for a slow dtype warns in the reason', () => {
    const reason = (dtype: 'float16' | 'bfloat16', ...features: string[]) =>
      decide(box(null, 'cpu', cpuWith(...features)), { device: 'cpu', dtype }).reason;
    expect(reason('float16')).toMatch(/slow/);
    expect(reason('bfloat16')).toMatch(/slow/);
    expect(reason('bfloat16', 'amx_bf16')).not.toMatch(/slow/);
  });

  it.each(['none', 'int8', 'int4'] as const)('takes quantization %s on every device', (quantization) => {
    for (const machine of ['T4, driver 580', 'A100', 'no GPU', 'no GPU, AMX'] as const) {
      const policy = decide(boxes[machine], { quantization });
      expect(policy.quantization).toBe(quantization);
      expect(policy.dtype).toBe(decide(boxes[machine]).dtype);
      expect(policy.reason.includes(`weights of the first stage in ${quantization}`)).toBe(
        quantization !== 'none',
      );
    }
    const words = (features: string[]) =>
      decide(box(null, 'cpu', { ...cpuWith(), features }), { quantization }).reason.includes('hardly faster');
    expect(words([])).toBe(quantization !== 'none');
    expect(words(['dotprod', 'i8mm'])).toBe(quantization !== 'none');
    expect(words(['avx2', 'fma'])).toBe(false);
  });
});

describe('the key-value cache', () => {
  const kept = (
    kvCache: 'auto' | '16bit' | 'int8',
    dtype: 'float32' | 'float16' | 'bfloat16',
    device: 'cpu' | 'cuda',
  ) => decide(boxes.A100, { kvCache, dtype, device });

  it.each(['cpu', 'cuda'] as const)(
    'is in the numbers of the model unless something else is asked for: %s',
    (device) => {
      for (const dtype of ['float32', 'float16', 'bfloat16'] as const) {
        expect(kept('auto', dtype, device).kvCache).toBe(dtype);
        expect(kept('auto', dtype, device).reason).not.toMatch(/keys and values/);
        expect(kept('int8', dtype, device).kvCache).toBe('int8');
        expect(kept('int8', dtype, device).reason).toMatch(/keys and values in int8 were asked for/);
        expect(kept('16bit', dtype, device).kvCache).toBe(dtype === 'float32' ? 'float16' : dtype);
      }
    },
  );

  it('says where it costs the kernels', () => {
    expect(kept('int8', 'bfloat16', 'cuda').reason).toMatch(/without the kernels: smaller, but slower/);
    expect(kept('16bit', 'float32', 'cuda').reason).toMatch(/without the kernels/);
    expect(kept('16bit', 'bfloat16', 'cuda').reason).not.toMatch(/kernels/);
    expect(kept('int8', 'float32', 'cpu').reason).not.toMatch(/kernels/);
  });
});

// ------------------------------------------------------------------------------------------ the laws

describe('on any machine', () => {
  const anyGpu = fc.record({
    card: fc.constantFrom(...(Object.keys(cards) as Card[])),
    freeMemory: fc.option(fc.integer({ min: 0, max: 180 * GiB })),
  });
  const anyCuda = fc
    .record({
      branch: fc.constantFrom(470, 525, 550, 570, 580) as fc.Arbitrary<keyof typeof drivers>,
      gpus: fc.array(anyGpu, { maxLength: 4 }),
      failure: fc.option(
        fc.constantFrom(34, 100, 803, 804, 999, 1).map((code) => ({ code, name: `E${code}` })),
      ),
      visibleDevices: fc.option(fc.constantFrom('', '0', '1,0')),
      libcuda: fc.boolean(),
    })
    .map(({ branch, gpus, failure, visibleDevices, libcuda }) => {
      const devices = gpus.map(({ card, freeMemory }, index) => gpu(card, index, { freeMemory }));
      if (failure || !libcuda)
        return driver(branch, [], { failure, visibleDevices, ...(libcuda ? {} : { driverCuda: null }) });
      return driver(branch, devices, { visibleDevices });
    });
  const anyFacts: fc.Arbitrary<DeviceFacts> = fc.record({
    cpu: fc
      .subarray(['avx512_bf16', 'amx_bf16', 'bf16', 'avx512_vnni'])
      .map((features) => cpuWith(...features)),
    cuda: fc.option(anyCuda),
    libtorch: fc.option(fc.constantFrom(...Object.values(libtorch))),
  });
  const anyRequest: fc.Arbitrary<DeviceRequest> = fc.record({
    device: fc.constantFrom('auto', 'cpu', 'cuda', 'cuda:0', 'cuda:1', 'cuda:3'),
    dtype: fc.constantFrom(...dtypes),
    quantization: fc.constantFrom('none', 'int8', 'int4'),
  });
  const holds = (law: (facts: DeviceFacts, request: DeviceRequest) => void): void =>
    fc.assert(fc.property(anyFacts, anyRequest, law), { numRuns: 500 });
  const usableOf = (facts: DeviceFacts) =>
    (facts.cuda?.devices ?? []).filter((each) => whyUnusable(each, facts) === null);

  it('auto takes only what the device computes natively, and with dtype auto never throws', () => {
    holds((facts, { quantization }) => {
      const { device, dtype } = decide(facts, { quantization });
      const used = facts.cuda?.devices.find(({ index }) => `cuda:${index}` === device);
      if (used) expect(dtypesOf(used)).toContain(dtype);
      else expect(dtype === 'bfloat16').toBe(facts.cpu.features.some((name) => name.endsWith('bf16')));
      expect(device === 'cpu').toBe(usableOf(facts).length === 0);
    });
  });

  it('a device or dtype that is named is never replaced, and a GPU that is taken is usable', () => {
    holds((facts, request) => {
      const answer = ask(facts, request);
      if ('code' in answer) return;
      if (request.device === 'cpu' || request.device.startsWith('cuda:'))
        expect(answer.device).toBe(request.device);
      if (request.device === 'cuda') expect(answer.device).toMatch(/^cuda:\d$/);
      if (request.dtype !== 'auto') expect(answer.dtype).toBe(request.dtype);
      expect(answer.quantization).toBe(request.quantization);
      if (answer.device !== 'cpu')
        expect(usableOf(facts).map(({ index }) => `cuda:${index}`)).toContain(answer.device);
    });
  });

  it('every decision has its reason, and every refusal names options that work', () => {
    holds((facts, request) => {
      const answer = ask(facts, request);
      expect('reason' in answer ? answer.reason.length : 1).toBeGreaterThan(0);
      if (!('code' in answer)) return;
      expect(Object.values(codes)).toContain(answer.code);
      const advice = optionsNamedBy(answer);
      expect(advice.length, answer.message).toBeGreaterThan(0);
      for (const option of advice)
        expect(ask(facts, { ...request, ...option }), answer.message).not.toHaveProperty('code');
    });
  });

  it('the order of the devices has no say, nor have devices that cannot be used', () => {
    holds((facts, request) => {
      const answer = ask(facts, request);
      const { cuda } = facts;
      if (!cuda) return;
      const turned = { ...facts, cuda: { ...cuda, devices: [...cuda.devices].reverse() } };
      expect(ask(turned, request)).toEqual(answer);
      const usable = usableOf(facts);
      if ('code' in answer || usable.length === 0) return;
      const { device, dtype } = decide({ ...facts, cuda: { ...cuda, devices: usable } }, request);
      expect({ device, dtype }).toEqual({ device: answer.device, dtype: answer.dtype });
    });
  });
});

// ------------------------------------------------------------------------------------------ the list

describe('devices', () => {
  it('lists GPUs first, with what each computes and what auto takes there', () => {
    const mixed = [gpu('T4', 0), gpu('GTX 1080', 1), gpu('A100', 2), gpu('H100 slice', 3)];
    const listed = listDevices(box(driver(550, mixed), null));
    expect(listed.map(({ id, dtypes, recommended }) => [id, dtypes.join(' '), recommended.dtype])).toEqual([
      ['cuda:0', 'float16 float32', 'float16'],
      ['cuda:1', '', null],
      ['cuda:2', 'bfloat16 float16 float32', 'bfloat16'],
      ['cuda:3', 'bfloat16 float16 float32', 'bfloat16'],
      ['cpu', 'float32 bfloat16 float16', 'float32'],
    ]);
    expect(listed.map(({ mig }) => mig)).toEqual([false, false, false, true, false]);
    expect(listed.map((each) => each.driver)).toEqual([...Array(4).fill('550.54.15'), null]);
    expect(listed[1]?.recommended.reason).toMatch(/7\.0 or higher/);
    expect(listed[4]?.recommended.reason).toBe('cpu (Plain CPU) has no native bfloat16');
  });

  it('says of the CPU why GPUs are missing', () => {
    const [cpu, ...others] = listDevices(boxes['driver that does not start']);
    expect(others).toEqual([]);
    expect(cpu?.recommended.reason).toMatch(/no GPU is used: .*CUDA_ERROR_SYSTEM_DRIVER_MISMATCH/);
  });
});

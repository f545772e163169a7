/** Machines of the tests: what the door and libtorch would tell of them. */

import type { DeviceFacts, LibtorchFacts } from '../../../dist/device/policy.js';
import type { CpuFacts, CudaDeviceFacts, CudaFacts } from '../../../dist/native/contract.js';

export const GiB = 2 ** 30;

export const cpuWith = (...features: string[]): CpuFacts => ({
  name: 'Plain CPU',
  cores: 2,
  physicalCores: 2,
  totalMemory: 8 * GiB,
  freeMemory: 4 * GiB,
  limits: { cpus: null, memory: null },
  features: ['avx2', ...features],
});

/** Name, capability, GiB, multiprocessors. */
export const cards = {
  'GTX 1080': ['NVIDIA GeForce GTX 1080', '6.1', 8, 20],
  V100: ['Tesla V100-SXM2-16GB', '7.0', 16, 80],
  T4: ['Tesla T4', '7.5', 15, 40],
  A100: ['NVIDIA A100-SXM4-40GB', '8.0', 40, 108],
  A10G: ['NVIDIA A10G', '8.6', 24, 80],
  'RTX 4090': ['NVIDIA GeForce RTX 4090', '8.9', 24, 128],
  L4: ['NVIDIA L4', '8.9', 24, 58],
  H100: ['NVIDIA H100 80GB HBM3', '9.0', 80, 132],
  'H100 slice': ['NVIDIA H100 80GB HBM3 MIG 1g.10gb', '9.0', 10, 16],
  H200: ['NVIDIA H200', '9.0', 141, 132],
  B200: ['NVIDIA B200', '10.0', 180, 148],
  'RTX 5090': ['NVIDIA GeForce RTX 5090', '12.0', 32, 170],
} as const;
export type Card = keyof typeof cards;

export function gpu(card: Card, index = 0, more: Partial<CudaDeviceFacts> = {}): CudaDeviceFacts {
  const [name, computeCapability, memory, multiprocessors] = cards[card];
  return {
    index,
    name,
    computeCapability,
    totalMemory: memory * GiB,
    freeMemory: memory * GiB,
    multiprocessors,
    mig: card === 'H100 slice',
    integrated: false,
    ...more,
  };
}

/** Drivers by their branch, with the CUDA version each serves. */
export const drivers = {
  470: ['470.256.02', '11.4'],
  525: ['525.147.05', '12.0'],
  550: ['550.54.15', '12.4'],
  570: ['570.133.20', '12.8'],
  580: ['580.95.05', '13.0'],
} as const;
export type Branch = keyof typeof drivers;

export function driver(
  branch: Branch,
  devices: CudaDeviceFacts[] = [],
  more: Partial<CudaFacts> = {},
): CudaFacts {
  const [version, driverCuda] = drivers[branch];
  const listed = devices.map(({ name, mig }) => ({ name, mig }));
  return { driver: version, driverCuda, failure: null, visibleDevices: null, devices, listed, ...more };
}

/** The builds that PyTorch publishes for x64, as libtorch describes itself once it is open. */
export const libtorch = {
  cpu: { version: '2.13.0+cpu', cuda: false, available: false, architectures: [] },
  cu126: {
    version: '2.13.0+cu126',
    cuda: true,
    available: true,
    architectures: ['sm_50', 'sm_60', 'sm_70', 'sm_75', 'sm_80', 'sm_86', 'sm_90'],
  },
  cu130: {
    version: '2.13.0+cu130',
    cuda: true,
    available: true,
    architectures: ['sm_75', 'sm_80', 'sm_86', 'sm_90', 'sm_100', 'sm_120', 'compute_120'],
  },
  /** The same where the driver is too old for it. */
  'cu130 closed': { version: '2.13.0+cu130', cuda: true, available: false, architectures: [] },
} satisfies Record<string, LibtorchFacts>;

export function box(
  cuda: CudaFacts | null,
  build: keyof typeof libtorch | null = 'cu130',
  cpu = cpuWith(),
): DeviceFacts {
  return { cpu, cuda, libtorch: build && libtorch[build] };
}

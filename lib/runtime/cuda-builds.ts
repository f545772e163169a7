/** Which build of libtorch computes on which GPU with which driver. */

import type { CudaDeviceFacts, CudaFacts } from '../native/contract.js';
import { driverWords, explainNoDevices } from './driver.js';

export type CudaVariant = 'cu126' | 'cu130';

interface CudaBuild {
  readonly variant: CudaVariant;
  readonly cuda: string;
  /** First driver of its CUDA's major version; within that, an older driver serves a newer build. */
  readonly driver: number;
  /** What it has code for, by `process.arch`. */
  readonly code: Readonly<Record<string, readonly string[]>>;
}

/**
 * As PyTorch 2.12 to 2.14 are published (the support matrix in its RELEASE.md), the newest first. CUDA 13 left Volta
 * behind; CUDA 12.6 knows no Blackwell, and its build brings no PTX that a driver could compile for one.
 */
const builds: readonly CudaBuild[] = [
  {
    variant: 'cu130',
    cuda: '13.0',
    driver: 580,
    code: {
      x64: ['sm_75', 'sm_80', 'sm_86', 'sm_90', 'sm_100', 'sm_120', 'compute_120'],
      arm64: ['sm_80', 'sm_90', 'sm_100', 'sm_110', 'sm_120', 'compute_120'],
    },
  },
  {
    variant: 'cu126',
    cuda: '12.6',
    driver: 525,
    code: {
      x64: ['sm_50', 'sm_60', 'sm_70', 'sm_75', 'sm_80', 'sm_86', 'sm_90'],
      arm64: ['sm_80', 'sm_90'],
    },
  },
];

const oldest = builds[builds.length - 1] as CudaBuild;

/** 7.0, the first with tensor cores: below, nothing here has been made to run. */
const lowestCapability = 70;

export const needsCapability = 'compute capability 7.0 or higher is needed';

/** `cuda:0 (Tesla T4, compute capability 7.5)` */
export const describeGpu = ({ index, name, computeCapability }: CudaDeviceFacts): string =>
  `cuda:${index} (${name}, compute capability ${computeCapability})`;

/** `7.5` → 75, `12.0` → 120. */
export function capabilityOf({ computeCapability }: CudaDeviceFacts): number {
  const [major = 0, minor = 0] = computeCapability.split('.').map(Number);
  return major * 10 + minor;
}

export const isCapable = (gpu: CudaDeviceFacts): boolean => capabilityOf(gpu) >= lowestCapability;

/**
 * Whether one of these kinds of code (`sm_75`, `sm_90a`, `compute_120`…) runs on a GPU. Machine code runs within its
 * major version from its own minor version upwards, with the suffix `a` on its own capability only, with `f` in its
 * family; PTX runs on everything later, when the driver is new enough to compile it.
 */
export function hasCodeFor(architectures: readonly string[], capability: number, ptx = true): boolean {
  return architectures.some((name) => {
    const [, kind, digits, suffix] = /^(sm|compute)_(\d+)([af]?)$/.exec(name) ?? [];
    if (kind === undefined || (kind === 'compute' && !ptx)) return false;
    const built = Number(digits);
    if (suffix === 'a') return built === capability;
    if (kind === 'compute' && suffix === '') return built <= capability;
    return Math.floor(built / 10) === Math.floor(capability / 10) && built <= capability;
  });
}

/** The CUDA version in the local part of a libtorch's version: `2.13.0+cu126` → `12.6`; null where it is not told. */
export function cudaOf(version: string): string | null {
  const [, major, minor] = version.match(/\+cu(\d+)(\d)$/) ?? [];
  return major === undefined ? null : `${major}.${minor}`;
}

/** Whether a driver compiles the PTX of a build. Of a version that is not told the best is believed. */
export function compilesPtx(cuda: CudaFacts | null, built: string | null): boolean {
  if (built === null || !cuda?.driverCuda) return true;
  const [major = 0, minor = 0] = cuda.driverCuda.split('.').map(Number);
  const [builtMajor = 0, builtMinor = 0] = built.split('.').map(Number);
  return major > builtMajor || (major === builtMajor && minor >= builtMinor);
}

const majorOf = (version: string): number => Number.parseInt(version, 10);

const isServed = (build: CudaBuild, cuda: CudaFacts): boolean =>
  cuda.driverCuda !== null && majorOf(cuda.driverCuda) >= majorOf(build.cuda);

const runs = (build: CudaBuild, gpu: CudaDeviceFacts, cuda: CudaFacts, arch: string): boolean =>
  isCapable(gpu) &&
  hasCodeFor(
    build.code[arch] ?? [],
    capabilityOf(gpu),
    !isServed(build, cuda) || compilesPtx(cuda, build.cuda),
  );

/** The driver is too old for every build; null when it is not. */
export function refuseDriver(cuda: CudaFacts): string | null {
  if (cuda.driverCuda === null || isServed(oldest, cuda)) return null;
  return `${driverWords(cuda)}, and libtorch needs CUDA ${majorOf(oldest.cuda)}; update the driver to ${oldest.driver} or newer`;
}

/**
 * The CUDA build that serves most of the GPUs, and of two that serve as many the newer one. GPUs that nothing here runs
 * on have no say.
 */
export function chooseCudaVariant(
  cuda: CudaFacts | null,
  arch: string = process.arch,
): { variant: CudaVariant | null; reason: string } {
  if (!cuda || cuda.devices.length === 0) return { variant: null, reason: explainNoDevices(cuda).found };
  let best: { build: CudaBuild; served: CudaDeviceFacts[] } | null = null;
  for (const build of builds.filter((each) => isServed(each, cuda))) {
    const served = cuda.devices.filter((gpu) => runs(build, gpu, cuda, arch));
    if (served.length > (best?.served.length ?? 0)) best = { build, served };
  }
  if (!best) {
    const reasons = cuda.devices.map((gpu) => `${describeGpu(gpu)}: ${whyNoBuild(gpu, cuda, arch)}`);
    return { variant: null, reason: reasons.join('; ') };
  }
  const { build, served } = best;
  const left = cuda.devices.filter((gpu) => !served.includes(gpu)).map(describeGpu);
  const without = left.length > 0 ? `, but not ${left.join(', ')}` : '';
  return {
    variant: build.variant,
    reason: `the CUDA ${build.cuda} build serves ${served.map(describeGpu).join(', ')}${without}; ${driverWords(cuda)}`,
  };
}

function whyNoBuild(gpu: CudaDeviceFacts, cuda: CudaFacts, arch: string): string {
  if (!isCapable(gpu)) return needsCapability;
  return refuseDriver(cuda) ?? adviseBuild(gpu, cuda, arch);
}

/** What gets a libtorch that computes on this GPU. */
export function adviseBuild(
  gpu: CudaDeviceFacts,
  cuda: CudaFacts | null,
  arch: string = process.arch,
): string {
  const able = cuda ? builds.filter((build) => runs(build, gpu, cuda, arch)) : [];
  const serving = able.find((build) => cuda && isServed(build, cuda));
  if (serving) {
    const alone = chooseCudaVariant(cuda, arch).variant === serving.variant;
    const how = alone ? '' : ', with CUDA_VISIBLE_DEVICES naming this GPU alone then and later,';
    return `\`npx metavoice setup --cuda\`${how} gets the CUDA ${serving.cuda} build, which serves it`;
  }
  const wanted = able[able.length - 1];
  if (wanted)
    return `the CUDA ${wanted.cuda} build would serve it: update the NVIDIA driver to ${wanted.driver} or newer, then run \`npx metavoice setup --cuda\``;
  return `no published build of libtorch has code for it on ${arch}: use a libtorch built for it (METAVOICE_LIBTORCH)`;
}

/** Why the CUDA part of a libtorch is of no use with this driver and these GPUs; null when it is of use. */
export function refuseCuda(
  version: string,
  cuda: CudaFacts | null,
  arch: string = process.arch,
): string | null {
  if (!cuda || cuda.devices.length === 0) return explainNoDevices(cuda).found;
  const capable = cuda.devices.filter(isCapable);
  if (capable.length === 0) return `${cuda.devices.map(describeGpu).join(', ')}: ${needsCapability}`;
  const built = cudaOf(version);
  if (built !== null && cuda.driverCuda !== null && majorOf(built) > majorOf(cuda.driverCuda))
    return `it is built for CUDA ${built}, and ${driverWords(cuda)}`;
  const build = builds.find((each) => each.cuda === built);
  if (build && !capable.some((gpu) => runs(build, gpu, cuda, arch)))
    return `the CUDA ${build.cuda} build has no code for ${capable.map(describeGpu).join(', ')}`;
  return null;
}

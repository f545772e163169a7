/**
 * The one place that decides device, dtype and quantisation, and with `kv-cache.ts` what keys and values are kept in.
 * Pure: facts and a request in, a decision with its reason in words out. Everything native receives what is resolved here; nobody else asks the hardware.
 */

import { MetaVoiceError } from '../errors.js';
import type { CacheDtype, CpuFacts, CudaDeviceFacts, CudaFacts, Dtype } from '../native/contract.js';
import type { DeviceOption, KvCache, Quantization } from '../options.js';
import {
  adviseBuild,
  capabilityOf,
  compilesPtx,
  cudaOf,
  describeGpu,
  hasCodeFor,
  isCapable,
  needsCapability,
  refuseCuda,
  refuseDriver,
} from '../runtime/cuda-builds.js';
import { explainNoDevices } from '../runtime/driver.js';
import { decideKvCache } from './kv-cache.js';

/** What is known of the libtorch that would compute. */
export interface LibtorchFacts {
  /** Local part included, which names the CUDA it is built for: `2.13.0+cu126`. */
  version: string;
  /** A CUDA build. */
  cuda: boolean;
  /** libtorch itself sees CUDA devices. */
  available: boolean;
  /** Why its CUDA libraries are not open; absent where they are, or where nobody knows. */
  refusal?: string | undefined;
  /** What it has code for: `sm_75`, `sm_90a`, `compute_120`… Empty when unknown. */
  architectures: string[];
}

export interface DeviceFacts {
  cpu: CpuFacts;
  cuda: CudaFacts | null;
  /** Null before libtorch is loaded: then devices are judged by capability and driver alone. */
  libtorch: LibtorchFacts | null;
}

export interface DeviceRequest {
  device: DeviceOption;
  dtype: 'auto' | Dtype;
  quantization: Quantization;
  /** `'auto'` when omitted. */
  kvCache?: KvCache;
}

export interface DevicePolicy {
  /** `cpu` or `cuda:N`. */
  readonly device: 'cpu' | `cuda:${number}`;
  /** Brand name of the device. */
  readonly name: string;
  /** `8.6`; null on the CPU. */
  readonly computeCapability: string | null;
  /** One dtype per network, all from this one decision. */
  readonly dtypes: {
    readonly firstStage: Dtype;
    readonly secondStage: Dtype;
    readonly diffusion: Dtype;
    readonly speakerEncoder: 'float32';
    readonly codec: 'float32';
    readonly enhancer: 'float32';
  };
  /** The dtype of the language models. */
  readonly dtype: Dtype;
  /** The weights of the first stage. */
  readonly quantization: Quantization;
  /** What keys and values are kept in. */
  readonly kvCache: CacheDtype;
  /** Why, in words. */
  readonly reason: string;
  /** There is a GPU, `auto` was asked for, and it is not used. */
  readonly fellBack: boolean;
}

/**
 * Decides device, dtype and quantisation.
 *
 * @throws MetaVoiceError ERR_CUDA_UNAVAILABLE, ERR_DTYPE_UNSUPPORTED when an explicit request cannot be met; the
 * message names the device, its capability and what would work.
 */
export function resolveDevicePolicy(facts: DeviceFacts, request: DeviceRequest): DevicePolicy {
  const { device, dtype } = request;
  if (device === 'cpu') return onCpu(facts.cpu, request, []);
  if (device === 'auto' || device === 'cuda') {
    const { chosen, reasons } = choose(facts, dtype);
    if (chosen) return onCuda(chosen, facts, request, reasons);
    if (device === 'cuda') throw noUsableDevice(facts, request);
    return onCpu(facts.cpu, request, reasons);
  }
  const named = gpusOf(facts).find((gpu) => `cuda:${gpu.index}` === device);
  if (!named || whyUnusable(named, facts) !== null) throw noUsableDevice(facts, request);
  return onCuda(named, facts, request, []);
}

/** Why this GPU can't be used at all, with what would help; null when it can. */
export function whyUnusable(gpu: CudaDeviceFacts, { cuda, libtorch }: DeviceFacts): string | null {
  if (!isCapable(gpu)) return needsCapability;
  const driver = cuda && refuseDriver(cuda);
  if (driver) return driver;
  if (!libtorch) return null;
  const { version, architectures } = libtorch;
  if (!libtorch.cuda) return `libtorch ${version} is a CPU build; ${adviseBuild(gpu, cuda)}`;
  if (!libtorch.available) {
    const why = libtorch.refusal ?? refuseCuda(version, cuda) ?? 'it sees no GPU';
    return `libtorch ${version} has no CUDA here: ${why}; ${adviseBuild(gpu, cuda)}`;
  }
  const ptx = compilesPtx(cuda, cudaOf(version));
  if (architectures.length > 0 && !hasCodeFor(architectures, capabilityOf(gpu), ptx))
    return `libtorch ${version} has no code for it (only ${architectures.join(', ')}); ${adviseBuild(gpu, cuda)}`;
  return null;
}

/** The dtypes that this GPU computes natively, best first. libtorch's own answer counts emulation, so it is not asked. */
export function dtypesOf(gpu: CudaDeviceFacts): Dtype[] {
  if (!isCapable(gpu)) return [];
  return capabilityOf(gpu) < 80 ? ['float16', 'float32'] : ['bfloat16', 'float16', 'float32'];
}

/** The dtype `auto` takes on the CPU, and why. */
export function cpuDtype(cpu: CpuFacts): { dtype: Dtype; reason: string } {
  const names = { amx_bf16: 'AMX', avx512_bf16: 'AVX512-BF16', bf16: 'Arm BF16' };
  for (const [feature, name] of Object.entries(names))
    if (cpu.features.includes(feature))
      return { dtype: 'bfloat16', reason: `cpu (${cpu.name}) computes bfloat16 natively, with ${name}` };
  return { dtype: 'float32', reason: `cpu (${cpu.name}) has no native bfloat16` };
}

/** The dtype `auto` takes on a usable GPU, and why. */
export function cudaDtype(gpu: CudaDeviceFacts): { dtype: Dtype; reason: string } {
  return capabilityOf(gpu) < 80
    ? { dtype: 'float16', reason: `${describeGpu(gpu)} has no native bfloat16, but float16` }
    : { dtype: 'bfloat16', reason: `${describeGpu(gpu)} computes bfloat16 natively` };
}

/** Why the GPUs that are there, or should be, are not used; empty where there are none. */
export function whyNoGpu(facts: DeviceFacts): string[] {
  const gpus = gpusOf(facts);
  if (gpus.length > 0)
    return gpus.flatMap((gpu) => {
      const why = whyUnusable(gpu, facts);
      return why ? [`${describeGpu(gpu)} is not used: ${why}`] : [];
    });
  const { found, help, mishap } = explainNoDevices(facts.cuda);
  return mishap ? [`no GPU is used: ${found}; ${help}`] : [];
}

/** In the order of their numbers, whatever order they come in. */
const gpusOf = ({ cuda }: DeviceFacts): CudaDeviceFacts[] =>
  [...(cuda?.devices ?? [])].sort((a, b) => a.index - b.index);

/**
 * The GPU with the most free memory among those that compute the dtype, or else among the usable ones; where free
 * memory is unknown, all of it counts. The reasons say what else was weighed.
 */
function choose(
  facts: DeviceFacts,
  dtype: 'auto' | Dtype,
): { chosen: CudaDeviceFacts | undefined; reasons: string[] } {
  const usable = gpusOf(facts).filter((gpu) => whyUnusable(gpu, facts) === null);
  const fitting = usable.filter((gpu) => dtype === 'auto' || dtypesOf(gpu).includes(dtype));
  const free = (gpu: CudaDeviceFacts) => gpu.freeMemory ?? gpu.totalMemory;
  const candidates = fitting.length > 0 ? fitting : usable;
  const [chosen] = [...candidates].sort((a, b) => free(b) - free(a));
  const most = `it has the most free memory of ${candidates.length} GPUs that could be used`;
  return { chosen, reasons: [...(candidates.length > 1 ? [most] : []), ...whyNoGpu(facts)] };
}

function onCpu(cpu: CpuFacts, request: DeviceRequest, whyNoGpu: string[]): DevicePolicy {
  const own = cpuDtype(cpu);
  const asked = request.dtype === 'auto' ? own.dtype : request.dtype;
  const slow = asked === 'float16' || (asked === 'bfloat16' && own.dtype !== 'bfloat16');
  const emulated = slow ? ', which emulates it: expect it to be slow' : '';
  const why =
    request.dtype === 'auto' ? own.reason : `dtype ${asked} was asked for on cpu (${cpu.name})${emulated}`;
  const cache = decideKvCache(request.kvCache ?? 'auto', asked, false);
  return {
    device: 'cpu',
    name: cpu.name,
    computeCapability: null,
    ...numbers(asked, request),
    kvCache: cache.dtype,
    reason: [
      why,
      ...quantizationWords(request, cpu),
      ...(cache.reason ? [cache.reason] : []),
      ...whyNoGpu,
    ].join('; '),
    fellBack: whyNoGpu.length > 0,
  };
}

function onCuda(
  gpu: CudaDeviceFacts,
  facts: DeviceFacts,
  request: DeviceRequest,
  reasons: string[],
): DevicePolicy {
  const own = cudaDtype(gpu);
  const asked = request.dtype === 'auto' ? own.dtype : request.dtype;
  if (!dtypesOf(gpu).includes(asked)) throw dtypeUnsupported(gpu, facts, asked);
  const why =
    request.dtype === 'auto'
      ? own.reason
      : `dtype ${asked} was asked for, which ${describeGpu(gpu)} computes natively`;
  const cache = decideKvCache(request.kvCache ?? 'auto', asked, true);
  return {
    device: `cuda:${gpu.index}`,
    name: gpu.name,
    computeCapability: gpu.computeCapability,
    ...numbers(asked, request),
    kvCache: cache.dtype,
    reason: [
      why,
      ...quantizationWords(request, null),
      ...(cache.reason ? [cache.reason] : []),
      ...reasons,
    ].join('; '),
    fellBack: false,
  };
}

function numbers(dtype: Dtype, { quantization }: DeviceRequest) {
  // In 16 bits an EnCodec decoder hisses, so all but the language models and the diffusion stay in float32.
  const exact = { speakerEncoder: 'float32', codec: 'float32', enhancer: 'float32' } as const;
  return {
    dtype,
    dtypes: { firstStage: dtype, secondStage: dtype, diffusion: dtype, ...exact },
    quantization,
  };
}

/** Every device holds quantised weights; on a CPU that the loops of integers are not made for they save memory, but no time. */
function quantizationWords({ quantization }: DeviceRequest, cpu: CpuFacts | null): string[] {
  if (quantization === 'none') return [];
  const words =
    cpu && !cpu.features.includes('avx2') ? ', on a CPU without AVX2: smaller, but hardly faster' : '';
  return [`weights of the first stage in ${quantization}${words}`];
}

function dtypeUnsupported(gpu: CudaDeviceFacts, facts: DeviceFacts, asked: Dtype): MetaVoiceError {
  const works = dtypesOf(gpu);
  const others = gpusOf(facts).filter(
    (other) => whyUnusable(other, facts) === null && dtypesOf(other).includes(asked),
  );
  const elsewhere = [...others.map(({ index }) => `'cuda:${index}'`), "'cpu'"].join(' or ');
  return new MetaVoiceError(
    'ERR_DTYPE_UNSUPPORTED',
    `expected a dtype that ${describeGpu(gpu)} computes natively (${works.join(' or ')}) but '${asked}' was asked for; use dtype '${works[0]}' or 'auto', or device ${elsewhere}`,
    {
      details: {
        device: `cuda:${gpu.index}`,
        name: gpu.name,
        computeCapability: gpu.computeCapability,
        dtypes: works,
      },
    },
  );
}

/** An explicit `cuda` or `cuda:N` that can't be had: what was found, and what works. */
function noUsableDevice(facts: DeviceFacts, { device, dtype }: DeviceRequest): MetaVoiceError {
  const gpus = gpusOf(facts);
  const { driver = null, driverCuda = null, failure = null } = facts.cuda ?? {};
  return new MetaVoiceError(
    'ERR_CUDA_UNAVAILABLE',
    `expected a usable GPU for device '${device}' but ${whatIsFound(facts, gpus, device)}; use device ${whatWorks(facts, gpus, dtype)}`,
    { details: { device, devices: gpus, driver, driverCuda, failure } },
  );
}

function whatIsFound(facts: DeviceFacts, gpus: CudaDeviceFacts[], device: DeviceOption): string {
  if (gpus.length === 0) {
    const { found, help } = explainNoDevices(facts.cuda);
    return `${found}; ${help}`;
  }
  const asked = gpus.filter(({ index }) => device === 'cuda' || device === `cuda:${index}`);
  if (asked.length === 0) return `there is only ${gpus.map(describeGpu).join(', ')}`;
  return asked.map((gpu) => `${describeGpu(gpu)} cannot be used: ${whyUnusable(gpu, facts)}`).join('; ');
}

function whatWorks(facts: DeviceFacts, gpus: CudaDeviceFacts[], dtype: 'auto' | Dtype): string {
  const usable = gpus.filter((gpu) => whyUnusable(gpu, facts) === null);
  const fitting = usable.filter((gpu) => dtype === 'auto' || dtypesOf(gpu).includes(dtype));
  const auto = usable.length === 0 || fitting.length > 0 ? ["'auto'"] : [];
  return [...fitting.map(({ index }) => `'cuda:${index}'`), "'cpu'", ...auto].join(' or ');
}

/**
 * The one place that decides device, dtype and quantisation. Pure: facts and a request in, a decision with its reason
 * in words out. Everything native receives what is resolved here; nobody else asks the hardware.
 */

import { MetaVoiceError } from '../errors.js';
import type { CpuFacts, CudaDeviceFacts, CudaFacts, Dtype } from '../native/contract.js';
import type { DeviceOption } from '../options.js';

/** What is known of the libtorch that would compute. */
export interface LibtorchFacts {
  version: string;
  /** A CUDA build. */
  cuda: boolean;
  /** libtorch itself sees CUDA devices; false with a CUDA build means the driver is too old for it. */
  available: boolean;
  /** What it has code for: `sm_75`, `sm_90a`, `compute_120`… Empty when unknown. */
  architectures: string[];
}

export interface DeviceFacts {
  cpu: CpuFacts;
  cuda: CudaFacts | null;
  /** Null before libtorch is loaded: then devices are judged by their capability alone. */
  libtorch: LibtorchFacts | null;
}

export interface DeviceRequest {
  device: DeviceOption;
  dtype: 'auto' | Dtype;
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
  readonly quantization: 'none';
  /** Why, in words. */
  readonly reason: string;
  /** There is a GPU, `auto` was asked for, and it is not used. */
  readonly fellBack: boolean;
}

/**
 * Decides device and dtype.
 *
 * @throws MetaVoiceError ERR_CUDA_UNAVAILABLE, ERR_DTYPE_UNSUPPORTED when an explicit request cannot be met; the
 * message names the device, its capability and what would work.
 */
export function resolveDevicePolicy(facts: DeviceFacts, request: DeviceRequest): DevicePolicy {
  if (request.device === 'cpu') return onCpu(facts.cpu, request.dtype, '');
  if (request.device !== 'auto') return onCuda(requireDevice(facts, request), request.dtype);

  const devices = facts.cuda?.devices ?? [];
  const usable = devices.filter((device) => whyUnusable(device, facts) === null);
  if (usable.length > 0) return onCuda(choose(usable, request.dtype), request.dtype);
  const reasons = devices.map((device) => `${describe(device)} is not used: ${whyUnusable(device, facts)}`);
  return onCpu(facts.cpu, request.dtype, reasons.join('; '));
}

/** Why this GPU can't be used at all, with what would help; null when it can. */
export function whyUnusable(device: CudaDeviceFacts, { cuda, libtorch }: DeviceFacts): string | null {
  const capability = capabilityOf(device);
  if (capability < 70) return 'compute capability 7.0 or higher is needed';
  if (!libtorch) return null;
  if (!libtorch.cuda)
    return `libtorch ${libtorch.version} is a CPU build; \`npx metavoice setup --cuda\` gets a CUDA build`;
  if (!libtorch.available)
    return `libtorch ${libtorch.version} does not work with this driver, which serves CUDA up to ${cuda?.driverCuda ?? 'an unknown version'}; update the driver, or let \`npx metavoice setup --cuda\` get the build that fits`;
  if (libtorch.architectures.length > 0 && !libtorch.architectures.some((name) => runsOn(name, capability)))
    return `libtorch ${libtorch.version} has no code for it (only ${libtorch.architectures.join(', ')}); \`npx metavoice setup --cuda\` gets the build that fits`;
  return null;
}

/** The dtypes that this GPU computes natively, best first. libtorch's own answer counts emulation, so it is not asked. */
export function dtypesOf(device: CudaDeviceFacts): Dtype[] {
  const capability = capabilityOf(device);
  if (capability < 70) return [];
  return capability < 80 ? ['float16', 'float32'] : ['bfloat16', 'float16', 'float32'];
}

/** The dtype `auto` takes on the CPU, and why. */
export function cpuDtype(cpu: CpuFacts): { dtype: Dtype; reason: string } {
  const names = { amx_bf16: 'AMX', avx512_bf16: 'AVX512-BF16', bf16: 'Arm BF16' };
  for (const [feature, name] of Object.entries(names))
    if (cpu.features.includes(feature))
      return { dtype: 'bfloat16', reason: `this CPU computes bfloat16 natively (${name})` };
  return { dtype: 'float32', reason: 'this CPU has no native bfloat16' };
}

/** The dtype `auto` takes on a usable GPU, and why. */
export function cudaDtype(device: CudaDeviceFacts): { dtype: Dtype; reason: string } {
  const has = `compute capability ${device.computeCapability}`;
  return capabilityOf(device) < 80
    ? { dtype: 'float16', reason: `${has} has no native bfloat16, but float16` }
    : { dtype: 'bfloat16', reason: `${has} computes bfloat16 natively` };
}

function onCpu(cpu: CpuFacts, asked: 'auto' | Dtype, whyNoGpu: string): DevicePolicy {
  const own = cpuDtype(cpu);
  const slow = {
    float32: '',
    bfloat16: own.dtype === 'bfloat16' ? '' : ', which this CPU emulates: expect it to be slow',
    float16: ', which CPUs emulate: expect it to be slow',
  };
  const why = asked === 'auto' ? own.reason : `dtype ${asked} was asked for${slow[asked]}`;
  const dtype = asked === 'auto' ? own.dtype : asked;
  const reason = whyNoGpu ? `${why}; ${whyNoGpu}` : why;
  return decision('cpu', cpu.name, null, dtype, reason, whyNoGpu !== '');
}

function onCuda(device: CudaDeviceFacts, asked: 'auto' | Dtype): DevicePolicy {
  const works = dtypesOf(device);
  if (asked !== 'auto' && !works.includes(asked)) {
    throw new MetaVoiceError(
      'ERR_DTYPE_UNSUPPORTED',
      `expected a dtype that ${describe(device)} computes natively (${works.join(' or ')}) but '${asked}' was asked for; use dtype '${works[0]}' or 'auto', or device 'cpu'`,
      {
        details: {
          device: `cuda:${device.index}`,
          name: device.name,
          computeCapability: device.computeCapability,
          dtypes: works,
        },
      },
    );
  }
  const own = cudaDtype(device);
  const [dtype, reason] =
    asked === 'auto' ? [own.dtype, own.reason] : ([asked, `dtype ${asked} was asked for`] as const);
  return decision(`cuda:${device.index}`, device.name, device.computeCapability, dtype, reason, false);
}

function decision(
  device: DevicePolicy['device'],
  name: string,
  computeCapability: string | null,
  dtype: Dtype,
  reason: string,
  fellBack: boolean,
): DevicePolicy {
  return {
    device,
    name,
    computeCapability,
    dtype,
    // In 16 bits an EnCodec decoder hisses, so all but the language models and the diffusion stay in float32.
    dtypes: {
      firstStage: dtype,
      secondStage: dtype,
      diffusion: dtype,
      speakerEncoder: 'float32',
      codec: 'float32',
      enhancer: 'float32',
    },
    quantization: 'none',
    reason,
    fellBack,
  };
}

/** The GPU of an explicit `cuda` or `cuda:N`. */
function requireDevice(facts: DeviceFacts, { device: asked, dtype }: DeviceRequest): CudaDeviceFacts {
  const refuse = (found: string, help: string) =>
    new MetaVoiceError(
      'ERR_CUDA_UNAVAILABLE',
      `expected a usable GPU for device '${asked}' but ${found}; ${help}`,
      {
        details: {
          device: asked,
          devices: facts.cuda?.devices ?? [],
          driverCuda: facts.cuda?.driverCuda ?? null,
        },
      },
    );
  const help = "use device 'cpu' or 'auto'";
  if (!facts.cuda)
    throw refuse(
      'no NVIDIA driver answers on this machine',
      `install one (\`nvidia-smi\` shows it), or ${help}`,
    );
  const { devices } = facts.cuda;
  if (devices.length === 0)
    throw refuse('the NVIDIA driver shows none', `check CUDA_VISIBLE_DEVICES, or ${help}`);
  if (asked === 'cuda') {
    const usable = devices.filter((device) => whyUnusable(device, facts) === null);
    if (usable.length > 0) return choose(usable, dtype);
    throw refuse(
      devices.map((device) => `${describe(device)}: ${whyUnusable(device, facts)}`).join('; '),
      help,
    );
  }
  const found = devices.find((device) => `cuda:${device.index}` === asked);
  if (!found)
    throw refuse(`there are only ${devices.map(describe).join(', ')}`, `name one of these, or ${help}`);
  const why = whyUnusable(found, facts);
  if (why) throw refuse(`${describe(found)} cannot be used: ${why}`, help);
  return found;
}

/** The GPU with the most free memory among those that compute the dtype; where free memory is unknown, all of it counts. */
function choose(usable: CudaDeviceFacts[], dtype: 'auto' | Dtype): CudaDeviceFacts {
  const fitting = dtype === 'auto' ? usable : usable.filter((device) => dtypesOf(device).includes(dtype));
  const free = (device: CudaDeviceFacts) => device.freeMemory ?? device.totalMemory;
  return (fitting.length > 0 ? fitting : usable).reduce((best, device) =>
    free(device) > free(best) ? device : best,
  );
}

const describe = (device: CudaDeviceFacts): string =>
  `cuda:${device.index} (${device.name}, compute capability ${device.computeCapability})`;

/** `7.5` → 75, `12.0` → 120. */
function capabilityOf({ computeCapability }: CudaDeviceFacts): number {
  const [major = 0, minor = 0] = computeCapability.split('.').map(Number);
  return major * 10 + minor;
}

/** Whether code of this name runs: machine code within its major version upwards, PTX on everything later. */
function runsOn(architecture: string, capability: number): boolean {
  const match = /^(sm|compute)_(\d+)([af]?)$/.exec(architecture);
  if (!match) return false;
  const [, kind, digits, suffix] = match;
  const built = Number(digits);
  if (suffix === 'a') return built === capability;
  if (kind === 'compute' && suffix === '') return built <= capability;
  return Math.floor(built / 10) === Math.floor(capability / 10) && built <= capability;
}

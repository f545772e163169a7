/** What this machine could compute on, in the words of the public API. */

import type { Dtype } from '../native/contract.js';
import { loadDoor } from '../runtime/load.js';
import { cpuDtype, cudaDtype, type DeviceFacts, dtypesOf, whyNoGpu, whyUnusable } from './policy.js';

export interface Device {
  /** `cuda:0`, `cpu`: what the option `device` takes. */
  id: string;
  name: string;
  /** `7.5`; null on the CPU. */
  computeCapability: string | null;
  /** Bytes; of the CPU within the limit of its container. */
  totalMemory: number;
  /** Bytes free now; null where asking would occupy the device. */
  freeMemory: number | null;
  /** A slice of a GPU (MIG), which counts as a device of its own. */
  mig: boolean;
  /** Version of the NVIDIA driver, `550.54.15`; null on the CPU and where it is not told. */
  driver: string | null;
  /** What the option `dtype` may name here, best first; empty when the device cannot be used. */
  dtypes: Dtype[];
  /**
   * What `auto` takes here, and why; dtype null when the device cannot be used. That of the CPU says, too, why GPUs that
   * should be there are not.
   */
  recommended: { dtype: Dtype | null; reason: string };
}

/**
 * The devices of this machine, GPUs first, in CUDA's order. Synchronous, opens neither libtorch nor a CUDA context;
 * whether the installed libtorch has code for a GPU shows when a model is loaded.
 *
 * @throws MetaVoiceError ERR_RUNTIME_NOT_FOUND when the addon is not there.
 */
export function devices(): Device[] {
  const door = loadDoor();
  return listDevices({ cpu: door.cpuFacts(), cuda: door.cudaFacts(), libtorch: null });
}

/** The same from given facts. */
export function listDevices(facts: DeviceFacts): Device[] {
  const gpus = (facts.cuda?.devices ?? []).map((gpu): Device => {
    const unusable = whyUnusable(gpu, facts);
    return {
      id: `cuda:${gpu.index}`,
      name: gpu.name,
      computeCapability: gpu.computeCapability,
      totalMemory: gpu.totalMemory,
      freeMemory: gpu.freeMemory,
      mig: gpu.mig,
      driver: facts.cuda?.driver ?? null,
      dtypes: unusable ? [] : dtypesOf(gpu),
      recommended: unusable ? { dtype: null, reason: unusable } : cudaDtype(gpu),
    };
  });
  const { cpu } = facts;
  const recommended = cpuDtype(cpu);
  const dtypes: Dtype[] =
    recommended.dtype === 'bfloat16'
      ? ['bfloat16', 'float32', 'float16']
      : ['float32', 'bfloat16', 'float16'];
  const { name, totalMemory, freeMemory } = cpu;
  // Unusable GPUs tell their reason themselves.
  const reason = [recommended.reason, ...(gpus.length > 0 ? [] : whyNoGpu(facts))].join('; ');
  const own = { id: 'cpu', name, computeCapability: null, totalMemory, freeMemory, mig: false, driver: null };
  return [...gpus, { ...own, dtypes, recommended: { dtype: recommended.dtype, reason } }];
}

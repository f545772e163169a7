/** What this machine could compute on, in the words of the public API. */

import type { Dtype } from '../native/contract.js';
import { loadDoor } from '../runtime/load.js';
import { cpuDtype, cudaDtype, type DeviceFacts, dtypesOf, whyUnusable } from './policy.js';

export interface Device {
  /** `cuda:0`, `cpu`: what the option `device` takes. */
  id: string;
  name: string;
  /** `7.5`; null on the CPU. */
  computeCapability: string | null;
  /** Bytes. */
  totalMemory: number;
  /** Bytes free now; null where asking would occupy the device. */
  freeMemory: number | null;
  /** What the option `dtype` may name here, best first; empty when the device cannot be used. */
  dtypes: Dtype[];
  /** What `auto` takes here, and why; dtype null when the device cannot be used. */
  recommended: { dtype: Dtype | null; reason: string };
}

/**
 * The devices of this machine, GPUs first. Synchronous, opens neither libtorch nor a CUDA context; whether the
 * installed libtorch has code for a GPU shows when a model is loaded.
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
  return [
    ...gpus,
    { id: 'cpu', name, computeCapability: null, totalMemory, freeMemory, dtypes, recommended },
  ];
}

/** Whether a model fits a device, and what would if it does not. Pure: sizes, a device and a request in, a plan out. */

import type { Dtype, Quantization } from '../native/contract.js';
import { sizeWords } from '../size-words.js';
import { type Alternative, alternativesTo, describeAlternatives, describeRequest } from './alternatives.js';
import { type MemoryParts, type MemoryRequest, memoryParts, totalOf } from './memory.js';
import type { ModelSizes } from './model-sizes.js';

export type { Alternative, MemoryParts };

/** A device to plan for: one of this machine's, or one that is thought of. */
export interface PlannedDevice {
  /** `cpu`, `cuda:N`, or any name for a device that is not here. */
  readonly id: string;
  readonly name: string;
  /** Null on the CPU. */
  readonly computeCapability: string | null;
  /** Bytes that can be had now; all of them where nobody tells what is free. */
  readonly available: number;
}

export interface MemoryPlan {
  /** The model as it was named, or `published sizes`. */
  readonly model: string;
  readonly device: string;
  /** Brand name of the device. */
  readonly name: string;
  readonly computeCapability: string | null;
  readonly dtype: Dtype;
  readonly quantization: Quantization;
  readonly decoder: 'encodec' | 'diffusion';
  readonly batchSize: number;
  /** Seconds of the longest utterance that is planned for; null: what the window holds. */
  readonly maxSeconds: number | null;
  /** How the diffusion decoder goes: in windows, or over a whole utterance. */
  readonly quality: 'stream' | 'whole';
  /** Bytes of each part. */
  readonly parts: Readonly<MemoryParts>;
  /** Bytes of all parts, at the highest. */
  readonly total: number;
  /** Bytes that the device has free. */
  readonly available: number;
  readonly fits: boolean;
  /** In words: how much is to spare, or what would fit. */
  readonly advice: string;
  /** What would fit instead, best first; empty when it fits. */
  readonly alternatives: readonly Alternative[];
}

/** Settings of a plan beyond the request. */
export interface PlanSettings {
  model: string;
  /** libtorch is open in this process already: on the CPU it costs nothing more. */
  runtimeOpen?: boolean;
  /** Which alternatives may be named; all by default. */
  allows?: (alternative: MemoryRequest) => boolean;
}

export function planMemory(
  sizes: ModelSizes,
  device: PlannedDevice,
  request: MemoryRequest,
  { model, runtimeOpen = false, allows = () => true }: PlanSettings,
): MemoryPlan {
  const gpu = device.computeCapability !== null;
  const partsOf = (wanted: MemoryRequest): MemoryParts => {
    const parts = memoryParts(sizes, wanted, gpu);
    return runtimeOpen && !gpu ? { ...parts, runtime: 0 } : parts;
  };
  const parts = partsOf(request);
  const total = totalOf(parts);
  const { available } = device;
  const fits = total <= available;
  const alternatives = fits
    ? []
    : alternativesTo(request, available, (wanted) => totalOf(partsOf(wanted)), {
        sizes,
        gpu,
        allows,
      });
  const label = describeRequest(request);
  const advice = fits
    ? `${label} fits ${device.name} with ${sizeWords(available - total)} to spare`
    : `${label} needs ${sizeWords(total)} and ${device.name} has ${sizeWords(available)} free; ${describeAlternatives(alternatives)}`;
  return {
    model,
    device: device.id,
    name: device.name,
    computeCapability: device.computeCapability,
    ...request,
    quality: request.quality ?? 'stream',
    parts,
    total,
    available,
    fits,
    advice,
    alternatives,
  };
}

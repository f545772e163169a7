/** The Door, `metavoice.node`: facts of the machine, copies of tensors, and the way to the engine; free of torch. */

import type { Dtype } from './description.js';
import type { Engine } from './engine.js';

export interface CpuFacts {
  /** Brand string of the processor, e.g. `AMD EPYC 9B45`. */
  name: string;
  /** Logical cores this process may use, by affinity and control group. */
  cores: number;
  /** The same, with the threads of one core counted once. */
  physicalCores: number;
  /** Total and available memory in bytes, within the limit of the control group. */
  totalMemory: number;
  freeMemory: number;
  /** What a container or a service manager sets: processors (2.5) and bytes; null where nothing does. */
  limits: { cpus: number | null; memory: number | null };
  /** Lower-case names: `avx2`, `avx512f`, `avx512_bf16`, `avx512_vnni`, `amx_bf16`, `bf16` (Arm)… */
  features: string[];
}

export interface CudaDeviceFacts {
  /** As CUDA counts in this process: CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER are applied. */
  index: number;
  name: string;
  /** Compute capability, e.g. `7.5`. */
  computeCapability: string;
  totalMemory: number;
  /** Bytes free now, or null where asking would make a context. */
  freeMemory: number | null;
  multiprocessors: number;
  /** A slice of a GPU (MIG); memory and multiprocessors are the slice's. */
  mig: boolean;
  /** Its memory is the machine's (Jetson, GB10). */
  integrated: boolean;
}

export interface CudaFacts {
  /** Version of the driver, e.g. `550.54.15`; null without NVML. */
  driver: string | null;
  /** Highest CUDA version the driver serves, e.g. `12.4`; null without a libcuda that answers. */
  driverCuda: string | null;
  /** What the driver answered instead of starting, e.g. 803, `CUDA_ERROR_SYSTEM_DRIVER_MISMATCH`; null when it started. */
  failure: { code: number; name: string } | null;
  /** CUDA_VISIBLE_DEVICES, or null where it is not set. */
  visibleDevices: string | null;
  devices: CudaDeviceFacts[];
  /** The GPUs that NVML lists, whether CUDA offers them to this process or not; `mig`: only slices of it compute. */
  listed: { name: string; mig: boolean }[];
}

/** One tensor (or a run of numbers) to be cast from one file into another. */
export interface CopyPiece {
  /** Name for error messages. */
  name: string;
  source: string;
  /** Byte offset of the tensor's first element in `source`. */
  sourceOffset: number;
  sourceDtype: 'float64' | Dtype;
  /** Byte offset in the destination. */
  destinationOffset: number;
  destinationDtype: Dtype;
  shape: number[];
  /** Strides in elements; null when the tensor is contiguous. */
  strides: number[] | null;
  /** CRC-32 that the source bytes must have (contiguous tensors only); not checked when absent. */
  crc32?: number;
}

export interface CopyJob {
  /** Existing file, opened for writing at the offsets; it grows as needed. */
  destination: string;
  pieces: CopyPiece[];
}

export interface RunningCopy {
  /** Resolves when everything is written and flushed; rejects with ERR_CHECKPOINT or an errno error; after cancel() with ABORT_ERR. */
  readonly done: Promise<void>;
  cancel(): void;
}

export interface Door {
  /** Version of libtorch the engine was built against, without the local part: `2.13.0`. */
  readonly libtorchVersion: string;
  cpuFacts(): CpuFacts;
  /** Null when there is no NVIDIA driver, neither libcuda nor NVML. Makes no context. */
  cudaFacts(): CudaFacts | null;
  /** Casts tensors from file to file on a thread of its own, in small buffers. `onProgress` gets bytes written so far. */
  copyTensors(job: CopyJob, onProgress?: (bytes: number) => void): RunningCopy;
  /** Opens the libraries by absolute path, in order and globally visible, beside the event loop. Rejects with ERR_RUNTIME_NOT_FOUND. */
  openLibraries(libraries: string[]): Promise<void>;
  /** Opens the libraries by absolute path, in order and globally visible, then the engine. Throws ERR_RUNTIME_NOT_FOUND with the loader's words. */
  openEngine(libraries: string[], engine: string): Engine;
}

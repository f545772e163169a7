/** What the NVIDIA driver's answers mean, in words. */

import type { CudaFacts } from '../native/contract.js';

/** `the NVIDIA driver 550.54.15 serves CUDA up to 12.4` */
export const driverWords = (cuda: CudaFacts): string =>
  `${named(cuda)} serves CUDA up to ${cuda.driverCuda ?? 'an unknown version'}`;

const named = ({ driver }: CudaFacts): string => `the NVIDIA driver${driver === null ? '' : ` ${driver}`}`;

const noDevice = 100;

/** CUDA's codes: what is wrong, and what mends it. */
const failures: Readonly<Record<number, readonly [meaning: string, help: string]>> = {
  34: [
    'the libcuda.so.1 that is found is a stub of the CUDA toolkit',
    'take the folder of the stubs out of LD_LIBRARY_PATH',
  ],
  802: ['the links between the GPUs are not up', 'start the service nvidia-fabricmanager'],
  803: [
    'its library and its kernel module are of different versions',
    'reboot after an update of the driver, and in a container use the libraries of the host',
  ],
  804: [
    'libraries for forward compatibility (cuda-compat) are in the way on a GPU without it',
    'take cuda-compat out of LD_LIBRARY_PATH, or update the driver',
  ],
  999: ['its kernel module is in disorder', 'load the module nvidia_uvm again (`modprobe`), or reboot'],
};

export interface NoDevices {
  found: string;
  help: string;
  /** A GPU is there, or should be, and nobody has hidden it. */
  mishap: boolean;
}

/** Why CUDA offers no GPU, and what would help. */
export function explainNoDevices(cuda: CudaFacts | null): NoDevices {
  const container = 'start a container with `--gpus all`';
  if (!cuda)
    return {
      found: 'no NVIDIA driver answers on this machine',
      help: `install one (\`nvidia-smi\` shows it), ${container}`,
      mishap: false,
    };
  const { failure, driverCuda, visibleDevices, listed } = cuda;
  if (failure && failure.code !== noDevice) {
    const [meaning, help] = failures[failure.code] ?? ['', 'see what `nvidia-smi` says'];
    const words = `${named(cuda)} does not start, with ${failure.name} (${failure.code})`;
    return { found: meaning ? `${words}: ${meaning}` : words, help, mishap: true };
  }
  if (!failure && driverCuda === null)
    return {
      found: `${named(cuda)} is there, but not its libcuda.so.1`,
      help: 'give a container NVIDIA_DRIVER_CAPABILITIES=compute,utility, or install the CUDA library of the driver',
      mishap: true,
    };
  if (visibleDevices !== null)
    return {
      found: `CUDA_VISIBLE_DEVICES is '${visibleDevices}', which shows no GPU`,
      help: 'unset it, or name GPUs that are there',
      mishap: false,
    };
  return hiddenGpus(cuda, container, listed);
}

function hiddenGpus(cuda: CudaFacts, container: string, listed: CudaFacts['listed']): NoDevices {
  const names = listed.map(({ name }) => name).join(', ');
  if (listed.length > 0 && listed.every(({ mig }) => mig))
    return {
      found: `${names} is in MIG mode and has no slice for this process`,
      help: 'make a slice (`nvidia-smi mig -cgi PROFILE -C`), or switch MIG mode off',
      mishap: true,
    };
  if (listed.length > 0)
    return {
      found: `${named(cuda)} lists ${names}, but CUDA finds no GPU`,
      help: `see what \`nvidia-smi\` says, ${container}`,
      mishap: true,
    };
  return { found: `${named(cuda)} finds no GPU`, help: container, mishap: false };
}

import { afterAll, describe, expect, test } from 'vitest';
import { GiB } from './boxes.js';
import { type FakeGpu, meet, removeFakeDrivers } from './fake-driver.js';

afterAll(removeFakeDrivers);

const t4: FakeGpu = { card: 'T4', free: 14 * GiB, bus: 4 };
const a100: FakeGpu = { card: 'A100', free: 30 * GiB, bus: 5 };
const slice: FakeGpu = { card: 'H100 slice', free: 9 * GiB, bus: 6, slice: 'slice' };

describe.runIf(process.platform === 'linux')('of the driver', () => {
  test('a T4 on driver 550', () => {
    const { facts, devices, output } = meet({ gpus: [t4] });
    expect(facts).toEqual({
      driver: '550.54.15',
      driverCuda: '12.4',
      failure: null,
      visibleDevices: null,
      devices: [
        {
          index: 0,
          name: 'Tesla T4',
          computeCapability: '7.5',
          totalMemory: 15 * GiB,
          freeMemory: 14 * GiB,
          multiprocessors: 40,
          mig: false,
          integrated: false,
        },
      ],
      listed: [{ name: 'Tesla T4', mig: false }],
    });
    expect(devices[0]).toEqual({
      id: 'cuda:0',
      name: 'Tesla T4',
      computeCapability: '7.5',
      totalMemory: 15 * GiB,
      freeMemory: 14 * GiB,
      mig: false,
      driver: '550.54.15',
      dtypes: ['float16', 'float32'],
      recommended: {
        dtype: 'float16',
        reason: 'cuda:0 (Tesla T4, compute capability 7.5) has no native bfloat16, but float16',
      },
    });
    expect(devices[1]).toMatchObject({ id: 'cpu', mig: false, driver: null });
    expect(output).toBe('');
  });

  test('a T4 beside an A100, each judged by itself', () => {
    const { facts, devices } = meet({ driver: '580.95.05', cuda: 13000, gpus: [t4, a100] });
    expect(facts).toMatchObject({ driver: '580.95.05', driverCuda: '13.0' });
    expect(devices.map(({ id, recommended }) => [id, recommended.dtype]).slice(0, 2)).toEqual([
      ['cuda:0', 'float16'],
      ['cuda:1', 'bfloat16'],
    ]);
  });

  test('a slice of an H100 has the memory of the slice', () => {
    const { facts, devices } = meet({ gpus: [slice] });
    expect(facts?.devices).toMatchObject([
      { mig: true, totalMemory: 10 * GiB, freeMemory: 9 * GiB, multiprocessors: 16 },
    ]);
    expect(facts?.listed).toEqual([{ name: 'NVIDIA H100 80GB HBM3', mig: true }]);
    expect(devices[0]).toMatchObject({ mig: true, recommended: { dtype: 'bfloat16' } });
  });

  test('a slice whose name nobody tells has no free memory, rather than that of the whole GPU', () => {
    for (const lacking of [['cuDeviceGetUuid_v2'], ['nvmlDeviceGetHandleByUUID']])
      expect(meet({ gpus: [slice], lacking }).facts?.devices).toMatchObject([
        { mig: true, freeMemory: null },
      ]);
  });

  test('a GPU in MIG mode without slices is listed, and told of', () => {
    const { facts, devices } = meet({ gpus: [{ ...a100, slice: 'hidden' }] });
    expect(facts).toMatchObject({
      failure: { code: 100, name: 'CUDA_ERROR_NO_DEVICE' },
      devices: [],
      listed: [{ name: 'NVIDIA A100-SXM4-40GB', mig: true }],
    });
    expect(devices.map(({ id }) => id)).toEqual(['cpu']);
    expect(devices[0]?.recommended.reason).toMatch(/no GPU is used: NVIDIA A100-SXM4-40GB is in MIG mode/);
  });

  const mixed: FakeGpu[] = [
    { card: 'H100', free: 70 * GiB, bus: 9 },
    { card: 'T4', free: 3 * GiB, bus: 1 },
    { card: 'L4', free: 20 * GiB, bus: 5 },
  ];
  const summary = (given: Parameters<typeof meet>[0]) =>
    meet(given).facts?.devices.map(({ index, name, freeMemory }) => [index, name, freeMemory]);

  test('three GPUs in the order of CUDA, each with its own free memory though NVML counts otherwise', () => {
    const { facts } = meet({ gpus: mixed });
    expect(facts?.listed.map(({ name }) => name)).toEqual(['Tesla T4', 'NVIDIA L4', 'NVIDIA H100 80GB HBM3']);
    const expected = [
      [0, 'NVIDIA H100 80GB HBM3', 70 * GiB],
      [1, 'Tesla T4', 3 * GiB],
      [2, 'NVIDIA L4', 20 * GiB],
    ];
    expect(facts?.devices.map(({ index, name, freeMemory }) => [index, name, freeMemory])).toEqual(expected);
    // By their place on the bus, where the driver or NVML has no names for them.
    for (const name of ['cuDeviceGetUuid', 'cuDeviceGetUuid_v2', 'nvmlDeviceGetHandleByUUID'])
      expect(summary({ gpus: mixed, lacking: [name] }), name).toEqual(expected);
    expect(summary({ gpus: mixed, lacking: ['cuDeviceGetUuid', 'cuDeviceGetUuid_v2'] })).toEqual(expected);
  });

  test('CUDA_VISIBLE_DEVICES chooses and orders, and free memory follows', () => {
    expect(summary({ gpus: mixed, env: { CUDA_VISIBLE_DEVICES: '2,0' } })).toEqual([
      [0, 'NVIDIA L4', 20 * GiB],
      [1, 'NVIDIA H100 80GB HBM3', 70 * GiB],
    ]);
    const { facts, devices } = meet({ gpus: [t4], env: { CUDA_VISIBLE_DEVICES: '' } });
    expect(facts).toMatchObject({ visibleDevices: '', devices: [], failure: { code: 100 } });
    // Hidden on purpose, so it is no news.
    expect(devices[0]?.recommended.reason).not.toMatch(/GPU/);
  });

  test.each([
    [803, 'CUDA_ERROR_SYSTEM_DRIVER_MISMATCH', /different versions; reboot/],
    [804, 'CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE', /cuda-compat/],
    [999, 'CUDA_ERROR_UNKNOWN', /nvidia_uvm/],
    [712, 'CUDA error 712', /nvidia-smi/],
  ])('cuInit that fails with %i', (code, name, help) => {
    const { facts, devices } = meet({ gpus: [t4], failing: { cuInit: code } });
    expect(facts).toMatchObject({
      driver: '550.54.15',
      driverCuda: '12.4',
      failure: { code, name },
      devices: [],
    });
    expect(devices).toHaveLength(1);
    expect(devices[0]?.recommended.reason).toMatch(help);
    expect(devices[0]?.recommended.reason).toContain(name);
  });

  test('an error without a name, and a count that fails', () => {
    const nameless = meet({ gpus: [t4], failing: { cuInit: 803 }, lacking: ['cuGetErrorName'] });
    expect(nameless.facts?.failure).toEqual({ code: 803, name: 'CUDA error 803' });
    const { facts } = meet({ gpus: [t4], failing: { cuDeviceGetCount: 3 } });
    expect(facts).toMatchObject({ failure: { code: 3 }, devices: [] });
  });

  test('a GPU that does not answer is left out, and the others keep their numbers', () => {
    const { facts } = meet({ gpus: [{ ...a100, broken: true }, t4] });
    expect(facts).toMatchObject({ failure: null, devices: [{ index: 1, name: 'Tesla T4' }] });
    for (const name of ['cuDeviceGet', 'cuDeviceGetName', 'cuDeviceTotalMem_v2', 'cuDeviceGetAttribute'])
      expect(meet({ gpus: [t4], failing: { [name]: 101 } }).facts, name).toMatchObject({ devices: [] });
  });

  test('without NVML nothing but free memory and the version of the driver is missing', () => {
    for (const given of [{ missing: ['libnvidia-ml.so.1' as const] }, { failing: { nvmlInit_v2: 9 } }]) {
      const { facts, devices } = meet({ gpus: [t4], ...given });
      expect(facts).toMatchObject({ driver: null, driverCuda: '12.4', failure: null, listed: [] });
      expect(facts?.devices).toMatchObject([{ name: 'Tesla T4', totalMemory: 15 * GiB, freeMemory: null }]);
      expect(devices[0]).toMatchObject({ freeMemory: null, driver: null, recommended: { dtype: 'float16' } });
    }
  });

  test('NVML with half of its functions', () => {
    const { facts } = meet({
      gpus: [slice],
      lacking: ['nvmlSystemGetDriverVersion', 'nvmlDeviceGetMigMode', 'nvmlDeviceGetName'],
    });
    expect(facts).toMatchObject({
      driver: null,
      devices: [{ freeMemory: 9 * GiB }],
      listed: [{ name: '', mig: false }],
    });
    const less = meet({ gpus: [t4], lacking: ['nvmlDeviceGetMemoryInfo', 'nvmlDeviceGetCount_v2'] });
    expect(less.facts).toMatchObject({ driver: '550.54.15', devices: [{ freeMemory: null }], listed: [] });
  });

  test('NVML without libcuda, as in a container that was given no compute', () => {
    for (const given of [{ missing: ['libcuda.so.1' as const] }, { lacking: ['cuDeviceGetCount'] }]) {
      const { facts, devices } = meet({ gpus: [t4], ...given });
      expect(facts).toEqual({
        driver: '550.54.15',
        driverCuda: null,
        failure: null,
        visibleDevices: null,
        devices: [],
        listed: [{ name: 'Tesla T4', mig: false }],
      });
      expect(devices[0]?.recommended.reason).toMatch(/not its libcuda\.so\.1/);
    }
  });

  test('neither library is no driver', () => {
    expect(meet({ missing: ['libcuda.so.1', 'libnvidia-ml.so.1'] }).facts).toBeNull();
    expect(meet({ missing: ['libnvidia-ml.so.1'], lacking: ['cuInit'] }).facts).toBeNull();
  });

  test('a GPU that shares its memory with the processor has what the machine has free', () => {
    const { facts } = meet({ gpus: [{ ...t4, integrated: true }] });
    const [device] = facts?.devices ?? [];
    expect(device).toMatchObject({ integrated: true, freeMemory: expect.any(Number) });
    expect(device?.freeMemory).toBeGreaterThan(0);
    expect(device?.freeMemory).not.toBe(14 * GiB);
    expect(device?.freeMemory).toBeLessThanOrEqual(15 * GiB);
  });

  test('a made-up driver that is not described answers nothing', () => {
    const { facts } = meet({ gpus: [t4] }, false);
    expect(facts).toMatchObject({
      driver: null,
      driverCuda: null,
      failure: { code: 34 },
      devices: [],
      listed: [],
    });
  });
});

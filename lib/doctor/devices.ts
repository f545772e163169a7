/** What could compute here, and what is chosen of it. */

import { type Device, devices } from '../device/devices.js';
import { type DeviceFacts, type DeviceRequest, resolveDevicePolicy } from '../device/policy.js';
import { deviceFacts } from '../load-model.js';
import { sizeWords } from '../size-words.js';
import type { Check } from './check.js';
import type { Machine } from './runtime.js';

export function checkDevices({ door }: Machine): Check {
  if ('error' in door)
    return { name: 'devices', status: 'problem', found: 'unknown without the addon', facts: { devices: [] } };
  const found = devices();
  return {
    name: 'devices',
    status: 'ok',
    found: found.map(({ id }) => id).join(', '),
    details: found.map(words),
    facts: { driverCuda: door.value.door.cudaFacts()?.driverCuda ?? null, devices: found },
  };
}

function words({
  id,
  name,
  computeCapability,
  totalMemory,
  freeMemory,
  dtypes,
  recommended,
}: Device): string {
  const capability = computeCapability === null ? '' : `, compute capability ${computeCapability}`;
  const free = freeMemory === null ? '' : `${sizeWords(freeMemory)} of `;
  const usable = dtypes.length > 0 ? dtypes.join(', ') : `not usable: ${recommended.reason}`;
  return `${id}: ${name}${capability}, ${free}${sizeWords(totalMemory)}${free ? ' free' : ''}; ${usable}`;
}

/** What `auto` picks, and why. */
export const checkAuto = (machine: Machine): Check =>
  decide('auto', machine, { device: 'auto', dtype: 'auto', quantization: 'none' });

/** What the device and dtype that were asked for come to. Throws when they can't be had. */
export const checkRequest = (
  machine: Machine,
  { device, dtype }: Pick<DeviceRequest, 'device' | 'dtype'>,
): Check => decide('request', machine, { device, dtype, quantization: 'none' });

function decide(name: string, { door, engine }: Machine, request: DeviceRequest): Check {
  if ('error' in door)
    return { name, status: 'problem', found: 'nothing can be chosen without the addon', facts: undecided };
  const opened = 'value' in engine;
  const facts: DeviceFacts = opened
    ? deviceFacts(door.value.door, engine.value.engine, engine.value.libtorch, engine.value.refused)
    : { cpu: door.value.door.cpuFacts(), cuda: door.value.door.cudaFacts(), libtorch: null };
  const { device, dtype, reason, fellBack } = resolveDevicePolicy(facts, request);
  const asked = name === 'auto' ? '' : `device ${request.device}, dtype ${request.dtype}: `;
  return {
    name,
    status: fellBack ? 'note' : 'ok',
    found: `${asked}${device} in ${dtype}, because ${reason}${opened ? '' : ' (by capability alone: libtorch is not open)'}`,
    facts: { asked: request, device, dtype, reason, fellBack, byCapability: !opened },
  };
}

const undecided = {
  asked: null,
  device: null,
  dtype: null,
  reason: null,
  fellBack: null,
  byCapability: null,
};

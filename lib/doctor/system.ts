/** What lies below metavoice: Node and its platform, memory, and environment variables. */

import { readFileSync } from 'node:fs';
import { arch, freemem, platform, release, totalmem } from 'node:os';
import type { Door } from '../native/contract.js';
import { glibcVersion } from '../runtime/load.js';
import { sizeWords } from '../size-words.js';
import type { Check } from './check.js';

const { version, engines } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { version: string; engines: { node: string } };

/** Of this package. */
export const packageVersion = version;

/** Node's version against `engines`, and the C library against what libtorch exists for. */
export function checkNode(): Check {
  const node = process.versions.node;
  const glibc = platform() === 'linux' ? glibcVersion() : null;
  const libc = platform() !== 'linux' ? '' : glibc === null ? ', musl' : `, glibc ${glibc}`;
  const facts = {
    version: node,
    required: engines.node,
    platform: platform(),
    arch: arch(),
    release: release(),
    glibc,
  };
  const found = `Node ${node} on ${platform()}-${arch()}${libc}`;
  const base = { name: 'node', facts };
  if (!satisfies(node, engines.node))
    return {
      ...base,
      status: 'problem',
      found: `${found}, but metavoice needs ${engines.node}`,
      advice: `use Node ${engines.node.replace('>=', '')} or newer`,
    };
  if (platform() === 'linux' && glibc === null)
    return {
      ...base,
      status: 'problem',
      found: `${found}, and libtorch exists for glibc only`,
      advice: 'use a glibc system, such as an image based on Debian',
    };
  return { ...base, status: 'ok', found };
}

/** `>=20.19`, the form that package.json uses. */
function satisfies(found: string, range: string): boolean {
  const numbers = (text: string): number[] => (text.match(/\d+/g) ?? []).map(Number);
  const [have, need] = [numbers(found), numbers(range)];
  for (const [index, number] of need.entries())
    if (have[index] !== number) return (have[index] ?? 0) > number;
  return true;
}

/** Memory of the machine and of the control group; the addon knows best what is free. */
export function checkMemory(door: Door | null): Check {
  const cpu = door?.cpuFacts();
  const total = cpu?.totalMemory ?? totalmem();
  const free = cpu?.freeMemory ?? freemem();
  const constrained = process.constrainedMemory?.() ?? 0;
  // Without a limit the system answers nothing, or a number past all memory.
  const limit = constrained > 0 && constrained < totalmem() ? constrained : null;
  const found = `${sizeWords(free)} of ${sizeWords(total)} free${limit === null ? '' : `, limited to ${sizeWords(limit)}`}`;
  return { name: 'memory', status: 'ok', found, facts: { total, free, limit } };
}

const telling =
  /^(METAVOICE_\w+|LIBTORCH|PYTHON|CUDA_VISIBLE_DEVICES|NVIDIA_VISIBLE_DEVICES|OMP_\w+|MKL_NUM_THREADS|PYTORCH_\w+|LD_LIBRARY_PATH|LD_PRELOAD|DYLD_\w+|HF_\w+|HUGGING_FACE_HUB_TOKEN|XDG_CACHE_HOME|NODE_OPTIONS|UV_THREADPOOL_SIZE|https?_proxy|HTTPS?_PROXY|no_proxy|NO_PROXY|SSL_CERT_FILE|NODE_EXTRA_CA_CERTS)$/;
const secret = /TOKEN|KEY$|SECRET|PASSWORD/;

/** The variables that are set and matter to metavoice. Secrets are said to be set, and no more. */
export function checkEnvironment(env: NodeJS.ProcessEnv = process.env): Check {
  const set = Object.entries(env)
    .filter(([name, value]) => telling.test(name) && value)
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([name, value]): [string, string] => [name, secret.test(name) ? '(set)' : withoutPassword(value!)]);
  return {
    name: 'environment',
    status: 'ok',
    found:
      set.length === 0 ? 'no variable is set that matters' : `${set.length} variables are set that matter`,
    details: set.map(([name, value]) => `${name}=${value}`),
    facts: { variables: Object.fromEntries(set) },
  };
}

/** `http://user:word@host` → `http://(set)@host` */
const withoutPassword = (value: string): string => value.replace(/\/\/[^/@\s]+@/g, '//(set)@');

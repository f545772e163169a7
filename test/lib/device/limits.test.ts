import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '..', '..', '..');
const work = mkdtempSync(join(tmpdir(), 'metavoice-limits-'));
const program = join(work, 'group_limits');

beforeAll(() => {
  const sources = ['native/loader/control_group.cc', 'test/native/loader/group_limits_main.cc'];
  const options = ['-std=c++20', '-O0', `-I${join(root, 'native')}`, '-o', program];
  execFileSync('c++', [...options, ...sources.map((source) => join(root, source))]);
}, 120_000);

afterAll(() => rmSync(work, { recursive: true, force: true }));

/** The limits of a process whose /proc and /sys hold these files. */
function limitsOf(groups: string, files: Record<string, string>): unknown {
  const folder = mkdtempSync(join(work, 'machine-'));
  for (const [path, text] of Object.entries({
    'proc/self/cgroup': groups,
    ...Object.fromEntries(Object.entries(files).map(([path, text]) => [`sys/fs/cgroup/${path}`, text])),
  })) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), `${text}\n`);
  }
  return JSON.parse(execFileSync(program, [folder], { encoding: 'utf8' }));
}

const none = { cpus: null, memory: null, used: null };

describe.runIf(process.platform === 'linux')('limits of control groups', () => {
  test('are none where nothing sets one', () => {
    expect(limitsOf('', {})).toEqual(none);
    expect(limitsOf('0::/', {})).toEqual(none);
    expect(limitsOf('0::/', { 'cpu.max': 'max 100000', 'memory.max': 'max' })).toEqual(none);
    expect(limitsOf('0::/user.slice', { 'cpu.max': 'nonsense', 'memory.max': '' })).toEqual(none);
  });

  test('of a container: its own group is the root it sees', () => {
    const files = {
      'cpu.max': '250000 100000',
      'memory.max': '4294967296',
      'memory.current': '3000000000',
      'memory.stat': 'anon 1\ninactive_file 1000000000\nfile 2',
    };
    const expected = { cpus: 2.5, memory: 4294967296, used: 2000000000 };
    expect(limitsOf('0::/', files)).toEqual(expected);
    // Without a name space of its own the process sees the path of the host, which is not mounted.
    expect(limitsOf('0::/docker/0123', files)).toEqual(expected);
  });

  test('are the tightest of the group and its parents, with the use of the group that sets it', () => {
    const files = {
      'a/cpu.max': '150000 100000',
      'a/b/cpu.max': '400000 100000',
      'a/memory.max': '1000',
      'a/memory.current': '700',
      'a/b/memory.max': '2000',
      'a/b/memory.current': '300',
    };
    expect(limitsOf('0::/a/b', files)).toEqual({ cpus: 1.5, memory: 1000, used: 700 });
  });

  test('of version 1, whose number near 2^63 is none', () => {
    const groups = '5:cpu,cpuacct:/docker/0123\n4:memory:/docker/0123\n0::/';
    expect(
      limitsOf(groups, {
        'cpu/cpu.cfs_quota_us': '50000',
        'cpu/cpu.cfs_period_us': '100000',
        'memory/memory.limit_in_bytes': '9223372036854771712',
      }),
    ).toEqual({ ...none, cpus: 0.5 });
    expect(
      limitsOf(groups, {
        'cpu/cpu.cfs_quota_us': '-1',
        'cpu/cpu.cfs_period_us': '100000',
        'memory/memory.limit_in_bytes': '1000',
        'memory/memory.usage_in_bytes': '900',
        'memory/memory.stat': 'inactive_file 1\ntotal_inactive_file 950',
      }),
    ).toEqual({ cpus: null, memory: 1000, used: 0 });
  });
});

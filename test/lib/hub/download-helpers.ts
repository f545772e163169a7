/** A small model on a hub of our own, and downloads of it into temporary folders. */

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { filesOf, type HubFile } from '../../../dist/hub/catalogue.js';
import { type DownloadOptions, planDownload, runDownload } from '../../../dist/hub/download.js';
import { someBytes, startHub, type TestHub } from './hub-server.js';

export const repository = 'anna/voice';
export const commit = 'c0ffee'.padEnd(40, '0');
const codecCommit = 'c0dec'.padEnd(40, '0');

export const contents = {
  'first_stage.pt': someBytes(3_000_003, 1),
  'second_stage.pt': someBytes(70_001, 2),
  'speaker_encoder.pt': someBytes(65_536, 3),
};
export const codec = {
  'model.safetensors': someBytes(123_457, 4),
  'config.json': Buffer.from('{"sampling_rate": 24000}\n'),
};

export const allFiles = (): HubFile[] => filesOf({ repository, revision: 'main' });
/** One file of a part, for tests of a single transfer. */
export const onlyFile = (path: string): HubFile[] => allFiles().filter((file) => file.path === path);

export async function startModelHub(): Promise<TestHub> {
  return startHub({
    [repository]: { commit, licence: 'apache-2.0', files: { ...contents } },
    'facebook/encodec_24khz': { commit: codecCommit, files: { ...codec } },
  });
}

export interface Place {
  folder: string;
  /** The cache. */
  hub: string;
  environment: Record<string, string>;
  fetch(files?: HubFile[], options?: DownloadOptions): Promise<void>;
  /** Of the first stage's repository. */
  blobs(): string[];
  read(path: string): Buffer;
  has(path: string): boolean;
  remove(): void;
}

/** A cache of its own that knows a hub. */
export function makePlace(hub: TestHub, more: Record<string, string> = {}): Place {
  const folder = mkdtempSync(join(tmpdir(), 'metavoice-hub-'));
  const environment = { HF_HOME: folder, HF_ENDPOINT: hub.endpoint, ...more };
  const cache = join(folder, 'hub');
  const base = join(cache, 'models--anna--voice');
  return {
    folder,
    hub: cache,
    environment,
    async fetch(files = allFiles(), options = {}) {
      const all = { environment, pause: 1, ...options };
      await runDownload(await planDownload(files, all), all);
    },
    blobs: () => (existsSync(join(base, 'blobs')) ? readdirSync(join(base, 'blobs')).sort() : []),
    read: (path) => readFileSync(join(base, 'snapshots', commit, path)),
    has: (path) => existsSync(join(base, 'snapshots', commit, path)),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

import { type Decoded, decodeBytes } from './decode-bytes.js';
import { runJob } from './worker-job.js';

export interface DecodeJob {
  bytes: Uint8Array;
}

void runJob<DecodeJob, Decoded>(
  ({ bytes }, alive) => decodeBytes(bytes, alive),
  ({ samples }) => [samples.buffer as ArrayBuffer],
);

import { type Decoded, decodeBytes, requireFinite } from '../audio/decode-bytes.js';
import { runJob } from '../audio/worker-job.js';
import { type Analysis, analyse } from './quality.js';

/** The bytes of a file, or samples that are there already. */
export type VoiceJob = { bytes: Uint8Array } | { samples: Float32Array; sampleRate: number };

export interface PreparedVoice {
  samples: Float32Array;
  sampleRate: number;
  analysis: Analysis;
}

async function prepare(job: VoiceJob, alive: () => void): Promise<PreparedVoice> {
  const audio: Pick<Decoded, 'samples' | 'sampleRate'> =
    'bytes' in job ? await decodeBytes(job.bytes, alive) : job;
  const { samples, sampleRate } = audio;
  requireFinite(samples);
  alive();
  return { samples, sampleRate, analysis: analyse(samples, sampleRate) };
}

void runJob<VoiceJob, PreparedVoice>(prepare, ({ samples }) => [samples.buffer as ArrayBuffer]);

/** Text to speech with MetaVoice-1B. Start at `synthesize` or `MetaVoice.load`. */

export type { Finding, FindingKind, Unchecked } from './check/findings.js';
export { type Device, devices } from './device/devices.js';
export type { Alternative, MemoryParts, MemoryPlan } from './device/plan.js';
export { type ErrorCode, errorCodes, MetaVoiceError } from './errors.js';
export { MetaVoice } from './metavoice.js';
export type {
  CheckMode,
  DeviceOption,
  Dtype,
  KvCache,
  LoadOptions,
  Logger,
  OnProgress,
  Progress,
  Quantization,
  SampleRate,
  SamplingOptions,
  SpeakOptions,
  SynthesizeOptions,
  TextSource,
  VoiceSource,
} from './options.js';
export { type DeviceDescription, type PlanOptions, plan } from './plan.js';
export type { ModelStatistics } from './statistics.js';
export type { ByteFormat, ByteOptions } from './stream/bytes.js';
export type { CheckReport } from './stream/check-report.js';
export type { AudioChunk, SpeechHealth } from './stream/chunks.js';
export type { Codes } from './stream/codes.js';
export type { Speech, SpeechTimings } from './stream/collect.js';
export type { SpeechEvent, SpeechOutcome } from './stream/diagnostics.js';
export type { DecoderChoice } from './stream/plan.js';
export type { NodeReadableOptions, SpeechStream } from './stream/speech-stream.js';
export { synthesize } from './synthesize.js';
export type { VoiceQuality } from './voice/quality.js';
export { Voice } from './voice/voice.js';

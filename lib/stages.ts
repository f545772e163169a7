/** `metavoice/stages`: each network on its own, for research, tests and tools. Start at `Stages.open`. */

// Recordings as samples, for `embedSpeaker` and `encode`.
export { decodeAudio } from './audio/decode.js';
export { type ErrorCode, errorCodes, MetaVoiceError } from './errors.js';
export type { Dtype } from './native/contract.js';
export {
  type DistributionSettings,
  Stages,
  type StagesOptions,
  type TokenizedText,
} from './open-stages.js';
export type { DiffusionSettings } from './stage-arguments.js';
export type { Codes } from './stream/codes.js';

/** Every way `metavoice` fails on purpose: the code, and what it means in one phrase. */
export const errorCodes = {
  ERR_TEXT: 'the text has nothing to speak, or letters the tokenizer has no bytes for',
  ERR_TEXT_TOO_LONG: 'a segment of the text does not fit the window of the model',
  ERR_VOICE_REQUIRED: 'no voice was given and the model ships none',
  ERR_REFERENCE_AUDIO: 'the reference recording is unreadable, silent or too short',
  ERR_MODEL_NOT_FOUND: 'the model, or a part of it, is not there',
  ERR_DOWNLOAD: 'a file could not be fetched from the hub, or is not what the hub states',
  ERR_CHECKPOINT: 'a checkpoint is truncated, unsafe, or not of the expected shape',
  ERR_CUDA_UNAVAILABLE: 'the requested CUDA device is not there or cannot be used',
  ERR_DTYPE_UNSUPPORTED: 'the device cannot run the requested dtype',
  ERR_OUT_OF_MEMORY: 'the request does not fit the memory of the device',
  ERR_NO_AUDIO: 'the model ended before the first frame of audio',
  ERR_NUMERIC: 'the networks gave numbers that are not finite',
  ERR_QUEUE_FULL: 'too many requests are waiting',
  ERR_RUNTIME_NOT_FOUND: 'the addon or a matching libtorch was not found',
  ERR_UNSUPPORTED: 'this build or this model cannot do what was asked',
  ERR_DISPOSED: 'the model was used after dispose()',
  ERR_INTERNAL: 'a broken promise inside metavoice; please report it',
} as const;

export type ErrorCode = keyof typeof errorCodes;

const marker = Symbol.for('metavoice.error');

/**
 * The one error class. `code` is stable; the message says what was expected, what was found and what to do.
 * `isInstance` also recognises errors of another copy of the package in the same process.
 */
export class MetaVoiceError extends Error {
  readonly code: ErrorCode;
  /** Facts behind the message, for programs: file, tensor, expected, found, candidates… */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
  }

  static isInstance(value: unknown): value is MetaVoiceError {
    return typeof value === 'object' && value !== null && marker in value;
  }

  static {
    Object.defineProperty(MetaVoiceError.prototype, 'name', { value: 'MetaVoiceError', configurable: true });
    Object.defineProperty(MetaVoiceError.prototype, marker, { value: true });
  }
}

/** Native code rejects with plain errors that carry a `code`; this gives them the class, and keeps everything else as it is. */
export function fromNative(error: unknown): unknown {
  if (!(error instanceof Error) || MetaVoiceError.isInstance(error)) return error;
  const { code, details } = error as { code?: unknown; details?: Record<string, unknown> };
  if (typeof code !== 'string' || !(code in errorCodes)) return error;
  return new MetaVoiceError(code as ErrorCode, error.message, details ? { details } : {});
}

import { createHash } from 'node:crypto';
import { endianness } from 'node:os';
import { readRecording } from '../audio/source.js';
import { MetaVoiceError } from '../errors.js';
import { writeAtomically } from '../files.js';
import { expectedType, isFiniteNumber, isPlainObject, isString, received } from '../is.js';
import { qualityWarnings, type VoiceQuality } from './quality.js';

export type { VoiceQuality } from './quality.js';

/** Voice files are a few kilobytes. */
export const maximumVoiceFile = 2 ** 20;

const fileFormat = 'metavoice-voice';
const fileVersion = 1;

/** A voice as it is kept in a file. */
export interface VoiceFile {
  format: typeof fileFormat;
  version: typeof fileVersion;
  id: string;
  /** Digest of the speaker encoder that made the embedding. */
  encoder: string;
  /** float32 little-endian in base64. */
  embedding: string;
  quality: VoiceQuality | null;
}

interface VoiceParts {
  id: string;
  encoder: string;
  embedding: Float32Array;
  quality: VoiceQuality | null;
}

const qualityBounds: Readonly<Record<keyof VoiceQuality, number>> = {
  seconds: 1e6,
  speechSeconds: 1e6,
  peak: 3.5e38,
  clippedFraction: 1,
  snrDecibels: 100,
  bandwidthHertz: 1e6,
};

/** Whose voice speaks: a speaker embedding with its identity. Immutable. */
export class Voice {
  /** 32 hexadecimal digits, from the content of the recording, the speaker encoder and the preprocessing. */
  readonly id: string;
  /** Digest of the speaker encoder that made the embedding. */
  readonly encoder: string;
  /** What the recording is worth; null for a voice that was not made from a recording here. */
  readonly quality: Readonly<VoiceQuality> | null;
  /** A sentence for each weakness of the recording. */
  readonly warnings: readonly string[];
  readonly #embedding: Float32Array;

  private constructor(parts: VoiceParts) {
    this.id = parts.id;
    this.encoder = parts.encoder;
    this.#embedding = parts.embedding.slice();
    this.quality = parts.quality && Object.freeze({ ...parts.quality });
    this.warnings = Object.freeze(this.quality ? qualityWarnings(this.quality) : []);
    Object.freeze(this);
  }

  /** [256] in the published model; a copy each time. */
  get embedding(): Float32Array {
    return this.#embedding.slice();
  }

  /** A voice from parts that were made together: see `createVoice`. */
  static fromParts(parts: VoiceParts): Voice {
    const { embedding } = parts;
    if (
      embedding.length === 0 ||
      !embedding.every(Number.isFinite) ||
      !embedding.some((value) => value !== 0)
    )
      throw new MetaVoiceError(
        'ERR_NUMERIC',
        'expected a speaker embedding of finite numbers that are not all 0; try another recording',
        { details: { id: parts.id, length: embedding.length } },
      );
    return new Voice(parts);
  }

  /** A voice from an embedding alone, such as a speaker that ships with a model. Its id is of the embedding's bytes. */
  static fromEmbedding(embedding: Float32Array, encoder: string): Voice {
    const id = voiceId(
      'embedding',
      createHash('sha256').update(littleEndian(embedding)).digest('hex'),
      encoder,
    );
    return Voice.fromParts({ id, encoder, embedding, quality: null });
  }

  /** Writes the voice to a file (JSON), whole or not at all. */
  async save(path: string): Promise<void> {
    if (!isString(path) || path === '') throw expectedType('a path', 'path', path);
    await writeAtomically(path, (file) => file.writeFile(`${JSON.stringify(this, null, 2)}\n`));
  }

  /**
   * Reads a voice that {@link save} wrote.
   * @throws {MetaVoiceError} ERR_REFERENCE_AUDIO for a file that is not there, broken, or of a newer version
   */
  static async load(path: string): Promise<Voice> {
    if (!isString(path) || path === '') throw expectedType('a path', 'path', path);
    const bytes = await readRecording(path, undefined, maximumVoiceFile).catch((cause: Error) => {
      throw broken(path, 'a readable file', cause.message, cause);
    });
    return parseVoice(voiceText(bytes), path);
  }

  toJSON(): VoiceFile {
    return {
      format: fileFormat,
      version: fileVersion,
      id: this.id,
      encoder: this.encoder,
      embedding: Buffer.from(littleEndian(this.#embedding)).toString('base64'),
      quality: this.quality,
    };
  }

  /** The voice of {@link toJSON}, checked as strictly as a file. */
  static fromJSON(value: unknown): Voice {
    return fromValue(value, null);
  }
}

/** Raised when the samples that reach the speaker encoder, or what is made of its result, change. */
const preprocessingVersion = 1;

/**
 * Identity of a voice: by content, never by name.
 * @param kind what the digest is of
 * @param digest SHA-256 of the content
 */
export function voiceId(kind: 'file' | 'samples' | 'embedding', digest: string, encoder: string): string {
  return createHash('sha256')
    .update([fileFormat, preprocessingVersion, kind, digest, encoder].join('\n'))
    .digest('hex')
    .slice(0, 32);
}

/** The text of a voice file: UTF-8, with or without a byte order mark. */
export const voiceText = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** The voice in the text of a voice file; `path` is for messages. */
export function parseVoice(text: string, path: string | null): Voice {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw broken(path, 'JSON', (cause as Error).message, cause);
  }
  return fromValue(value, path);
}

function fromValue(value: unknown, path: string | null): Voice {
  const refuse = (expected: string, found: unknown): never => {
    throw broken(path, expected, found === undefined ? 'nothing' : received(found));
  };
  if (!isPlainObject(value)) return refuse('an object', value);
  const { format, version, id, encoder, embedding, quality } = value;
  if (format !== fileFormat) return refuse(`"format": "${fileFormat}"`, format);
  if (version !== fileVersion) return refuse(`"version": ${fileVersion}`, version);
  if (!isString(id) || !/^[0-9a-f]{32}$/.test(id)) return refuse('"id" of 32 hexadecimal digits', id);
  if (!isString(encoder) || encoder === '') return refuse('"encoder" with a digest', encoder);
  if (!isString(embedding)) return refuse('"embedding" in base64', embedding);
  const bytes = Buffer.from(embedding, 'base64');
  if (bytes.toString('base64') !== embedding || bytes.length === 0 || bytes.length % 4 !== 0)
    return refuse('"embedding" of float32 in base64', embedding);
  const numbers = Float32Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readFloatLE(4 * index));
  if (!numbers.every(Number.isFinite) || numbers.every((number) => number === 0))
    return refuse('"embedding" of finite numbers that are not all 0', embedding);
  if (quality !== null && !isQuality(quality)) return refuse('"quality" with its six figures', quality);
  return Voice.fromParts({ id, encoder, embedding: numbers, quality });
}

function isQuality(value: unknown): value is VoiceQuality {
  if (!isPlainObject(value)) return false;
  return Object.entries(qualityBounds).every(([name, most]) => {
    const figure = value[name];
    return isFiniteNumber(figure) && figure >= 0 && figure <= most;
  });
}

function broken(path: string | null, expected: string, found: string, cause?: unknown): MetaVoiceError {
  const place = path === null ? 'a voice' : `the voice file "${path}"`;
  return new MetaVoiceError(
    'ERR_REFERENCE_AUDIO',
    `expected ${expected} in ${place} but found ${found}; make the voice again from its recording`,
    { cause, details: { file: path, expected, found } },
  );
}

/** The bytes of the numbers in the order of voice files. */
export function littleEndian(numbers: Float32Array): Uint8Array {
  const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  return endianness() === 'LE' ? bytes : Buffer.from(bytes).swap32();
}

/** The voices of one loaded model: its own speakers, and recordings, each computed once. */

import { webcrypto } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Manifest, SpeakerManifest } from './checkpoint/manifest.js';
import { requirePart } from './describe-model.js';
import { MetaVoiceError } from './errors.js';
import { handOver } from './hand-over.js';
import { expectedRange } from './is.js';
import type { NativeModel } from './native/contract.js';
import type { VoiceSource } from './options.js';
import { SharedTask } from './shared-task.js';
import { createVoice, requireEncoder } from './voice/create.js';
import { Voice } from './voice/voice.js';

/** Recordings whose voices are remembered; the oldest is forgotten first. */
const remembered = 64;

type Recording = string | { file: string } | { samples: Float32Array; sampleRate: number };

/** The embedding of a voice that was judged: now, or when the recording has been read. */
export type PendingSpeaker = (signal: AbortSignal) => Promise<Float32Array>;

export class Voices {
  readonly #native: Pick<NativeModel, 'embedSpeaker' | 'reserve'>;
  readonly #manifest: Manifest;
  readonly #folder: string;
  readonly #source: string;
  #digest: Promise<string> | null = null;
  readonly #files = new Map<string, SharedTask<Voice>>();

  /** @param where the model folder, and its name in messages */
  constructor(
    native: Pick<NativeModel, 'embedSpeaker' | 'reserve'>,
    manifest: Manifest,
    { folder, source }: { folder: string; source: string },
  ) {
    this.#native = native;
    this.#manifest = manifest;
    this.#folder = folder;
    this.#source = source;
  }

  /** Names of the speakers that ship with the model. */
  get names(): string[] {
    return this.#manifest.speakers.map(({ name }) => name);
  }

  /**
   * Judges what can be judged at once, before anything is read.
   *
   * @throws MetaVoiceError ERR_VOICE_REQUIRED, ERR_MODEL_NOT_FOUND; RangeError for an unknown speaker or an embedding
   * of another size.
   */
  choose(source: VoiceSource | null): PendingSpeaker {
    if (source === null || (typeof source === 'object' && 'speaker' in source)) {
      const embedding = this.#embeddingOf(this.#speaker(source?.speaker ?? null));
      return async () => embedding;
    }
    if (isVoice(source)) {
      const embedding = this.#requireLength(source.embedding);
      return async () => {
        await this.#requireOwn(source);
        return embedding;
      };
    }
    requirePart(this.#manifest, 'speakerEncoder', this.#source);
    return async (signal) => this.#requireLength((await this.#compute(source, signal)).embedding);
  }

  /** The voice of a recording or of a speaker that ships with the model; a voice is given back as it is. */
  async voice(source: VoiceSource, signal: AbortSignal | null): Promise<Voice> {
    if (isVoice(source)) return this.#requireOwn(source);
    if (typeof source === 'object' && 'speaker' in source)
      return Voice.fromEmbedding(
        this.#embeddingOf(this.#speaker(source.speaker)),
        await this.#encoderDigest(),
      );
    return this.#compute(source, signal);
  }

  /** A voice of this model's speaker encoder; a model without one can't tell. */
  async #requireOwn(voice: Voice): Promise<Voice> {
    if (!this.#manifest.speakerEncoder) return voice;
    return requireEncoder(voice, await this.#encoderDigest(), null);
  }

  /** A file that did not change is read once, however many ask for it. */
  async #compute(source: Recording, signal: AbortSignal | null): Promise<Voice> {
    requirePart(this.#manifest, 'speakerEncoder', this.#source);
    const context = {
      embed: async (samples: Float32Array, sampleRate: number) =>
        this.#native.embedSpeaker(await handOver(this.#native, samples), sampleRate),
      encoderDigest: await this.#encoderDigest(),
    };
    const file = typeof source === 'string' ? source : 'file' in source ? source.file : null;
    const key = file === null ? null : await identify(file);
    // What is not a file is refused, with its reason, by the reader itself.
    if (file === null || key === null)
      return createVoice(source, { ...context, signal: signal ?? undefined });

    let task = this.#files.get(key);
    if (!task) {
      task = new SharedTask(
        (inner) => createVoice(file, { ...context, signal: inner }),
        () => this.#files.delete(key),
      );
      this.#remember(key, task);
    }
    return task.join(signal);
  }

  #remember(key: string, task: SharedTask<Voice>): void {
    this.#files.set(key, task);
    const oldest = this.#files.keys().next().value;
    if (this.#files.size > remembered && oldest !== undefined) this.#files.delete(oldest);
  }

  /**
   * Names the speaker encoder by its content, so that a voice serves every model with this encoder, whatever its dtype.
   */
  #encoderDigest(): Promise<string> {
    const { provenance, speakerEncoder } = this.#manifest;
    if (!speakerEncoder) return Promise.resolve(provenance.digest);
    this.#digest ??= digestFile(join(this.#folder, speakerEncoder.file));
    this.#digest.catch(() => {
      this.#digest = null;
    });
    return this.#digest;
  }

  /** The speaker of this name; the first one for null. */
  #speaker(name: string | null): SpeakerManifest {
    const { speakers } = this.#manifest;
    const found = name === null ? speakers[0] : speakers.find((speaker) => speaker.name === name);
    if (found) return found;
    if (speakers.length > 0)
      throw expectedRange(
        `one of ${this.names.map((known) => `'${known}'`).join(', ')}`,
        'voice.speaker',
        name,
      );
    throw new MetaVoiceError(
      'ERR_VOICE_REQUIRED',
      `expected a voice but ${name === null ? 'none was given' : `speaker '${name}' was asked for`}, and the model ${this.#source} ships no speakers; give a recording in the option \`voice\``,
      { details: { speaker: name } },
    );
  }

  /** The embedding of a speaker that ships with the model. */
  #embeddingOf({ embedding }: SpeakerManifest): Float32Array {
    const bytes = Uint8Array.from(Buffer.from(embedding, 'base64'));
    const view = new DataView(bytes.buffer);
    return this.#requireLength(
      Float32Array.from({ length: bytes.length >> 2 }, (_, i) => view.getFloat32(i * 4, true)),
    );
  }

  #requireLength(embedding: Float32Array): Float32Array {
    const { firstStage, secondStage } = this.#manifest;
    // 0 is a stage that speaks without a speaker; where both do, any voice is as good.
    const length = firstStage?.speakerEmbedding || secondStage?.speakerEmbedding || embedding.length;
    if (embedding.length === length) return embedding;
    throw expectedRange(`an embedding of ${length} numbers`, 'voice.embedding.length', embedding.length);
  }
}

/** By its shape, for a voice may come from another copy of the package. */
export const isVoice = (source: VoiceSource): source is Voice =>
  typeof source === 'object' && 'embedding' in source;

/** Which content a path names now; null when it names none. */
async function identify(file: string): Promise<string | null> {
  try {
    const { dev, ino, size, mtimeNs } = await stat(file, { bigint: true });
    return [resolve(file), dev, ino, size, mtimeNs].join(':');
  } catch {
    return null;
  }
}

/** SHA-256 on a thread of its own. The published encoder has 6 MB. */
async function digestFile(path: string): Promise<string> {
  const digest = await webcrypto.subtle.digest('SHA-256', await readFile(path));
  return Buffer.from(digest).toString('hex');
}

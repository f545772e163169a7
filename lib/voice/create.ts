import { webcrypto } from 'node:crypto';
import { AudioProblem, maximumRate, maximumSamples, minimumRate, tooLong } from '../audio/limits.js';
import { namedProblem, readRecording } from '../audio/source.js';
import { copyInPieces, runInWorker } from '../audio/worker.js';
import { fromNative, MetaVoiceError } from '../errors.js';
import { expectedRange, expectedType, inRange, isInteger, isString } from '../is.js';
import { cacheDirectory } from '../runtime/paths.js';
import { VoiceCache } from './cache.js';
import { recommendedSeconds, voiceQuality } from './quality.js';
import { maximumVoiceFile, parseVoice, Voice, voiceId, voiceText } from './voice.js';
import type { PreparedVoice, VoiceJob } from './voice-worker.js';

/** A recording, or a voice file that `Voice.save` wrote: as a path, or samples in [-1, 1] with their rate in hertz. */
export type VoiceSource = string | { file: string } | { samples: Float32Array; sampleRate: number };

export interface VoiceContext {
  /**
   * The speaker encoder. `trim` is the kept part [start, end) in samples of 16 kHz, `samples16k` all of them. The
   * samples are not used again after the promise has settled.
   */
  embed(
    samples: Float32Array,
    sampleRate: number,
  ): Promise<{ embedding: Float32Array; trim: [number, number]; samples16k: number }>;
  /** Names the speaker encoder: embeddings of different ones do not mix. */
  encoderDigest: string;
  signal?: AbortSignal | undefined;
  /** Where voices are kept; null keeps none. Default: the user's cache. */
  cacheDirectory?: string | null | undefined;
}

/** One partial of the speaker encoder: with less, most of it would be padding. */
export const minimumSpeechSeconds = 1.6;

/** Rate of `trim`. */
const encoderRate = 16_000;

/** −80 dB of full scale. */
const silencePeak = 1e-4;

/** Beyond it, sums of squares leave the range of float32. Integers that were taken for floats stay below. */
const largestPeak = 1e12;

const worker = new URL('./voice-worker.js', import.meta.url);

/**
 * The voice of a recording, from the cache where it is known; or the voice in a voice file.
 * @throws {MetaVoiceError} ERR_REFERENCE_AUDIO for a recording that is unreadable, silent or too short (`details`
 * { seconds, needed }), and for a voice of another encoder; when aborted, the signal's own reason
 * @throws {TypeError | RangeError} for a source that is none
 */
export async function createVoice(source: VoiceSource, context: VoiceContext): Promise<Voice> {
  const { signal, encoderDigest } = context;
  signal?.throwIfAborted();
  const name = fileName(source);
  try {
    const content = await readSource(source, signal);
    if (content.kind === 'file' && looksLikeJson(content.bytes))
      return savedVoice(content.bytes, name!, encoderDigest);
    const id = voiceId(content.kind, await contentDigest(content), encoderDigest);
    const cache = new VoiceCache(
      context.cacheDirectory === undefined ? cacheDirectory() : context.cacheDirectory,
    );
    const known = await cache.get(id, encoderDigest);
    signal?.throwIfAborted();
    if (known) return known;
    const voice = await makeVoice(id, content, context, name);
    await cache.put(voice);
    return voice;
  } catch (error) {
    throw namedProblem(fromNative(error), name);
  }
}

type Content =
  | { kind: 'file'; bytes: Uint8Array<ArrayBuffer> }
  | { kind: 'samples'; bytes: Uint8Array<ArrayBuffer>; sampleRate: number };

function fileName(source: VoiceSource): string | null {
  const what = 'a path, { file } or { samples, sampleRate }';
  if (isString(source)) return nonEmpty(source, 'voice');
  if (typeof source !== 'object' || source === null) throw expectedType(what, 'voice', source);
  if ('file' in source) return nonEmpty(source.file, 'voice.file');
  const { samples, sampleRate } = source;
  if (!(samples instanceof Float32Array)) throw expectedType('a Float32Array', 'voice.samples', samples);
  if (!isInteger(sampleRate) || !inRange(sampleRate, minimumRate, maximumRate))
    throw expectedRange(`whole hertz from ${minimumRate} to ${maximumRate}`, 'voice.sampleRate', sampleRate);
  return null;
}

function nonEmpty(value: unknown, name: string): string {
  if (isString(value) && value !== '') return value;
  throw expectedType('a path', name, value);
}

async function readSource(source: VoiceSource, signal: AbortSignal | undefined): Promise<Content> {
  if (isString(source)) return { kind: 'file', bytes: await readRecording(source, signal) };
  if ('file' in source) return { kind: 'file', bytes: await readRecording(source.file, signal) };
  const { samples, sampleRate } = source;
  if (samples.length > maximumSamples) throw tooLong();
  if (samples.length === 0) throw new AudioProblem('no samples');
  const view = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
  const bytes = await copyInPieces(view);
  signal?.throwIfAborted();
  return { kind: 'samples', bytes, sampleRate };
}

/** No recording begins with a brace; white space and a byte order mark may come first. */
function looksLikeJson(bytes: Uint8Array): boolean {
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(64, bytes.length)).toString('utf8');
  return /^\ufeff?\s*\{/.test(start);
}

function savedVoice(bytes: Uint8Array, name: string, encoderDigest: string): Voice {
  if (bytes.length > maximumVoiceFile) throw new AudioProblem('a text file');
  return requireEncoder(parseVoice(voiceText(bytes), name), encoderDigest, name);
}

/** Embeddings of different speaker encoders mean different things, and would speak as somebody else. */
export function requireEncoder(voice: Voice, encoderDigest: string, file: string | null): Voice {
  if (voice.encoder === encoderDigest) return voice;
  const place = file === null ? '' : ` in "${file}"`;
  throw new MetaVoiceError(
    'ERR_REFERENCE_AUDIO',
    `expected a voice of this model's speaker encoder (${encoderDigest})${place} but found one of another ` +
      `(${voice.encoder}); make the voice again from its recording with this model`,
    { details: { file, expected: encoderDigest, found: voice.encoder } },
  );
}

/** SHA-256 of the content, on a thread of its own; for samples, of the rate too. */
async function contentDigest(content: Content): Promise<string> {
  const hash = await webcrypto.subtle.digest('SHA-256', content.bytes);
  const digest = Buffer.from(hash).toString('hex');
  return content.kind === 'samples' ? `${digest}@${content.sampleRate}` : digest;
}

async function makeVoice(
  id: string,
  content: Content,
  context: VoiceContext,
  name: string | null,
): Promise<Voice> {
  const { bytes } = content;
  const job: VoiceJob =
    content.kind === 'file'
      ? { bytes }
      : { samples: new Float32Array(bytes.buffer), sampleRate: content.sampleRate };
  const { samples, sampleRate, analysis } = await runInWorker<PreparedVoice>(worker, job, {
    moved: [bytes.buffer],
    signal: context.signal,
  });
  if (analysis.peak < silencePeak) throw tooShort(0, 'silence', name);
  if (analysis.peak > largestPeak)
    throw new AudioProblem(`samples as large as ${analysis.peak}`, 'give samples within [-1, 1]');
  const seconds = samples.length / sampleRate;
  if (seconds < minimumSpeechSeconds) throw tooShort(seconds, 'a recording', name);
  const { embedding, trim } = await unlessAborted(context.embed(samples, sampleRate), context.signal);
  const kept = (trim[1] - trim[0]) / encoderRate;
  if (kept < minimumSpeechSeconds) throw tooShort(kept, 'speech', name);
  const quality = voiceQuality(analysis, trim, encoderRate);
  return Voice.fromParts({ id, encoder: context.encoderDigest, embedding, quality });
}

function tooShort(seconds: number, what: string, name: string | null): MetaVoiceError {
  const found = what === 'silence' ? 'silence' : `${what} of ${seconds.toFixed(2)} s`;
  return new MetaVoiceError(
    'ERR_REFERENCE_AUDIO',
    `expected at least ${minimumSpeechSeconds} s of speech in the reference recording${name === null ? '' : ` "${name}"`} but ` +
      `found ${found}; give a longer one, best ${recommendedSeconds} s or more`,
    { details: { file: name, seconds, needed: minimumSpeechSeconds } },
  );
}

/** Native work that cannot be stopped goes on unheard. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

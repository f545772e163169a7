/** Bounds on what is read from a recording, so that a small broken or hostile file cannot take all memory. */

/** Decoded samples of one channel: half an hour at 48 kHz. */
export const maximumSamples = 30 * 60 * 48_000;

/** Bytes of a file. */
export const maximumBytes = 768 * 2 ** 20;

/** Rates that a recording of speech may have, in hertz. */
export const minimumRate = 1_000;
export const maximumRate = 768_000;

/** Most channels that are mixed to one. */
export const maximumChannels = 64;

/** The same in compressed recordings, where each takes memory that the file does not. */
export const maximumCodedChannels = 8;

/** For messages: what may be given. */
export const acceptedFormats = 'a WAV, FLAC, MP3, OGG Vorbis or OGG Opus recording';

/** What is wrong with a recording, in words that follow "but found". Gets its file name where that is known. */
export class AudioProblem extends Error {
  /** What to do about it, when the usual advice does not fit. */
  readonly advice: string | null;

  constructor(found: string, advice: string | null = null, cause?: unknown) {
    super(found, cause === undefined ? undefined : { cause });
    this.advice = advice;
  }
}

export function tooLong(): AudioProblem {
  return new AudioProblem(
    `more than ${maximumSamples.toLocaleString('en-US')} samples per channel (30 minutes at 48 kHz)`,
    'give a shorter part of it: half a minute of clear speech is enough',
  );
}

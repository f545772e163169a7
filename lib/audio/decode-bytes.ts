import { decodeFlac, decodeMp3, decodeOpus, decodeVorbis } from './compressed.js';
import { AudioProblem } from './limits.js';
import { type DecodedAudio, decodeWav } from './riff.js';
import { type AudioFormat, sniffAudio } from './sniff.js';

export type Decoded = DecodedAudio & { format: AudioFormat };

const formatNames: Readonly<Record<AudioFormat, string>> = {
  wav: 'WAV',
  flac: 'FLAC',
  mp3: 'MP3',
  'ogg-vorbis': 'OGG Vorbis',
  'ogg-opus': 'OGG Opus',
};

/**
 * Decodes a whole recording on this thread; meant for a worker. Throws {@link AudioProblem}.
 * @param alive called again and again while it goes on
 */
export async function decodeBytes(bytes: Uint8Array, alive: () => void): Promise<Decoded> {
  const sniffed = sniffAudio(bytes);
  if (sniffed.format === null) throw new AudioProblem(sniffed.found);
  const { format, ogg } = sniffed;
  const audio = await decodeFormat(format, bytes.subarray(sniffed.start), ogg, alive);
  if (audio.samples.length === 0)
    throw new AudioProblem(
      `${/^[MO]/.test(formatNames[format]) ? 'an' : 'a'} ${formatNames[format]} file without samples`,
    );
  requireFinite(audio.samples);
  return { ...audio, format };
}

async function decodeFormat(
  format: AudioFormat,
  bytes: Uint8Array,
  ogg: boolean,
  alive: () => void,
): Promise<DecodedAudio> {
  try {
    switch (format) {
      case 'wav':
        return decodeWav(bytes);
      case 'flac':
        return await decodeFlac(bytes, ogg, alive);
      case 'mp3':
        return await decodeMp3(bytes, alive);
      case 'ogg-vorbis':
        return await decodeVorbis(bytes, alive);
      case 'ogg-opus':
        return await decodeOpus(bytes, alive);
    }
  } catch (cause) {
    if (cause instanceof AudioProblem) throw cause;
    // The decoders throw plain errors, and WebAssembly traps on some broken files.
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new AudioProblem(`a damaged ${formatNames[format]} file (${reason})`, null, cause);
  }
}

export function requireFinite(samples: Float32Array): void {
  const index = samples.findIndex((sample) => !Number.isFinite(sample));
  if (index >= 0) throw new AudioProblem(`${samples[index]} instead of a number at sample ${index}`);
}

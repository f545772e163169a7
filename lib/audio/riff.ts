import {
  AudioProblem,
  maximumChannels,
  maximumRate,
  maximumSamples,
  minimumRate,
  tooLong,
} from './limits.js';
import { sampleReader } from './sample-format.js';

export interface DecodedAudio {
  /** Mono: the arithmetic mean of the channels. */
  samples: Float32Array;
  sampleRate: number;
  /** Channels of the file. */
  channels: number;
}

interface WaveFormat {
  /** 1 PCM, 3 float, 6 A-law, 7 µ-law. */
  tag: number;
  channels: number;
  sampleRate: number;
  frameBytes: number;
  bits: number;
}

/** Parts of a file; a hundred million empty ones would take a while. */
const mostParts = 65_536;

/** Reads WAV: RIFF, and its kin for large files, RF64 and BW64. Throws {@link AudioProblem}. */
export function decodeWav(bytes: Uint8Array): DecodedAudio {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const name = (at: number): string => String.fromCharCode(...bytes.subarray(at, at + 4));
  const large = name(0) !== 'RIFF';
  let format: WaveFormat | null = null;
  let longSize: number | null = null;
  let parts = 0;
  for (let at = 12; at + 8 <= bytes.length; ) {
    if (++parts > mostParts) throw new AudioProblem(`a WAV file of more than ${mostParts} parts`);
    const chunk = name(at);
    const size = view.getUint32(at + 4, true);
    const start = at + 8;
    if (chunk === 'data') {
      if (!format) throw new AudioProblem('a WAV file whose samples come before their format');
      const declared = large && size === 0xffffffff && longSize !== null ? longSize : size;
      return readFrames(
        view,
        start,
        dataBytes(declared, bytes.length - start, view.getUint32(4, true)),
        format,
      );
    }
    if (size > bytes.length - start)
      throw new AudioProblem(
        `a WAV file cut off in its part "${printable(chunk)}" (${size} bytes said, ${bytes.length - start} there)`,
      );
    if (chunk === 'fmt ') format = readFormat(view, start, size);
    if (chunk === 'ds64' && size >= 16) longSize = Number(view.getBigUint64(start + 8, true));
    at = start + size + (size % 2);
  }
  throw new AudioProblem(format ? 'a WAV file without samples' : 'a WAV file without a format');
}

const printable = (name: string): string => name.replace(/[^ -~]/g, '?');

/**
 * A stream's header does not know its size: then, and when more is said than is there, the rest of the file is taken.
 * Zero counts as unknown only where the size of the whole file (`riff`) is no better.
 */
function dataBytes(declared: number, available: number, riff: number): number {
  const unknown = declared === 0 && (riff === 0 || riff === 0xffffffff || riff === 36);
  return unknown ? available : Math.min(declared, available);
}

const extensible = 0xfffe;

function readFormat(view: DataView, at: number, size: number): WaveFormat {
  if (size < 16) throw new AudioProblem(`a WAV file with a format of ${size} bytes instead of 16 or more`);
  const format = {
    tag: view.getUint16(at, true),
    channels: view.getUint16(at + 2, true),
    sampleRate: view.getUint32(at + 4, true),
    frameBytes: view.getUint16(at + 12, true),
    bits: view.getUint16(at + 14, true),
  };
  if (format.tag === extensible) {
    if (size < 40)
      throw new AudioProblem(`a WAV file with an extensible format of ${size} bytes instead of 40`);
    format.tag = view.getUint16(at + 24, true);
  }
  const { channels, sampleRate } = format;
  if (channels < 1 || channels > maximumChannels)
    throw new AudioProblem(`a WAV file that says it has ${channels} channels`);
  requireRate(sampleRate);
  return format;
}

/** A rate that no recording of speech has is a broken header. */
export function requireRate(sampleRate: number): void {
  if (sampleRate >= minimumRate && sampleRate <= maximumRate) return;
  throw new AudioProblem(
    `a sample rate of ${sampleRate} Hz`,
    `give a recording of ${minimumRate} to ${maximumRate} Hz`,
  );
}

function readFrames(view: DataView, start: number, size: number, format: WaveFormat): DecodedAudio {
  const { channels, sampleRate, frameBytes } = format;
  const reader = sampleReader(format.tag, format.bits, view);
  if (frameBytes !== reader.bytes * channels)
    throw new AudioProblem(
      `a WAV file with frames of ${frameBytes} bytes instead of ${reader.bytes * channels}`,
    );
  const frames = Math.floor(size / frameBytes);
  if (frames > maximumSamples) throw tooLong();
  const samples = new Float32Array(frames);
  let at = start;
  for (let frame = 0; frame < frames; frame++) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++, at += reader.bytes) sum += reader.read(at);
    samples[frame] = sum / channels;
  }
  return { samples, sampleRate, channels };
}

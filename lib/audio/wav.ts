import { expectedRange, isInteger } from '../is.js';
import { writePcm16 } from './pcm.js';

/** Bytes of the header that {@link wavHeader} makes. */
export const wavHeaderBytes = 44;

const unknownSize = 0xffffffff;

/**
 * The header of a mono WAV file of signed 16-bit PCM.
 * @param dataBytes bytes of samples to follow, or null when they are not known yet: a stream says 0xFFFFFFFF
 */
export function wavHeader(sampleRate: number, dataBytes: number | null): Uint8Array {
  if (!isInteger(sampleRate) || sampleRate < 1 || sampleRate > 0xffffffff / 2)
    throw expectedRange('a rate in whole hertz', 'sampleRate', sampleRate);
  const most = unknownSize - wavHeaderBytes;
  if (dataBytes !== null && (!isInteger(dataBytes) || dataBytes < 0 || dataBytes > most))
    throw expectedRange(`at most ${most} bytes, which is what a WAV file holds,`, 'dataBytes', dataBytes);
  const header = new Uint8Array(wavHeaderBytes);
  const view = new DataView(header.buffer);
  const name = (offset: number, text: string): void => {
    for (let index = 0; index < 4; index++) header[offset + index] = text.charCodeAt(index);
  };
  name(0, 'RIFF');
  view.setUint32(4, dataBytes === null ? unknownSize : dataBytes + wavHeaderBytes - 8, true);
  name(8, 'WAVE');
  name(12, 'fmt ');
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, sampleRate * 2, true); // bytes per second
  view.setUint16(32, 2, true); // bytes per frame
  view.setUint16(34, 16, true); // bits
  name(36, 'data');
  view.setUint32(40, dataBytes ?? unknownSize, true);
  return header;
}

/** A whole WAV file: mono, signed 16-bit, round(x · 32767), saturated. */
export function encodeWav(samples: Float32Array, sampleRate: number): Uint8Array {
  const header = wavHeader(sampleRate, 2 * samples.length);
  const bytes = new Uint8Array(wavHeaderBytes + 2 * samples.length);
  bytes.set(header);
  writePcm16(samples, bytes, wavHeaderBytes);
  return bytes;
}

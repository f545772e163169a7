import { AudioProblem } from './limits.js';
import { decodeMulaw } from './mulaw.js';

export interface SampleReader {
  /** Bytes of one sample. */
  bytes: number;
  /** The sample at a byte offset, in [-1, 1) for integers. */
  read(at: number): number;
}

/** Names of the codecs that people meet inside WAV files. */
const codecs: Readonly<Record<number, string>> = {
  2: 'Microsoft ADPCM',
  17: 'IMA ADPCM',
  49: 'GSM 6.10',
  80: 'MPEG audio',
  85: 'MP3',
  255: 'AAC',
  353: 'Windows Media Audio',
};

/** How samples of a WAV file are read. `bits` is the container's size; what is unknown throws {@link AudioProblem}. */
export function sampleReader(tag: number, bits: number, view: DataView): SampleReader {
  const reader = readers[`${tag}/${Math.ceil(bits / 8)}`]?.(view);
  if (reader && bits > 0) return reader;
  if (tag === 1 || tag === 3)
    throw new AudioProblem(`a WAV file of ${bits}-bit ${tag === 1 ? 'integers' : 'floats'}`);
  throw new AudioProblem(`a WAV file that holds ${codecs[tag] ?? `codec ${tag}`}`);
}

const readers: Readonly<Record<string, (view: DataView) => SampleReader>> = {
  '1/1': (view) => ({ bytes: 1, read: (at) => (view.getUint8(at) - 128) / 128 }),
  '1/2': (view) => ({ bytes: 2, read: (at) => view.getInt16(at, true) / 2 ** 15 }),
  '1/3': (view) => ({
    bytes: 3,
    read: (at) => ((view.getInt8(at + 2) << 16) | view.getUint16(at, true)) / 2 ** 23,
  }),
  '1/4': (view) => ({ bytes: 4, read: (at) => view.getInt32(at, true) / 2 ** 31 }),
  '3/4': (view) => ({ bytes: 4, read: (at) => view.getFloat32(at, true) }),
  '3/8': (view) => ({ bytes: 8, read: (at) => view.getFloat64(at, true) }),
  '6/1': (view) => ({ bytes: 1, read: (at) => fromAlaw(view.getUint8(at)) }),
  '7/1': (view) => ({ bytes: 1, read: (at) => decodeMulaw(view.getUint8(at)) / 2 ** 15 }),
};

/** ITU-T G.711: even bits inverted; sign, exponent of 3 bits, mantissa of 4. */
function fromAlaw(code: number): number {
  const bits = code ^ 0x55;
  const exponent = (bits >> 4) & 7;
  const mantissa = ((bits & 15) << 4) + 8;
  const value = exponent === 0 ? mantissa : (mantissa + 0x100) << (exponent - 1);
  return (bits & 0x80 ? value : -value) / 2 ** 15;
}

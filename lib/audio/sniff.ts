/** The format of a recording by its content; names and extensions are not asked. */

export type AudioFormat = 'wav' | 'flac' | 'mp3' | 'ogg-vorbis' | 'ogg-opus';

/** What the bytes are: an accepted format and how to read it, or the name of something else. */
export type Sniffed =
  | { format: AudioFormat /** Where the format's own bytes begin. */; start: number; ogg: boolean }
  | { format: null; found: string };

const text = (bytes: Uint8Array, at: number, length: number): string =>
  String.fromCharCode(...bytes.subarray(at, at + length));

/** Looks at the first bytes; tags before them are skipped. */
export function sniffAudio(bytes: Uint8Array): Sniffed {
  if (bytes.length === 0) return { format: null, found: 'an empty file' };
  const start = afterId3(bytes);
  if (start >= bytes.length) return { format: null, found: 'a tag without audio after it' };
  const magic = text(bytes, start, 4);
  const kind = text(bytes, start + 8, 4);
  if (['RIFF', 'RF64', 'BW64'].includes(magic) && kind === 'WAVE')
    return { format: 'wav', start, ogg: false };
  if (magic === 'fLaC') return { format: 'flac', start, ogg: false };
  if (magic === 'OggS') return sniffOgg(bytes, start);
  const others = otherFormat(bytes.subarray(start, start + 64));
  if (others !== null) return { format: null, found: others };
  const frame = findMpegFrame(bytes, start);
  if (frame !== null) return { format: 'mp3', start: frame, ogg: false };
  return { format: null, found: 'no audio' };
}

/** Where an ID3v2 tag ends: its size has seven bits per byte. */
function afterId3(bytes: Uint8Array): number {
  let start = 0;
  while (text(bytes, start, 3) === 'ID3' && start + 10 <= bytes.length) {
    let size = 0;
    for (let index = 6; index < 10; index++) size = size * 128 + (bytes[start + index]! & 0x7f);
    const footer = bytes[start + 5]! & 0x10 ? 10 : 0;
    start += 10 + size + footer;
  }
  return start;
}

function sniffOgg(bytes: Uint8Array, start: number): Sniffed {
  const packet = start + 27 + (bytes[start + 26] ?? 0);
  if (text(bytes, packet, 7) === '\x01vorbis') return { format: 'ogg-vorbis', start, ogg: true };
  if (text(bytes, packet, 8) === 'OpusHead') return { format: 'ogg-opus', start, ogg: true };
  if (text(bytes, packet, 5) === '\x7fFLAC') return { format: 'flac', start, ogg: true };
  if (text(bytes, packet, 5) === 'Speex') return { format: null, found: 'OGG Speex' };
  return { format: null, found: 'an OGG file without Vorbis, Opus or FLAC at its beginning' };
}

const signatures: readonly (readonly [at: number, signature: string, name: string])[] = [
  [4, 'ftyp', 'an MP4 or M4A file (AAC)'],
  [0, '\x1aE\xdf\xa3', 'a WebM or Matroska file'],
  [0, 'FORM', 'an AIFF file'],
  [0, 'caff', 'a CAF file'],
  [0, '.snd', 'an AU file'],
  [0, '#!AMR', 'an AMR file'],
  [0, '0&\xb2u', 'a Windows Media file'],
  [0, 'wvpk', 'a WavPack file'],
  [0, 'MAC ', "a Monkey's Audio file"],
  [0, 'MThd', 'a MIDI file'],
  [0, 'RIFF', 'a RIFF file that is not WAV'],
  [0, '\x89PNG', 'a PNG image'],
  [0, '\xff\xd8\xff', 'a JPEG image'],
  [0, 'GIF8', 'a GIF image'],
  [0, '%PDF', 'a PDF document'],
  [0, 'PK\x03\x04', 'a zip file'],
  [0, '\x1f\x8b', 'a gzip file'],
  [0, '\x7fELF', 'a program'],
];

/** The name of a format that is known, but not read here. */
function otherFormat(head: Uint8Array): string | null {
  for (const [at, signature, name] of signatures)
    if (text(head, at, signature.length) === signature) return name;
  // ADTS: the sync word of MPEG with layer 0, which MPEG audio does not use.
  if (head[0] === 0xff && ((head[1] ?? 0) & 0xf6) === 0xf0) return 'a raw AAC stream';
  if (head.length >= 4 && head.every((byte) => byte >= 0x20 || (byte >= 9 && byte <= 13)))
    return /^\s*</.test(text(head, 0, head.length)) ? 'an HTML or XML page' : 'a text file';
  return null;
}

export interface MpegFrame {
  /** Bytes of the frame, header included. */
  bytes: number;
  /** Samples per channel. */
  samples: number;
  sampleRate: number;
  channels: number;
}

// Kilobits per second by [MPEG-1 | MPEG-2 and 2.5][layer I … III][index].
const bitRates: readonly (readonly (readonly number[])[])[] = [
  [
    [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  ],
  [
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
  ],
];

/** The header of an MPEG audio frame at `at`; null where there is none. Free-format frames are not recognised. */
export function readMpegFrame(bytes: Uint8Array, at: number): MpegFrame | null {
  if (at + 4 > bytes.length || bytes[at] !== 0xff || (bytes[at + 1]! & 0xe0) !== 0xe0) return null;
  const [, second, third, fourth] = bytes.subarray(at, at + 4) as unknown as [number, number, number, number];
  const version = (second >> 3) & 3; // 3 is MPEG-1, 2 is MPEG-2, 0 is MPEG-2.5
  const layer = 4 - ((second >> 1) & 3); // 1 … 3; 4 is reserved
  const rateIndex = (third >> 2) & 3;
  const bitRate = bitRates[version === 3 ? 0 : 1]![layer - 1]?.[third >> 4];
  if (version === 1 || layer === 4 || rateIndex === 3 || !bitRate) return null;
  const sampleRate = [44100, 48000, 32000][rateIndex]! / { 3: 1, 2: 2, 0: 4 }[version as 0 | 2 | 3];
  const padding = (third >> 1) & 1;
  const samples = layer === 1 ? 384 : layer === 3 && version !== 3 ? 576 : 1152;
  const size = Math.floor(((samples / 8) * bitRate * 1000) / sampleRate);
  const whole = layer === 1 ? (Math.floor(size / 4) + padding) * 4 : size + padding;
  return { bytes: whole, samples, sampleRate, channels: fourth >> 6 === 3 ? 1 : 2 };
}

/** How far a first frame is looked for past leading garbage. */
const searchBytes = 64 * 1024;

/** The first frame that is followed by a second one of the same rate, or by the end of the file. */
export function findMpegFrame(bytes: Uint8Array, start: number): number | null {
  const end = Math.min(bytes.length, start + searchBytes);
  for (let at = bytes.indexOf(0xff, start); at >= 0 && at < end; at = bytes.indexOf(0xff, at + 1)) {
    const frame = readMpegFrame(bytes, at);
    if (!frame) continue;
    if (at + frame.bytes === bytes.length) return at;
    if (readMpegFrame(bytes, at + frame.bytes)?.sampleRate === frame.sampleRate) return at;
  }
  return null;
}

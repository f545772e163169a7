import { AudioProblem, maximumSamples, tooLong } from './limits.js';
import { readPages } from './ogg.js';
import type { DecodedAudio } from './riff.js';
import { requireRate } from './riff.js';
import { readMpegFrame } from './sniff.js';

/** The face that the decoders have in common. */
interface Decoder {
  ready: Promise<void>;
  decode(data: Uint8Array): Piece | Promise<Piece>;
  flush?(): Piece | Promise<Piece>;
  free(): void;
}

interface Piece {
  channelData: Float32Array[];
  samplesDecoded: number;
  sampleRate: number;
  bitDepth?: number;
  errors: { message: string }[];
}

/** Bytes in a row that a decoder may take without giving samples, once it was given what comes before those. */
const mostSilentBytes = 4 * 2 ** 20;

/** Where pieces end that are so long, the first of them after `start`. */
function* every(pieceBytes: number, bytes: Uint8Array, start = 0): Generator<number> {
  for (let end = start + pieceBytes; end < bytes.length; end += pieceBytes) yield end;
  yield bytes.length;
}

/**
 * Feeds a whole file through a decoder and mixes to mono on the way.
 * @param pieces where the parts end that are given at a time: small, so that silence packed a thousandfold meets the
 * limit early; the first may hold pictures and whatever else comes before the samples
 * @param alive called after every piece
 * @param scale what a sample of so many bits was multiplied with to be a whole number; it is divided by a power of two
 */
async function decodeAll(
  decoder: Decoder,
  bytes: Uint8Array,
  pieces: Iterable<number>,
  alive: () => void,
  scale?: (bits: number) => number,
): Promise<DecodedAudio & { errors: string[] }> {
  const mono: Float32Array[] = [];
  const errors: string[] = [];
  let total = 0;
  let sampleRate = 0;
  let channels = 0;
  const add = (piece: Piece): void => {
    errors.push(...piece.errors.map((error) => error.message).slice(0, 16));
    const length = piece.channelData[0]?.length ?? 0;
    if (length === 0) return;
    if (sampleRate !== 0 && piece.sampleRate !== sampleRate)
      throw new AudioProblem(`a sample rate that changes from ${sampleRate} to ${piece.sampleRate} Hz`);
    sampleRate = piece.sampleRate;
    channels = piece.channelData.length;
    total += length;
    if (total > maximumSamples) throw tooLong();
    if (scale && piece.bitDepth) piece.channelData.forEach(restore(piece.bitDepth, scale(piece.bitDepth)));
    mono.push(mix(piece.channelData));
  };
  try {
    await decoder.ready;
    let at = 0;
    let heard = 0;
    for (const end of pieces) {
      const before = total;
      add(await decoder.decode(bytes.subarray(at, end)));
      if (total > before || at === 0) heard = end;
      // Those that are flushed keep what they cannot use yet, and copy all of it for every piece.
      if (decoder.flush && end - heard > mostSilentBytes)
        throw new AudioProblem(`${mostSilentBytes} bytes without samples from byte ${heard} on`);
      at = end;
      alive();
    }
    if (decoder.flush) add(await decoder.flush());
  } finally {
    decoder.free();
  }
  const samples = new Float32Array(total);
  let at = 0;
  for (const piece of mono) {
    samples.set(piece, at);
    at += piece.length;
  }
  if (total > 0) requireRate(sampleRate);
  return { samples, sampleRate, channels, errors };
}

/** Puts samples of `bits` bits back onto their grid, where full scale is a power of two, as in every other format. */
const restore =
  (bits: number, scale: number) =>
  (channel: Float32Array): void => {
    const fullScale = 2 ** (bits - 1);
    for (let index = 0; index < channel.length; index++)
      channel[index] = Math.round(channel[index]! * scale) / fullScale;
  };

function mix(channels: Float32Array[]): Float32Array {
  const [first] = channels;
  if (channels.length === 1) return first!;
  const mono = new Float32Array(first!.length);
  for (let index = 0; index < mono.length; index++) {
    let sum = 0;
    for (const channel of channels) sum += channel[index]!;
    mono[index] = sum / channels.length;
  }
  return mono;
}

/** The decoder divides by the largest positive sample, so that its samples are a little too loud. */
const flacScale = (bits: number): number => 2 ** (bits - 1) - 1;

/** FLAC, in its own container or in OGG. */
export async function decodeFlac(bytes: Uint8Array, ogg: boolean, alive: () => void): Promise<DecodedAudio> {
  const { FLACDecoder } = await import('@wasm-audio-decoders/flac');
  const pieces = ogg
    ? readPages(bytes, 'OGG FLAC').pieces
    : every(flacPieceBytes, bytes, flacMetadataBytes(bytes));
  const { errors, ...audio } = await decodeAll(new FLACDecoder(), bytes, pieces, alive, flacScale);
  if (errors.length > 0) throw new AudioProblem(`a damaged FLAC file (${errors[0]})`);
  const declared = ogg ? 0 : declaredFlacSamples(bytes);
  if (declared > audio.samples.length)
    throw new AudioProblem(`a FLAC file cut off at ${audio.samples.length} of ${declared} samples`);
  return audio;
}

/** A dozen bytes of silence may become 65,535 samples of eight channels. */
const flacPieceBytes = 1024;

/** Pictures and whatever else comes before the first frame. */
function flacMetadataBytes(bytes: Uint8Array): number {
  let at = 4;
  for (let last = false; !last && at + 4 <= bytes.length; ) {
    last = (bytes[at]! & 0x80) !== 0;
    at += 4 + bytes[at + 1]! * 0x10000 + bytes[at + 2]! * 0x100 + bytes[at + 3]!;
  }
  return Math.min(at, bytes.length);
}

/** From STREAMINFO, whose total has 36 bits; 0 is unknown. */
function declaredFlacSamples(bytes: Uint8Array): number {
  if (bytes.length < 26) return 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return (bytes[21]! & 15) * 2 ** 32 + view.getUint32(22);
}

const mp3PieceBytes = 16 * 1024;

/** MPEG audio, layers I to III; the encoder's delay and padding are cut off where a LAME tag tells them. */
export async function decodeMp3(bytes: Uint8Array, alive: () => void): Promise<DecodedAudio> {
  const { MPEGDecoder } = await import('mpg123-decoder');
  const first = readMpegFrame(bytes, 0)!;
  const { errors, ...audio } = await decodeAll(
    new MPEGDecoder({ enableGapless: true }),
    bytes,
    every(mp3PieceBytes, bytes),
    alive,
  );
  if (audio.samples.length === 0 && errors.length > 0)
    throw new AudioProblem(`a damaged MP3 file (${errors[0]})`);
  const declared = declaredMp3Frames(bytes, first.bytes) * first.samples;
  // Encoders miscount by a frame or two, and delay and padding are not in the samples.
  if (audio.samples.length < declared * 0.95 - 4 * first.samples)
    throw new AudioProblem(`an MP3 file cut off at ${audio.samples.length} of about ${declared} samples`);
  // The decoder always gives two channels.
  return { ...audio, channels: first.channels };
}

/** Frames by the Xing or Info tag in the first frame; 0 where there is none. */
function declaredMp3Frames(bytes: Uint8Array, frameBytes: number): number {
  const frame = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(frameBytes, bytes.length));
  const at = Math.max(frame.indexOf('Xing', 4, 'latin1'), frame.indexOf('Info', 4, 'latin1'));
  if (at < 0 || at + 12 > frame.length || (frame.readUInt32BE(at + 4) & 1) === 0) return 0;
  return frame.readUInt32BE(at + 8);
}

export async function decodeVorbis(bytes: Uint8Array, alive: () => void): Promise<DecodedAudio> {
  const { pieces } = readPages(bytes, 'OGG Vorbis');
  const { OggVorbisDecoder } = await import('@wasm-audio-decoders/ogg-vorbis');
  const { errors, ...audio } = await decodeAll(new OggVorbisDecoder(), bytes, pieces, alive);
  if (errors.length > 0) throw new AudioProblem(`a damaged OGG Vorbis file (${errors[0]})`);
  return audio;
}

/** Opus always decodes to 48 kHz. */
export async function decodeOpus(bytes: Uint8Array, alive: () => void): Promise<DecodedAudio> {
  const pages = readPages(bytes, 'OGG Opus');
  const { OggOpusDecoder } = await import('ogg-opus-decoder');
  const { errors, ...audio } = await decodeAll(new OggOpusDecoder(), bytes, pages.pieces, alive);
  if (errors.length > 0) throw new AudioProblem(`a damaged OGG Opus file (${errors[0]})`);
  // The last page says where the audio ends, pre-skip included; the decoder leaves so much padding standing.
  const preSkip = bytes.length > 40 ? bytes[27 + bytes[26]! + 10]! + 256 * bytes[27 + bytes[26]! + 11]! : 0;
  const excess = audio.samples.length - (pages.granule - preSkip);
  if (pages.streams === 1 && excess > 0 && excess <= preSkip)
    audio.samples = audio.samples.slice(0, audio.samples.length - excess);
  return audio;
}

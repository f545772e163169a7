import { AudioProblem, maximumCodedChannels } from './limits.js';

/** What the pages of an OGG file say. */
export interface OggPages {
  /** Streams, one after the other or side by side. */
  streams: number;
  /** Samples at the end by the last page that says so, pre-skip included. */
  granule: number;
  /** Where pieces of whole pages end that a decoder may have at a time. */
  pieces: number[];
}

const capture = 0x4f676753; // OggS
const headerBytes = 27;

/** Packets and bytes of a piece: each packet may become a tenth of a second or more. */
const mostPackets = 255;
const mostBytes = 16 * 1024;

/**
 * Walks over the pages of an OGG file; one that is cut off is refused, and so are more channels than speech has. The
 * headers are in one piece with the first samples: before those the decoder of Vorbis does not know its channels.
 */
export function readPages(bytes: Uint8Array, name: string): OggPages {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const pieces: number[] = [];
  let streams = 0;
  let granule = 0;
  let packets = 0;
  let start = 0;
  let at = 0;
  const cut = (end: number): void => {
    pieces.push(end);
    start = end;
    packets = 0;
  };
  while (at + headerBytes <= bytes.length && view.getUint32(at) === capture) {
    const segments = bytes[at + 26]!;
    const body = at + headerBytes + segments;
    let end = body;
    let ended = 0;
    for (let index = 0; index < segments; index++) {
      const length = bytes[at + headerBytes + index] ?? 0;
      end += length;
      // A packet goes on as long as its parts are full.
      if (length < 255) ended += 1;
    }
    if (end > bytes.length) break;
    requireChannels(bytes, body, name);
    if (bytes[at + 5]! & 2) streams += 1;
    const position = view.getBigInt64(at + 6, true);
    if (position >= 0n) granule = Number(position);
    const large = pieces.length > 0 && end - start > mostBytes;
    if (at > start && (large || packets + ended > mostPackets)) cut(at);
    packets += ended;
    at = end;
    if (granule > 0 && pieces.length === 0) cut(end);
  }
  // A tag may follow; half a page may not.
  if (at + 4 <= bytes.length && view.getUint32(at) === capture)
    throw new AudioProblem(`an ${name} file cut off in the middle, at byte ${bytes.length}`);
  if (at > start) pieces.push(at);
  return { streams, granule, pieces };
}

/** Every channel takes as much memory as the first, and a file may say 255 of them. */
function requireChannels(bytes: Uint8Array, packet: number, name: string): void {
  const begins = (signature: string): boolean =>
    bytes[packet] === signature.charCodeAt(0) &&
    [...signature].every((letter, index) => bytes[packet + index] === letter.charCodeAt(0));
  const place = begins('OpusHead') ? 9 : begins('\x01vorbis') ? 11 : null;
  const channels = place === null ? 0 : (bytes[packet + place] ?? 0);
  if (channels > maximumCodedChannels)
    throw new AudioProblem(`an ${name} file that says it has ${channels} channels`);
}

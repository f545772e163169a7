import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
/** Compressed recordings of a few kB that stand for hours of samples, or for none. */

import { describe, expect, test } from 'vitest';
import { decodeBytes } from '../../../dist/audio/decode-bytes.js';
import { AudioProblem } from '../../../dist/audio/limits.js';
import { readPages } from '../../../dist/audio/ogg.js';
import { silence } from '../../fuzz/flac.mjs';

/** An OGG page. */
function page(packets: Uint8Array[], { flags = 0, granule = 0n, sequence = 0 } = {}): Buffer {
  const lacing = packets.flatMap(({ length }) => [
    ...Array(Math.floor(length / 255)).fill(255),
    length % 255,
  ]);
  const head = Buffer.alloc(27);
  head.write('OggS', 'latin1');
  head[5] = flags;
  head.writeBigInt64LE(granule, 6);
  head.writeUInt32LE(sequence, 18);
  head[26] = lacing.length;
  return Buffer.concat([head, Buffer.from(lacing), ...packets]);
}

function opusHead(channels: number): Buffer {
  const head = Buffer.alloc(21 + channels);
  head.write('OpusHead', 'latin1');
  head[8] = 1;
  head[9] = channels;
  head.writeUInt32LE(48_000, 12);
  head[18] = 255;
  head[19] = 1;
  return head;
}

setFlagsFromString('--expose-gc');
/** The collector comes now, so that what is held is measured, not when it happened to come last. */
const collect = runInNewContext('gc') as () => void;

/** Most memory of the process while something runs. */
async function growth(run: () => Promise<unknown>): Promise<number> {
  collect();
  const before = process.memoryUsage.rss();
  let most = before;
  const look = () => {
    most = Math.max(most, process.memoryUsage.rss());
  };
  const timer = setInterval(look, 5);
  await run().catch((error: unknown) => {
    if (!(error instanceof AudioProblem)) throw error;
  });
  look();
  clearInterval(timer);
  return most - before;
}

describe('a small recording', () => {
  test('of minutes of silence in eight channels takes little more memory than its samples', async () => {
    const bytes = silence(150, { samples: 65_535, channels: 8 });
    expect(bytes.length).toBeLessThan(8000);
    let samples = 0;
    const grown = await growth(async () => {
      samples = (await decodeBytes(bytes, collect)).samples.length;
    });
    expect(samples).toBeGreaterThan(9_000_000);
    // All channels of all frames at once would be 300 MB, and as much again to join them.
    expect(grown).toBeLessThan(300e6);
  });

  test('with more channels than any recording of speech is refused before it is decoded', async () => {
    const tags = Buffer.concat([Buffer.from('OpusTags'), Buffer.alloc(8)]);
    const sound = page(Array(250).fill(Buffer.from([0xfc])), { granule: 960n, sequence: 2, flags: 4 });
    const file = (channels: number) =>
      Buffer.concat([page([opusHead(channels)], { flags: 2 }), page([tags], { sequence: 1 }), sound]);
    await expect(decodeBytes(file(255), () => {})).rejects.toThrow(
      /OGG Opus file that says it has 255 channels/,
    );
    const vorbis = Buffer.from('\x01vorbis\0\0\0\0\xff\x80\xbb\0\0', 'latin1');
    await expect(decodeBytes(page([vorbis], { flags: 2 }), () => {})).rejects.toThrow(/has 255 channels/);
  });

  test('of WAV that is nothing but empty parts is refused soon', async () => {
    const head = Buffer.from('RIFF\0\0\0\0WAVE');
    const bytes = Buffer.concat([head, ...Array(65_537).fill(Buffer.from('JUNK\0\0\0\0'))]);
    await expect(decodeBytes(bytes, () => {})).rejects.toThrow(/more than 65536 parts/);
  });

  test('of FLAC that never begins is refused after some megabytes', async () => {
    const bytes = Buffer.concat([silence(0), Buffer.alloc(6 << 20, 1)]);
    await expect(decodeBytes(bytes, () => {})).rejects.toThrow(/^4194304 bytes without samples/);
  }, 60_000);

  test('may have megabytes of pictures before its first sample', async () => {
    const sound = silence(8);
    const picture = Buffer.alloc(4 + (9 << 20));
    picture[0] = 0x86;
    picture.writeUIntBE(9 << 20, 1, 3);
    const info = Buffer.from(sound.subarray(0, 42));
    info[4] = 0;
    const audio = await decodeBytes(Buffer.concat([info, picture, sound.subarray(42)]), () => {});
    expect(audio.samples.length).toBeGreaterThan(1000);
  });
});

describe('pages of OGG', () => {
  const head = page([opusHead(1)], { flags: 2 });
  const quarter = (sequence: number, granule: bigint) =>
    page(Array(60).fill(new Uint8Array(2)), { sequence, granule });

  test('go to the decoder together until the first samples, then a few packets at a time', () => {
    const sound = Array.from({ length: 12 }, (_, n) => quarter(n + 1, BigInt(n + 1)));
    const bytes = Buffer.concat([head, ...sound]);
    const { pieces, granule, streams } = readPages(bytes, 'OGG Opus');
    const size = sound[0]!.length;
    expect(pieces).toEqual([1, 5, 9, 12].map((pages) => head.length + pages * size));
    expect({ granule, streams }).toEqual({ granule: 12, streams: 1 });
  });

  test('are few at a time also where they tell no time, and a long comment is one packet', () => {
    const silent = Array.from({ length: 8 }, (_, n) => quarter(n + 1, 0n));
    expect(readPages(Buffer.concat([head, ...silent]), 'x').pieces).toHaveLength(2);
    const full = Array(250).fill(255);
    const comment = page([], {});
    comment[26] = full.length;
    const long = Buffer.concat([comment, Buffer.from(full), Buffer.alloc(250 * 255)]);
    const bytes = Buffer.concat([head, ...Array(40).fill(long), quarter(42, 1n)]);
    expect(readPages(bytes, 'x').pieces).toEqual([bytes.length]);
  });
});

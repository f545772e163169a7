import { describe, expect, test } from 'vitest';
import { toPcm16 } from '../../../dist/audio/pcm.js';
import { encodeWav, wavHeader } from '../../../dist/audio/wav.js';

const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

test('a rate or a size that no header can say is a RangeError', () => {
  expect(() => wavHeader(0, 0)).toThrow(RangeError);
  expect(() => wavHeader(24_000.5, 0)).toThrow(RangeError);
  expect(() => wavHeader(24_000, 2 ** 32)).toThrow(RangeError);
});

describe('PCM', () => {
  test('samples are rounded, saturated, and silent where they are no number', () => {
    const bytes = toPcm16(Float32Array.of(0, 1, -1, 2, -2, Number.NaN, Number.POSITIVE_INFINITY, 0.5));
    const values = Array.from({ length: 8 }, (_, index) => view(bytes).getInt16(2 * index, true));
    expect(values).toEqual([0, 32767, -32767, 32767, -32768, 0, 32767, 16384]);
  });
});

describe('a WAV file', () => {
  test('says what it holds', () => {
    const bytes = encodeWav(new Float32Array(10), 24_000);
    expect(bytes.length).toBe(64);
    expect(Buffer.from(bytes).toString('latin1', 0, 4)).toBe('RIFF');
    expect(view(bytes).getUint32(4, true)).toBe(56);
    expect(view(bytes).getUint32(24, true)).toBe(24_000);
    expect(view(bytes).getUint32(28, true)).toBe(48_000);
    expect(view(bytes).getUint32(40, true)).toBe(20);
  });

  test('says 0xFFFFFFFF for a size that is not known yet', () => {
    const header = view(wavHeader(24_000, null));
    expect(header.getUint32(4, true)).toBe(0xffffffff);
    expect(header.getUint32(40, true)).toBe(0xffffffff);
  });
});

import { mkdtempSync, rmSync } from 'node:fs';
import { open, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it, test } from 'vitest';
import { quantizeFile, quantizeRows } from '../../../dist/checkpoint/quantize.js';

const folder = mkdtempSync(join(tmpdir(), 'metavoice-quantize-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const bits = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0]!;
/** To bfloat16, by hand. */
const bfloat16 = (value: number): number => (bits(value) + 0x7fff + ((bits(value) >>> 16) & 1)) >>> 16;
const float = (word: number): number => new Float32Array(Uint32Array.of(word << 16).buffer)[0]!;
const words = (values: readonly number[]): Uint16Array => Uint16Array.from(values, bfloat16);
const signed = (bytes: Uint8Array): number[] => [...new Int8Array(bytes.buffer)];
const nibbles = (bytes: Uint8Array): number[] => [...bytes].flatMap((byte) => [byte & 15, byte >> 4]);
const repeat = (values: readonly number[], length: number): number[] =>
  Array.from({ length }, (_, i) => values[i % values.length]!);

describe('int8', () => {
  test.each<[number[], number[], number]>([
    [[1, -0.5, 0.25], [127, -64, 32], 1 / 127.5],
    [[-1, 0.5, -0.25], [-127, 64, -32], 1 / 127.5],
    // The largest magnitude maps to 127.5 or to what is next to it; from there it is rounded to even, and held to 127.
    [[-127.5, 0.5], [-128, 0], 1],
    [[0, 0, 0], [0, 0, 0], 2 ** -23],
    [[1e-12, -1e-12, 0], [0, 0, 0], 2 ** -23],
    // Quotients of 0.5, 1.5 and 2.5: halves go to the even number.
    [[0.5, 1.5, 2.5, -0.5, -1.5, 127.5], [0, 2, 2, 0, -2, 127], 1],
    [[2 ** 127, -(2 ** 127)], [127, -127], 2 ** 127 / 127.5],
  ])('of %j is %j', (row, numbers, scale) => {
    const found = quantizeRows(words(row), row.length, 'int8')!;
    expect(signed(found.numbers)).toEqual(numbers);
    expect([...found.scales]).toEqual([bfloat16(scale)]);
  });

  it('has a scale for each row', () => {
    const found = quantizeRows(words([1, 0, 0, 4, 0, 0]), 3, 'int8')!;
    expect([...found.scales]).toEqual([bfloat16(1 / 127.5), bfloat16(4 / 127.5)]);
    expect(signed(found.numbers)).toEqual([127, 0, 0, 127, 0, 0]);
  });
});

describe('int4', () => {
  it('spans a group from its least number to its largest, two numbers a byte', () => {
    const whole = Array.from({ length: 16 }, (_, i) => i - 8);
    const found = quantizeRows(words(repeat(whole, 128)), 128, 'int4')!;
    // s = 15 / 15, z = -8 + 8 s.
    expect([...found.scales].map(float)).toEqual([1, 0]);
    expect(nibbles(found.numbers)).toEqual(repeat([...Array(16).keys()], 128));
    expect(found.numbers[0]).toBe(0x10);
  });

  it.each([0, 1, -0.5, 3])('holds a group that is all %d', (value) => {
    const found = quantizeRows(words(repeat([value], 128)), 128, 'int4')!;
    const [scale, zero] = [...found.scales].map(float) as [number, number];
    expect(scale).toBeGreaterThan(0);
    expect(scale).toBeLessThan(1e-7);
    for (const q of nibbles(found.numbers))
      expect(Math.abs((q - 8) * scale + zero - value)).toBeLessThan(1e-7);
  });

  it('rounds halves to even, and stays within four bits', () => {
    // s = 1, z = 0: quotients of 0.5, 1.5, 2.5.
    const found = quantizeRows(words(repeat([-8, 7, -7.5, -6.5, -5.5], 128)), 128, 'int4')!;
    expect([...found.scales].map(float)).toEqual([1, 0]);
    expect(nibbles(found.numbers).slice(0, 5)).toEqual([0, 15, 0, 2, 2]);
  });

  it('has scale and zero for each group of each row', () => {
    const rows = [1, 2, 3, 4].flatMap((size) => repeat([-8 * size, 7 * size], 128));
    const found = quantizeRows(words(rows), 256, 'int4')!;
    expect([...found.scales].map(float)).toEqual([1, 0, 2, 0, 3, 0, 4, 0]);
  });
});

test.each(['int8', 'int4'] as const)('%s is at most half a step away', (quantization) => {
  const number = fc.float({ min: -4, max: 4, noNaN: true });
  fc.assert(
    fc.property(fc.array(number, { minLength: 256, maxLength: 256 }), (row) => {
      const given = words(row);
      const { numbers, scales } = quantizeRows(given, 128, quantization)!;
      const q = quantization === 'int8' ? signed(numbers) : nibbles(numbers);
      for (const [i, word] of given.entries()) {
        const group = i < 128 ? 0 : 1;
        const [scale, zero] = quantization === 'int8' ? [scales[group]!] : [...scales.slice(2 * group)];
        const step = float(scale!);
        const value = quantization === 'int8' ? q[i]! * step : (q[i]! - 8) * step + float(zero!);
        // Scales are rounded, too, to eight bits: that of a group's range shows at its ends.
        const edge = (quantization === 'int8' ? 128 : 16) * step * 2 ** -8;
        const rounding = quantization === 'int8' ? 0 : 2 ** -8 * 4;
        expect(Math.abs(value - float(word))).toBeLessThanOrEqual(0.5 * step + edge + rounding);
      }
    }),
    { numRuns: 50 },
  );
});

describe('what is not finite', () => {
  test.each([Number.NaN, Infinity, -Infinity])('%d is refused', (value) => {
    for (const quantization of ['int8', 'int4'] as const)
      expect(quantizeRows(words(repeat([1, 2, value], 128)), 128, quantization)).toBeNull();
  });

  it('is not made by a range beyond the numbers', () => {
    expect(quantizeRows(words(repeat([3e38, -3e38], 128)), 128, 'int4')).toBeNull();
  });
});

describe('a file', () => {
  const write = async (rows: number, columns: number, quantization: 'int8' | 'int4') => {
    const given = Uint16Array.from({ length: rows * columns }, (_, i) =>
      bfloat16(Math.sin(i) * (1 + (i % 7))),
    );
    const source = join(folder, 'source');
    await writeFile(source, new Uint8Array(given.buffer));
    const target = join(folder, 'target');
    await writeFile(target, Buffer.alloc(64, 7));
    const numbers = quantization === 'int8' ? rows * columns : (rows * columns) / 2;
    const file = await open(target, 'r+');
    const seen: number[] = [];
    const matrix = { name: 'm', shape: [rows, columns], origin: source } as const;
    const place = { weight: 64, scale: 64 + numbers };
    const written = await quantizeFile(source, matrix, quantization, file, place, (bytes) =>
      seen.push(bytes),
    );
    await file.close();
    return { given, bytes: await readFile(target), seen, written };
  };

  // Rows that go at once, in several pieces with a rest, and a row that is larger than a piece.
  test.each([
    [3, 128],
    [1500, 256],
    [2, 262_144],
  ])('of %d rows of %d numbers is what its rows are', async (rows, columns) => {
    for (const quantization of ['int8', 'int4'] as const) {
      const { given, bytes, seen, written } = await write(rows, columns, quantization);
      const { numbers, scales } = quantizeRows(given, columns, quantization)!;
      const made = Buffer.concat([Buffer.alloc(64, 7), numbers, new Uint8Array(scales.buffer)]);
      expect(bytes.equals(made)).toBe(true);
      expect(written).toBe(made.length - 64);
      expect(seen.at(-1)).toBe(written);
      expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    }
  });

  it('that holds a NaN is refused with the tensor and where it came from', async () => {
    const source = join(folder, 'nan');
    await writeFile(source, new Uint8Array(words(repeat([1, Number.NaN], 128)).buffer));
    const file = await open(join(folder, 'target'), 'r+');
    const origin = join(folder, 'first_stage.pt');
    await expect(
      quantizeFile(
        source,
        { name: 'm', shape: [1, 128], origin },
        'int8',
        file,
        { weight: 0, scale: 128 },
        () => {},
      ),
    ).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      message: expect.stringMatching(/^first_stage\.pt: tensor m holds numbers that are not finite/),
      details: { file: origin, tensor: 'm' },
    });
    await file.close();
  });
});

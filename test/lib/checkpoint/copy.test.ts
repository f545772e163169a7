import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import type { CopyPiece } from '../../../dist/native/contract.js';
import { loadDoor } from '../../../dist/runtime/load.js';

const folder = mkdtempSync(join(tmpdir(), 'metavoice-copy-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const source = join(folder, 'source');
const destination = join(folder, 'destination');

function start(
  numbers: NodeJS.ArrayBufferView,
  piece: Partial<CopyPiece>,
  onProgress?: (bytes: number) => void,
) {
  writeFileSync(source, numbers);
  writeFileSync(destination, '');
  const whole: CopyPiece = {
    name: 'x',
    source,
    sourceOffset: 0,
    sourceDtype: 'float32',
    destinationOffset: 0,
    destinationDtype: 'float32',
    shape: [numbers.byteLength / 4],
    strides: null,
  };
  return loadDoor().copyTensors({ destination, pieces: [{ ...whole, ...piece }] }, onProgress);
}

async function copied(numbers: NodeJS.ArrayBufferView, piece: Partial<CopyPiece>): Promise<ArrayBuffer> {
  await start(numbers, piece).done;
  const bytes = readFileSync(destination);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
}

const floats = (length: number): Float32Array =>
  Float32Array.from({ length }, (_, index) => Math.sin(index) * 3);

describe('a copy is refused', () => {
  test('for a job that is not one', () => {
    for (const job of [null, {}, { destination }, { destination, pieces: [{}] }])
      expect(() => loadDoor().copyTensors(job as never)).toThrow(TypeError);
    expect(() => start(floats(1), { shape: [-1] })).toThrow(/non-negative integer for `shape`/);
    expect(() => start(floats(1), { sourceDtype: 'int8' as never })).toThrow(/`sourceDtype`/);
  });

  test('when the source ends early, is absent, or does not match its checksum', async () => {
    await expect(start(floats(4), { shape: [5] }).done).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      details: { tensor: 'x', expected: '20 bytes', found: '16 bytes' },
    });
    const absent = join(folder, 'absent');
    await expect(start(floats(4), { source: absent }).done).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(start(floats(4), { crc32: 1 }).done).rejects.toMatchObject({ code: 'ERR_CHECKPOINT' });
  });

  test('when a number leaves the range of its target', async () => {
    const half = { destinationDtype: 'float16' } as const;
    for (const value of [65_505, -1e9, Number.POSITIVE_INFINITY])
      await expect(start(Float32Array.of(1, value), half).done).rejects.toMatchObject({
        code: 'ERR_CHECKPOINT',
      });
    const wide: Partial<CopyPiece> = { sourceDtype: 'float64', shape: [1] };
    await expect(start(Float64Array.of(1e300), wide).done).rejects.toMatchObject({ code: 'ERR_CHECKPOINT' });
    const brain = { destinationDtype: 'bfloat16' } as const;
    await expect(start(Float32Array.of(3.4e38), brain).done).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
    });
    await start(Float32Array.of(65_504, -65_504), half).done;
    await start(Float32Array.of(3.38e38), brain).done;
  });

  test('when it is cancelled, also twice', async () => {
    const running = start(floats(4_000_000), {});
    running.cancel();
    running.cancel();
    await expect(running.done).rejects.toMatchObject({ code: 'ABORT_ERR' });
    running.cancel();
  });
});

describe('a copy', () => {
  test('keeps the bytes of equal types, checked by their checksum, and tells how far it is', async () => {
    const numbers = floats(3_000_001);
    const told: number[] = [];
    await start(numbers, { crc32: crc32(Buffer.from(numbers.buffer)) }, (bytes) => told.push(bytes)).done;
    expect(readFileSync(destination).equals(Buffer.from(numbers.buffer))).toBe(true);
    expect(told.at(-1)).toBe(numbers.byteLength);
  });

  test('gathers transposed, permuted and expanded tensors, larger than its buffers', async () => {
    const numbers = floats(700 * 5000);
    const transposed = new Float32Array(await copied(numbers, { shape: [5000, 700], strides: [1, 5000] }));
    const permuted = new Float32Array(
      await copied(numbers, { shape: [1000, 50, 70], strides: [1, 70_000, 1000] }),
    );
    const expanded = new Float32Array(await copied(numbers, { shape: [3, 1_000_000], strides: [0, 1] }));
    let wrong = 0;
    for (let i = 0; i < 5000; i++)
      for (let j = 0; j < 700; j++) if (transposed[i * 700 + j] !== numbers[j * 5000 + i]) wrong++;
    for (let i = 0; i < permuted.length; i++) {
      const [a, b, c] = [Math.floor(i / 3500), Math.floor(i / 70) % 50, i % 70];
      if (permuted[i] !== numbers[a + b * 70_000 + c * 1000]) wrong++;
    }
    for (let i = 0; i < expanded.length; i++) if (expanded[i] !== numbers[i % 1_000_000]) wrong++;
    expect([wrong, transposed.length, permuted.length, expanded.length]).toEqual([0, 3.5e6, 3.5e6, 3e6]);
  });

  test('goes through every 16-bit number and back; a NaN stays one', async () => {
    const all = Uint16Array.from({ length: 65_536 }, (_, index) => index);
    for (const dtype of ['float16', 'bfloat16'] as const) {
      const wide = new Float32Array(await copied(all, { sourceDtype: dtype, shape: [65_536] }));
      const finite = wide.map((value) => (Math.abs(value) === Number.POSITIVE_INFINITY ? 0 : value));
      const back = new Uint16Array(await copied(finite, { destinationDtype: dtype }));
      const largest = dtype === 'float16' ? 0x7c00 : 0x7f80;
      const wrong = all.filter((bits) => {
        const value = wide[bits]!;
        if (Number.isNaN(value)) return (back[bits]! & 0x7fff) <= largest;
        return Number.isFinite(value) && back[bits] !== bits;
      });
      expect([...wrong]).toEqual([]);
    }
  });

  test('rounds to the nearest, ties to even, also from float64 in one step', async () => {
    const cast = async (values: number[], destinationDtype: 'float16' | 'bfloat16') => [
      ...new Uint16Array(
        await copied(Float64Array.from(values), {
          sourceDtype: 'float64',
          shape: [values.length],
          destinationDtype,
        }),
      ),
    ];
    const ulp = 2 ** -10;
    expect(
      await cast([1 + ulp / 2, 1 + 1.5 * ulp, 1 + ulp / 2 + 2 ** -40, 2 ** -25, 1.5 * 2 ** -24], 'float16'),
    ).toEqual([0x3c00, 0x3c02, 0x3c01, 0, 2]);
    expect(await cast([1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -40, -0], 'bfloat16')).toEqual([
      0x3f80, 0x3f82, 0x3f81, 0x8000,
    ]);
  });

  test('ends with its thread when its worker is terminated', async () => {
    const zeros = join(folder, 'zeros');
    writeFileSync(zeros, Buffer.alloc(32 << 20));
    const code = `
      const { parentPort, workerData } = require('node:worker_threads');
      import(workerData.load).then(({ loadDoor }) => {
        const piece = { name: 'x', source: workerData.zeros, sourceOffset: 0, sourceDtype: 'float32', destinationOffset: 0,
          destinationDtype: 'bfloat16', shape: [8 << 20], strides: null };
        const job = { destination: workerData.zeros + '-copy', pieces: Array(20).fill(piece) };
        require('node:fs').writeFileSync(job.destination, '');
        loadDoor().copyTensors(job, () => {});
        parentPort.postMessage('started');
      });`;
    for (let round = 0; round < 3; round++) {
      const load = new URL('../../../dist/runtime/load.js', import.meta.url).href;
      const worker = new Worker(code, { eval: true, workerData: { load, zeros } });
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
      await worker.terminate();
    }
  });
});

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it, test } from 'vitest';
import { bundledModel } from '../../../dist/bundled.js';
import { convertModel } from '../../../dist/checkpoint/convert.js';
import { readManifest } from '../../../dist/checkpoint/manifest.js';
import { checkModelFolder } from '../../../dist/checkpoint/model-folder.js';
import { openModel } from '../../../dist/checkpoint/open.js';
import { PickleTensor } from '../../../dist/checkpoint/pickle-values.js';
import { quantizeRows } from '../../../dist/checkpoint/quantize.js';
import { readSafetensors } from '../../../dist/checkpoint/safetensors.js';
import { writeSparseModel } from '../sparse-model.js';
import { asBfloat16, contents, expectSame, makeFolder, model, published } from './model-files.js';
import type { Checkpoint } from './torch-save.js';

const folder = mkdtempSync(join(tmpdir(), 'metavoice-quantized-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let count = 0;
const fresh = (name: string): string => join(folder, `${name}-${count++}`);
const file = 'first_stage.safetensors';
const firstOf = (target: string) => contents(join(target, file));
const kinds = ['int8', 'int4'] as const;

/** Matrices of the layers, by the names of a whole first stage. */
const matrix = /^layers\.\d+\.(attention|feed_forward)\.\w+\.weight$/;

async function convert(source: string, options: Partial<Parameters<typeof convertModel>[2]> = {}) {
  const target = fresh('model');
  return { target, manifest: await convertModel(source, target, { dtype: 'float32', ...options }) };
}

describe.each(kinds)('a model that is converted to %s', (quantization) => {
  it('has its matrices quantised, row by row, and all else as without', async () => {
    const source = await makeFolder(fresh('source'), published);
    const whole = await firstOf((await convert(source)).target);
    const { target, manifest } = await convert(source, { quantization });
    expect(manifest.firstStage!.quantization).toBe(quantization);
    expect(manifest.secondStage).not.toHaveProperty('quantization');
    expect((await readdir(target)).sort()).toEqual([
      'codec.safetensors',
      file,
      'metavoice.json',
      'second_stage.safetensors',
      'speaker_encoder.safetensors',
    ]);
    const { tensors } = await readSafetensors(join(target, file));
    const found = await firstOf(target);
    let quantized = 0;
    const { width, feedForward } = manifest.firstStage!;
    for (const [name, bytes] of whole) {
      const columns = name.includes('down') ? feedForward : width;
      // In int4 rows of 64 numbers are no whole groups.
      if (!matrix.test(name) || (quantization === 'int4' && columns % 128 !== 0)) {
        expect(found.get(name)!.equals(bytes), name).toBe(true);
        continue;
      }
      quantized++;
      const words = new Uint16Array(Uint8Array.from(asBfloat16(bytes)).buffer);
      const { numbers, scales } = quantizeRows(words, columns, quantization)!;
      const scale = name.replace('.weight', '.scale');
      expect(found.get(name)!.equals(numbers), name).toBe(true);
      expect(found.get(scale)!.equals(new Uint8Array(scales.buffer)), scale).toBe(true);
      const rows = words.length / columns;
      expect(tensors.get(name)).toMatchObject(
        quantization === 'int8'
          ? { dtype: 'int8', shape: [rows, columns] }
          : { dtype: 'uint8', shape: [rows, columns / 2] },
      );
      expect(tensors.get(scale)).toMatchObject({
        dtype: 'bfloat16',
        shape: quantization === 'int8' ? [rows] : [rows, columns / 128, 2],
      });
    }
    expect(quantized).toBe(quantization === 'int8' ? 10 : 2);
    expect(found.size).toBe(whole.size + quantized);
  });

  it('is the same from a model folder as from the files that it was made of', async () => {
    const source = await makeFolder(fresh('source'), published);
    const wanted = await firstOf((await convert(source, { quantization })).target);
    const { target } = await convert(source);
    expectSame(await firstOf((await convert(target, { quantization })).target), wanted);
  });

  it('brings along what the folder of the bundled voice says', async () => {
    const before = await readManifest(bundledModel());
    const { target, manifest } = await convert(bundledModel(), { dtype: 'float16', quantization });
    expect(manifest.speakers).toEqual(before.speakers);
    expect(manifest.sampling).toEqual(before.sampling);
    expect(manifest.codec).toEqual({ ...before.codec, bytes: expect.any(Number) });
    expect(manifest.firstStage!.bytes).toBeLessThan(
      before.firstStage!.bytes * (quantization === 'int8' ? 0.6 : 0.4),
    );
    expect(manifest.provenance.digest).not.toBe(before.provenance.digest);
    for (const name of ['codec.safetensors', 'second_stage.safetensors'])
      expectSame(await contents(join(target, name)), await contents(join(bundledModel(), name)));
  });

  it('takes matrices that lie otherwise in the file, keeps layers, and tells how far it is', async () => {
    const turned = (checkpoint: Checkpoint) => {
      const name = '_orig_mod.transformer.h.1.attn.c_proj.weight';
      const { storage } = model(checkpoint).get(name) as PickleTensor;
      model(checkpoint).set(name, new PickleTensor(storage, 0, [64, 64], [1, 64]));
    };
    const source = await makeFolder(fresh('source'), ['first_stage.pt'], { 'first_stage.pt': turned });
    const whole = await firstOf((await convert(source, { keepLayers: '1' })).target);
    const seen: { bytes: number; totalBytes: number }[] = [];
    const { target, manifest } = await convert(source, {
      keepLayers: '1',
      quantization,
      onProgress: (progress) => seen.push(progress),
    });
    expect(manifest.firstStage).toMatchObject({ layers: 1, quantization });
    const found = await firstOf(target);
    const columns = quantization === 'int8' ? 64 : 256;
    const name = `layers.0.${quantization === 'int8' ? 'attention.out' : 'feed_forward.down'}.weight`;
    const words = new Uint16Array(Uint8Array.from(asBfloat16(whole.get(name)!)).buffer);
    expect(found.get(name)!.equals(quantizeRows(words, columns, quantization)!.numbers)).toBe(true);
    const bytes = seen.map((progress) => progress.bytes);
    expect(bytes).toEqual(bytes.toSorted((a, b) => a - b));
    expect(bytes.at(-1)).toBe(seen[0]!.totalBytes);
  });

  it('is refused where a matrix holds a NaN, and leaves nothing', async () => {
    const broken = (checkpoint: Checkpoint) => {
      const tensor = model(checkpoint).get('_orig_mod.transformer.h.1.mlp.c_proj.weight') as PickleTensor;
      const { buffer, byteOffset } = checkpoint.storages[tensor.storage.key]!;
      new DataView(buffer, byteOffset).setFloat32(4 * 300, Number.NaN, true);
    };
    const source = await makeFolder(fresh('source'), ['first_stage.pt'], { 'first_stage.pt': broken });
    const target = fresh('broken');
    await expect(convertModel(source, target, { dtype: 'float32', quantization })).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      message: expect.stringMatching(
        /layers\.1\.feed_forward\.down\.weight holds numbers that are not finite/,
      ),
      details: { file: join(source, 'first_stage.pt'), tensor: 'layers.1.feed_forward.down.weight' },
    });
    expect((await readdir(folder)).filter((name) => name.startsWith('broken'))).toEqual([]);
  });

  it('stops when it is aborted, and leaves nothing', async () => {
    const source = await makeFolder(fresh('source'), ['first_stage.pt']);
    const control = new AbortController();
    const reason = new Error('enough');
    const converting = convertModel(source, fresh('aborted'), {
      dtype: 'float32',
      quantization,
      signal: control.signal,
      // The matrices come last.
      onProgress: ({ bytes, totalBytes }) => bytes > totalBytes - 40_000 && control.abort(reason),
    });
    await expect(converting).rejects.toBe(reason);
    expect((await readdir(folder)).filter((name) => name.startsWith('aborted'))).toEqual([]);
  });

  it('is refused as a source of another conversion', async () => {
    const { target } = await convert(await makeFolder(fresh('source'), published), { quantization });
    for (const other of kinds)
      await expect(
        convertModel(target, fresh('x'), { dtype: 'float32', quantization: other }),
      ).rejects.toMatchObject({
        code: 'ERR_UNSUPPORTED',
        message: expect.stringMatching(/whole .* but its first stage is stored in int/),
        details: { model: target, expected: 'none', found: quantization },
      });
  });

  it('is checked when it is opened: names, shapes and types', async () => {
    const { target } = await convert(await makeFolder(fresh('source'), published), { quantization });
    const path = join(target, 'metavoice.json');
    const text = await readFile(path, 'utf8');
    const other = quantization === 'int8' ? 'int4' : 'int8';
    await writeFile(path, text.replace(`"quantization": "${quantization}"`, `"quantization": "${other}"`));
    await expect(checkModelFolder(target)).rejects.toMatchObject({ code: 'ERR_CHECKPOINT' });
    await writeFile(path, text.replace(/,\s*"quantization": "\w+"/, ''));
    await expect(checkModelFolder(target)).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT',
      message: expect.stringContaining('.scale'),
    });
    await writeFile(path, text.replace(`"quantization": "${quantization}"`, '"quantization": "int2"'));
    await expect(checkModelFolder(target)).rejects.toMatchObject({
      details: { field: 'firstStage.quantization' },
    });
    const manifest = JSON.parse(text);
    manifest.secondStage.quantization = quantization;
    await writeFile(path, JSON.stringify(manifest));
    await expect(checkModelFolder(target)).rejects.toMatchObject({
      details: { field: 'secondStage.quantization' },
    });
    await writeFile(path, text);
    expect((await checkModelFolder(target)).firstStage!.quantization).toBe(quantization);
  });
});

test('matrices of other types than the manifest says are refused', async () => {
  const { target } = await convert(await makeFolder(fresh('source'), published), { quantization: 'int8' });
  const path = join(target, file);
  const bytes = await readFile(path);
  const at = bytes.indexOf('"I8"');
  bytes.write('"U8"', at);
  await writeFile(path, bytes);
  await expect(checkModelFolder(target)).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT',
    message: expect.stringMatching(/holds uint8 but the manifest says int8/),
  });
});

describe('quantization', () => {
  test.each<[unknown, typeof TypeError]>([
    ['int2', RangeError],
    [8, TypeError],
    [null, TypeError],
  ])('%j is refused', async (quantization, type) => {
    await expect(
      convertModel('x', 'y', { dtype: 'float32', quantization: quantization as never }),
    ).rejects.toThrow(type);
  });

  it('needs a first stage', async () => {
    const source = await makeFolder(fresh('source'), ['speaker_encoder.pt']);
    await expect(
      convertModel(source, fresh('x'), { dtype: 'float32', quantization: 'int8' }),
    ).rejects.toMatchObject({ code: 'ERR_MODEL_NOT_FOUND', message: expect.stringMatching(/first stage/) });
  });

  it("of 'none' converts no model folder", async () => {
    const { target } = await convert(await makeFolder(fresh('source'), published));
    for (const options of [{ quantization: 'none' }, { quantization: 'int8', keepLayers: '0' }] as const)
      await expect(convertModel(target, fresh('x'), { dtype: 'float32', ...options })).rejects.toMatchObject({
        code: 'ERR_MODEL_NOT_FOUND',
        message: expect.stringMatching(/model folder already/),
      });
  });

  it('keys the cache of published files', async () => {
    const source = await makeFolder(fresh('source'), published);
    const cacheDirectory = fresh('cache');
    const opened = (quantization?: 'none' | 'int8' | 'int4') =>
      openModel(source, { dtype: 'float32', cacheDirectory, quantization });
    const [plain, none, int8, int4] = [
      await opened(),
      await opened('none'),
      await opened('int8'),
      await opened('int4'),
    ];
    expect(none.folder).toBe(plain!.folder);
    expect(new Set([plain, int8, int4].map((each) => each!.folder)).size).toBe(3);
    expect(int8!.manifest.firstStage!.quantization).toBe('int8');
    let calls = 0;
    const again = await openModel(source, {
      dtype: 'float32',
      cacheDirectory,
      quantization: 'int8',
      onProgress: () => calls++,
    });
    expect(again.folder).toBe(int8!.folder);
    expect(calls).toBe(0);
    // Without a first stage there is nothing to quantise.
    const small = await makeFolder(fresh('small'), ['speaker_encoder.pt']);
    const without = await openModel(small, { dtype: 'float32', cacheDirectory, quantization: 'int8' });
    expect(without.manifest.firstStage).toBeNull();
  });
});

test('memory does not grow with the model', { timeout: 120_000 }, async () => {
  const most = async (layers: number): Promise<number> => {
    const source = fresh('sparse');
    await writeSparseModel(source, 'bfloat16', layers);
    const module = new URL('../../../dist/checkpoint/convert.js', import.meta.url).href;
    const script = `
      import { convertModel } from ${JSON.stringify(module)};
      await convertModel(${JSON.stringify(source)}, ${JSON.stringify(fresh('model'))}, { dtype: 'bfloat16', quantization: 'int4' });
      console.log(process.resourceUsage().maxRSS);`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    return Number(stdout) * 1024;
  };
  const [small, large] = [await most(1), await most(4)];
  // Three layers more are 308 MB.
  expect(large - small).toBeLessThan(40e6);
});

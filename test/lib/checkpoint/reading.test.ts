import { mkdtemp, readdir, readFile, readlink, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MemoryReader, readingFile } from '../../../dist/checkpoint/byte-reader.js';
import { convertModel, planFolder, planFolderSync } from '../../../dist/checkpoint/convert.js';
import { checkModelFolder, checkModelFolderSync } from '../../../dist/checkpoint/model-folder.js';
import { all, ask, pause, type Reading, readAsync, readSync } from '../../../dist/checkpoint/reading.js';
import { readingSafetensors } from '../../../dist/checkpoint/safetensors.js';
import { TorchFile } from '../../../dist/checkpoint/torch-file.js';
import { huggingFace, legacy, makeFolder, published } from './model-files.js';
import { fixture, pickle, raw, start, torchZip } from './torch-save.js';

let folder: string;
let count = 0;
beforeAll(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'metavoice-reading-')));
});
afterAll(() => rm(folder, { recursive: true, force: true }));
const fresh = () => join(folder, String(count++));

/** What came of a reading: its value, or the whole of its error. */
type Outcome = { value: unknown } | { error: unknown };

const failure = (error: unknown): Outcome => {
  const { name, message, code, details, cause } = error as Record<string, unknown>;
  return { error: { name, message, code, details, cause: String(cause) } };
};

const later = (running: Promise<unknown>): Promise<Outcome> => running.then((value) => ({ value }), failure);

function atOnce(run: () => unknown): Outcome {
  try {
    return { value: run() };
  } catch (error) {
    return failure(error);
  }
}

/** Both drivers, and a reader over memory, must agree; what they agree on. */
async function agreed(bytes: Uint8Array, use: typeof TorchFile.reading | typeof readingSafetensors) {
  const path = fresh();
  await writeFile(path, bytes);
  const reading = () => readingFile<unknown>(path, use);
  const outcome = await later(readAsync(reading()));
  expect(atOnce(() => readSync(reading()))).toEqual(outcome);
  const memory = readingOver(new MemoryReader(path, bytes), use);
  expect(atOnce(() => withoutTime(readSync(memory)))).toEqual(
    'value' in outcome ? { value: withoutTime(outcome.value) } : outcome,
  );
  return outcome;
}

const readingOver = (reader: MemoryReader, use: (reader: MemoryReader) => Reading<unknown>) => use(reader);

/** Bytes in memory have no time of writing. */
const withoutTime = (value: unknown): unknown =>
  value instanceof TorchFile
    ? { path: value.path, size: value.size, value: value.value }
    : { ...(value as object), modified: 0 };

/** Paths below the folder that this process holds open, where the system lists them. */
async function stillOpen(): Promise<string[]> {
  const handles = await readdir('/proc/self/fd').catch(() => []);
  const paths = await Promise.all(handles.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
  return paths.filter((path) => path.startsWith(folder));
}

describe('both drivers and a reader over memory', () => {
  test.each([...published, 'mbd_comp_8.pt'])('read %s alike, whole or damaged', async (name) => {
    const whole = await readFile(fixture(name));
    expect(await agreed(whole, TorchFile.reading)).toHaveProperty('value');
    const places = [0, 1, 4, 26, 80, 900, 5000, whole.length - 1, whole.length - 20, whole.length - 1200];
    for (const place of places) {
      const flipped = Buffer.from(whole);
      flipped[place] = flipped[place]! ^ 0x55;
      await agreed(flipped, TorchFile.reading);
      expect(await agreed(whole.subarray(0, place), TorchFile.reading)).toHaveProperty('error');
    }
    expect(await stillOpen()).toEqual([]);
  });

  test('read the old container alike, whole or damaged', async () => {
    const whole = await legacy('speaker_encoder.pt');
    expect(await agreed(whole, TorchFile.reading)).toHaveProperty('value');
    for (const place of [2, 13, 20, 60, 700, 1500, whole.length - 1]) {
      const flipped = Buffer.from(whole);
      flipped[place] = flipped[place]! ^ 0x55;
      await agreed(flipped, TorchFile.reading);
      expect(await agreed(whole.subarray(0, place), TorchFile.reading)).toHaveProperty('error');
    }
  });

  test('read safetensors alike, whole or damaged', async () => {
    const whole = await huggingFace(false);
    expect(await agreed(whole, readingSafetensors)).toHaveProperty('value');
    for (const place of [0, 3, 8, 40, 400, whole.length - 1]) {
      const flipped = Buffer.from(whole);
      flipped[place] = flipped[place]! ^ 0x55;
      await agreed(flipped, readingSafetensors);
      expect(await agreed(whole.subarray(0, place), readingSafetensors)).toHaveProperty('error');
    }
    expect(await stillOpen()).toEqual([]);
  });

  test('agree on a pickle of several slices', async () => {
    const many = raw(start, '](', 'N'.repeat(50_000), 'e.');
    expect(await agreed(torchZip(many), TorchFile.reading)).toHaveProperty('value');
    expect(await agreed(torchZip(pickle(new Map())), TorchFile.reading)).toHaveProperty('value');
  });
});

describe('folders', () => {
  test('are planned alike at once and later, and refused alike', async () => {
    const sound = await makeFolder(fresh(), published);
    const plan = await planFolder(sound, 'float16', '0');
    expect(planFolderSync(sound, 'float16', '0')).toEqual(plan);
    expect(plan.firstStage!.manifest.layers).toBe(1);

    const damaged = await makeFolder(fresh(), published);
    for (const name of ['second_stage.pt', 'speaker_encoder.pt', 'encodec_24khz.th'])
      await writeFile(join(damaged, name), 'nothing');
    for (const [place, dtype, layers] of [
      [damaged, 'float32', undefined],
      [sound, 'float32', '0-99'],
      [join(folder, 'none'), 'float32', undefined],
      [join(sound, 'first_stage.pt'), 'float32', undefined],
      [await makeFolder(fresh(), []), 'float32', undefined],
      [await makeFolder(fresh(), ['second_stage.pt']), 'float32', '0'],
    ] as const) {
      const outcome = await later(planFolder(place, dtype, layers));
      expect(outcome).toHaveProperty('error');
      expect(atOnce(() => planFolderSync(place, dtype, layers))).toEqual(outcome);
    }
    expect(await stillOpen()).toEqual([]);
  });

  test('of ours are checked alike at once and later, and refused alike', async () => {
    const model = fresh();
    const manifest = await convertModel(await makeFolder(fresh(), published), model, { dtype: 'float32' });
    expect(checkModelFolderSync(model)).toEqual(manifest);
    for (const damage of [
      () => writeFile(join(model, 'second_stage.safetensors'), 'short'),
      () => rm(join(model, 'second_stage.safetensors')),
      () => writeFile(join(model, 'metavoice.json'), '{'),
      () => rm(join(model, 'metavoice.json')),
    ]) {
      await damage();
      const outcome = await later(checkModelFolder(model));
      expect(outcome).toHaveProperty('error');
      expect(atOnce(() => checkModelFolderSync(model))).toEqual(outcome);
    }
    expect(await stillOpen()).toEqual([]);
  });
});

describe('a reading', () => {
  // biome-ignore lint/correctness/useYield: it fails before it wants anything.
  function* failing(message: string): Reading<never> {
    throw new Error(message);
  }
  function* waiting<T>(turns: number, then: () => Reading<T>): Reading<T> {
    for (let turn = 0; turn < turns; turn++) yield* ask(pause);
    return yield* then();
  }

  test('closes its file when it fails, and keeps the failure', async () => {
    const path = fresh();
    await writeFile(path, 'text');
    const reading = () => readingFile(path, () => waiting(1, () => failing('on purpose')));
    await expect(readAsync(reading())).rejects.toThrow('on purpose');
    expect(() => readSync(reading())).toThrow('on purpose');
    expect(await stillOpen()).toEqual([]);
  });

  test('of a folder or of nothing fails as the file system does', async () => {
    for (const path of [folder, join(folder, 'none')]) {
      const outcome = await later(TorchFile.read(path));
      expect(atOnce(() => readSync(readingFile(path, TorchFile.reading)))).toEqual(outcome);
      expect(outcome).toMatchObject({ error: { code: path === folder ? 'ERR_CHECKPOINT' : 'ENOENT' } });
    }
    expect(await stillOpen()).toEqual([]);
  });

  test('of several tells the first failure in their order, once all have settled', async () => {
    let settled = 0;
    const reading = () =>
      all([
        () => waiting(5, () => failing('the first')),
        () => failing('the second'),
        () =>
          waiting(20, function* () {
            settled++;
            yield* ask(pause);
          }),
      ]);
    await expect(readAsync(reading())).rejects.toThrow('the first');
    expect(settled).toBe(1);
    expect(() => readSync(reading())).toThrow('the first');
  });

  test('of several gives the answers in their order, at most 32 under way', async () => {
    let underWay = 0;
    let most = 0;
    const each = (index: number) =>
      function* (): Reading<number> {
        most = Math.max(most, ++underWay);
        yield* waiting(1 + (index % 3), function* () {
          yield* ask(pause);
        });
        underWay--;
        return index;
      };
    const order = Array.from({ length: 100 }, (_, index) => index);
    expect(await readAsync(all(order.map(each)))).toEqual(order);
    expect(most).toBe(32);
    expect(readSync(all(order.map(each)))).toEqual(order);
  });
});

import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { cardForms, cardTable } from '../../../dist/device/cards.js';
import { countStage, type MemoryRequest, memoryParts, totalOf } from '../../../dist/device/memory.js';
import { publishedSizes } from '../../../dist/device/model-sizes.js';
import { type PlannedDevice, planMemory } from '../../../dist/device/plan.js';

const request: MemoryRequest = {
  dtype: 'float16',
  quantization: 'none',
  decoder: 'encodec',
  batchSize: 1,
  maxSeconds: null,
};
const card = (available: number, name = 'a card'): PlannedDevice => ({
  id: 'cuda:0',
  name,
  computeCapability: '7.5',
  available,
});
const planFor = (device: PlannedDevice, changes: Partial<MemoryRequest> = {}) =>
  planMemory(publishedSizes, device, { ...request, ...changes }, { model: 'published sizes' });
const partsOf = (changes: Partial<MemoryRequest>, gpu = true) =>
  memoryParts(publishedSizes, { ...request, ...changes }, gpu);

describe('the published model', () => {
  it('has the parameters that are published', () => {
    const first = countStage(publishedSizes.firstStage!);
    const second = countStage(publishedSizes.secondStage!);
    expect(first.linears + first.tables + first.speaker + first.norms).toBe(1_243_191_296);
    expect(second.linears + second.tables + second.heads + second.speaker + second.norms).toBe(14_459_136);
  });

  it('takes the bytes of each quantisation to the byte', () => {
    // Tables in 16 bit, output layer, norms and speaker projection in float32.
    const others = 2 * (2562 + 2048) * 2048 + 4 * (2562 * 2048 + 49 * 2048 + 2048 * 256);
    const rows = 24 * (3 * 2048 + 2048 + 2 * 5632 + 2048);
    expect(others + countStage(publishedSizes.firstStage!).linears).toBe(1_275_494_400);
    expect(partsOf({ quantization: 'int8' }).firstStage).toBe(1_275_494_400 + 4 * rows);
    expect(partsOf({ quantization: 'int8' }, false).firstStage).toBe(1_275_494_400 + 2 * rows);
    for (const gpu of [true, false])
      expect(partsOf({ quantization: 'int4' }, gpu).firstStage).toBe(
        others + (countStage(publishedSizes.firstStage!).linears / 128) * (64 + 4),
      );
    // On a GPU scales and zeros of int4 are numbers of the dtype.
    const float32 = (gpu: boolean) => partsOf({ quantization: 'int4', dtype: 'float32' }, gpu).firstStage;
    expect(float32(true) - float32(false)).toBe((countStage(publishedSizes.firstStage!).linears / 128) * 4);
    // 16 bit, beside it the output layer in float32, and norms and speaker projection in float32 instead.
    expect(partsOf({ dtype: 'bfloat16' }).firstStage).toBe(
      2 * 1_243_191_296 + 4 * 2562 * 2048 + 2 * (49 * 2048 + 2048 * 256),
    );
    expect(partsOf({ dtype: 'float32' }).firstStage).toBe(4 * 1_243_191_296);
    expect(partsOf({ decoder: 'diffusion' }).diffusion).toBe(2 * 1_145_740_032);
  });

  it('keeps 393,216 bytes for each position and utterance at 16 bit, twice that in float32', () => {
    expect(partsOf({}).keyValueCache).toBe(393_216 * 2048);
    expect(partsOf({ batchSize: 7 }).keyValueCache).toBe(7 * 393_216 * 2048);
    expect(partsOf({ dtype: 'float32' }).keyValueCache).toBe(2 * 393_216 * 2048);
    // Ten seconds: 136 text ids at most, and 150 ids a second.
    expect(partsOf({ maxSeconds: 10 }).keyValueCache).toBe(393_216 * (136 + 1500));
    expect(partsOf({ maxSeconds: 1000 }).keyValueCache).toBe(393_216 * 2048);
  });

  it('keeps 202,752 bytes of them in int8: a byte a number, and two scales for each head of 128', () => {
    const position = 2 * 24 * 2 * (2048 + 16 * 4);
    expect(position).toBe(202_752);
    for (const dtype of ['float32', 'float16', 'bfloat16'] as const)
      expect(partsOf({ dtype, kvCache: 'int8', batchSize: 3 }).keyValueCache).toBe(3 * position * 2048);
    expect(partsOf({ dtype: 'float32', kvCache: '16bit' }).keyValueCache).toBe(393_216 * 2048);
    expect(partsOf({ dtype: 'bfloat16', kvCache: '16bit' }).keyValueCache).toBe(393_216 * 2048);
    // A step that overflows is computed over a copy in the model's own dtype.
    expect(partsOf({ kvCache: 'int8' }).redo).toBe(partsOf({}).redo);
  });

  it('plans for the redoing of what overflows: nothing in float32, one matrix in bfloat16, the cache in float16', () => {
    const matrix = 4 * 3 * 2048 * 2048;
    expect(partsOf({ dtype: 'float32' }).redo).toBe(0);
    expect(partsOf({ dtype: 'bfloat16' }).redo).toBe(matrix);
    expect(partsOf({ dtype: 'float16', batchSize: 4 }).redo).toBe(matrix + 393_216 * 2048);
  });

  it('holds one matrix as numbers for prompts where the weights are quantised, on a GPU, and upcasts none', () => {
    const working = (changes: Partial<MemoryRequest>, gpu = true) => partsOf(changes, gpu).working;
    const matrix = 3 * 2048 * 2048;
    for (const quantization of ['int8', 'int4'] as const) {
      expect(working({ quantization }) - working({})).toBe(8 * matrix);
      expect(working({ quantization, dtype: 'float32' }) - working({})).toBe(6 * matrix);
      expect(working({ quantization }, false)).toBe(working({}, false));
      expect(partsOf({ quantization, dtype: 'bfloat16' }).redo).toBe(0);
      expect(partsOf({ quantization }).redo).toBe(393_216 * 2048);
    }
  });

  it('leaves matrices whole in int4 whose rows are no whole groups, and counts 32 rows together on the CPU', () => {
    const firstStage = { ...publishedSizes.firstStage!, layers: 1, width: 96, feedForward: 256 };
    const bytes = (quantization: MemoryRequest['quantization'], gpu: boolean) =>
      memoryParts({ ...publishedSizes, firstStage }, { ...request, quantization }, gpu).firstStage;
    const down = 96 * 256;
    // Only what leads down has rows of 256.
    expect(bytes('none', true) - bytes('int4', true)).toBe(2 * down - down / 2 - 96 * 2 * 4);
    const odd = { ...firstStage, width: 80 };
    const int8 = (gpu: boolean) =>
      memoryParts({ ...publishedSizes, firstStage: odd }, { ...request, quantization: 'int8' }, gpu)
        .firstStage;
    // 240 rows are 256, 80 are 96, twice.
    expect(int8(false) - int8(true)).toBe(
      16 * 80 + 16 * 80 + 16 * 256 + 2 * (256 + 96 + 2 * 256 + 96) - 4 * (240 + 80 + 2 * 256 + 80),
    );
  });

  it('plans for a diffusion window that overflows, too: its largest matrix, of four bands at once on a GPU', () => {
    // The convolutions of the residual blocks at the deepest level: 3,072 × 3,072 × 3 numbers of four bytes.
    const matrix = 4 * 3072 * 3072 * 3;
    const more = (dtype: MemoryRequest['dtype'], gpu: boolean) =>
      partsOf({ dtype, decoder: 'diffusion' }, gpu).redo - partsOf({ dtype }, gpu).redo;
    expect(4 * matrix).toBe(452_984_832);
    expect(more('float16', true)).toBe(4 * matrix);
    expect(more('bfloat16', true)).toBe(4 * matrix);
    expect(more('bfloat16', false)).toBe(matrix);
    expect(more('float32', true)).toBe(0);
  });

  it('counts the sound that is computed at once: a window of diffusion, or a whole utterance', () => {
    // Each level has 12 numbers a sample: 48 / 4, 192 / 16, 768 / 64, 3072 / 256. Ten such tensors, of float32.
    const perSample = 10 * 12 * 4;
    // The codec's own decoder: 33 MB a second.
    const codec = (seconds: number) => 33e6 * seconds;
    const working = (changes: Partial<MemoryRequest>, gpu = true) =>
      Math.round(partsOf({ dtype: 'bfloat16', ...changes }, gpu).working - (gpu ? 250e6 : 110e6));
    const diffusing = (changes: Partial<MemoryRequest>, gpu = true) =>
      working({ ...changes, decoder: 'diffusion' }, gpu);
    const ofWindow = 4 * perSample * 1.4 * 24_000 + codec(1.4);
    expect(working({})).toBe(0);
    expect(diffusing({})).toBe(Math.round(ofWindow));
    expect(diffusing({ quality: 'stream', maxSeconds: 10 })).toBe(Math.round(ofWindow));
    expect(diffusing({ quality: 'whole', maxSeconds: 10 })).toBe(4 * perSample * 10 * 24_000 + codec(10));
    // The window of the first stage holds 1,024 frames of 320 samples.
    const whole = Math.round(4 * perSample * 1024 * 320 + codec(1024 / 75));
    expect(diffusing({ quality: 'whole' })).toBe(whole);
    expect(diffusing({ quality: 'whole', maxSeconds: 60 })).toBe(whole);
    expect(working({ quality: 'whole', maxSeconds: 10 })).toBe(codec(10));
    // On the CPU bands go one by one, and a matrix is copied, here of 16-bit numbers.
    const matrix = 3 * 3072 * 3072;
    expect(diffusing({ quality: 'whole', maxSeconds: 10 }, false)).toBe(
      perSample * 10 * 24_000 + codec(10) + 2 * matrix,
    );
    // In float32 such a plan is near what was measured: 114 MB for 0.25 s, 163 MB for 1.5 s, over the whole.
    for (const [seconds, measured] of [
      [0.25, 114e6],
      [1.5, 163e6],
    ] as const) {
      const planned = diffusing({ dtype: 'float32', quality: 'whole', maxSeconds: seconds }, false);
      expect(planned / measured).toBeGreaterThan(1);
      expect(planned / measured).toBeLessThan(1.15);
    }
  });

  it('takes bands of different forms one by one', () => {
    const diffusion = publishedSizes.diffusion!;
    const [first, ...others] = diffusion.bands;
    const sizes = {
      ...publishedSizes,
      diffusion: { ...diffusion, bands: [{ ...first!, channels: [48, 192, 768, 1536] }, ...others] },
    };
    const parts = memoryParts(sizes, { ...request, dtype: 'bfloat16', decoder: 'diffusion' }, true);
    expect(parts.redo - partsOf({ dtype: 'bfloat16' }).redo).toBe(4 * 3072 * 3072 * 3);
  });
});

describe('the table of cards', () => {
  const names = cardForms.map(({ quantization, decoder }) => `${quantization} ${decoder}`);
  const fitting = Object.fromEntries(
    cardTable(publishedSizes).map(({ card: { name }, dtype, forms }) => [
      name,
      [dtype, names.filter((_, index) => forms[index]!.batch > 0)],
    ]),
  );

  test.each([
    ['4 GB card', 'float16', ['int8 encodec', 'int4 encodec']],
    ['6 GB card', 'float16', ['none encodec', 'int8 encodec', 'int4 encodec', 'int4 diffusion']],
    ['8 GB card', 'bfloat16', names],
    ['12 GB card', 'bfloat16', names],
    ['T4 16 GB', 'float16', names],
    ['A10G 24 GB', 'bfloat16', names],
    ['A100 40 GB', 'bfloat16', names],
  ])('%s in %s', (name, dtype, forms) => {
    expect(fitting[name]).toEqual([dtype, forms]);
  });

  it('tells how many utterances fit at a time, and one more does not', () => {
    for (const { card: of, dtype, forms } of cardTable(publishedSizes))
      for (const [index, { batch }] of forms.entries()) {
        const fits = (batchSize: number) =>
          planFor(card(of.memory), { ...cardForms[index]!, dtype, batchSize }).fits;
        if (batch > 0) expect(fits(batch)).toBe(true);
        expect(fits(batch + 1)).toBe(false);
      }
  });
});

describe('advice', () => {
  it('says how much is to spare', () => {
    expect(planFor(card(15.8e9, 'Tesla T4'), { quantization: 'int8', decoder: 'diffusion' }).advice).toBe(
      'float16 with int8 weights and diffusion fits Tesla T4 with 9.1 GB to spare',
    );
  });

  it('says what would fit instead', () => {
    const { advice, alternatives } = planFor(card(4e9, 'GTX 1650'));
    expect(advice).toBe(
      'float16 needs 5.0 GB and GTX 1650 has 4.0 GB free; what would fit: int8 weights (3.9 GB), or int4 weights (3.3 GB), or maxSeconds 4 (3.9 GB)',
    );
    expect(alternatives.map(({ change }) => change)).toEqual([
      { quantization: 'int8' },
      { quantization: 'int4' },
      { maxSeconds: 4 },
    ]);
  });

  it('goes in windows where a whole utterance is too much', () => {
    const { total } = planFor(card(40e9), { decoder: 'diffusion' });
    const { advice, alternatives } = planFor(card(total), { decoder: 'diffusion', quality: 'whole' });
    expect(alternatives[0]!.change).toEqual({ quality: 'stream' });
    expect(advice).toMatch(
      /^float16 with diffusion of the whole needs .* what would fit: quality 'stream' \(/,
    );
  });

  it('takes an int8 key-value cache where that is what a batch needs', () => {
    const { total } = planFor(card(1e12), { batchSize: 64, quantization: 'int4', kvCache: 'int8' });
    const { advice, alternatives } = planFor(card(total), { batchSize: 64, quantization: 'int4' });
    expect(alternatives[0]).toEqual({ change: { kvCache: 'int8' }, total });
    expect(advice).toMatch(/^float16 with int4 weights and a batch of 64 needs .* fit: kvCache 'int8' \(/);
    expect(planFor(card(total), { batchSize: 64, quantization: 'int4', kvCache: 'int8' }).advice).toMatch(
      /^float16 with int4 weights and kvCache 'int8' and a batch of 64 fits /,
    );
  });

  it('prefers one change to several, and combines where one is not enough', () => {
    expect(planFor(card(6.5e9), { decoder: 'diffusion' }).alternatives[0]!.change).toEqual({
      decoder: 'encodec',
    });
    expect(planFor(card(3.5e9), { decoder: 'diffusion' }).alternatives[0]!.change).toEqual({
      decoder: 'encodec',
      quantization: 'int4',
    });
  });

  it('says that nothing fits where nothing does', () => {
    expect(planFor(card(1e9)).advice).toMatch(/has 1.0 GB free; no smaller form of it fits either$/);
  });

  it('names only what is allowed', () => {
    const { alternatives } = planMemory(publishedSizes, card(4e9), request, {
      model: 'm',
      allows: ({ quantization }) => quantization === 'none',
    });
    expect(alternatives.map(({ change }) => change)).toEqual([{ maxSeconds: 4 }]);
  });
});

const requests = fc.record<MemoryRequest>({
  dtype: fc.constantFrom('float32', 'float16', 'bfloat16'),
  quantization: fc.constantFrom('none', 'int8', 'int4'),
  kvCache: fc.constantFrom('auto', '16bit', 'int8'),
  decoder: fc.constantFrom('encodec', 'diffusion'),
  batchSize: fc.integer({ min: 1, max: 256 }),
  maxSeconds: fc.oneof(fc.constant(null), fc.double({ min: 0.1, max: 30, noNaN: true })),
  quality: fc.constantFrom('stream', 'whole'),
});
const memories = fc.integer({ min: 1e8, max: 2e11 });

describe('every plan', () => {
  it('is the sum of its parts, fits when it says so, and its alternatives fit', () => {
    fc.assert(
      fc.property(requests, memories, fc.boolean(), (wanted, available, gpu) => {
        const device = { ...card(available), computeCapability: gpu ? '8.6' : null };
        const found = planMemory(publishedSizes, device, wanted, { model: 'm' });
        expect(found.total).toBe(totalOf(found.parts));
        expect(Object.values(found.parts).every((bytes) => bytes >= 0 && Number.isFinite(bytes))).toBe(true);
        expect(found.fits).toBe(found.total <= available);
        expect(found.alternatives.length === 0 || !found.fits).toBe(true);
        for (const { change, total } of found.alternatives) {
          const other = planMemory(publishedSizes, device, { ...wanted, ...change }, { model: 'm' });
          expect([other.fits, other.total]).toEqual([true, total]);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('grows with the batch and the seconds, and shrinks with quantisation', () => {
    fc.assert(
      fc.property(requests, (wanted) => {
        const total = (changes: Partial<MemoryRequest>) => totalOf(partsOf({ ...wanted, ...changes }));
        expect(total({ batchSize: wanted.batchSize + 1 })).toBeGreaterThan(total({}));
        expect(total({ maxSeconds: 40 })).toBeGreaterThanOrEqual(total({}));
        expect(total({ quantization: 'int8' })).toBeLessThan(total({ quantization: 'none' }));
        expect(total({ quantization: 'int4' })).toBeLessThan(total({ quantization: 'int8' }));
      }),
    );
  });
});

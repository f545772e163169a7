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
    expect(partsOf({ quantization: 'int8' }).firstStage).toBe(1_259_021_316);
    expect(partsOf({ quantization: 'int4' }).firstStage).toBe(684_953_600);
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

  it('plans for the redoing of what overflows: nothing in float32, one matrix in bfloat16, the cache in float16', () => {
    const matrix = 4 * 3 * 2048 * 2048;
    expect(partsOf({ dtype: 'float32' }).redo).toBe(0);
    expect(partsOf({ dtype: 'bfloat16' }).redo).toBe(matrix);
    expect(partsOf({ dtype: 'float16', batchSize: 4 }).redo).toBe(matrix + 393_216 * 2048);
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
    [
      '6 GB card',
      'float16',
      ['none encodec', 'int8 encodec', 'int4 encodec', 'int8 diffusion', 'int4 diffusion'],
    ],
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
      'float16 with int8 weights and diffusion fits Tesla T4 with 9.6 GB to spare',
    );
  });

  it('says what would fit instead', () => {
    const { advice, alternatives } = planFor(card(4e9, 'GTX 1650'));
    expect(advice).toBe(
      'float16 needs 5.0 GB and GTX 1650 has 4.0 GB free; what would fit: int8 weights (3.8 GB), or int4 weights (3.2 GB), or maxSeconds 4 (3.9 GB)',
    );
    expect(alternatives.map(({ change }) => change)).toEqual([
      { quantization: 'int8' },
      { quantization: 'int4' },
      { maxSeconds: 4 },
    ]);
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
  decoder: fc.constantFrom('encodec', 'diffusion'),
  batchSize: fc.integer({ min: 1, max: 256 }),
  maxSeconds: fc.oneof(fc.constant(null), fc.double({ min: 0.1, max: 30, noNaN: true })),
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

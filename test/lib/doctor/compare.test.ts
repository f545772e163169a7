import { describe, expect, it, test } from 'vitest';
import {
  type CompareOptions,
  compare,
  type FoundTensor,
  isAsPublished,
  isSound,
} from '../../../dist/doctor/compare.js';
import { group, describe as inWords, shown } from '../../../dist/doctor/describe.js';
import { firstStage, speakerEncoder } from '../../../dist/doctor/published.js';
import { expand, type PublishedPart, publishedSizes } from '../../../dist/doctor/table.js';

/** The tensors of a part at some sizes. */
function tensorsOf({ table }: PublishedPart, sizes: Record<string, number> = {}): Map<string, FoundTensor> {
  const all = { ...publishedSizes(table), ...sizes };
  return new Map(
    [...expand(table, all)].map(([name, { shape, row }]) => [
      name,
      { shape, dtype: 'float32', identity: row.tied ?? name },
    ]),
  );
}

const hold = (tensors: Map<string, FoundTensor>, options?: CompareOptions) =>
  compare(firstStage, tensors, options);

describe('a comparison', () => {
  it('finds nothing where nothing differs', () => {
    const same = hold(tensorsOf(firstStage));
    expect(isAsPublished(same)).toBe(true);
    expect(same).toMatchObject({
      sizes: [],
      missing: [],
      unexpected: [],
      shapes: [],
      values: [],
      dtypes: {},
    });
  });

  it('finds sizes, and that everything follows from them', () => {
    const small = hold(tensorsOf(firstStage, { layers: 12, width: 1024 }));
    expect(isSound(small)).toBe(true);
    expect(isAsPublished(small)).toBe(false);
    expect(small.sizes).toEqual([
      { name: 'layers', expected: 24, found: 12 },
      { name: 'width', expected: 2048, found: 1024 },
    ]);
    expect(small.parameters.expected).toBe(1_243_191_296);
  });

  it('believes the many, not the tensor that a size is read from', () => {
    const tensors = tensorsOf(firstStage);
    tensors.set('transformer.wpe.weight', {
      shape: [2048, 2047],
      dtype: 'float32',
      identity: 'transformer.wpe.weight',
    });
    const odd = hold(tensors);
    expect(odd.sizes).toEqual([]);
    expect(odd.shapes).toEqual([
      { name: 'transformer.wpe.weight', expected: [2048, 2048], found: [2048, 2047] },
    ]);
  });

  it('a layer that is numbered past the others lacks the ones between', () => {
    const tensors = tensorsOf(firstStage);
    tensors.set('transformer.h.30.ln_1.weight', { shape: [2048], dtype: 'float32', identity: 'x' });
    const gap = hold(tensors);
    expect(gap.unexpected).toEqual(['transformer.h.30.ln_1.weight']);
    expect(gap.missing).toEqual([]);
  });

  it('counts numbers that are stored once, once, and finds a head of its own', () => {
    const tensors = tensorsOf(firstStage);
    expect(hold(tensors).parameters.found).toBe(1_243_191_296);
    tensors.set('lm_heads.0.weight', { ...tensors.get('lm_heads.0.weight')!, identity: 'its own' });
    const untied = hold(tensors);
    expect(untied.parameters.found).toBe(1_248_438_272);
    expect(untied.values).toMatchObject([{ name: 'lm_heads.0.weight', found: 'numbers of its own' }]);
  });

  it('finds numbers of another type, which a converted model may have', () => {
    const tensors = new Map(
      [...tensorsOf(firstStage)].map(([name, tensor]) => [name, { ...tensor, dtype: 'bfloat16' }]),
    );
    expect(hold(tensors).dtypes).toEqual({ bfloat16: 173 });
    tensors.delete('lm_heads.0.weight');
    expect(isAsPublished(hold(tensors, { converted: true }))).toBe(true);
  });

  it('sets single numbers aside only where they are known to be', () => {
    const scalar: FoundTensor = { shape: [1], dtype: 'float32', identity: 's' };
    const encoder = tensorsOf(speakerEncoder).set('similarity_weight', scalar);
    expect(compare(speakerEncoder, encoder)).toMatchObject({
      ignored: ['similarity_weight'],
      unexpected: [],
    });
    expect(hold(tensorsOf(firstStage).set('scale', scalar))).toMatchObject({
      ignored: [],
      unexpected: ['scale'],
    });
  });

  it('is not slow for a file that numbers its layers to the end', () => {
    const tensors = tensorsOf(firstStage);
    tensors.set('transformer.h.99999.ln_1.weight', { shape: [2048], dtype: 'float32', identity: 'x' });
    const started = performance.now();
    hold(tensors);
    expect(performance.now() - started).toBeLessThan(2000);
  });
});

describe('words', () => {
  test.each<[string[], string[]]>([
    [['a.weight'], ['a.weight']],
    [['h.3.a', 'h.1.a', 'h.2.a', 'h.7.a'], ['h.#.a (# = 1–3, 7)']],
    [['h.3.ln_1', 'h.3.ln_2'], ['h.3.ln_# (# = 1–2)']],
    [['h.3.ln_1', 'h.4.ln_2'], ['h.3.ln_1 and 1 like it']],
    [
      ['h.0.a', 'h.0.b', 'h.1.a'],
      ['h.#.a (# = 0–1)', 'h.0.b'],
    ],
  ])('%j → %j', (names, expected) => {
    expect(group(names)).toEqual(expected);
  });

  it('are few, however much differs', () => {
    const { status, found, details } = inWords('x.pt', hold(new Map()));
    expect(status).toBe('problem');
    expect(found).toMatch(/^x\.pt: 173 tensors expected, 0 found.*missing/);
    expect(details.length).toBeLessThan(12);
    const wild = new Map(
      Array.from({ length: 500 }, (_, n) => [
        `name${String.fromCharCode(97 + (n % 26))}${'x'.repeat(n)}`,
        { shape: [1, 2], dtype: 'float32', identity: `${n}` },
      ]),
    );
    expect(inWords('x.pt', hold(wild)).details.length).toBeLessThan(20);
  });

  test.each([
    ['text', 'text'],
    [[1, 2], '[1, 2]'],
    [null, 'null'],
    [true, 'true'],
    ['x'.repeat(500), `${'x'.repeat(120)}…`],
  ])('%j is shown as %s', (value, expected) => {
    expect(shown(value)).toBe(expected);
  });
});

/** Manifests that are JSON, with some of their values replaced, as fast-check values. */
import fc from 'fast-check';

const junk = fc.oneof(
  fc.constantFrom(
    null,
    true,
    0,
    -1,
    0.5,
    1,
    2,
    10_000,
    10_001,
    2 ** 31,
    2 ** 53,
    1e300,
    '',
    'a',
    'AAAAAA==',
    '../a.safetensors',
  ),
  fc.jsonValue({ maxDepth: 2 }),
  fc
    .constantFrom('{"constructor":{"name":{"toString":1}}}', '{"__proto__":1}', '[[[[]]]]')
    .map((text) => JSON.parse(text)),
);

/** Every place in a value: what holds it, and under which key. @param {any} value @returns {[any, string][]} */
const places = (value) =>
  typeof value !== 'object' || value === null
    ? []
    : Object.keys(value).flatMap((key) => [[value, key], ...places(value[key])]);

/** @param {readonly Buffer[]} corpus */
export const lyingManifests = (corpus) =>
  fc
    .tuple(
      fc.nat({ max: corpus.length - 1 }),
      fc.array(fc.tuple(fc.nat({ max: 0xffff }), fc.nat({ max: 3 }), junk), { minLength: 1, maxLength: 4 }),
    )
    .map(([index, edits]) => {
      const manifest = JSON.parse(String(corpus[index]));
      for (const [at, kind, value] of edits) {
        const all = places(manifest);
        const [holder, key] = /** @type {[any, string]} */ (all[at % all.length]);
        if (kind === 0) delete holder[key];
        else holder[kind === 1 ? `${key}x` : key] = value;
      }
      return Buffer.from(JSON.stringify(manifest));
    });

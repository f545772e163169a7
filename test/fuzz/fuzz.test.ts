/** A few thousand inputs for each reader; `node test/fuzz/run.mjs` takes as many as one likes. */

import { describe, expect, test } from 'vitest';
import { fuzz } from './fuzz.mjs';

describe.each([
  ['pickle', 3000],
  ['torch-zip', 3000],
  ['torch-legacy', 3000],
  ['safetensors', 3000],
  ['enhancer', 3000],
  ['manifest', 3000],
  ['sniff', 3000],
  ['wav', 3000],
  ['ogg', 3000],
  // A decoder takes a millisecond or more for each.
  ['flac', 300],
  ['mp3', 300],
  ['vorbis', 60],
  ['opus', 300],
])('hostile inputs of %s', (name, inputs) => {
  test('are read or refused with one clear error, in little time and memory', async () => {
    const { failure, accepted, refused } = await fuzz(name, { inputs, seed: 1 });
    expect(failure).toBeNull();
    expect(accepted + refused).toBeGreaterThanOrEqual(inputs);
  });
});

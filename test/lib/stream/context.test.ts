import { describe, expect, it } from 'vitest';
import { ContextKeeper } from '../../../dist/stream/context.js';

describe('the segment that is gone on from', () => {
  it('is nothing before the first one', () => {
    expect(new ContextKeeper().spoken).toBeNull();
  });

  it('has the first two codebooks of all chunks since it was begun, one row after the other', () => {
    const keeper = new ContextKeeper();
    keeper.begin('Old.');
    keeper.add({ codes: Uint16Array.of(9, 9, 9, 9), frames: 1 });
    keeper.begin('Now.');
    // Four codebooks of two frames, then of one.
    keeper.add({ codes: Uint16Array.of(1, 2, 11, 12, 21, 22, 31, 32), frames: 2 });
    keeper.add({ codes: Uint16Array.of(3, 13, 23, 33), frames: 1 });
    expect(keeper.spoken).toEqual({ text: 'Now.', codes: Uint16Array.of(1, 2, 3, 11, 12, 13), frames: 3 });
  });

  it('is empty where nothing was spoken yet', () => {
    const keeper = new ContextKeeper();
    keeper.begin('Now.');
    expect(keeper.spoken).toEqual({ text: 'Now.', codes: new Uint16Array(0), frames: 0 });
  });
});

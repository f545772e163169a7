/** The samples of a segment, in the pieces in which they came. */

import { setImmediate as rest } from 'node:timers/promises';

/** Samples between two rests of the event loop: well below a millisecond of arithmetic. */
const slice = 1 << 15;

export class Pieces {
  readonly #pieces: Float32Array[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Copies: what was handed out is its reader's, who may change or transfer it. */
  add(samples: Float32Array): void {
    if (samples.length === 0) return;
    this.#pieces.push(samples.slice());
    this.#length += samples.length;
  }

  /** Calls with all samples in order, a slice in each turn of the event loop. The cuts depend on how they came. */
  async visit(use: (samples: Float32Array) => void, signal: AbortSignal | null): Promise<void> {
    signal?.throwIfAborted();
    let room = slice;
    for (const piece of this.#pieces)
      for (let at = 0; at < piece.length; ) {
        const end = Math.min(piece.length, at + room);
        use(piece.subarray(at, end));
        room -= end - at;
        at = end;
        if (room > 0) continue;
        await rest();
        signal?.throwIfAborted();
        room = slice;
      }
  }

  /** [end − start); zeros outside. */
  read(start: number, end: number): Float32Array {
    const result = new Float32Array(end - start);
    let offset = 0;
    for (const piece of this.#pieces) {
      const from = Math.max(start, offset);
      const to = Math.min(end, offset + piece.length);
      if (from < to) result.set(piece.subarray(from - offset, to - offset), from - start);
      offset += piece.length;
      if (offset >= end) break;
    }
    return result;
  }
}

/** What a segment goes on from with `continuity: 'continue'`: the one before, as it was spoken. */

import type { NativeChunk } from '../native/contract.js';

export interface SpokenContext {
  /** Normalised. */
  readonly text: string;
  /** Codes of the first two codebooks, [2, frames]. */
  readonly codes: Uint16Array;
  readonly frames: number;
}

/** Keeps the coarse codes of the segment in hand. */
export class ContextKeeper {
  #text: string | null = null;
  #pieces: Pick<NativeChunk, 'codes' | 'frames'>[] = [];

  begin(text: string): void {
    this.#text = text;
    this.#pieces = [];
  }

  add({ codes, frames }: Pick<NativeChunk, 'codes' | 'frames'>): void {
    this.#pieces.push({ codes: codes.slice(0, 2 * frames), frames });
  }

  /** The segment that was begun last; null before the first. */
  get spoken(): SpokenContext | null {
    if (this.#text === null) return null;
    const frames = this.#pieces.reduce((sum, piece) => sum + piece.frames, 0);
    const codes = new Uint16Array(2 * frames);
    let at = 0;
    for (const piece of this.#pieces) {
      codes.set(piece.codes.subarray(0, piece.frames), at);
      codes.set(piece.codes.subarray(piece.frames), frames + at);
      at += piece.frames;
    }
    return { text: this.#text, codes, frames };
  }
}

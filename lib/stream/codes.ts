/** Codes of the codec, as they are handed out. */

export interface Codes {
  /** One array of `frames` codes per codebook. */
  codebooks: Uint16Array[];
  frames: number;
}

/** [codebooks, frames] → one array per codebook. */
export function splitCodes(codes: Uint16Array, frames: number): Codes {
  const count = frames > 0 ? codes.length / frames : 0;
  const codebooks = Array.from({ length: count }, (_, k) => codes.slice(k * frames, (k + 1) * frames));
  return { codebooks, frames };
}

export function joinCodes(pieces: Codes[]): Codes {
  const frames = pieces.reduce((count, piece) => count + piece.frames, 0);
  const count = Math.max(0, ...pieces.map((piece) => piece.codebooks.length));
  const codebooks = Array.from({ length: count }, () => new Uint16Array(frames));
  let at = 0;
  for (const piece of pieces) {
    for (const [k, codes] of piece.codebooks.entries()) codebooks[k]!.set(codes, at);
    at += piece.frames;
  }
  return { codebooks, frames };
}

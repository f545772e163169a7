export interface Ranks {
  /** Rank by byte string (one unit per byte). */
  byBytes: ReadonlyMap<string, number>;
  /** Bytes of the longest one. */
  longest: number;
}

/**
 * Appends the ids of one piece of text to `ids`. A piece that is a token as a whole is taken as it is; else, from
 * single bytes, the neighbours whose union has the lowest rank (the leftmost on a tie) are joined until no union has
 * one. False when a part of it has no rank; `ids` may then hold some of its parts.
 */
export function mergePiece(piece: string, ranks: Ranks, ids: number[]): boolean {
  const whole = ranks.byBytes.get(piece);
  if (whole !== undefined) {
    ids.push(whole);
    return true;
  }
  const next = joinParts(piece, ranks);
  for (let start = 0; start < piece.length; start = next[start]!) {
    const rank = ranks.byBytes.get(piece.slice(start, next[start]));
    if (rank === undefined) return false;
    ids.push(rank);
  }
  return true;
}

/** Where the part that starts at a byte ends; meaningful at starts of parts. */
function joinParts(piece: string, ranks: Ranks): Int32Array {
  const { length } = piece;
  const next = Int32Array.from({ length: length + 1 }, (_, index) => index + 1);
  const previous = Int32Array.from({ length: length + 1 }, (_, index) => index - 1);
  /** Rank of the union of the part here with the one after it. */
  const union = new Float64Array(length).fill(Number.POSITIVE_INFINITY);
  const heap = new Heap(2 * length);

  const measure = (start: number): void => {
    const middle = next[start]!;
    const end = middle < length ? next[middle]! : middle;
    const rank =
      middle < length && end - start <= ranks.longest
        ? ranks.byBytes.get(piece.slice(start, end))
        : undefined;
    union[start] = rank ?? Number.POSITIVE_INFINITY;
    if (rank !== undefined) heap.push(rank * length + start);
  };
  for (let start = 0; start < length; start++) measure(start);

  // Entries of the heap are never removed: one whose rank is no longer that of its place is stale. One and the same
  // rank means the same bytes, so an entry that agrees is as good as new.
  while (heap.size > 0) {
    const key = heap.pop();
    const start = key % length;
    if (union[start] !== (key - start) / length) continue;
    const middle = next[start]!;
    const after = next[middle]!;
    next[start] = after;
    if (after < length) previous[after] = start;
    union[middle] = Number.POSITIVE_INFINITY;
    measure(start);
    if (start > 0) measure(previous[start]!);
  }
  return next;
}

/** Binary heap of numbers, the least on top. */
class Heap {
  #keys: Float64Array;
  size = 0;

  constructor(capacity: number) {
    this.#keys = new Float64Array(Math.max(capacity, 4));
  }

  push(key: number): void {
    if (this.size === this.#keys.length) {
      const larger = new Float64Array(2 * this.size);
      larger.set(this.#keys);
      this.#keys = larger;
    }
    let place = this.size++;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (this.#keys[parent]! <= key) break;
      this.#keys[place] = this.#keys[parent]!;
      place = parent;
    }
    this.#keys[place] = key;
  }

  pop(): number {
    const top = this.#keys[0]!;
    const key = this.#keys[--this.size]!;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= this.size) break;
      if (child + 1 < this.size && this.#keys[child + 1]! < this.#keys[child]!) child++;
      if (this.#keys[child]! >= key) break;
      this.#keys[place] = this.#keys[child]!;
      place = child;
    }
    this.#keys[place] = key;
    return top;
  }
}

/** Times of the last requests, for operators. */
export class RecentTimes {
  readonly #most: number;
  readonly #times: number[] = [];
  #next = 0;

  constructor(most = 256) {
    this.#most = most;
  }

  add(milliseconds: number): void {
    this.#times[this.#next] = milliseconds;
    this.#next = (this.#next + 1) % this.#most;
  }

  /** The middle one, and that which 95 of 100 do not exceed (nearest rank); null before the first. */
  percentiles(): { readonly p50: number; readonly p95: number } | null {
    const sorted = this.#times.toSorted((a, b) => a - b);
    const rank = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length - 1e-9) - 1)]!;
    return sorted.length === 0 ? null : { p50: rank(0.5), p95: rank(0.95) };
  }
}

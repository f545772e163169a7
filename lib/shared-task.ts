/**
 * One piece of asynchronous work that several callers wait for, each with a signal of its own. It is stopped when the
 * last of them has given up.
 */
export class SharedTask<T> {
  readonly #control = new AbortController();
  readonly #result: Promise<T>;
  #waiting = 0;
  #settled = false;

  /**
   * @param start begins the work at once
   * @param onFailure called once, when it fails or is given up, before anybody learns of it
   */
  constructor(start: (signal: AbortSignal) => Promise<T>, onFailure: () => void) {
    this.#result = start(this.#control.signal).then(
      (value) => {
        this.#settled = true;
        return value;
      },
      (error) => {
        if (!this.#settled) onFailure();
        this.#settled = true;
        throw error;
      },
    );
    this.#result.catch(() => {});
    this.#control.signal.addEventListener('abort', () => {
      this.#settled = true;
      onFailure();
    });
  }

  /** Waits for the result; rejects with the signal's own reason as soon as it aborts. */
  join(signal?: AbortSignal | null): Promise<T> {
    if (!signal) {
      this.#waiting++; // never gives up
      return this.#result;
    }
    return new Promise<T>((resolve, reject) => {
      const giveUp = () => {
        reject(signal.reason);
        if (--this.#waiting === 0 && !this.#settled) this.#control.abort(signal.reason);
      };
      this.#waiting++;
      if (signal.aborted) return giveUp();
      signal.addEventListener('abort', giveUp, { once: true });
      const done = () => signal.removeEventListener('abort', giveUp);
      this.#result.then(
        (value) => {
          done();
          resolve(value);
        },
        (error) => {
          done();
          reject(error);
        },
      );
    });
  }
}

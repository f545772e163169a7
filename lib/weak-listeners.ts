/** Things to call that nobody is kept alive by: what nobody else holds any more is forgotten. */
export class WeakListeners<T extends object> {
  readonly #held = new Set<WeakRef<T>>();
  readonly #gone = new FinalizationRegistry<WeakRef<T>>((ref) => this.#held.delete(ref));

  /** Returns how to forget it. */
  add(listener: T): () => void {
    const ref = new WeakRef(listener);
    this.#held.add(ref);
    this.#gone.register(listener, ref, ref);
    return () => {
      this.#held.delete(ref);
      this.#gone.unregister(ref);
    };
  }

  /** Those that are still there, in the order in which they came. */
  *[Symbol.iterator](): Generator<T> {
    for (const ref of this.#held) {
      const listener = ref.deref();
      if (listener) yield listener;
    }
  }
}

/** A web stream over a pulled source. */

/** Nothing is pulled before it is read; cancelling it calls `cancel` at once. */
export function webStream(
  source: AsyncGenerator<Uint8Array, void, undefined>,
  cancel: () => void,
): ReadableStream<Uint8Array> {
  let cancelled = false;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await source.next();
        if (cancelled) return;
        if (done) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        cancelled = true;
        cancel();
        await source.return();
      },
    },
    { highWaterMark: 0 },
  );
}

/** A Node stream over a pulled source. */

import { Readable } from 'node:stream';

/** Reads when the reader wants bytes; destroying it calls `cancel` at once, and closes when the source has stopped. */
export function nodeReadable(
  source: AsyncGenerator<Uint8Array, void, undefined>,
  cancel: () => void,
  highWaterMark?: number,
): Readable {
  return new Readable({
    ...(highWaterMark === undefined ? {} : { highWaterMark }),
    read() {
      source.next().then(
        ({ done, value }) => {
          if (!this.destroyed) this.push(done ? null : value);
        },
        (error) => this.destroy(error),
      );
    },
    destroy(error, callback) {
      cancel();
      const close = () => callback(error);
      source.return().then(close, close);
    },
  });
}

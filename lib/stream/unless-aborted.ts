/**
 * What comes of the work; the signal's reason as soon as nobody waits for it any more.
 *
 * @param stop ends the work, whose outcome nobody will hear
 */
export function unlessAborted<T>(signal: AbortSignal, work: Promise<T>, stop?: () => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = () => {
      reject(signal.reason);
      stop?.();
    };
    signal.addEventListener('abort', leave, { once: true });
    if (signal.aborted) leave();
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
  });
}

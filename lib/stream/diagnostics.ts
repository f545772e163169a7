/** What operators may listen to: the channel `metavoice:speech` of node:diagnostics_channel. */

import { channel } from 'node:diagnostics_channel';
import type { Tally } from './chunks.js';

/** How a request went. `left`: its reader had enough, or it was disposed of quietly. */
export type SpeechOutcome = 'ended' | 'left' | 'aborted' | 'failed';

/** What is published, in this order, of every request that is pulled. */
export type SpeechEvent =
  | { event: 'begin'; request: number; seed: number }
  /** The first sound that is not silent: milliseconds since the request began. */
  | { event: 'firstAudio'; request: number; milliseconds: number }
  | {
      event: 'end';
      request: number;
      outcome: SpeechOutcome;
      milliseconds: number;
      audioSeconds: number;
      segments: number;
      /** Steps of the first stage. */
      steps: number;
      /** Of a request that failed. */
      error?: unknown;
    };

const speech = channel('metavoice:speech');
let requests = 0;

/** Tells of one request; costs nothing where nobody listens. */
export class Told {
  readonly #request = ++requests;
  readonly #clock: () => number;
  #audioSeconds = 0;
  #segments = 0;

  constructor(seed: number, clock: () => number) {
    this.#clock = clock;
    this.#publish({ event: 'begin', request: this.#request, seed });
  }

  firstAudio(milliseconds: number): void {
    this.#publish({ event: 'firstAudio', request: this.#request, milliseconds });
  }

  chunk({ durationSeconds, segment }: { durationSeconds: number; segment: number }): void {
    this.#audioSeconds += durationSeconds;
    this.#segments = segment + 1;
  }

  end(outcome: SpeechOutcome, { steps }: Pick<Tally, 'steps'>, error?: unknown): void {
    this.#publish({
      event: 'end',
      request: this.#request,
      outcome,
      milliseconds: this.#clock(),
      audioSeconds: this.#audioSeconds,
      segments: this.#segments,
      steps,
      ...(error !== undefined && { error }),
    });
  }

  #publish(event: SpeechEvent): void {
    if (speech.hasSubscribers) speech.publish(event);
  }
}

/** What a phone needs from a link, and from a clock. */

import type { Readable, Writable } from "./endpoint.js";

/**
 * A link to one node. It is used by one {@link Phone}, which calls `write` and `receive` one after the other.
 *
 * Every failure is a `ProvisioningError`; `LinkLost` and `TimedOut` mean that a new link can succeed.
 */
export interface Transport {
  /** Reads a value in clear. */
  read(endpoint: Readable): Promise<Uint8Array>;
  /** Sends one message; resolves when the node has acknowledged it. */
  write(endpoint: Writable, message: Uint8Array): Promise<void>;
  /** The node's next message, a serialized `Outbound`; none once `signal` is aborted. No message is lost by that. */
  receive(signal: AbortSignal): Promise<Uint8Array | undefined>;
  /** Opens a new link to the same node. Messages of the old one are discarded. */
  reconnect(): Promise<void>;
  /** Closes the link, so that another phone need not wait. It does not fail. */
  close(): Promise<void>;
}

/** The time, as an argument, so that tests need not wait. */
export interface Clock {
  /** Milliseconds since any moment. */
  now(): number;
  /** Resolves after that many milliseconds, or when `signal` is aborted. */
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>;
}

/** The system's clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  sleep: (milliseconds, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted === true) {
        resolve();
        return;
      }
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      signal?.addEventListener("abort", done);
    }),
};

/** A time limit, which other signals can shorten. */
export class Limit {
  /** Aborted when the time is over. */
  readonly signal: AbortSignal;
  readonly #clock: Clock;
  readonly #end: number;
  readonly #controller = new AbortController();
  readonly #others: readonly AbortSignal[];

  constructor(clock: Clock, milliseconds: number, ...others: readonly (AbortSignal | undefined)[]) {
    this.#clock = clock;
    this.#end = clock.now() + milliseconds;
    this.signal = this.#controller.signal;
    this.#others = others.filter((other) => other !== undefined);
    for (const other of this.#others) {
      other.addEventListener("abort", this.end);
    }
    if (this.#others.some((other) => other.aborted)) {
      this.end();
    } else {
      void clock.sleep(milliseconds, this.signal).then(this.end);
    }
  }

  /** The rest of the time, milliseconds. */
  rest(): number {
    return Math.max(0, this.#end - this.#clock.now());
  }

  /** Ends it, and releases its timer. */
  readonly end = (): void => {
    for (const other of this.#others) {
      other.removeEventListener("abort", this.end);
    }
    this.#controller.abort();
  };
}

/** Time that passes only when nothing else can happen. */

import type { Clock } from "../../src/transport.js";

/** Jumps to the next timer as soon as everything waits. */
export class VirtualClock implements Clock {
  #now = 0;
  #timers: { at: number; fire: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) {
        resolve();
        return;
      }
      const fire = () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
        signal?.removeEventListener("abort", fire);
        resolve();
      };
      const timer = { at: this.#now + milliseconds, fire };
      this.#timers.push(timer);
      signal?.addEventListener("abort", fire);
      setImmediate(() => this.#jump());
    });
  }

  #jump(): void {
    const next = this.#timers.reduce<{ at: number; fire: () => void } | undefined>(
      (first, timer) => (first === undefined || timer.at < first.at ? timer : first),
      undefined,
    );
    if (next !== undefined) {
      this.#now = Math.max(this.#now, next.at);
      next.fire();
      setImmediate(() => this.#jump());
    }
  }
}

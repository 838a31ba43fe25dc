/** The machine's timers, on the clock of the platform. */

import type { Timer } from "../machine/step.js";

/** Longer ones would fire at once. */
const DELAY_MS_MAX = 2 ** 31 - 1;

/** Timers by name. Each is one of the machine's, so they are as bounded as it is. */
export class Timers {
  readonly #fired: (timer: Timer) => void;
  readonly #running = new Map<Timer, ReturnType<typeof setTimeout>>();

  constructor(fired: (timer: Timer) => void) {
    this.#fired = fired;
  }

  /** Sets a timer, in place of the one of its name. */
  set(timer: Timer, ms: number): void {
    this.cancel(timer);
    const fire = () => {
      this.#running.delete(timer);
      this.#fired(timer);
    };
    this.#running.set(timer, setTimeout(fire, Math.min(ms, DELAY_MS_MAX)));
  }

  /** Forgets a timer. */
  cancel(timer: Timer): void {
    clearTimeout(this.#running.get(timer));
    this.#running.delete(timer);
  }

  /** Forgets all of them. */
  clear(): void {
    for (const timer of [...this.#running.keys()]) this.cancel(timer);
  }
}

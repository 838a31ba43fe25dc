/** How fast sends may go: freely, until the server refuses one for now. */

import type { ChirmError } from "../error.js";
import type { Delay } from "./step.js";

/** The least between two sends once they were too fast. */
const INTERVAL_MS_MIN = 50;
const INTERVAL_MS_MAX = 60_000;
const RATE_LIMITED = "RATE_LIMITED";

/**
 * Of the stream or of a channel. It knows nothing of the server's limits, and finds out: after a
 * refusal it waits as long as it is told, then sends one at a time, and step by step more again.
 */
export class Pace {
  /** The time between two sends. */
  #intervalMs = 0;
  /** Sends under way at once. */
  #window = Number.POSITIVE_INFINITY;
  /** Refusals in a row. */
  #failures = 0;
  #waits: "refused" | "interval" | undefined;

  maySend(underWay: number): boolean {
    return this.#waits === undefined && underWay < this.#window;
  }

  get waits(): boolean {
    return this.#waits !== undefined;
  }

  get isRefused(): boolean {
    return this.#waits === "refused";
  }

  /** The wait is over. */
  goOn(): void {
    this.#waits = undefined;
  }

  /** Something was sent: how long until the next may be, if it must wait. */
  sent(): Delay | undefined {
    if (this.#intervalMs === 0) return undefined;
    this.#waits = "interval";
    return { ms: this.#intervalMs };
  }

  /** The server took one. After a refusal, that one went before it. */
  taken(): void {
    if (this.isRefused) return;
    this.#failures = 0;
    this.#intervalMs -= this.#intervalMs / 8;
    if (this.#intervalMs < INTERVAL_MS_MIN) {
      this.#intervalMs = 0;
      this.#window += 1;
    }
  }

  /**
   * The server refused one for now: how long to wait. What was under way with it and is refused,
   * too, says nothing more.
   */
  refused(error: ChirmError): Delay {
    const retryAfterMs = error.retryAfterMs ?? 0;
    if (!this.isRefused) {
      this.#failures += 1;
      this.#window = 1;
      if (error.reason === RATE_LIMITED) {
        const intervalMs = Math.max(this.#intervalMs * 1.5, retryAfterMs);
        this.#intervalMs = Math.min(Math.max(intervalMs, INTERVAL_MS_MIN), INTERVAL_MS_MAX);
      }
    }
    this.#waits = "refused";
    return { ms: retryAfterMs, backoff: this.#failures - 1 };
  }
}

/** Whether it is the stream's frames that were too many, and not the sends to a channel. */
export function isOfStream(error: ChirmError): boolean {
  return error.reason === RATE_LIMITED && error.metadata.scope === "stream";
}

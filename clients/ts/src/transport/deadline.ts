/** A call's end in time, or when the program gives it up. */

import { ChirmError } from "../error.js";
import { CALL_MS, type CallOptions } from "./index.js";

/**
 * Runs a call under a signal that is aborted when it may take no longer, or when the program says
 * so.
 */
export async function withDeadline<T>(
  { signal, timeoutMs = CALL_MS }: CallOptions,
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const controller = new AbortController();
  const giveUp = () => controller.abort(signal?.reason);
  signal?.addEventListener("abort", giveUp, { once: true });
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    controller.abort();
  }, timeoutMs);
  try {
    return await call(controller.signal);
  } catch (error) {
    signal?.throwIfAborted();
    if (!isLate) throw error;
    const message = `no answer in ${timeoutMs} ms`;
    throw new ChirmError({ code: "DEADLINE_EXCEEDED", reason: "", message, advice: "retry" });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", giveUp);
  }
}

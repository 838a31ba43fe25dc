/**
 * The access token: renewed before it ends and when it is refused, if there is something that
 * renews it.
 */

import type { ChirmError } from "../error.js";
import type { Tokens } from "../gen/chirm/v1/auth_pb.js";
import type { Machine } from "./index.js";

/** Of a token's life so great a part is left when it is renewed. */
const LEFT = 10;
/**
 * Tokens that were just renewed aren't renewed again sooner, however this machine's clock stands:
 * one that lasts less is renewed when it is refused.
 */
export const RENEW_MS_MIN = 60_000;

export interface Token {
  /**
   * - `fixed`: nothing renews it.
   * - `good`: as far as is known.
   * - `renewing`: it is being renewed.
   * - `failed`: it couldn't be for now, and will be tried again.
   */
  readonly place: "fixed" | "good" | "renewing" | "failed";
  readonly failures: number;
}

/** The program has given a token. */
export function takeToken(m: Machine, renews: boolean, lifetimeMs: number | undefined): void {
  m.token = { place: renews ? "good" : "fixed", failures: 0 };
  m.cancel("renew");
  if (renews && lifetimeMs !== undefined) m.wait("renew", { ms: lifetimeMs - lifetimeMs / LEFT });
  if (m.state === "signed_out") {
    m.failures = 0;
    m.connect();
  }
}

function beginRenewal(m: Machine): void {
  m.token = { ...m.token, place: "renewing" };
  m.cancel("renew");
  m.act({ type: "renew" });
}

/** The timer fired. */
export function renewInTime(m: Machine): void {
  if (m.token.place === "good" || m.token.place === "failed") beginRenewal(m);
}

/**
 * The token was refused: renews it, unless that is under way or to be tried again. Whether it can
 * be renewed.
 */
export function renew(m: Machine): boolean {
  if (m.token.place === "good") beginRenewal(m);
  return m.token.place !== "fixed";
}

/** The connection, which is given up now, or a call was refused for the token. */
export function signedOut(m: Machine, error: ChirmError): void {
  m.state = "signed_out";
  m.failures += 1;
  const reason = error.withAdvice(renew(m) ? "resume" : "reauthenticate");
  m.emit({ type: "disconnected", reason });
}

export function renewed(m: Machine, tokens: Tokens, lifetimeMs: number | undefined): void {
  if (m.token.place !== "renewing") return;
  m.token = { place: "good", failures: 0 };
  if (lifetimeMs !== undefined) {
    m.wait("renew", { ms: Math.max(lifetimeMs - lifetimeMs / LEFT, RENEW_MS_MIN) });
  }
  m.emit({ type: "tokensRenewed", tokens });
  if (m.state !== "signed_out") return;
  // After a second refusal the token wasn't all that was wrong.
  if (m.failures <= 1) m.connect();
  else m.waitToConnect({ backoff: m.failures - 1 });
}

export function renewFailed(m: Machine, error: ChirmError): void {
  if (m.token.place !== "renewing") return;
  if (error.advice === "retry" || error.advice === "resume") {
    const { failures } = m.token;
    m.token = { place: "failed", failures: failures + 1 };
    const delay = { ms: error.retryAfterMs ?? 0, backoff: failures };
    m.wait("renew", delay);
    return;
  }
  // A connection goes on as long as the server lets it.
  m.token = { ...m.token, place: "fixed" };
  if (m.state === "signed_out") {
    m.emit({ type: "disconnected", reason: error.withAdvice("reauthenticate") });
  }
}

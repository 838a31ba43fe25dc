/**
 * What can go wrong, as one class: the server's answer with its `google.rpc` details, or a cause of
 * this machine's.
 */

import { fromBinary } from "@bufbuild/protobuf";
import type { Duration } from "@bufbuild/protobuf/wkt";
import { type Closing, Advice as ClosingAdvice } from "./gen/chirm/v1/gateway_pb.js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from "./gen/google/rpc/error_details_pb.js";

/** The canonical gRPC codes, by their numbers. */
const CODES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

/** A canonical gRPC code, by its name. */
export type Code = (typeof CODES)[number];

/**
 * What to do about an error.
 * - `retry`: the same call may succeed later; see {@link ChirmError.retryAfterMs}.
 * - `resume`: the connection ended; connecting again with the positions held goes on where it was.
 * - `reauthenticate`: the token is of no use any more: sign in or refresh, then {@link
 *   Client.setTokens}.
 * - `stop`: it would end the same way.
 */
export type Advice = "retry" | "resume" | "reauthenticate" | "stop";

/** A field of a request that was wrong, and how. */
export interface FieldFault {
  readonly field: string;
  readonly description: string;
}

/** The domain of the reasons that Chirm's own servers give. */
const DOMAIN = "chirm.dev";
/** What is to be repeated only after longer than this isn't repeated, but told. */
const WAIT_MS_MAX = 60_000;
/** Waits beyond this are as good as it: timers of JavaScript end at 2³¹ milliseconds. */
const DURATION_MS_MAX = 2 ** 31 - 1;

/** A detail of a status: the name of its type, alone or at the end of a URL, and its bytes. */
export interface Detail {
  readonly type: string;
  readonly value: Uint8Array;
}

interface Parts {
  readonly code: Code;
  readonly reason: string;
  readonly message: string;
  readonly advice: Advice;
  readonly retryAfterMs?: number | undefined;
  readonly fields?: readonly FieldFault[];
  readonly metadata?: Readonly<Record<string, string>>;
}

/** An error of a call, a send or a connection. */
export class ChirmError extends Error {
  override readonly name = "ChirmError";
  /** The canonical gRPC code. */
  readonly code: Code;
  /** The reason in UPPER_SNAKE, as docs/errors.md lists them; empty if the peer gave none. */
  readonly reason: string;
  /** What to do about it. */
  readonly advice: Advice;
  /** How long to wait before a repeat, in milliseconds, if the server said so. */
  readonly retryAfterMs: number | undefined;
  /** Which fields of the request were wrong, and how. */
  readonly fields: readonly FieldFault[];
  /** Values that a program may use, such as the limit that was met. */
  readonly metadata: Readonly<Record<string, string>>;

  /** An error of this machine's: for an {@link OutboxStore} or a {@link TokenSource}, too. */
  constructor(parts: Parts, options?: ErrorOptions) {
    super(parts.message, options);
    this.code = parts.code;
    this.reason = parts.reason;
    this.advice = parts.advice;
    this.retryAfterMs = parts.retryAfterMs;
    this.fields = parts.fields ?? [];
    this.metadata = parts.metadata ?? {};
  }

  /** Whether the same request may succeed later. */
  get isRetryable(): boolean {
    return this.advice !== "stop";
  }

  /** The same error with other advice. */
  withAdvice(advice: Advice): ChirmError {
    return new ChirmError({ ...this.parts(), advice }, { cause: this.cause });
  }

  /**
   * The same as the end of a stream: whatever our own server doesn't say to be final is resumed.
   */
  ofStream(): ChirmError {
    const isForeign = this.reason === "";
    const goesOn = this.advice === "retry" || (this.advice === "stop" && isForeign);
    return goesOn ? this.withAdvice("resume") : this;
  }

  /** For people: what happened, its name, the fields that were wrong. */
  override toString(): string {
    const faults = this.fields.map(({ field, description }) => `; ${field}: ${description}`);
    return `${this.message}: ${this.reason || this.code}${faults.join("")}`;
  }

  private parts(): Parts {
    const { code, reason, message, advice, retryAfterMs, fields, metadata } = this;
    return { code, reason, message, advice, retryAfterMs, fields, metadata };
  }
}

/** An answer that has the form of `google.rpc.Status`, with whatever details it carries. */
export function statusError(
  code: number,
  message: string,
  details: readonly Detail[],
  options?: ErrorOptions,
): ChirmError {
  let isOurs = false;
  const parts = {
    code: CODES[code] ?? "UNKNOWN",
    reason: "",
    message,
    retryAfterMs: undefined as number | undefined,
    fields: [] as FieldFault[],
    metadata: {} as Record<string, string>,
  };
  for (const { type, value } of details) {
    try {
      const name = type.slice(type.lastIndexOf("/") + 1);
      if (name === ErrorInfoSchema.typeName) {
        const info = fromBinary(ErrorInfoSchema, value);
        isOurs ||= info.domain === DOMAIN;
        parts.reason = info.reason;
        parts.metadata = info.metadata;
      } else if (name === RetryInfoSchema.typeName) {
        parts.retryAfterMs = durationMs(fromBinary(RetryInfoSchema, value).retryDelay);
      } else if (name === BadRequestSchema.typeName) {
        const faults = fromBinary(BadRequestSchema, value).fieldViolations;
        parts.fields.push(...faults.map(({ field, description }) => ({ field, description })));
      }
    } catch {
      // A detail that can't be read says nothing; the code and the message stand.
    }
  }
  return new ChirmError(
    { ...parts, advice: advise(parts.code, parts.retryAfterMs, isOurs) },
    options,
  );
}

/** What to do, by code. An answer without our reason may be a proxy's, not the server's. */
function advise(code: Code, retryAfterMs: number | undefined, isOurs: boolean): Advice {
  const isLong = retryAfterMs !== undefined && retryAfterMs > WAIT_MS_MAX;
  const isLimit = code === "RESOURCE_EXHAUSTED" || code === "PERMISSION_DENIED";
  // A slow channel's next message, the end of a time-out: for people to know.
  if (isLimit && isLong && isOurs) return "stop";
  switch (code) {
    case "UNAUTHENTICATED":
      return "reauthenticate";
    case "UNAVAILABLE":
    case "DEADLINE_EXCEEDED":
    case "ABORTED":
    case "CANCELLED":
      return "retry";
    case "RESOURCE_EXHAUSTED":
    case "INTERNAL":
    case "UNKNOWN":
      return retryAfterMs !== undefined || !isOurs ? "retry" : "stop";
    default:
      return retryAfterMs !== undefined ? "retry" : "stop";
  }
}

/** What the last frame of a stream says. */
export function closingError(closing: Closing): ChirmError {
  const { reason, message } = closing;
  switch (closing.advice) {
    case ClosingAdvice.REAUTHENTICATE:
      return new ChirmError({ code: "UNAUTHENTICATED", reason, message, advice: "reauthenticate" });
    case ClosingAdvice.STOP:
      return new ChirmError({ code: "FAILED_PRECONDITION", reason, message, advice: "stop" });
    default:
      return new ChirmError({ code: "UNAVAILABLE", reason, message, advice: "resume" });
  }
}

/** The client was closed by its own program. */
export function closedError(): ChirmError {
  const message = "the client was closed";
  return new ChirmError({ code: "CANCELLED", reason: "CLIENT_CLOSED", message, advice: "stop" });
}

/** Something on the way to the server broke. */
export function connectionError(message: string, options?: ErrorOptions): ChirmError {
  const [code, reason] = ["UNAVAILABLE", "CONNECTION_LOST"] as const;
  return new ChirmError({ code, reason, message, advice: "resume" }, options);
}

/** The server's URL or another setting is of no use. */
export function configError(message: string, options?: ErrorOptions): ChirmError {
  const [code, reason] = ["INVALID_ARGUMENT", "BAD_CONFIG"] as const;
  return new ChirmError({ code, reason, message, advice: "stop" }, options);
}

/** A duration in whole milliseconds; absent if there is none or it is below zero. */
export function durationMs(duration: Duration | undefined): number | undefined {
  if (duration === undefined) return undefined;
  const ms = Number(duration.seconds) * 1000 + Math.trunc(duration.nanos / 1e6);
  return ms < 0 ? undefined : Math.min(ms, DURATION_MS_MAX);
}

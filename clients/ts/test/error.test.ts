/** What errors say and advise. */

import { create, toBinary } from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import { ChirmError, connectionError, type Detail, durationMs, statusError } from "../src/error.js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from "../src/gen/google/rpc/error_details_pb.js";

const info = (reason: string, domain = "chirm.dev"): Detail => ({
  type: ErrorInfoSchema.typeName,
  value: toBinary(
    ErrorInfoSchema,
    create(ErrorInfoSchema, { reason, domain, metadata: { limit: "20" } }),
  ),
});

const retryAfter = (seconds: number): Detail => ({
  type: `type.googleapis.com/${RetryInfoSchema.typeName}`,
  value: toBinary(
    RetryInfoSchema,
    create(RetryInfoSchema, { retryDelay: { seconds: BigInt(seconds), nanos: 500_000_000 } }),
  ),
});

const badRequest: Detail = {
  type: BadRequestSchema.typeName,
  value: toBinary(
    BadRequestSchema,
    create(BadRequestSchema, {
      fieldViolations: [{ field: "content", description: "at most 4000 characters" }],
    }),
  ),
};

const [PERMISSION_DENIED, RESOURCE_EXHAUSTED] = [7, 8];

test("an error says all that the server said", () => {
  const error = statusError(3, "bad", [info("FIELD_INVALID"), badRequest]);
  expect(error).toBeInstanceOf(Error);
  expect(error).toMatchObject({
    name: "ChirmError",
    code: "INVALID_ARGUMENT",
    reason: "FIELD_INVALID",
    advice: "stop",
    retryAfterMs: undefined,
    metadata: { limit: "20" },
    fields: [{ field: "content", description: "at most 4000 characters" }],
  });
  expect(String(error)).toBe("bad: FIELD_INVALID; content: at most 4000 characters");
});

test.each([PERMISSION_DENIED, RESOURCE_EXHAUSTED])(
  "of code %i a short wait is waited for, and a long one told",
  (code) => {
    const short = statusError(code, "", [info("SLOW_MODE"), retryAfter(59)]);
    expect(short).toMatchObject({ retryAfterMs: 59_500, advice: "retry" });
    const long = statusError(code, "", [info("SLOW_MODE"), retryAfter(60)]);
    expect(long).toMatchObject({ retryAfterMs: 60_500, advice: "stop" });
  },
);

describe("advice", () => {
  test.each([
    [1, "retry", "retry"],
    [2, "stop", "retry"],
    [3, "stop", "stop"],
    [4, "retry", "retry"],
    [5, "stop", "stop"],
    [7, "stop", "stop"],
    [8, "stop", "retry"],
    [10, "retry", "retry"],
    [12, "stop", "stop"],
    [13, "stop", "retry"],
    [14, "retry", "retry"],
    [16, "reauthenticate", "reauthenticate"],
    [99, "stop", "retry"],
  ])("of code %i: ours %s, a proxy's %s", (code, ours, foreign) => {
    expect(statusError(code, "", [info("SOME_REASON")]).advice).toBe(ours);
    expect(statusError(code, "", []).advice).toBe(foreign);
  });

  test("of a stream's end: what isn't final by our own server is resumed", () => {
    expect(statusError(5, "", []).ofStream().advice).toBe("resume");
    expect(statusError(14, "", [info("OVERLOADED")]).ofStream().advice).toBe("resume");
    expect(statusError(7, "", [info("BANNED")]).ofStream().advice).toBe("stop");
    expect(statusError(16, "", []).ofStream().advice).toBe("reauthenticate");
  });
});

test("other advice leaves the rest", () => {
  const error = connectionError("gone", { cause: "a cable" });
  expect(error.withAdvice("stop")).toEqual(
    Object.assign(new ChirmError({ ...error, message: "gone", advice: "stop" }), {}),
  );
  expect(error.withAdvice("stop").cause).toBe("a cable");
});

test("a detail that can't be read leaves code and message", () => {
  const broken = { type: ErrorInfoSchema.typeName, value: new Uint8Array([255]) };
  expect(statusError(5, "gone", [broken])).toMatchObject({ code: "NOT_FOUND", reason: "" });
});

test.each([
  [1, 5_999_999, 1005],
  [-1, 0, undefined],
  [10 ** 12, 0, 2 ** 31 - 1],
])("%i s and %i ns are %j ms", (seconds, nanos, ms) => {
  const duration = create(DurationSchema, { seconds: BigInt(seconds), nanos });
  expect(durationMs(duration)).toBe(ms);
});

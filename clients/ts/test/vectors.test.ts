/** The generated code against the golden vectors of every implementation. */

import { readFileSync } from "node:fs";
import {
  createRegistry,
  fromBinary,
  fromJson,
  type JsonValue,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { file_google_rpc_error_details } from "../src/gen/google/rpc/error_details_pb.js";
import { json } from "../src/json.js";
import * as v1 from "../src/v1.js";

interface Vector {
  readonly name: string;
  readonly message: string;
  readonly hex: string;
  readonly json: JsonValue;
}

const registry = createRegistry(file_google_rpc_error_details);

const SCHEMAS = {
  "chirm.v1.ClientFrame": v1.ClientFrameSchema,
  "chirm.v1.ServerFrame": v1.ServerFrameSchema,
};

function vectors(file: string): Vector[] {
  const url = new URL(`../../../conformance/vectors/${file}`, import.meta.url);
  return JSON.parse(readFileSync(url, "utf8"));
}

describe.each(["client_frames.json", "server_frames.json"])("%s", (file) => {
  test.each(vectors(file))("$name", ({ message, hex, json: value }) => {
    const schema = SCHEMAS[message as keyof typeof SCHEMAS];
    const bytes = Buffer.from(hex, "hex");
    expect(toJson(schema, fromBinary(schema, bytes), { registry })).toEqual(value);
    const written = toBinary(schema, fromJson(schema, value, { registry }));
    expect(Buffer.from(written).toString("hex")).toBe(hex);
  });
});

test("frames as JSON pass over what they don't know", () => {
  const text = '{"ready": {"serverIds": ["1"], "later": true}, "laterStill": 1}';
  expect(json.decode(text).frame).toMatchObject({ case: "ready", value: { serverIds: ["1"] } });
});

test("an error as JSON is read without the details that aren't known", () => {
  const details = [
    { "@type": "type.googleapis.com/google.rpc.Later", more: 1 },
    { "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "NOT_FOUND" },
  ];
  const frame = json.decode(JSON.stringify({ result: { callId: 1, error: { code: 5, details } } }));
  const { value } = frame.frame as { value: v1.Result };
  expect(value.result.value).toMatchObject({ code: 5, details: [{ value: expect.anything() }] });
});

/**
 * Frames as JSON, to read along in a browser's tools. It is larger and slower than protobuf.
 *
 * @packageDocumentation
 */

import { createRegistry, fromJson, type JsonValue, toJsonString } from "@bufbuild/protobuf";
import { ClientFrameSchema, ServerFrameSchema } from "./gen/chirm/v1/gateway_pb.js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from "./gen/google/rpc/error_details_pb.js";
import type { Codec } from "./transport/websocket.js";

/** The details of errors that a client understands. */
const DETAILS = createRegistry(ErrorInfoSchema, RetryInfoSchema, BadRequestSchema);

/** Frames as proto3 JSON: `webSocket({ codec: json })`. */
export const json: Codec = {
  subprotocol: "chirm.v1.json",
  encode: (frame) => toJsonString(ClientFrameSchema, frame),
  decode: (data) => {
    if (typeof data !== "string") throw new Error("bytes where text belongs");
    const value = understood(JSON.parse(data));
    return fromJson(ServerFrameSchema, value, { ignoreUnknownFields: true, registry: DETAILS });
  },
};

/**
 * A frame without the details of an error that aren't known: JSON of an unknown type can't be read.
 */
function understood(frame: JsonValue): JsonValue {
  const { result } = frame as { result?: { error?: { details?: { "@type"?: string }[] } } };
  const error = result?.error;
  if (error?.details !== undefined) {
    error.details = error.details.filter(({ "@type": url = "" }) =>
      DETAILS.getMessage(url.slice(url.lastIndexOf("/") + 1)),
    );
  }
  return frame;
}

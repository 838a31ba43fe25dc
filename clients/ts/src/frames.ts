/** Frames of the client's. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type ClientFrame, ClientFrameSchema } from "./gen/chirm/v1/gateway_pb.js";

/** What a frame of the client's has in it. */
export type Sent = NonNullable<MessageInitShape<typeof ClientFrameSchema>["frame"]>;

/** A frame with a call's number, or 0 if it has no answer. */
export function frameOf(callId: number, frame: Sent): ClientFrame {
  return create(ClientFrameSchema, { callId, frame });
}

/**
 * A watcher of `chirm replay --ts-client`: a program with this client, told by JSON lines what to
 * do. It says by JSON lines what its connection carries and what it gets, each frame before what
 * the client makes of it. Protobuf goes as base64.
 *
 * It is told, the first once:
 * - `{url, token, transport, backoff, positions, lastIds, lists}`
 * - `{do: "cut"}`, `{do: "look", lists}`, `{do: "leave"}`
 *
 * It says: `{what: "sent" | "received", frame}`, `{what: "message", message, source}`,
 * `{what: "ready"}`, `{what: "disconnected" | "closed", reason}`, and as its last
 * `{what: "left", positions, lastIds, stats}`.
 */

import { once } from "node:events";
import { stdin, stdout } from "node:process";
import { createInterface } from "node:readline";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { base64Decode, base64Encode } from "@bufbuild/protobuf/wire";
import { Client, grpcWeb, Intent, webSocket } from "@chirm/client";
import { grpc } from "@chirm/client/grpc";
import { json } from "@chirm/client/json";
import {
  ClientFrameSchema,
  MemberListViewSchema,
  MessageSchema,
  ServerFrameSchema,
  TopicPositionSchema,
} from "@chirm/client/v1";
import { WebSocket as WebSocketOfWs } from "ws";
import { Network } from "../real/network.js";

/** Node has none of its own before version 22. */
const WebSocket = globalThis.WebSocket ?? WebSocketOfWs;
const TRANSPORTS = {
  websocket: () => webSocket({ WebSocket }),
  "websocket-json": () => webSocket({ WebSocket, codec: json }),
  grpc: () => grpc(),
  "grpc-web": () => grpcWeb(),
};

const say = (what) => stdout.write(`${JSON.stringify(what)}\n`);
const written = (schema, message) => base64Encode(toBinary(schema, message));
const read = (schema, texts) => texts.map((text) => fromBinary(schema, base64Decode(text)));

function tap(frame) {
  if ("sent" in frame) say({ what: "sent", frame: written(ClientFrameSchema, frame.sent) });
  else say({ what: "received", frame: written(ServerFrameSchema, frame.received) });
}

function start(told, url) {
  return new Client({
    url,
    token: told.token,
    transport: TRANSPORTS[told.transport](),
    backoff: told.backoff,
    intents: [Intent.PRESENCE],
    positions: read(TopicPositionSchema, told.positions),
    lastIds: told.lastIds,
    looking: { lists: read(MemberListViewSchema, told.lists) },
    tap,
  });
}

function tell({ type, ...event }) {
  if (type === "message") {
    const { message, source } = event;
    say({ what: type, message: written(MessageSchema, message), source });
  } else if (type === "disconnected" || type === "closed") {
    say({ what: type, reason: event.reason.message });
  } else if (type === "ready") {
    say({ what: type });
  }
}

/** Says all that the client gets, no faster than it is read. */
async function watch(client) {
  for await (const event of client.events()) {
    tell(event);
    if (stdout.writableNeedDrain) await once(stdout, "drain");
  }
}

const lines = createInterface({ input: stdin })[Symbol.asyncIterator]();
const told = JSON.parse((await lines.next()).value);
const network = await Network.to(told.url);
const client = start(told, network.url);
const watching = watch(client);
for (;;) {
  const { value, done } = await lines.next();
  // Whoever told it what to do is gone.
  if (done) process.exit(1);
  const command = JSON.parse(value);
  if (command.do === "cut") network.cut();
  else if (command.do === "look") client.look({ lists: read(MemberListViewSchema, command.lists) });
  else break;
}
await client.close();
await watching;
const positions = client.positions().map((held) => written(TopicPositionSchema, held));
const left = { what: "left", positions, lastIds: client.lastIds(), stats: client.stats };
stdout.write(`${JSON.stringify(left)}\n`, () => process.exit());

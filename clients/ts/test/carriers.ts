/** The ways to a server that tests go. */

import { WebSocket } from "ws";
import { grpc } from "../src/grpc.js";
import { json } from "../src/json.js";
import { grpcWeb } from "../src/transport/grpc-web.js";
import type { TransportFactory } from "../src/transport/index.js";
import { type WebSocketConstructor, webSocket } from "../src/transport/websocket.js";

/** That of `ws`, since Node has none before version 22. */
export const Socket = WebSocket as unknown as WebSocketConstructor;

export interface Carrier {
  readonly name: string;
  /** It goes over HTTP/2, by gRPC proper. */
  readonly isGrpc: boolean;
  readonly listenOnly: boolean;
  readonly transport: TransportFactory;
}

export const CARRIERS: readonly Carrier[] = [
  { name: "grpc", isGrpc: true, listenOnly: false, transport: grpc() },
  {
    name: "websocket",
    isGrpc: false,
    listenOnly: false,
    transport: webSocket({ WebSocket: Socket }),
  },
  {
    name: "websocket with json",
    isGrpc: false,
    listenOnly: false,
    transport: webSocket({ WebSocket: Socket, codec: json }),
  },
  { name: "grpc-web", isGrpc: false, listenOnly: true, transport: grpcWeb() },
];

/**
 * The Chirm client: complete, in order, nothing twice.
 *
 * - {@link Client}, {@link Event}: the connection that stays, and what comes of it.
 * - {@link Api}: unary calls. {@link applyMark}: reactions and pins of a message that is held.
 * - {@link ClientOptions}, {@link OutboxStore}, {@link TokenSource}: what can be chosen.
 * - {@link webSocket}, {@link grpcWeb}, and `grpc` of `@chirm/client/grpc`: how the server is
 *   reached.
 * - `machine`: what the client does, as a pure state machine; `driver` runs it.
 *
 * @packageDocumentation
 */

export { Api, type ApiOptions, type Calls } from "./api.js";
export { Client, type Waiting } from "./client.js";
export type { Backoff, ClientOptions, Looking, SendOptions, Tapped } from "./config.js";
export { type Advice, ChirmError, type Code, type FieldFault } from "./error.js";
export type {
  Event,
  EventMap,
  EventOf,
  EventType,
  GapCause,
  Source,
  Stats,
} from "./event.js";
export type { Listener } from "./feed.js";
export type { Tokens } from "./gen/chirm/v1/auth_pb.js";
export { type Channel, ChannelType } from "./gen/chirm/v1/channel_pb.js";
export {
  type Position,
  type Topic,
  TopicKind,
  type TopicPosition,
} from "./gen/chirm/v1/common_pb.js";
export { Delivery, Intent } from "./gen/chirm/v1/gateway_pb.js";
export type { Message, Reaction } from "./gen/chirm/v1/message_pb.js";
export { type Presence, PresenceStatus } from "./gen/chirm/v1/presence_pb.js";
export type { ReadState } from "./gen/chirm/v1/read_state_pb.js";
export { type Member, Role, type Server } from "./gen/chirm/v1/server_pb.js";
export type { User } from "./gen/chirm/v1/user_pb.js";
export { compareIds, idTimeMs } from "./ids.js";
export { applyMark, keepOwn } from "./marks.js";
export { newNonce } from "./nonce.js";
export { IndexedDbOutbox, MemoryOutbox, type OutboxEntry, type OutboxStore } from "./outbox.js";
export type { TokenSource, TokensInit } from "./tokens.js";
export { type GrpcWebOptions, grpcWeb } from "./transport/grpc-web.js";
export type {
  Caller,
  CallOptions,
  Connection,
  Transport,
  TransportFactory,
} from "./transport/index.js";
export {
  type Codec,
  type WebSocketConstructor,
  type WebSocketOptions,
  webSocket,
} from "./transport/websocket.js";

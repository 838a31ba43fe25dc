/**
 * As much of a server as a client's connection needs: one channel in memory, spoken of in the real
 * protocol over real sockets, by every carrier. It can be told to misbehave as a real one wouldn't.
 */

import { createServer as createHttp1, type Server as Http1 } from "node:http";
import { createServer as createHttp2, type Http2Server } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import {
  create,
  fromBinary,
  fromJsonString,
  type MessageInitShape,
  toBinary,
  toJsonString,
} from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { type WebSocket, WebSocketServer } from "ws";
import { AuthService } from "../../src/gen/chirm/v1/auth_pb.js";
import { type Position, PositionSchema, TopicKind } from "../../src/gen/chirm/v1/common_pb.js";
import {
  Advice,
  type ClientFrame,
  ClientFrameSchema,
  EventSchema,
  GatewayService,
  type Identify,
  type ServerFrame,
  ServerFrameSchema,
  type Event as TopicEvent,
} from "../../src/gen/chirm/v1/gateway_pb.js";
import {
  type Message,
  MessageSchema,
  MessageService,
  type SendMessageRequest,
} from "../../src/gen/chirm/v1/message_pb.js";
import { PresenceService, type SetPresenceRequest } from "../../src/gen/chirm/v1/presence_pb.js";
import { Pipe } from "./pipe.js";

export const CHANNEL = "7";
export const TOKEN = "v1.1.good";
const TOPIC = { kind: TopicKind.CHANNEL, id: CHANNEL };

type Frame = NonNullable<MessageInitShape<typeof ServerFrameSchema>["frame"]>;
type Session = Pipe<ServerFrame>;

const CORS = [
  ["access-control-allow-origin", "*"],
  ["access-control-allow-headers", "*, authorization"],
  ["access-control-expose-headers", "grpc-status, grpc-message, grpc-status-details-bin"],
] as const;

const wrap = (frame: Frame): ServerFrame => create(ServerFrameSchema, { frame });
const seqOf = (event: TopicEvent): number => Number(event.position?.seq);

export class FakeServer {
  #position: Position = create(PositionSchema, { epoch: "1", seq: "0" });
  #ring: TopicEvent[] = [];
  readonly #messages = new Map<number, Message>();
  #sessions = new Set<Session>();
  /** What each connection presented. */
  readonly identified: Identify[] = [];
  /** The attempts of the sends that arrived. */
  readonly attempts: number[] = [];
  /** The presences that were set. */
  readonly presences: SetPresenceRequest[] = [];
  /** The next answers to sends are lost with their connections. */
  answersLost = 0;
  /** The next sends are refused for now, so many. */
  refusals = 0;
  /** The token that is taken. */
  token = TOKEN;
  /** What pages wait for before they are answered. */
  pageGate: Promise<void> = Promise.resolve();
  /** The refresh tokens that buy the next token. */
  readonly refreshes = new Map<string, string>();
  /** Answers no heartbeats, and wants them often. */
  isDeaf = false;
  readonly #http1: Http1;
  readonly #http2: Http2Server;
  readonly #sockets = new Set<Socket>();

  private constructor() {
    const routes = (router: ConnectRouter) => this.#routes(router);
    const handler = connectNodeAdapter({ routes });
    this.#http1 = createHttp1((request, response) => {
      // Pages of other origins may call, as the real one lets them.
      for (const [name, value] of CORS) response.setHeader(name, value);
      if (request.method === "OPTIONS") response.writeHead(204).end();
      else handler(request, response);
    });
    this.#http2 = createHttp2(connectNodeAdapter({ routes }));
    const handleProtocols = (offered: Set<string>) => [...offered][0] ?? false;
    const sockets = new WebSocketServer({ server: this.#http1, path: "/gateway", handleProtocols });
    sockets.on("connection", (socket) => this.#socket(socket));
    for (const server of [this.#http1, this.#http2]) {
      server.on("connection", (socket: Socket) => {
        this.#sockets.add(socket);
        socket.on("close", () => this.#sockets.delete(socket));
      });
    }
  }

  /** A server on free ports of the loopback. */
  static async start(): Promise<FakeServer> {
    const server = new FakeServer();
    for (const listener of [server.#http1, server.#http2]) {
      await new Promise<void>((resolve) => {
        listener.listen(0, "127.0.0.1", resolve);
      });
    }
    return server;
  }

  async stop(): Promise<void> {
    for (const session of this.#sessions) session.end();
    for (const socket of this.#sockets) socket.destroy();
    for (const listener of [this.#http1, this.#http2]) {
      await new Promise((resolve) => listener.close(resolve));
    }
  }

  /** Where gRPC is spoken, or everything else. */
  url(grpc: boolean): string {
    const { port } = (grpc ? this.#http2 : this.#http1).address() as AddressInfo;
    return `http://127.0.0.1:${port}`;
  }

  /** Stores a message and tells all sessions. */
  create(id: number): void {
    this.#store(create(MessageSchema, { id: String(id), channelId: CHANNEL }));
  }

  /** Stores a message and tells nobody. */
  createUnsaid(id: number): void {
    const sessions = this.#sessions;
    this.#sessions = new Set();
    this.create(id);
    this.#sessions = sessions;
  }

  /** What was said in the channel. */
  contents(): string[] {
    return [...this.#messages.values()].map(({ content }) => content);
  }

  /** The bus loses its memory. */
  forget(): void {
    const epoch = String(Number(this.#position.epoch) + 1);
    this.#position = create(PositionSchema, { epoch, seq: "0" });
    this.#ring = [];
  }

  /** Says the same to all sessions. */
  tell(frame: Frame): void {
    for (const session of this.#sessions) session.push(wrap(frame));
  }

  /** Breaks all connections, as a network does. */
  breakAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #store(message: Message): void {
    this.#position = { ...this.#position, seq: String(Number(this.#position.seq) + 1) };
    this.#messages.set(Number(message.id), message);
    const value = create(EventSchema, {
      topic: TOPIC,
      position: this.#position,
      event: { case: "messageCreated", value: { message } },
    });
    this.#ring.push(value);
    this.tell({ case: "event", value });
  }

  #send(request: SendMessageRequest): Message {
    this.attempts.push(request.attempt);
    if (this.refusals > 0) {
      this.refusals -= 1;
      throw new ConnectError("not now", Code.Unavailable);
    }
    const known = [...this.#messages.values()].find(({ nonce }) => nonce === request.nonce);
    if (known !== undefined) return known;
    const id = String(Math.max(100, ...this.#messages.keys()) + 1);
    const { channelId, content, nonce, replyTo, metadata } = request;
    const fields = { id, channelId, content, nonce, replyTo, metadata };
    const message = create(MessageSchema, fields);
    this.#store(message);
    return message;
  }

  /** The first part of a session, and its place among those that hear what is live. */
  #identify(identify: Identify): Session {
    const session: Session = new Pipe();
    const say = (frame: Frame) => session.push(wrap(frame));
    if (identify.token !== this.token) {
      const advice = Advice.REAUTHENTICATE;
      say({ case: "closing", value: { code: 4010, reason: "TOKEN_INVALID", advice } });
      return session;
    }
    const nanos = this.isDeaf ? 5_000_000 : 0;
    const seconds = this.isDeaf ? 0n : 20n;
    say({ case: "hello", value: { heartbeatInterval: { seconds, nanos } } });
    const held = identify.positions.find(({ topic }) => topic?.id === CHANNEL)?.position;
    const value = { topic: TOPIC, position: this.#position };
    if (held === undefined) {
      const lastMessageId = String(Math.max(0, ...this.#messages.keys()));
      const state = { case: "channel", value: { lastMessageId } } as const;
      say({ case: "snapshot", value: { ...value, state } });
    } else if (held.epoch === this.#position.epoch) {
      const missed = this.#ring.filter((event) => seqOf(event) > Number(held.seq));
      for (const value of missed) say({ case: "event", value });
    } else {
      say({ case: "gap", value });
    }
    say({ case: "ready", value: {} });
    this.#sessions.add(session);
    this.identified.push(identify);
    return session;
  }

  /** Deals with a frame; an answer that is lost takes the session with it. */
  #frame(session: Session, { callId, frame }: ClientFrame): void {
    if (frame.case === "heartbeat" && !this.isDeaf) {
      session.push(wrap({ case: "heartbeatAck", value: {} }));
    } else if (frame.case === "setPresence") {
      this.presences.push(frame.value);
    } else if (frame.case === "sendMessage") {
      try {
        const message = this.#send(frame.value);
        if (this.answersLost > 0) {
          this.answersLost -= 1;
          this.#sessions.clear();
          session.end();
          return;
        }
        const result = { case: "sendMessage", value: { message } } as const;
        session.push(wrap({ case: "result", value: { callId, result } }));
      } catch (error) {
        const { code, rawMessage } = ConnectError.from(error);
        const result = { case: "error", value: { code, message: rawMessage } } as const;
        session.push(wrap({ case: "result", value: { callId, result } }));
      }
    }
  }

  #socket(socket: WebSocket): void {
    const isJson = socket.protocol === "chirm.v1.json";
    let session: Session | undefined;
    const write = async (frames: Session) => {
      for await (const frame of frames) {
        socket.send(
          isJson ? toJsonString(ServerFrameSchema, frame) : toBinary(ServerFrameSchema, frame),
        );
      }
      socket.close(4000);
    };
    socket.on("message", (data: Buffer, isBinary) => {
      if (isBinary === isJson) return socket.close(1003);
      const frame = isJson
        ? fromJsonString(ClientFrameSchema, data.toString())
        : fromBinary(ClientFrameSchema, data);
      if (session !== undefined) return this.#frame(session, frame);
      if (frame.frame.case !== "identify") return socket.close(4003);
      session = this.#identify(frame.frame.value);
      void write(session);
    });
    socket.on("close", () => session && this.#sessions.delete(session));
  }

  #routes(router: ConnectRouter): void {
    const server = this;
    router.service(GatewayService, {
      async *session(frames) {
        const sent = frames[Symbol.asyncIterator]();
        const { value: first } = await sent.next();
        if (first?.frame.case !== "identify") throw new ConnectError("first", Code.InvalidArgument);
        const session = server.#identify(first.frame.value);
        const read = async () => {
          for (let next = await sent.next(); !next.done; next = await sent.next()) {
            server.#frame(session, next.value);
          }
        };
        read().catch(() => session.end());
        yield* session;
        throw new ConnectError("lost", Code.Unavailable);
      },
      async *listen(identify) {
        yield* server.#identify(identify);
      },
    });
    router.service(MessageService, {
      sendMessage: (request, context) => {
        this.#authorize(context);
        return { message: this.#send(request) };
      },
      listMessages: async ({ anchor, limit }, context) => {
        await this.pageGate;
        this.#authorize(context);
        const after = anchor.case === "after" ? Number(anchor.value) : 0;
        const ids = [...this.#messages.keys()].filter((id) => id > after).sort((a, b) => a - b);
        const messages = ids.slice(0, limit).map((id) => this.#messages.get(id) as Message);
        return { messages, hasNewer: ids.length > limit };
      },
    });
    router.service(PresenceService, {
      setPresence: (request) => {
        this.presences.push(request);
        return {};
      },
    });
    router.service(AuthService, {
      refresh: ({ refreshToken }) => {
        const accessToken = this.refreshes.get(refreshToken);
        if (accessToken === undefined) throw new ConnectError("spent", Code.Unauthenticated);
        this.refreshes.delete(refreshToken);
        return { tokens: { accessToken, refreshToken: `${refreshToken}+` } };
      },
    });
  }

  #authorize({ requestHeader }: HandlerContext): void {
    if (requestHeader.get("authorization") === `Bearer ${this.token}`) return;
    throw new ConnectError("another token", Code.Unauthenticated);
  }
}

/** Unary calls with a token. */

import type {
  DescMessage,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { defaultTransport } from "#transport";
import { AuthService } from "./gen/chirm/v1/auth_pb.js";
import { ChannelService } from "./gen/chirm/v1/channel_pb.js";
import { MessageService } from "./gen/chirm/v1/message_pb.js";
import { PresenceService } from "./gen/chirm/v1/presence_pb.js";
import { ReadStateService } from "./gen/chirm/v1/read_state_pb.js";
import { ServerService } from "./gen/chirm/v1/server_pb.js";
import { UserService } from "./gen/chirm/v1/user_pb.js";
import {
  type CallOptions,
  checkToken,
  type Transport,
  type TransportFactory,
} from "./transport/index.js";

/** A method as a function: its request as a plain object, its response as a message. */
type Call<M> = M extends { input: infer I extends DescMessage; output: infer O extends DescMessage }
  ? (request: MessageInitShape<I>, options?: CallOptions) => Promise<MessageShape<O>>
  : never;

/**
 * The unary methods of a service, as functions. What is refused is thrown as a {@link ChirmError}.
 */
export type Calls<S extends DescService> = {
  readonly [K in keyof S["method"] as S["method"][K] extends { methodKind: "unary" }
    ? K
    : never]: Call<S["method"][K]>;
};

/** Where an {@link Api} calls, and as whom. */
export interface ApiOptions {
  /** The server: `https://chat.example.com`, or `http://127.0.0.1:7300` on one's own machine. */
  readonly url: string;
  /** An access token, a bot's token or a service key; without, calls are anonymous. */
  readonly token?: string;
  /** gRPC in Node and gRPC-Web elsewhere by default. */
  readonly transport?: TransportFactory;
}

/**
 * Unary calls: it connects with the first and again whenever it must. Services that aren't among
 * its fields are called by {@link of}.
 */
export class Api {
  readonly #transport: Transport;
  readonly #token: () => string;
  #ownToken: string;
  readonly #made = new Map<DescService, unknown>();

  /** For a server and a token. Nothing is sent yet. */
  constructor(options: ApiOptions);
  /** @internal */
  constructor(transport: Transport, token: () => string);
  constructor(options: ApiOptions | Transport, token?: () => string) {
    if ("url" in options) {
      this.#transport = (options.transport ?? defaultTransport())(options.url);
      this.#ownToken = checkToken(options.token ?? "");
    } else {
      this.#transport = options;
      this.#ownToken = "";
    }
    this.#token = token ?? (() => this.#ownToken);
  }

  /** Accounts, sessions, bots, tokens. */
  get auth(): Calls<typeof AuthService> {
    return this.of(AuthService);
  }

  /** Channels. */
  get channels(): Calls<typeof ChannelService> {
    return this.of(ChannelService);
  }

  /** Sends, history, edits, deletes, reactions, pins, typing. */
  get messages(): Calls<typeof MessageService> {
    return this.of(MessageService);
  }

  /** Who is there. */
  get presence(): Calls<typeof PresenceService> {
    return this.of(PresenceService);
  }

  /** What was read. */
  get readStates(): Calls<typeof ReadStateService> {
    return this.of(ReadStateService);
  }

  /** Servers, members, invites, bans. */
  get servers(): Calls<typeof ServerService> {
    return this.of(ServerService);
  }

  /** Users and blocks. */
  get users(): Calls<typeof UserService> {
    return this.of(UserService);
  }

  /**
   * The calls of any service of `@chirm/client/v1`: `api.of(ModerationService).listAuditLog({
   * serverId })`.
   */
  of<S extends DescService>(service: S): Calls<S> {
    let calls = this.#made.get(service) as Calls<S> | undefined;
    if (calls === undefined) {
      calls = this.#make(service);
      this.#made.set(service, calls);
    }
    return calls;
  }

  /** Uses another token from the next call on. Of a {@link Client}, take its own `setToken`. */
  setToken(token: string): void {
    this.#ownToken = checkToken(token);
  }

  /** Ends what is open between calls. Of a {@link Client}, close the client. */
  close(): void {
    this.#transport.close();
  }

  #make<S extends DescService>(service: S): Calls<S> {
    const calls: Record<string, unknown> = {};
    for (const method of service.methods) {
      if (method.methodKind !== "unary") continue;
      const unary = method as DescMethodUnary;
      calls[method.localName] = (request: MessageInitShape<DescMessage>, options?: CallOptions) =>
        this.#transport.call(unary, request, this.#token(), options);
    }
    return calls as Calls<S>;
  }
}

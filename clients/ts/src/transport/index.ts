/**
 * How a client reaches its server: `websocket` and `grpc-web` everywhere, `grpc` in Node. `default`
 * is what is taken if the program names none.
 *
 * @packageDocumentation
 */

import type {
  DescMessage,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { configError } from "../error.js";
import type { ClientFrame, Identify, ServerFrame } from "../gen/chirm/v1/gateway_pb.js";

/** A snapshot of a large server has some megabytes. */
export const FRAME_BYTES_MAX = 16 * 1024 * 1024;
/** Frames on their way out of one connection: sends under way, views and heartbeats. */
export const FRAMES_OUT_MAX = 512;

/** Makes the transport of one client, to a server at an `http:` or `https:` URL. */
export type TransportFactory = (url: string) => Transport;

/** The way to one server. */
export interface Transport {
  /**
   * No stream towards the server: sends go by unary calls, there are no heartbeats, and viewing
   * connects anew.
   */
  readonly listenOnly: boolean;
  /** Begins a connection whose first frame is this. What goes wrong, its frames say. */
  connect(identify: Identify): Connection;
  /**
   * Makes a unary call. Whatever goes wrong is thrown as a {@link ChirmError}, but an abort as its
   * reason.
   */
  call: Caller;
  /** Ends what is open between calls. */
  close(): void;
}

/** A connection, from its beginning to its end. */
export interface Connection {
  /**
   * The next frame of the server's. Whatever ends the connection is thrown, as a {@link
   * ChirmError}. One call at a time.
   */
  receive(): Promise<ServerFrame>;
  /**
   * Sends a frame. False: too many wait to go out. Without a stream towards the server it does
   * nothing.
   */
  send(frame: ClientFrame): boolean;
  /** Drops the connection at once, without a goodbye. */
  drop(): void;
}

/** What goes with a unary call. */
export interface CallOptions {
  /** Gives up waiting; what the server makes of the request is then unknown. */
  readonly signal?: AbortSignal | undefined;
  /** How long the answer may take, in milliseconds: 30,000 by default. */
  readonly timeoutMs?: number | undefined;
}

/** A unary call with a token; with an empty one it is anonymous. */
export type Caller = <I extends DescMessage, O extends DescMessage>(
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
  token: string,
  options?: CallOptions,
) => Promise<MessageShape<O>>;

/** How long a unary call may take. */
export const CALL_MS = 30_000;

/** A server's URL without the slashes at its end. */
export function serverUrl(url: string): string {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch (cause) {
    throw configError(`url: ${url} is not a server's URL, as https://chat.example.com`, { cause });
  }
  if (parsed.protocol !== "http:" && parsed.protocol !== "https:") {
    throw configError(`url: ${url} is not http://host:port or https://host:port`);
  }
  if (parsed.username !== "" || parsed.password !== "" || parsed.search !== "" || parsed.hash) {
    throw configError("url: a server's URL has no user, password, query or fragment");
  }
  return `${parsed.origin}${parsed.pathname.replace(/\/+$/, "")}`;
}

/** The header of a call's token. */
export function bearer(token: string): Record<string, string> {
  return token === "" ? {} : { authorization: `Bearer ${token}` };
}

/** Refuses a token that can't go into a header, without showing it. */
export function checkToken(token: string): string {
  if (!/^[\x21-\x7e]*$/.test(token)) {
    throw configError("token: a token has printable ASCII characters only, and no spaces");
  }
  return token;
}

/** Frames over a WebSocket, one a message; unary calls by gRPC-Web beside it. */

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type ChirmError, configError, connectionError } from "../error.js";
import { frameOf } from "../frames.js";
import {
  type ClientFrame,
  ClientFrameSchema,
  type Identify,
  type ServerFrame,
  ServerFrameSchema,
} from "../gen/chirm/v1/gateway_pb.js";
import { caller } from "./grpc-web.js";
import {
  type Connection,
  FRAME_BYTES_MAX,
  FRAMES_OUT_MAX,
  serverUrl,
  type Transport,
  type TransportFactory,
} from "./index.js";

/** Frames that came and weren't taken: a browser reads on, however busy the program is. */
const FRAMES_IN_MAX = 4096;
/** What waits to go out, beyond which the server doesn't take it. */
const BUFFERED_BYTES_MAX = 4 * 1024 * 1024;

/** How frames are written: `proto` by default, JSON by `json` of `@chirm/client/json`. */
export interface Codec {
  /** The WebSocket's subprotocol. */
  readonly subprotocol: string;
  /** The text or the bytes of a message. */
  encode(frame: ClientFrame): string | Uint8Array<ArrayBuffer>;
  /** Throws if it is no frame. */
  decode(data: string | ArrayBuffer): ServerFrame;
}

/** Frames as protobuf. */
export const proto: Codec = {
  subprotocol: "chirm.v1.proto",
  encode: (frame) => toBinary(ClientFrameSchema, frame),
  decode: (data) => {
    if (typeof data === "string") throw new Error("text where bytes belong");
    return fromBinary(ServerFrameSchema, new Uint8Array(data));
  },
};

/** What is used of a WebSocket. */
export interface WebSocketLike {
  binaryType: string;
  readonly bufferedAmount: number;
  readonly readyState: number;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
  terminate?(): void;
  addEventListener(type: "open" | "error", listener: () => void): void;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  addEventListener(type: "close", listener: (event: CloseLike) => void): void;
}

interface CloseLike {
  readonly code: number;
  readonly reason: string;
}

/** A WebSocket's constructor: a browser's, or that of the package `ws`. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

/** Choices of {@link webSocket}. */
export interface WebSocketOptions {
  /**
   * In place of the global `WebSocket`, which Node has from version 22 on: that of the package
   * `ws`.
   */
  readonly WebSocket?: WebSocketConstructor;
  /** How frames are written: as protobuf by default. */
  readonly codec?: Codec;
  /** For the unary calls, in place of the global `fetch`. */
  readonly fetch?: typeof fetch;
}

/**
 * A WebSocket: what browsers take if nothing else is said.
 *
 * ```ts
 * const client = new Client({ url, token, transport: webSocket({ codec: json }) });
 * ```
 */
export function webSocket(options: WebSocketOptions = {}): TransportFactory {
  return (url): Transport => {
    const base = serverUrl(url);
    const Socket = options.WebSocket ?? (globalThis.WebSocket as WebSocketConstructor | undefined);
    if (Socket === undefined) {
      throw configError(
        "transport: there is no global WebSocket; take webSocket({ WebSocket }) with that of `ws`",
      );
    }
    const gateway = `${base.replace(/^http/, "ws")}/gateway`;
    return {
      listenOnly: false,
      connect: (identify) => new Socketed(Socket, gateway, options.codec ?? proto, identify),
      call: caller(base, options.fetch ?? fetch),
      close: () => {},
    };
  };
}

class Socketed implements Connection {
  readonly #socket: WebSocketLike;
  readonly #codec: Codec;
  readonly #received: ServerFrame[] = [];
  #receivedBytes = 0;
  #isOpen = false;
  /** What is to go out once it is open. */
  #early: ClientFrame[];
  #error: ChirmError | undefined;
  #wake: (() => void) | undefined;

  constructor(Socket: WebSocketConstructor, url: string, codec: Codec, identify: Identify) {
    this.#codec = codec;
    this.#early = [frameOf(0, { case: "identify", value: identify })];
    const socket = new Socket(url, [codec.subprotocol]);
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => this.#opened());
    socket.addEventListener("message", ({ data }) => this.#message(data));
    // A browser tells nothing of an error but that there was one; the close that follows has the
    // code.
    socket.addEventListener("error", () => {});
    socket.addEventListener("close", ({ code, reason }) => {
      const why = reason === "" ? "" : `: ${reason}`;
      this.#end(connectionError(`the WebSocket was closed with code ${code}${why}`));
    });
    this.#socket = socket;
  }

  async receive(): Promise<ServerFrame> {
    for (;;) {
      const frame = this.#received.shift();
      if (frame !== undefined) return frame;
      this.#receivedBytes = 0;
      if (this.#error !== undefined) throw this.#error;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  send(frame: ClientFrame): boolean {
    if (this.#error !== undefined) return true;
    if (!this.#isOpen) {
      this.#early.push(frame);
      return this.#early.length <= FRAMES_OUT_MAX;
    }
    if (this.#socket.bufferedAmount > BUFFERED_BYTES_MAX) return false;
    this.#socket.send(this.#codec.encode(frame));
    return true;
  }

  drop(): void {
    this.#end(connectionError("the connection was dropped"));
    this.#received.length = 0;
  }

  #opened(): void {
    this.#isOpen = true;
    for (const frame of this.#early.splice(0)) this.send(frame);
  }

  #message(data: unknown): void {
    if (this.#error !== undefined) return;
    if (typeof data !== "string" && !(data instanceof ArrayBuffer)) {
      this.#end(connectionError("the server sent neither text nor bytes"));
      return;
    }
    try {
      this.#received.push(this.#codec.decode(data));
    } catch (cause) {
      this.#end(connectionError("the server sent what can't be decoded", { cause }));
      return;
    }
    this.#receivedBytes += typeof data === "string" ? data.length : data.byteLength;
    if (this.#received.length > FRAMES_IN_MAX || this.#receivedBytes > FRAME_BYTES_MAX) {
      // Connecting again with the positions held brings what is dropped here.
      this.drop();
      this.#error = connectionError("the program takes its events too slowly");
    }
    this.#woken();
  }

  #end(error: ChirmError): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    this.#socket.close(1000);
    // That of `ws` would wait for the server's answer.
    this.#socket.terminate?.();
    this.#woken();
  }

  #woken(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}

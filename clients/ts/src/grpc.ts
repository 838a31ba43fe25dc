/**
 * gRPC over HTTP/2, for Node: what a client takes there if nothing else is said.
 *
 * @packageDocumentation
 */

import type { ClientSessionOptions, SecureClientSessionOptions } from "node:http2";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { ChirmError, connectionError, statusError } from "./error.js";
import { frameOf } from "./frames.js";
import {
  type ClientFrame,
  GatewayService,
  type Identify,
  type ServerFrame,
} from "./gen/chirm/v1/gateway_pb.js";
import { withDeadline } from "./transport/deadline.js";
import {
  bearer,
  type Caller,
  type Connection,
  FRAME_BYTES_MAX,
  FRAMES_OUT_MAX,
  serverUrl,
  type TransportFactory,
} from "./transport/index.js";

/** HTTP/2 pings: they find a peer that vanished. */
const PINGS = { pingIntervalMs: 20_000, pingTimeoutMs: 10_000 };

/** Choices of {@link grpc}. */
export interface GrpcOptions {
  /** Passed to Node's `http2.connect`: `ca` names the certificates to trust. */
  readonly nodeOptions?: ClientSessionOptions | SecureClientSessionOptions;
}

/** gRPC: events and sends by one stream, everything else by unary calls. */
export function grpc(options: GrpcOptions = {}): TransportFactory {
  return (url) => {
    const base = serverUrl(url);
    const session = () => new Http2SessionManager(base, PINGS, options.nodeOptions);
    const unary = session();
    return {
      listenOnly: false,
      connect: (identify) => new Session(base, session(), identify),
      call: caller(base, unary),
      close: () => unary.abort(),
    };
  };
}

function transport(baseUrl: string, sessionManager: Http2SessionManager) {
  return createGrpcTransport({
    baseUrl,
    sessionManager,
    acceptCompression: [],
    readMaxBytes: FRAME_BYTES_MAX,
  });
}

function caller(base: string, session: Http2SessionManager): Caller {
  const { unary } = transport(base, session);
  return (method, request, token, options = {}) =>
    withDeadline(options, async (signal) => {
      try {
        const response = await unary(method, signal, options.timeoutMs, bearer(token), request);
        return response.message;
      } catch (error) {
        throw told(error);
      }
    });
}

/** What Connect's own error says. */
function told(error: unknown): ChirmError {
  if (error instanceof ChirmError) return error;
  const { code, rawMessage, details, cause } = ConnectError.from(error, Code.Unavailable);
  const known = details.flatMap((detail) => ("type" in detail ? [detail] : []));
  return statusError(code, rawMessage, known, { cause });
}

/** The stream of `Session`, on a connection of its own. */
class Session implements Connection {
  readonly #session: Http2SessionManager;
  readonly #controller = new AbortController();
  readonly #frames: AsyncIterator<ServerFrame>;
  readonly #out: ClientFrame[];
  #wake: (() => void) | undefined;

  constructor(base: string, session: Http2SessionManager, identify: Identify) {
    this.#session = session;
    this.#out = [frameOf(0, { case: "identify", value: identify })];
    const gateway = createClient(GatewayService, transport(base, session));
    const { signal } = this.#controller;
    this.#frames = gateway.session(this.#sent(signal), { signal })[Symbol.asyncIterator]();
  }

  async receive(): Promise<ServerFrame> {
    let next: IteratorResult<ServerFrame>;
    try {
      next = await this.#frames.next();
    } catch (error) {
      throw told(error).ofStream();
    }
    if (next.done) throw connectionError("the server ended the stream");
    return next.value;
  }

  send(frame: ClientFrame): boolean {
    this.#out.push(frame);
    this.#wake?.();
    return this.#out.length <= FRAMES_OUT_MAX;
  }

  drop(): void {
    this.#controller.abort();
    this.#session.abort(new ConnectError("the connection was dropped", Code.Canceled));
    this.#wake?.();
  }

  async *#sent(signal: AbortSignal): AsyncGenerator<ClientFrame> {
    while (!signal.aborted) {
      const frame = this.#out.shift();
      if (frame !== undefined) {
        yield frame;
        continue;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

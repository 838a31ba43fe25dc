/**
 * gRPC-Web over `fetch`: unary calls, and the stream that only listens. The format is five bytes
 * before each message (flags, length) and a last frame with the trailers, so it takes no library.
 */

import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { base64Decode } from "@bufbuild/protobuf/wire";
import { ChirmError, connectionError, statusError } from "../error.js";
import { GatewayService, type Identify, type ServerFrame } from "../gen/chirm/v1/gateway_pb.js";
import { StatusSchema } from "../gen/google/rpc/status_pb.js";
import { withDeadline } from "./deadline.js";
import {
  bearer,
  CALL_MS,
  type Caller,
  type Connection,
  FRAME_BYTES_MAX,
  serverUrl,
  type Transport,
  type TransportFactory,
} from "./index.js";

const HEADER_BYTES = 5;
const TRAILERS = 0x80;
const COMPRESSED = 0x01;

/** Choices of {@link grpcWeb}. */
export interface GrpcWebOptions {
  /** In place of the global `fetch`: another implementation, or one with settings of its own. */
  readonly fetch?: typeof fetch;
}

/**
 * gRPC-Web, where no WebSocket gets through: events by a stream, everything else by unary calls.
 *
 * ```ts
 * const client = new Client({ url, token, transport: grpcWeb() });
 * ```
 */
export function grpcWeb(options: GrpcWebOptions = {}): TransportFactory {
  return (url): Transport => {
    const base = serverUrl(url);
    const fetcher = options.fetch ?? fetch;
    return {
      listenOnly: true,
      connect: (identify) => new Listening(base, identify, fetcher),
      call: caller(base, fetcher),
      close: () => {},
    };
  };
}

/** Unary calls to a server. */
export function caller(base: string, fetcher: typeof fetch): Caller {
  return (method, request, token, options = {}) =>
    withDeadline(options, async (signal) => {
      const { timeoutMs = CALL_MS } = options;
      const headers = { ...bearer(token), "grpc-timeout": `${Math.ceil(timeoutMs)}m` };
      const bytes = toBinary(method.input, create(method.input, request));
      const response = await post(base, method, bytes, { headers, signal, fetcher });
      // The deadline bounds how much comes.
      const body = new Uint8Array(await broken(response.arrayBuffer()));
      let answer: Uint8Array | undefined;
      for (let at = 0; at + HEADER_BYTES <= body.length; ) {
        const { flags, length } = parseHeader(body.subarray(at));
        at += HEADER_BYTES + length;
        const frame = body.subarray(at - length, at);
        if (frame.length < length) break;
        if (!(flags & TRAILERS)) answer = frame;
        else if (checkTrailers(frame) && answer) return decode(method.output, answer);
      }
      throw connectionError("the answer ended in the middle");
    });
}

/** The stream of `Listen`. */
class Listening implements Connection {
  readonly #controller = new AbortController();
  readonly #frames: AsyncGenerator<Uint8Array, void>;

  constructor(base: string, identify: Identify, fetcher: typeof fetch) {
    const method = GatewayService.method.listen;
    const bytes = toBinary(method.input, identify);
    const { signal } = this.#controller;
    this.#frames = (async function* () {
      yield* messages(await post(base, method, bytes, { headers: {}, signal, fetcher }));
    })();
  }

  async receive(): Promise<ServerFrame> {
    try {
      const { value, done } = await this.#frames.next();
      if (done) throw connectionError("the server ended the stream");
      return decode(GatewayService.method.listen.output, value);
    } catch (error) {
      throw error instanceof ChirmError ? error.ofStream() : connectionError(String(error));
    }
  }

  send(): boolean {
    return true;
  }

  drop(): void {
    this.#controller.abort();
  }
}

function decode<O extends DescMessage>(schema: O, bytes: Uint8Array): MessageShape<O> {
  try {
    return fromBinary(schema, bytes);
  } catch (cause) {
    throw connectionError("the server sent what can't be decoded", { cause });
  }
}

interface Post {
  readonly headers: Record<string, string>;
  readonly signal: AbortSignal;
  readonly fetcher: typeof fetch;
}

/** Makes a call; gives its answer once that has begun, unless it is an error. */
async function post(
  base: string,
  method: DescMethod,
  bytes: Uint8Array,
  { headers, signal, fetcher }: Post,
): Promise<Response> {
  const type = "application/grpc-web+proto";
  const response = await broken(
    fetcher(`${base}/${method.parent.typeName}/${method.name}`, {
      method: "POST",
      headers: { "content-type": type, accept: type, "x-grpc-web": "1", ...headers },
      body: framed(bytes),
      signal,
    }),
  );
  // An error that comes before any message stands in the headers.
  if (response.headers.has("grpc-status")) checkStatus((name) => response.headers.get(name));
  const told = response.headers.get("content-type") ?? "";
  if (!response.ok || !told.startsWith("application/grpc-web")) {
    response.body?.cancel().catch(() => {});
    throw foreignError(response.status, told);
  }
  return response;
}

/** What the network gives; or says, as one kind of error, why it doesn't. */
async function broken<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    // `fetch` itself says little: the cause says more, where there is one.
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    throw connectionError(String(cause), { cause });
  }
}

function framed(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const body = new Uint8Array(HEADER_BYTES + bytes.length);
  new DataView(body.buffer).setUint32(1, bytes.length);
  body.set(bytes, HEADER_BYTES);
  return body;
}

/** An answer that isn't gRPC-Web: from a proxy, or from a server that doesn't speak it. */
function foreignError(status: number, type: string): ChirmError {
  const codes: Record<number, number> = {
    401: 16,
    403: 7,
    404: 12,
    429: 14,
    502: 14,
    503: 14,
    504: 14,
  };
  const message = `HTTP status ${status} with content of type "${type}", which isn't gRPC-Web`;
  return statusError(codes[status] ?? 2, message, []);
}

/** What stands before each frame. */
function parseHeader(bytes: Uint8Array): { readonly flags: number; readonly length: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const [flags, length] = [view.getUint8(0), view.getUint32(1)];
  if (flags & COMPRESSED) throw connectionError("the server compresses what wasn't asked to be");
  if (length > FRAME_BYTES_MAX) {
    throw connectionError(`a message of ${length} bytes; at most ${FRAME_BYTES_MAX} are taken`);
  }
  return { flags, length };
}

/** The messages of a body; its trailers end it, and throw what they say. */
async function* messages(response: Response): AsyncGenerator<Uint8Array, void> {
  const reader = response.body?.getReader();
  if (reader === undefined) throw connectionError("an answer without a body");
  const body = new Body(reader);
  try {
    for (;;) {
      const { flags, length } = parseHeader(await body.take(HEADER_BYTES));
      const frame = await body.take(length);
      if (flags & TRAILERS) {
        checkTrailers(frame);
        return;
      }
      yield frame;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Throws unless the trailers say that all went well. */
function checkTrailers(frame: Uint8Array): true {
  const lines = new TextDecoder().decode(frame).split("\r\n");
  const trailers = new Map(
    lines.map((line) => {
      const [, name = "", value = ""] = /^([^:]*):(.*)$/.exec(line) ?? [];
      return [name.trim().toLowerCase(), value.trim()];
    }),
  );
  checkStatus((name) => trailers.get(name) ?? null);
  return true;
}

/** Throws unless the status is OK. */
function checkStatus(get: (name: string) => string | null): void {
  const code = Number(get("grpc-status") ?? 2);
  if (code === 0) return;
  const details = get("grpc-status-details-bin");
  let told = create(StatusSchema);
  try {
    if (details !== null) told = fromBinary(StatusSchema, base64Decode(details));
  } catch {
    // Without its details it is an error all the same.
  }
  const listed = told.details.map(({ typeUrl, value }) => ({ type: typeUrl, value }));
  throw statusError(code, percentDecoded(get("grpc-message") ?? ""), listed);
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A body that is taken in pieces of a chosen size. */
class Body {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #chunks: Uint8Array[] = [];
  #bytes = 0;

  constructor(reader: ReadableStreamDefaultReader<Uint8Array>) {
    this.#reader = reader;
  }

  /** The next so many bytes. */
  async take(count: number): Promise<Uint8Array> {
    while (this.#bytes < count) {
      const { value, done } = await broken(this.#reader.read());
      if (done) throw connectionError("the answer ended in the middle");
      this.#chunks.push(value);
      this.#bytes += value.length;
    }
    const taken = new Uint8Array(count);
    let filled = 0;
    while (filled < count) {
      const [chunk] = this.#chunks as [Uint8Array];
      const part = chunk.subarray(0, count - filled);
      taken.set(part, filled);
      filled += part.length;
      if (part.length === chunk.length) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(part.length);
    }
    this.#bytes -= count;
    return taken;
  }
}

/**
 * gRPC-Web over `fetch`: unary calls, and the stream that only listens. The format is five bytes before each
 * message (flags, length) and a last frame with the trailers, so it takes no library.
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
      const frames = await post(base, method, bytes, { headers, signal, fetcher });
      let answer: Uint8Array | undefined;
      for await (const message of frames) answer = message;
      if (answer === undefined) throw statusError(2, "the answer has no message", []);
      return decode(method.output, answer);
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
      yield* await post(base, method, bytes, { headers: {}, signal, fetcher });
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

/** Makes a call; gives the messages of its answer, and throws what the trailers say. */
async function post(
  base: string,
  method: DescMethod,
  bytes: Uint8Array,
  { headers, signal, fetcher }: Post,
): Promise<AsyncGenerator<Uint8Array, void>> {
  let response: Response;
  try {
    response = await fetcher(`${base}/${method.parent.typeName}/${method.name}`, {
      method: "POST",
      headers: {
        "content-type": "application/grpc-web+proto",
        accept: "application/grpc-web+proto",
        "x-grpc-web": "1",
        ...headers,
      },
      body: framed(bytes),
      signal,
    });
  } catch (cause) {
    throw connectionError(describe(cause), { cause });
  }
  // An error that comes before any message stands in the headers.
  if (response.headers.has("grpc-status")) checkStatus((name) => response.headers.get(name));
  const type = response.headers.get("content-type") ?? "";
  if (!response.ok || !type.startsWith("application/grpc-web")) {
    await response.body?.cancel();
    throw foreignError(response.status, type);
  }
  return messages(response);
}

/** `fetch` itself says little: the cause says more, where there is one. */
function describe(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message : String(cause);
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

/** The messages of a body; its trailers end it, and throw what they say. */
async function* messages(response: Response): AsyncGenerator<Uint8Array, void> {
  const reader = response.body?.getReader();
  if (reader === undefined) throw connectionError("an answer without a body");
  const body = new Body(reader);
  try {
    for (;;) {
      const header = await body.take(HEADER_BYTES);
      const view = new DataView(header.buffer, header.byteOffset);
      const [flags, length] = [view.getUint8(0), view.getUint32(1)];
      if (flags & COMPRESSED)
        throw connectionError("the server compresses what wasn't asked to be");
      if (length > FRAME_BYTES_MAX) {
        throw connectionError(`a message of ${length} bytes; at most ${FRAME_BYTES_MAX} are taken`);
      }
      const frame = await body.take(length);
      if (flags & TRAILERS) {
        const trailers = parseTrailers(new TextDecoder().decode(frame));
        checkStatus((name) => trailers.get(name) ?? null);
        return;
      }
      yield frame;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parseTrailers(text: string): Map<string, string> {
  const lines = text.split("\r\n").filter((line) => line.includes(":"));
  return new Map(
    lines.map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
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
      const { value, done } = await this.#read();
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

  async #read(): Promise<ReadableStreamReadResult<Uint8Array>> {
    try {
      return await this.#reader.read();
    } catch (cause) {
      throw connectionError(describe(cause), { cause });
    }
  }
}

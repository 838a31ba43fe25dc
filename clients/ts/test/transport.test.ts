/** Carriers against servers that aren't what they should be. */

import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterEach, describe, expect, test } from "vitest";
import { type WebSocket as Socketed, WebSocketServer } from "ws";
import { Api } from "../src/api.js";
import type { ChirmError } from "../src/error.js";
import { IdentifySchema, ServerFrameSchema } from "../src/gen/chirm/v1/gateway_pb.js";
import { GetMessageResponseSchema } from "../src/gen/chirm/v1/message_pb.js";
import { ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../src/gen/google/rpc/status_pb.js";
import { json } from "../src/json.js";
import { grpcWeb } from "../src/transport/grpc-web.js";
import { proto, webSocket } from "../src/transport/websocket.js";
import { Socket } from "./carriers.js";

const servers: Server[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A frame of gRPC-Web. */
function frame(flags: number, content: Uint8Array | string, length?: number): Buffer {
  const bytes = Buffer.from(content as string);
  const header = Buffer.alloc(5);
  header.writeUInt8(flags);
  header.writeUInt32BE(length ?? bytes.length, 1);
  return Buffer.concat([header, bytes]);
}

const TYPE = { "content-type": "application/grpc-web+proto" };
const message = toBinary(
  GetMessageResponseSchema,
  create(GetMessageResponseSchema, { message: { content: "whole" } }),
);
const OK = frame(0x80, "grpc-status: 0\r\n");

/** A unary call that is answered so, in pieces. */
async function call(pieces: Buffer[], headers: Record<string, string> = TYPE, status = 200) {
  const url = await serve((_, response) => {
    response.writeHead(status, headers);
    for (const piece of pieces) response.write(piece);
    response.end();
  });
  const api = new Api({ url, token: "t", transport: grpcWeb() });
  return api.messages.getMessage({ channelId: "1", messageId: "2" });
}

const refused = (answer: Promise<unknown>): Promise<ChirmError> =>
  answer.then(
    () => {
      throw new Error("it was taken");
    },
    (error) => error,
  );

describe("a unary call by gRPC-Web", () => {
  test("takes an answer in whatever pieces it comes", async () => {
    const whole = Buffer.concat([frame(0, message), OK]);
    const bytes = Array.from(whole, (byte) => Buffer.from([byte]));
    expect((await call(bytes)).message?.content).toBe("whole");
  });

  test("says what the trailers say, with details", async () => {
    const info = create(ErrorInfoSchema, { reason: "NOT_FOUND", domain: "chirm.dev" });
    const status = create(StatusSchema, {
      code: 5,
      details: [
        {
          typeUrl: "type.googleapis.com/google.rpc.ErrorInfo",
          value: toBinary(ErrorInfoSchema, info),
        },
      ],
    });
    const details = Buffer.from(toBinary(StatusSchema, status)).toString("base64");
    const trailers = [
      "grpc-status:5",
      "grpc-message:n%C3%B6",
      `grpc-status-details-bin:${details}`,
      "",
    ].join("\r\n");
    const expected = { code: "NOT_FOUND", reason: "NOT_FOUND", message: "nö", advice: "stop" };
    expect(await refused(call([frame(0x80, trailers)]))).toMatchObject(expected);
    const headers = {
      ...TYPE,
      "grpc-status": "5",
      "grpc-message": "n%C3%B6",
      "grpc-status-details-bin": details.replace(/=+$/, ""),
    };
    expect(await refused(call([], headers))).toMatchObject(expected);
  });

  test.each([
    [503, "UNAVAILABLE", "retry"],
    [429, "UNAVAILABLE", "retry"],
    [404, "UNIMPLEMENTED", "stop"],
    [401, "UNAUTHENTICATED", "reauthenticate"],
    [200, "UNKNOWN", "retry"],
  ])("takes a page of a proxy's with status %i for %s", async (status, code, advice) => {
    const html = { "content-type": "text/html" };
    const error = await refused(call([Buffer.from("<html>")], html, status));
    expect(error).toMatchObject({ code, advice, reason: "" });
  });

  test.each([
    ["ends in the middle", [frame(0, message, 1000)]],
    ["has no trailers", [frame(0, message)]],
    ["has no message", [OK]],
    ["is compressed", [frame(1, message), OK]],
    ["is too large", [frame(0, message, 2 ** 31)]],
    ["is none", [frame(0, Buffer.from([255])), OK]],
  ])("refuses an answer that %s", async (_, pieces) => {
    expect(await refused(call(pieces))).toMatchObject({ reason: "CONNECTION_LOST" });
  });

  test("sends its token, its deadline and the request", async () => {
    let seen: Record<string, unknown> = {};
    const url = await serve((request, response) => {
      seen = { ...request.headers, path: request.url };
      response.writeHead(200, TYPE).end(Buffer.concat([frame(0, message), OK]));
    });
    const api = new Api({ url: `${url}/behind/a/path/`, token: "t", transport: grpcWeb() });
    await api.messages.getMessage({ channelId: "1", messageId: "2" }, { timeoutMs: 1500.5 });
    expect(seen).toMatchObject({
      authorization: "Bearer t",
      "grpc-timeout": "1501m",
      path: "/behind/a/path/chirm.v1.MessageService/GetMessage",
    });
  });

  test("ends in time, and when it is given up", async () => {
    const url = await serve(() => {});
    const api = new Api({ url, transport: grpcWeb() });
    const late = api.users.getSelf({}, { timeoutMs: 20 });
    expect(await refused(late)).toMatchObject({ code: "DEADLINE_EXCEEDED", advice: "retry" });
    const controller = new AbortController();
    const given = api.users.getSelf({}, { signal: controller.signal });
    controller.abort(new Error("no patience"));
    await expect(given).rejects.toThrow("no patience");
    await expect(api.users.getSelf({}, { signal: controller.signal })).rejects.toThrow(
      "no patience",
    );
  });

  test("says when nobody is there", async () => {
    const url = await serve(() => {});
    servers.pop()?.close();
    const error = await refused(new Api({ url, transport: grpcWeb() }).users.getSelf({}));
    expect(error).toMatchObject({ reason: "CONNECTION_LOST", advice: "resume" });
  });
});

describe("a WebSocket", () => {
  /** A connection to a server that does something with its socket. */
  async function connect(codec: typeof proto, act: (socket: Socketed) => void) {
    const url = await serve((_, response) => response.writeHead(404).end());
    const server = servers.at(-1);
    const sockets = new WebSocketServer({ ...(server ? { server } : {}), path: "/gateway" });
    sockets.on("connection", (socket) => socket.once("message", () => act(socket)));
    return webSocket({ WebSocket: Socket, codec })(url).connect(create(IdentifySchema));
  }

  const ready = create(ServerFrameSchema, { frame: { case: "ready", value: {} } });

  test.each([
    ["text where bytes belong", proto, "{}"],
    ["bytes where text belongs", json, Buffer.from([1])],
    ["what is no frame", proto, Buffer.from([255])],
    ["what is no JSON", json, "{"],
  ])("ends when it is sent %s", async (_, codec, data) => {
    const connection = await connect(codec, (socket) => socket.send(data));
    const error = await refused(connection.receive());
    expect(error).toMatchObject({ reason: "CONNECTION_LOST", advice: "resume" });
  });

  test("gives what came before its end, and then its code", async () => {
    const connection = await connect(proto, (socket) => {
      socket.send(toBinary(ServerFrameSchema, ready));
      socket.close(4020, "too quiet");
    });
    expect((await connection.receive()).frame.case).toBe("ready");
    const error = await refused(connection.receive());
    expect(error.message).toBe("the WebSocket was closed with code 4020: too quiet");
  });

  test("gives nothing after it was dropped", async () => {
    const connection = await connect(proto, (socket) => {
      socket.send(toBinary(ServerFrameSchema, ready));
    });
    connection.drop();
    const error = await refused(connection.receive());
    expect(error).toMatchObject({ reason: "CONNECTION_LOST" });
  });

  test("ends when more comes than the program takes", async () => {
    let ended = () => {};
    const isEnded = new Promise<void>((resolve) => {
      ended = resolve;
    });
    const connection = await connect(proto, (socket) => {
      socket.on("close", ended);
      for (let i = 0; i < 5_000; i++) socket.send(toBinary(ServerFrameSchema, ready));
    });
    await isEnded;
    const error = await refused(connection.receive());
    expect(error).toMatchObject({ advice: "resume" });
    expect(error.message).toBe("the program takes its events too slowly");
  });

  test("ends when the server has none", async () => {
    const url = await serve((_, response) => response.writeHead(404).end());
    const connection = webSocket({ WebSocket: Socket })(url).connect(create(IdentifySchema));
    expect(await refused(connection.receive())).toMatchObject({ advice: "resume" });
  });
});

/**
 * What serves the page of `web/` as a server does: at its root and by a strict policy; all else
 * goes to the server behind. It can be cut, as a network can.
 */

import { existsSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, request, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { extname, join } from "node:path";
import type { Duplex } from "node:stream";

const WEB = new URL("../../../../web/", import.meta.url).pathname;
const POLICY = "default-src 'self'; connect-src 'self' ws: wss:";
const TYPES: Record<string, string> = {
  ".css": "text/css",
  ".html": "text/html",
  ".js": "text/javascript",
  ".svg": "image/svg+xml",
};

export class Front {
  readonly #target: URL;
  readonly #sockets = new Set<Duplex>();
  readonly #server: Server;
  /** Of each WebSocket that is passed on, the page's side and the server's. */
  readonly #pairs = new Set<readonly [Duplex, Duplex]>();
  #isDown = false;

  private constructor(target: string) {
    this.#target = new URL(target);
    this.#server = createServer((incoming, response) => {
      const path = new URL(incoming.url ?? "/", "http://front").pathname;
      const file = join(WEB, path === "/" ? "index.html" : path);
      if (existsSync(file)) {
        const type = TYPES[extname(file)] ?? "text/plain";
        response.writeHead(200, { "content-type": type, "content-security-policy": POLICY });
        response.end(readFileSync(file));
        return;
      }
      const { url: where, method, headers } = incoming;
      const onward = request(this.#target, { path: where, method, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      });
      onward.on("error", () => response.destroy());
      incoming.pipe(onward);
    });
    this.#server.on("connection", (socket) => {
      if (this.#isDown) socket.destroy();
      this.#keep(socket);
    });
    this.#server.on("upgrade", (incoming, socket, head) => this.#upgrade(incoming, socket, head));
  }

  static async of(target: string): Promise<Front> {
    const front = new Front(target);
    await new Promise<void>((resolve) => {
      front.#server.listen(0, "127.0.0.1", resolve);
    });
    return front;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Passes a WebSocket on. */
  #upgrade({ method, url, rawHeaders }: IncomingMessage, near: Duplex, head: Buffer): void {
    const far: Socket = connect(Number(this.#target.port), this.#target.hostname);
    const lines = [`${method} ${url} HTTP/1.1`];
    for (let i = 0; i < rawHeaders.length; i += 2) {
      lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`);
    }
    far.write(`${lines.join("\r\n")}\r\n\r\n`);
    far.write(head);
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    near.on("close", () => this.#pairs.delete(pair));
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#keep(socket);
      socket.on("close", () => other.destroy());
      socket.pipe(other);
    }
  }

  #keep(socket: Duplex): void {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
  }

  /** Loses all that goes to the server, or all that comes from it, until the connections break. */
  loses(what: "requests" | "answers"): void {
    for (const [near, far] of this.#pairs) {
      const [from, to] = what === "requests" ? [near, far] : [far, near];
      from.unpipe(to);
      from.resume();
    }
  }

  /** Breaks every connection, and lets no new one through until it is up again. */
  down(): void {
    this.#isDown = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  up(): void {
    this.#isDown = false;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.down();
    await closed;
  }
}

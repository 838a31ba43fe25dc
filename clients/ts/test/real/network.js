// @ts-check
/** A network between a client and a server, which can be cut; for programs without a build, too. */

import { once } from "node:events";
import { createConnection, createServer } from "node:net";

export class Network {
  /** @type {Set<import("node:net").Socket>} */
  #sockets = new Set();
  #server;
  /** Lets nothing through. */
  #isDown = false;

  /** @param {URL} target */
  constructor(target) {
    this.#server = createServer((near) => {
      if (this.#isDown) {
        near.destroy();
        return;
      }
      const far = createConnection({ host: target.hostname, port: Number(target.port) });
      this.#join(near, far);
      this.#join(far, near);
    });
  }

  /**
   * @param {import("node:net").Socket} socket
   * @param {import("node:net").Socket} other
   */
  #join(socket, other) {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#sockets.delete(socket);
      other.destroy();
    });
    socket.pipe(other);
  }

  /** @param {string} url */
  static async to(url) {
    const network = new Network(new URL(url));
    network.#server.listen(0, "127.0.0.1");
    await once(network.#server, "listening");
    return network;
  }

  get url() {
    const address = /** @type {import("node:net").AddressInfo} */ (this.#server.address());
    return `http://127.0.0.1:${address.port}`;
  }

  /** Breaks every connection: what is on its way is lost. New ones get through. */
  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Breaks every connection, and lets no new one through until it is up again. */
  down() {
    this.#isDown = true;
    this.cut();
  }

  up() {
    this.#isDown = false;
  }

  async close() {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.cut();
    await closed;
  }
}

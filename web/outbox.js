/**
 * Messages on their way. Each has a nonce for life, so a repeat is the same message: what had no
 * answer when the connection ended is sent again on the next one.
 */

/** Messages that may wait. */
const WAITING_MAX = 100;

/** A random UUID. `crypto.randomUUID` isn't there on pages without TLS. */
function newNonce() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

export class Outbox {
  /**
   * @param {import("./gateway.js").Gateway} gateway
   * @param {(message: object) => void} stored the server has it
   * @param {() => void} changed something is to be shown otherwise
   */
  constructor(gateway, stored, changed) {
    this.gateway = gateway;
    this.stored = stored;
    this.changed = changed;
    this.entries = [];
    this.isBusy = false;
  }

  get isFull() {
    return this.entries.length >= WAITING_MAX;
  }

  add(channelId, content) {
    this.entries.push({ channelId, content, nonce: newNonce(), attempt: 0, error: undefined });
    this.changed();
    this.run();
  }

  /** Takes a message back that was refused. */
  remove(entry) {
    this.entries = this.entries.filter((other) => other !== entry);
    this.changed();
  }

  again(entry) {
    entry.error = undefined;
    this.changed();
    this.run();
  }

  /** Sends what waits, one after the other, so that it keeps its order. */
  async run() {
    if (this.isBusy) return;
    this.isBusy = true;
    try {
      for (;;) {
        const entry = this.entries.find(({ error }) => error === undefined);
        if (entry === undefined || !this.gateway.isLive) return;
        await this.transmit(entry);
      }
    } finally {
      this.isBusy = false;
    }
  }

  async transmit(entry) {
    const { channelId, content, nonce, attempt } = entry;
    entry.attempt += 1;
    try {
      const request = { channelId, content, nonce, attempt };
      const { message } = await this.gateway.request("sendMessage", request);
      this.remove(entry);
      this.stored(message);
    } catch (error) {
      // Without an answer the outcome is unknown: it is repeated once connected.
      if (!error.isTransient) entry.error = error.message;
      else if (this.gateway.isLive) await sleep(error.retryAfterMs ?? 1_000);
    }
    this.changed();
  }
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

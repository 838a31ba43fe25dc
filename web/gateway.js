/**
 * The live stream: a WebSocket to `/gateway` that carries one frame of JSON a message. It connects,
 * and connects again, until it is told to stop.
 *
 * The least that shows events, in any console:
 *   const ws = new WebSocket("ws://127.0.0.1:7300/gateway", ["chirm.v1.json"]);
 *   ws.onopen = () => ws.send(JSON.stringify({ identify: { token: "…" } }));
 *   ws.onmessage = ({ data }) => console.log(JSON.parse(data));
 */

import { milliseconds, Refused } from "./rest.js";

const HANDSHAKE_MS = 15_000;
const HEARTBEAT_MS = 20_000;
/** A connection that lasted so long has come up: failures before it don't count any more. */
const STEADY_MS = 10_000;
const BACKOFF = { baseMs: 500, maxMs: 60_000 };

export class Gateway {
  /**
   * @param {string} base the server's URL
   * @param {object} hooks
   * @param {() => object} hooks.identify what to say first, positions included
   * @param {(name: string, content: object) => void} hooks.frame takes what came
   * @param {() => Promise<void>} hooks.renew gets a new token, or throws
   * @param {(state: object) => void} hooks.state hears how the connection is
   * @param {(direction: string, name: string, content: object) => void} hooks.tap
   * @param {AbortSignal} hooks.signal ends its listening to the browser
   */
  constructor(base, hooks) {
    this.url = `${base.replace(/^http/, "ws")}/gateway`;
    this.hooks = hooks;
    this.socket = undefined;
    this.timers = {};
    this.failures = 0;
    this.everyMs = HEARTBEAT_MS;
    this.lastCall = 0;
    /** What waits for an answer, by call_id. */
    this.calls = new Map();
    this.isLive = false;
    this.isStopped = true;
    const online = () => this.state === "waiting" && this.connect();
    window.addEventListener("online", online, { signal: hooks.signal });
  }

  say(state, more = {}) {
    this.state = state;
    this.isLive = state === "live";
    this.hooks.state({ state, ...more });
  }

  /** Connects at once. */
  connect() {
    this.isStopped = false;
    this.end();
    this.say("connecting");
    const socket = new WebSocket(this.url, ["chirm.v1.json"]);
    this.socket = socket;
    socket.onopen = () => this.send({ identify: this.hooks.identify() });
    socket.onmessage = ({ data }) => {
      if (socket === this.socket) this.take(JSON.parse(data));
    };
    // A stream that ends without `closing` means: resume.
    socket.onclose = ({ code }) => {
      if (socket === this.socket) this.resume(`The connection ended (${code}).`);
    };
    this.timers.handshake = setTimeout(() => this.resume("No answer came."), HANDSHAKE_MS);
  }

  /** Stays without a connection until `connect`. */
  stop(reason = "", state = "stopped") {
    this.isStopped = true;
    this.end();
    this.say(state, { reason });
  }

  /** Connects again with the positions held: after a wait, which grows, and is never the same. */
  resume(reason, waitMs) {
    const ceilingMs = Math.min(BACKOFF.baseMs * 2 ** this.failures, BACKOFF.maxMs);
    this.failures = Math.min(this.failures + 1, 16);
    this.end();
    const ms = waitMs ?? Math.random() * ceilingMs;
    this.say("waiting", { reason, waitMs: ms });
    this.timers.connect = setTimeout(() => this.connect(), ms);
  }

  end() {
    const socket = this.socket;
    this.socket = undefined;
    for (const name of Object.keys(this.timers)) clearTimeout(this.timers[name]);
    this.timers = {};
    socket?.close(1000);
    const lost = new Refused({ message: "The connection ended before an answer came." });
    lost.reason = "UNREACHED";
    for (const { reject } of this.calls.values()) reject(lost);
    this.calls.clear();
  }

  send(frame) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    const [name] = Object.keys(frame).filter((key) => key !== "callId");
    this.hooks.tap("out", name, frame);
    this.socket.send(JSON.stringify(frame));
  }

  /** Sends a request and gives what its `result` says; throws {@link Refused}. */
  request(name, content) {
    return new Promise((resolve, reject) => {
      if (!this.isLive) {
        reject(new Refused({ message: "Not connected: try again once connected." }));
        return;
      }
      this.lastCall += 1;
      const callId = this.lastCall;
      this.calls.set(callId, { resolve, reject, name });
      this.send({ callId, [name]: content });
    });
  }

  take(frame) {
    const [name] = Object.keys(frame);
    // A frame that this page doesn't know has nothing to tell it.
    if (name === undefined) return;
    const content = frame[name];
    this.hooks.tap("in", name === "event" ? eventName(content) : name, frame);
    if (name === "hello") this.hello(content);
    if (name === "heartbeatAck") this.beatIn(this.everyMs);
    if (name === "result") this.result(content);
    if (name === "reconnect") {
      this.resume("The server is about to stop.", milliseconds(content.after) ?? 0);
    }
    if (name === "closing") {
      this.closing(content);
      return;
    }
    if (name === "ready") {
      this.timers.steady = setTimeout(() => {
        this.failures = 0;
      }, STEADY_MS);
    }
    this.hooks.frame(name, content);
    if (name === "ready") this.say("live");
  }

  hello({ heartbeatInterval }) {
    clearTimeout(this.timers.handshake);
    this.everyMs = milliseconds(heartbeatInterval) ?? HEARTBEAT_MS;
    // The first at a random part, lest all who connected together beat together.
    this.beatIn(Math.random() * this.everyMs);
  }

  /**
   * The next heartbeat is counted from the answer to the one before. (A timer that is started by
   * timers alone, browsers slow down in tabs that aren't seen.)
   */
  beatIn(ms) {
    clearTimeout(this.timers.heartbeat);
    this.timers.heartbeat = setTimeout(() => {
      this.send({ heartbeat: {} });
      const lost = () => this.resume("The server doesn't answer any more.");
      this.timers.heartbeat = setTimeout(lost, this.everyMs);
    }, ms);
  }

  result({ callId, error, ...answer }) {
    const call = this.calls.get(callId);
    this.calls.delete(callId);
    if (error === undefined) call?.resolve(answer[call.name]);
    else call?.reject(new Refused(error));
  }

  /** The server's last frame says what to do. */
  closing({ reason = "", message = "", advice }) {
    if (advice === "ADVICE_STOP") {
      this.stop(`${message} (${reason})`);
    } else if (advice === "ADVICE_REAUTHENTICATE") {
      this.reauthenticate(`${message} (${reason})`);
    } else {
      this.resume(`${message} (${reason})`);
    }
  }

  async reauthenticate(reason) {
    this.end();
    this.say("connecting");
    try {
      await this.hooks.renew();
    } catch (error) {
      if (!error.isTransient) {
        this.stop(reason, "signedOut");
        return;
      }
    }
    // Signed out or connected meanwhile, it isn't wanted any more.
    if (this.state === "connecting" && this.socket === undefined) this.resume(reason);
  }
}

/** What happened, of an event: the key beside its topic and position. */
export function eventName(event) {
  return Object.keys(event).find((key) => key !== "topic" && key !== "position") ?? "event";
}

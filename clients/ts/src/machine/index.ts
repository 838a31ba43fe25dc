/**
 * What a client does, without doing it: inputs in, actions out, no I/O, no clock, no randomness.
 *
 * `conformance/client-state-machine.yaml` has the same as a table, which the tests run against this
 * code; clients in other languages follow it.
 *
 * - here: the connection. `step`: inputs and actions. `token`: renewing it. `topic`: topics.
 *   `channel`: a channel's position and gaps; `paging`: what closes them. `seen`: what the program
 *   has had. `sends`: sends until they are answered; `pace`: how fast they go.
 *
 * @packageDocumentation
 */

import { create } from "@bufbuild/protobuf";
import {
  type ChirmError,
  closedError,
  closingError,
  connectionError,
  durationMs,
} from "../error.js";
import type { Event, Stats } from "../event.js";
import {
  type Position,
  type Topic,
  TopicKind,
  type TopicPosition,
  TopicPositionSchema,
  TopicSchema,
} from "../gen/chirm/v1/common_pb.js";
import {
  type Hello,
  type Ready,
  type Reconnect,
  type ViewedChannel,
  ViewedChannelSchema,
} from "../gen/chirm/v1/gateway_pb.js";
import { compareIds } from "../ids.js";
import { Channel, gap } from "./channel.js";
import { page, pageFailed } from "./paging.js";
import {
  answer,
  flushSends,
  interruptSends,
  result,
  resumeChannel,
  resumeStream,
  retrySend,
  Sends,
  send,
} from "./sends.js";
import type { Action, Delay, Input, Received, Rules, State, Timer } from "./step.js";
import { renewed, renewFailed, renewInTime, signedOut, type Token, takeToken } from "./token.js";
import { event, remove, snapshot } from "./topic.js";

/** Most positions that an Identify may carry. */
export const POSITIONS_MAX = 4096;
/** How long a connection may take until Hello. */
export const HANDSHAKE_MS = 15_000;
/** A connection that lasts so long after Ready has come up. */
export const STEADY_MS = 10_000;
/** The heartbeat if Hello names none. */
export const HEARTBEAT_MS = 20_000;

/** A channel's topic. */
export function channelTopic(id: string): Topic {
  return create(TopicSchema, { kind: TopicKind.CHANNEL, id });
}

/** A topic as the key of a map. */
export function topicKey(topic: Topic): string {
  return `${topic.kind}:${topic.id}`;
}

/** What a machine starts with. */
export interface Start {
  readonly viewed?: readonly string[];
  /** Positions held from an earlier run. */
  readonly positions?: readonly TopicPosition[];
  /** Of channels, up to which message all is held from an earlier run. */
  readonly lastIds?: Iterable<readonly [channel: string, message: string]>;
}

/** The client's state machine. Its parts, the functions of this folder, share its fields. */
export class Machine {
  readonly rules: Rules;
  state: State = "idle";
  failures = 0;
  token: Token = { place: "fixed", failures: 0 };
  viewed: readonly string[];
  /** Those in view that were removed since the connection began. */
  readonly removed = new Set<string>();
  readonly channels = new Map<string, Channel>();
  /** Servers and users, by their keys. */
  readonly others = new Map<string, { readonly topic: Topic; readonly position: Position }>();
  readonly sends = new Sends();
  runs = 0;
  readonly stats: Stats = {
    connects: 0,
    replayed: 0,
    snapshots: 0,
    gaps: 0,
    jumps: 0,
    duplicates: 0,
    pages: 0,
    resent: 0,
  };
  #heartbeatMs = HEARTBEAT_MS;
  #heartbeatUnanswered = false;
  #actions: Action[] = [];

  constructor(rules: Rules, start: Start = {}) {
    this.rules = rules;
    this.viewed = start.viewed ?? [];
    for (const { topic, position } of start.positions ?? []) {
      if (topic === undefined || position === undefined) continue;
      if (topic.kind === TopicKind.CHANNEL) this.channel(topic.id).hold(position);
      else this.others.set(topicKey(topic), { topic, position });
    }
    for (const [channel, lastId] of start.lastIds ?? []) this.channel(channel).seen.startAt(lastId);
  }

  /** What is to be done about an input, in order. */
  handle(input: Input): Action[] {
    if (this.state !== "closed") this.#take(input);
    const actions = this.#actions;
    this.#actions = [];
    return actions;
  }

  #take(input: Input): void {
    switch (input.type) {
      case "start":
        if (this.state === "idle") this.connect();
        return;
      case "frame":
        // One that was under way when the connection was given up counts for nothing.
        if (this.#isConnected()) {
          // Whatever the server sends shows that it lives.
          this.#heartbeatUnanswered = false;
          this.#frame(input.frame);
        }
        return;
      case "lost":
        if (this.#isConnected()) this.lost(input.error);
        return;
      case "fired":
        return this.#fired(input.timer);
      case "page":
        return page(this, input.channel, input.run, input.page);
      case "page_failed":
        return pageFailed(this, input.channel, input.run, input.error);
      case "send":
        return send(this, input.key, input.channel, input.stored);
      case "answer":
        return answer(this, input.key, input.answer);
      case "view":
        return this.#view(input.channels);
      case "token":
        return takeToken(this, input.renews, input.lifetimeMs);
      case "renewed":
        return renewed(this, input.tokens, input.lifetimeMs);
      case "renew_failed":
        return renewFailed(this, input.error);
      case "cut":
        if (this.#isConnected()) this.lost(connectionError("the program cut the connection"));
        return;
      case "close":
        return this.#finish(closedError());
    }
  }

  #isConnected(): boolean {
    return this.state === "connecting" || this.state === "syncing" || this.state === "live";
  }

  act(action: Action): void {
    this.#actions.push(action);
  }

  wait(timer: Timer, delay: Delay): void {
    this.act({ type: "wait", timer, delay });
  }

  cancel(timer: Timer): void {
    this.act({ type: "cancel", timer });
  }

  /** Tells the program what it holds of a topic from here on. */
  hold(topic: Topic): void {
    const channel = topic.kind === TopicKind.CHANNEL ? this.channels.get(topic.id) : undefined;
    const position = channel?.held ?? this.others.get(topicKey(topic))?.position;
    this.act({ type: "hold", topic, position, lastId: channel?.seen.lastId });
  }

  emit(event: Event): void {
    this.#actions.push({ type: "emit", event });
  }

  channel(id: string): Channel {
    let channel = this.channels.get(id);
    if (channel === undefined) {
      channel = new Channel(this.rules.dedupeOff);
      this.channels.set(id, channel);
    }
    return channel;
  }

  connect(): void {
    this.state = "connecting";
    this.#heartbeatUnanswered = false;
    this.act({ type: "connect", positions: this.#positions(), view: this.#viewedChannels() });
    this.wait("handshake", { ms: HANDSHAKE_MS });
  }

  /**
   * What is held. Users and servers first: of what doesn't fit, channels are the cheapest to page.
   */
  #positions(): TopicPosition[] {
    const held = [...this.others.values()];
    for (const [id, { held: position }] of this.channels) {
      if (position !== undefined) held.push({ topic: channelTopic(id), position });
    }
    held.sort((a, b) => b.topic.kind - a.topic.kind || compareIds(a.topic.id, b.topic.id));
    return held.slice(0, POSITIONS_MAX).map((held) => create(TopicPositionSchema, held));
  }

  #viewedChannels(): ViewedChannel[] {
    return this.viewed.map((channelId) => {
      const position = this.channels.get(channelId)?.held;
      return create(ViewedChannelSchema, position ? { channelId, position } : { channelId });
    });
  }

  /** Gives up the connection and all that depended on it. */
  #dropConnection(): void {
    this.act({ type: "disconnect" });
    for (const timer of ["handshake", "heartbeat", "steady"] as const) {
      this.cancel(timer);
    }
    this.removed.clear();
    for (const channel of this.channels.values()) channel.stopPaging();
    interruptSends(this);
  }

  /** The connection ended by itself or by our will: by its advice, go on. */
  lost(error: ChirmError): void {
    if (error.advice === "stop") {
      this.#finish(error);
      return;
    }
    this.#dropConnection();
    if (error.advice === "reauthenticate") {
      signedOut(this, error);
      return;
    }
    this.waitToConnect({ backoff: this.failures });
    this.emit({ type: "disconnected", reason: error });
  }

  waitToConnect(delay: Delay): void {
    this.state = "waiting";
    this.failures += 1;
    this.wait("connect", delay);
  }

  #finish(error: ChirmError): void {
    this.#dropConnection();
    this.cancel("connect");
    this.cancel("renew");
    this.state = "closed";
    this.emit({ type: "closed", reason: error });
    this.act({ type: "finish", error });
  }

  #fired(timer: Timer): void {
    if (timer.startsWith("answer.")) return retrySend(this, Number(timer.slice(7)));
    if (timer.startsWith("resend.")) return resumeChannel(this, timer.slice(7));
    switch (timer) {
      case "connect":
        if (this.state === "waiting") this.connect();
        return;
      case "handshake":
        if (this.state !== "connecting") return;
        return this.lost(connectionError("the server didn't say Hello in time"));
      case "heartbeat":
        return this.#heartbeat();
      case "renew":
        return renewInTime(this);
      case "steady":
        this.failures = 0;
        return;
      case "pace":
        return resumeStream(this);
    }
  }

  #heartbeat(): void {
    if (this.state !== "syncing" && this.state !== "live") return;
    if (this.#heartbeatUnanswered) {
      this.lost(connectionError("the server answered nothing since a heartbeat"));
      return;
    }
    this.#heartbeatUnanswered = true;
    this.act({ type: "heartbeat" });
    this.wait("heartbeat", { ms: this.#heartbeatMs });
  }

  #frame(frame: Received): void {
    switch (frame.case) {
      case "hello":
        return this.#hello(frame.value);
      case "reconnect":
        return this.#reconnect(frame.value);
      case "closing":
        return this.lost(closingError(frame.value));
    }
    // A connection begins with one of those.
    if (this.state === "connecting") return;
    switch (frame.case) {
      case "ready":
        return this.#ready(frame.value);
      case "result":
        return result(this, frame.value);
      case "event":
        return event(this, frame.value);
      case "snapshot":
        return snapshot(this, frame.value);
      case "gap":
        return gap(this, frame.value);
      case "topicRemoved": {
        const { topic } = frame.value;
        if (topic === undefined) return;
        remove(this, topic);
        return this.emit({ type: "topicRemoved", topic });
      }
      case "channelActivity":
        return this.emit({ type: "activity", activity: frame.value });
      case "presenceChanged":
        return this.emit({ type: "presence", presence: frame.value });
      case "typingStarted":
        return this.emit({ type: "typing", typing: frame.value });
      case "memberListChanged":
        return this.emit({ type: "memberList", memberList: frame.value });
      case "customEvent":
        return this.emit({ type: "custom", custom: frame.value });
      default:
        // An acknowledged heartbeat, or a frame of a kind that this client doesn't know.
        return;
    }
  }

  #hello(hello: Hello): void {
    if (this.state !== "connecting") return;
    this.state = "syncing";
    this.cancel("handshake");
    this.#heartbeatMs = durationMs(hello.heartbeatInterval) || HEARTBEAT_MS;
    if (!this.rules.listenOnly) {
      this.wait("heartbeat", { partOfMs: this.#heartbeatMs });
    }
  }

  #ready(ready: Ready): void {
    if (this.state !== "syncing") return;
    this.state = "live";
    // Not before it has lasted do failures count no more: a server that closes each connection
    // would be asked all the time.
    this.wait("steady", { ms: STEADY_MS });
    this.stats.connects += 1;
    this.emit({ type: "ready", ready });
    flushSends(this);
  }

  /** The server is about to go. */
  #reconnect(reconnect: Reconnect): void {
    this.#dropConnection();
    this.waitToConnect({ ms: durationMs(reconnect.after) ?? 0, backoff: this.failures });
    this.emit({ type: "disconnected", reason: connectionError("the server asked for it") });
  }

  #view(channels: readonly string[]): void {
    this.viewed = channels;
    for (const id of this.removed) if (!channels.includes(id)) this.removed.delete(id);
    if (!this.#isConnected()) return;
    if (this.rules.listenOnly) {
      // A stream that only listens can't say so: it listens anew.
      this.#dropConnection();
      this.connect();
    } else {
      // While connecting, the Identify may have gone out with the view before.
      this.act({ type: "view", view: this.#viewedChannels() });
    }
  }
}

/**
 * Runs the state machine: it owns the connection, the timers and what waits for an answer. `calls`:
 * what goes beside the stream.
 *
 * @packageDocumentation
 */

import { create } from "@bufbuild/protobuf";
import { BACKOFF, type ClientOptions, ceilingMs, type Looking } from "../config.js";
import { ChirmError, connectionError } from "../error.js";
import type { Event } from "../event.js";
import type { Feed } from "../feed.js";
import { frameOf, type Sent } from "../frames.js";
import { type TopicPosition, TopicPositionSchema } from "../gen/chirm/v1/common_pb.js";
import {
  Delivery,
  IdentifySchema,
  type View,
  type ViewedChannel,
  ViewSchema,
} from "../gen/chirm/v1/gateway_pb.js";
import type { Message } from "../gen/chirm/v1/message_pb.js";
import { PresenceService, PresenceStatus } from "../gen/chirm/v1/presence_pb.js";
import { Machine } from "../machine/index.js";
import {
  type Action,
  type Answer,
  type Delay,
  type Input,
  RULES,
  type Timer,
} from "../machine/step.js";
import type { OutboxEntry, OutboxStore } from "../outbox.js";
import type { Credentials } from "../tokens.js";
import type { Connection, Transport } from "../transport/index.js";
import { Calls } from "./calls.js";
import { Timers } from "./timers.js";

/** How long the end of a client waits for a renewal, whose tokens must reach the program. */
const ENDINGS_MS = 10_000;

/** So long may a program that takes no events wait for an answer by the stream. */
const STUCK_MS = 250;

/** Where the final answer to a send goes. */
interface Settled {
  resolve(message: Message): void;
  reject(error: ChirmError): void;
}

interface Waiting {
  readonly entry: OutboxEntry;
  settled: Settled | undefined;
}

/** What a driver is made of. */
export interface Parts {
  readonly options: ClientOptions;
  readonly transport: Transport;
  readonly credentials: Credentials;
  readonly outbox: OutboxStore;
  readonly feed: Feed;
  /** Those of an earlier run. */
  readonly lastIds: Iterable<readonly [channelId: string, messageId: string]>;
  /** Hears each event at once, before the program has it. */
  readonly note: (event: Event) => void;
}

export class Driver {
  readonly #parts: Parts;
  readonly #machine: Machine;
  readonly #timers = new Timers((timer) => this.#fired(timer));
  #connection: { readonly wire: Connection; readonly calls: Calls } | undefined;
  readonly #sends = new Map<number, Waiting>();
  /** Those whose answer comes by the stream. */
  readonly #onStream = new Set<number>();
  /** Sends of an earlier run, by nonce. */
  readonly #stored = new Map<string, number>();
  #lastKey = 0;
  #viewed: readonly string[];
  #looking: Looking;
  #presence: PresenceStatus;
  /** The user's own words, once they were said. */
  #words: string | undefined;
  readonly #inputs: Input[] = [];
  #isHandling = false;
  #finished: ChirmError | undefined;
  /**
   * What is to end before the client has: renewals, and entries of the outbox that are taken out.
   */
  readonly #endings = new Set<Promise<void>>();

  constructor(parts: Parts) {
    const { options, transport } = parts;
    this.#parts = parts;
    this.#viewed = options.viewed ?? [];
    this.#looking = options.looking ?? {};
    this.#presence = options.presence ?? PresenceStatus.UNSPECIFIED;
    const rules = {
      ...RULES,
      viewedOnly: options.delivery === Delivery.VIEWED,
      listenOnly: transport.listenOnly,
      history: options.history ?? false,
    };
    this.#machine = new Machine(rules, {
      viewed: this.#viewed,
      positions: (options.positions ?? []).map((held) => create(TopicPositionSchema, held)),
      lastIds: parts.lastIds,
    });
  }

  /** Counts since the client started. */
  get stats() {
    return this.#machine.stats;
  }

  /** Why it ended, if it has. */
  get finished(): ChirmError | undefined {
    return this.#finished;
  }

  /** Loads the outbox and connects. */
  async start(): Promise<void> {
    this.tellToken();
    let lost: ChirmError | undefined;
    try {
      for (const entry of await this.#parts.outbox.load()) {
        const key = this.#add(entry, undefined);
        this.#stored.set(entry.nonce, key);
        this.handle({ type: "send", key, channel: entry.request.channelId, stored: true });
      }
    } catch (error) {
      lost = asChirmError(error).withAdvice("stop");
    }
    this.handle({ type: "start" });
    if (lost !== undefined) this.handle({ type: "lost", error: lost });
  }

  /** Sends what the outbox has kept. */
  send(entry: OutboxEntry): Promise<Message> {
    if (this.#finished !== undefined) return Promise.reject(this.#finished);
    return new Promise((resolve, reject) => {
      const settled = { resolve, reject };
      const stored = this.#sends.get(this.#stored.get(entry.nonce) ?? 0);
      if (stored !== undefined) {
        // It came by way of the store, too, or the program repeats one of an earlier run: one
        // message all the same.
        stored.settled = settled;
        return;
      }
      const key = this.#add(entry, settled);
      this.handle({ type: "send", key, channel: entry.request.channelId, stored: false });
    });
  }

  #add(entry: OutboxEntry, settled: Settled | undefined): number {
    this.#lastKey += 1;
    this.#sends.set(this.#lastKey, { entry, settled });
    return this.#lastKey;
  }

  view(channels: readonly string[]): void {
    this.#viewed = channels;
    this.handle({ type: "view", channels });
  }

  look(looking: Looking): void {
    this.#looking = looking;
    this.handle({ type: "view", channels: this.#viewed });
  }

  /** Appears otherwise from now on. */
  setPresence(status: PresenceStatus, text: string | undefined): void {
    if (status !== PresenceStatus.UNSPECIFIED) this.#presence = status;
    if (text !== undefined) this.#words = text;
    this.#appear(status, text);
  }

  /** Waits until what must not be lost has ended, though not for ever. */
  async ended(): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, ENDINGS_MS);
    });
    await Promise.race([Promise.all(this.#endings), late]);
    clearTimeout(timer);
  }

  /** Says what the machine is to know of the token: there is another. */
  tellToken(): void {
    const { renews, lifetimeMs } = this.#parts.credentials;
    this.handle({ type: "token", renews, lifetimeMs });
  }

  /** Gives the machine an input, after those that are there already, and does what it says. */
  handle(input: Input): void {
    this.#inputs.push(input);
    if (this.#isHandling) return;
    this.#isHandling = true;
    try {
      for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) {
        // The user's own words are said again on each connection.
        if (next.type === "frame" && next.frame.case === "hello" && this.#words !== undefined) {
          this.#appear(PresenceStatus.UNSPECIFIED, this.#words);
        }
        for (const action of this.#machine.handle(next)) this.#act(action);
      }
    } finally {
      this.#isHandling = false;
    }
  }

  #fired(timer: Timer): void {
    if (timer === "heartbeat" && this.#parts.feed.isFull) {
      // The acknowledgement may wait unread behind what the program doesn't take.
      this.handle({ type: "frame", frame: { case: undefined } });
    }
    this.handle({ type: "fired", timer });
  }

  #act(action: Action): void {
    const { feed } = this.#parts;
    switch (action.type) {
      case "connect":
        return this.#connect(action.positions, action.view);
      case "disconnect":
        return this.#disconnect();
      case "heartbeat":
        return this.#sendFrame(0, { case: "heartbeat", value: {} });
      case "view":
        return this.#sendFrame(0, { case: "view", value: this.#view(action.view) });
      case "transmit":
        return this.#transmit(action.key, action.callId, action.attempt);
      case "settle":
        return this.#settle(action.key, action.answer);
      case "renew":
        return this.#ending(this.#renew());
      case "page": {
        const { channel, after, run, failures } = action;
        const delayMs = failures === 0 ? 0 : this.#delayMs({ backoff: failures });
        void this.#connection?.calls.page({ channel, after, run, delayMs });
        return;
      }
      case "wait":
        return this.#timers.set(action.timer, this.#delayMs(action.delay));
      case "cancel":
        return this.#timers.cancel(action.timer);
      case "emit":
        // The last event comes when all is over.
        if (action.event.type !== "closed") this.#tell(action.event);
        return;
      case "hold":
        return feed.push(action);
      case "finish":
        return this.#finish(action.error);
    }
  }

  #tell(event: Event): void {
    this.#parts.note(event);
    this.#parts.feed.push({ event });
  }

  #delayMs(delay: Delay): number {
    if ("partOfMs" in delay) return Math.random() * delay.partOfMs;
    const backoff = this.#parts.options.backoff ?? BACKOFF;
    const jitterMs =
      delay.backoff === undefined ? 0 : Math.random() * ceilingMs(backoff, delay.backoff);
    return ("ms" in delay ? delay.ms : 0) + jitterMs;
  }

  #connect(positions: readonly TopicPosition[], view: readonly ViewedChannel[]): void {
    const { options, transport, credentials, feed } = this.#parts;
    const identify = create(IdentifySchema, {
      token: credentials.token,
      delivery: options.delivery ?? Delivery.ALL,
      intents: [...(options.intents ?? [])],
      device: options.device ?? "",
      positions: [...positions],
      view: this.#view(view),
      presence: this.#presence,
    });
    options.tap?.({ sent: frameOf(0, { case: "identify", value: identify }) });
    const wire = transport.connect(identify);
    const room = () => feed.room();
    const calls = new Calls(transport, credentials, (input) => this.handle(input), room);
    this.#connection = { wire, calls };
    void this.#read(wire);
  }

  /** Takes the connection's frames, as long as the program takes its events. */
  async #read(wire: Connection): Promise<void> {
    const isOver = () => this.#connection?.wire !== wire;
    try {
      for (;;) {
        await this.#room();
        if (isOver()) return;
        const frame = await wire.receive();
        if (isOver()) return;
        this.#parts.options.tap?.({ received: frame });
        this.handle({ type: "frame", frame: frame.frame });
      }
    } catch (error) {
      if (!isOver()) this.handle({ type: "lost", error: asChirmError(error) });
    }
  }

  /** Waits until the program takes its events. */
  async #room(): Promise<void> {
    if (!this.#parts.feed.isFull) return;
    // It may wait for the answer to a send, which waits unread behind the events: they go by
    // another way.
    const timer = setTimeout(() => {
      for (const key of [...this.#onStream]) this.#fired(`answer.${key}`);
    }, STUCK_MS);
    await this.#parts.feed.room();
    clearTimeout(timer);
  }

  #disconnect(): void {
    this.#onStream.clear();
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.calls.abort();
    connection?.wire.drop();
  }

  #sendFrame(callId: number, sent: Sent): void {
    if (this.#connection === undefined) return;
    const frame = frameOf(callId, sent);
    this.#parts.options.tap?.({ sent: frame });
    if (this.#connection.wire.send(frame)) return;
    this.handle({ type: "lost", error: connectionError("the server doesn't take what is sent") });
  }

  /** All that the user looks at. */
  #view(channels: readonly ViewedChannel[]): View {
    const { lists = [], users = [] } = this.#looking;
    return create(ViewSchema, {
      channels: [...channels],
      memberLists: [...lists],
      users: [...users],
    });
  }

  #appear(status: PresenceStatus, text: string | undefined): void {
    const value = text === undefined ? { status } : { status, text };
    const { transport, credentials } = this.#parts;
    if (!transport.listenOnly) {
      this.#sendFrame(0, { case: "setPresence", value });
    } else if (this.#connection !== undefined) {
      const method = PresenceService.method.setPresence;
      // If it fails, the next connection says it again.
      transport.call(method, value, credentials.token).catch(() => {});
    }
  }

  #transmit(key: number, callId: number, attempt: number): void {
    const waiting = this.#sends.get(key);
    if (waiting === undefined) return;
    const request = { ...waiting.entry.request, attempt };
    const { transport, feed } = this.#parts;
    this.#onStream.delete(key);
    if (transport.listenOnly) {
      void this.#connection?.calls.send(key, request);
    } else if (feed.isFull) {
      // The stream isn't read until the program goes on, which may wait for this very answer.
      void this.#connection?.calls.sendInTurn(key, request);
    } else {
      this.#onStream.add(key);
      this.#sendFrame(callId, { case: "sendMessage", value: request });
    }
  }

  #settle(key: number, answer: Answer): void {
    const waiting = this.#sends.get(key);
    if (waiting === undefined) return;
    this.#sends.delete(key);
    this.#onStream.delete(key);
    const { nonce } = waiting.entry;
    this.#stored.delete(nonce);
    const tell = () => {
      if ("message" in answer) waiting.settled?.resolve(answer.message);
      else if (waiting.settled !== undefined) waiting.settled.reject(answer.error);
      else this.#tell({ type: "sendRefused", nonce, error: answer.error });
    };
    // One that stays in the outbox is repeated by the next run, and gets the same answer.
    this.#ending(this.#parts.outbox.remove(nonce).then(tell, tell));
  }

  /** The client doesn't end before this has. */
  #ending(what: Promise<void>): void {
    const ending = what.finally(() => this.#endings.delete(ending));
    this.#endings.add(ending);
  }

  async #renew(): Promise<void> {
    const { credentials, transport } = this.#parts;
    const { run } = credentials;
    try {
      const tokens = await credentials.renew(transport);
      // The program may have given other tokens since.
      if (run !== credentials.run) return;
      credentials.use(tokens);
      if (this.#finished === undefined) {
        this.handle({ type: "renewed", tokens, lifetimeMs: credentials.lifetimeMs });
      } else {
        // The old tokens may be spent: the program must get the new ones.
        this.#tell({ type: "tokensRenewed", tokens });
      }
    } catch (error) {
      if (run === credentials.run) {
        this.handle({ type: "renew_failed", error: asChirmError(error) });
      }
    }
  }

  #finish(error: ChirmError): void {
    this.#finished = error;
    this.#timers.clear();
    for (const { settled } of this.#sends.values()) settled?.reject(error);
    this.#sends.clear();
    this.#stored.clear();
    void this.ended().then(() => {
      this.#parts.transport.close();
      this.#tell({ type: "closed", reason: error });
      this.#parts.feed.end();
    });
  }
}

function asChirmError(error: unknown): ChirmError {
  if (error instanceof ChirmError) return error;
  return connectionError(String(error), { cause: error });
}

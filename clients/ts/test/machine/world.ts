/** A server in memory, a bad network and a program, around the machine. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { connectionError } from "../../src/error.js";
import type { Event } from "../../src/event.js";
import type { Held, Item } from "../../src/feed.js";
import {
  type Position,
  PositionSchema,
  type TopicPosition,
  TopicPositionSchema,
} from "../../src/gen/chirm/v1/common_pb.js";
import {
  EventSchema,
  ServerFrameSchema,
  type Event as TopicEvent,
} from "../../src/gen/chirm/v1/gateway_pb.js";
import {
  ListMessagesResponseSchema,
  type Message,
  MessageSchema,
} from "../../src/gen/chirm/v1/message_pb.js";
import { channelTopic, Machine } from "../../src/machine/index.js";
import type { Input, Received, Rules, Timer } from "../../src/machine/step.js";

const CHANNEL = "7";
/** So few that resumes meet their end. */
const RING = 6;
/** So small that pagings take several turns. */
const PAGE = 5;
/** So few deleted ids a page that some pages have nothing else. */
const DELETED = 2;

/** What happens next, in the world. */
export type Step =
  /** A message is stored and published; its id lies so far above the newest. */
  | { readonly do: "create"; readonly above: number }
  /** An id is reserved, and the message stored with the next step that says so. */
  | { readonly do: "reserve" | "persist" }
  | { readonly do: "edit" | "delete"; readonly which: number }
  /** The client receives so many frames, or the program takes so much of what waits for it. */
  | { readonly do: "receive" | "take"; readonly count: number }
  /**
   * The program ends, and runs again with what it kept. Meanwhile come so many messages, and the
   * bus may lose its memory.
   */
  | { readonly do: "rerun"; readonly missed: number; readonly restarts: boolean }
  /**
   * The next frame is lost, against all promises; it comes twice; the client's oldest call is
   * answered, or fails; the connection breaks; the client's waits end; the bus loses its memory;
   * the server can't send again what it should.
   */
  | {
      readonly do: "lose" | "repeat" | "answer" | "fail" | "cut" | "wait" | "restart" | "gap";
    };

const frameOf = (frame: MessageInitShape<typeof ServerFrameSchema>["frame"]): Received =>
  create(ServerFrameSchema, frame === undefined ? {} : { frame }).frame;

const seqOf = (event: TopicEvent | undefined): number => Number(event?.position?.seq);

/** What the program made of the events. */
class Program {
  readonly messages = new Map<number, Message>();
  /** How often each came to this run. */
  readonly had = new Map<number, number>();
  broken: string | undefined;
  held: Held | undefined;
  /**
   * The channel's last message by the snapshot with which the program's time there began, once it
   * holds anything.
   */
  began: number | undefined;
  #snapshot: number | undefined;

  /** Runs again with what it kept. */
  rerun(): void {
    this.had.clear();
    this.#snapshot = undefined;
  }

  take(item: Item): void {
    if ("event" in item) {
      this.#event(item.event);
    } else {
      this.held = item;
      this.began ??= this.#snapshot;
    }
  }

  #event(event: Event): void {
    if (event.type === "message") {
      const id = Number(event.message.id);
      this.had.set(id, (this.had.get(id) ?? 0) + 1);
      this.messages.set(id, event.message);
    } else if (event.type === "messageUpdated") {
      const id = Number(event.message.id);
      const had = this.messages.get(id);
      this.messages.set(id, event.message);
      const isNewer = had !== undefined && Number(had.revision) < Number(event.message.revision);
      if (!isNewer || had.deleted) this.broken = `an edit that is none of ${id}`;
    } else if (event.type === "messageDeleted") {
      this.messages.delete(Number(event.message.id));
    } else if (event.type === "snapshot" && event.snapshot.state.case === "channel") {
      this.#snapshot = Number(event.snapshot.state.value.lastMessageId);
    }
  }
}

/** The store, the bus, the network, the client and its program. */
export class World {
  machine: Machine;
  readonly program = new Program();
  /** What each run that ended lacked up to its last id. */
  readonly lacked: number[][] = [];
  readonly #rules: Rules;
  readonly #store = new Map<number, Message>();
  readonly #reserved: number[] = [];
  #newest: number;
  #position: Position = create(PositionSchema, { epoch: "1", seq: "0" });
  #ring: TopicEvent[] = [];
  /** Frames under way to the client. */
  #wire: Received[] = [];
  #isConnected = false;
  /** Calls of the client: the run and the anchor. */
  #calls: { readonly run: number; readonly after: number }[] = [];
  #waits: Timer[] = [];
  /** What waits for the program. */
  readonly #items: Item[] = [];

  /** With a first message, or none. */
  constructor(rules: Rules, first?: number) {
    this.#rules = rules;
    this.machine = new Machine(rules);
    this.#newest = first === undefined ? 0 : first - 1;
    if (first !== undefined) this.#create(first);
    this.#give({ type: "start" });
  }

  /** What of the store a program should have. */
  truth(from: number): Map<number, Message> {
    const live = [...this.#store].filter(([id, message]) => id >= from && !message.deleted);
    return new Map(live.sort(([a], [b]) => a - b));
  }

  step(step: Step): void {
    switch (step.do) {
      case "create":
        return this.#create(this.#newest + step.above);
      case "reserve":
        this.#newest += 1;
        this.#reserved.push(this.#newest);
        return;
      case "persist": {
        const id = this.#reserved.shift();
        if (id !== undefined) this.#create(id);
        return;
      }
      case "edit":
        return this.#edit(step.which);
      case "delete":
        return this.#delete(step.which);
      case "receive":
        for (let i = 0; i < step.count; i++) this.#receive();
        return;
      case "take":
        for (let i = 0; i < step.count; i++) this.#take();
        return;
      case "rerun":
        return this.#rerun(step.missed, step.restarts);
      default:
        return this.#network(step.do);
    }
  }

  #network(what: Exclude<Step["do"], "create" | "edit" | "delete">): void {
    const [next, afterNext] = this.#wire;
    switch (what) {
      case "lose":
        // Only an event in the middle: the next one shows that it is missing.
        if (next?.case === "event" && afterNext?.case === "event") this.#wire.shift();
        return;
      case "repeat":
        if (next?.case === "event") this.#wire.unshift(next);
        return;
      case "answer":
        this.#answer();
        return;
      case "fail": {
        const run = this.#calls.shift()?.run;
        const error = connectionError("a page was lost");
        if (run !== undefined) this.#give({ type: "page_failed", channel: CHANNEL, run, error });
        return;
      }
      case "cut":
        return this.#give({ type: "lost", error: connectionError("cut") });
      case "wait":
        return this.#wait();
      case "restart":
        return this.#restart();
      case "gap":
        if (this.#isConnected) this.#gap();
    }
  }

  /** The connections go with the server. */
  #restart(): void {
    const epoch = String(Number(this.#position.epoch) + 1);
    this.#position = create(PositionSchema, { epoch, seq: "0" });
    this.#ring = [];
    this.#give({ type: "lost", error: connectionError("restart") });
  }

  /** The network heals, and all that is under way arrives. */
  settle(): void {
    for (let turn = 0; turn < 10_000; turn++) {
      this.#wait();
      const isBusy = this.#receive() || this.#answer() || this.#take();
      if (!isBusy && this.#waits.length === 0) return;
    }
    throw new Error("it never comes to rest");
  }

  #publish(event: MessageInitShape<typeof EventSchema>["event"]): void {
    const seq = String(Number(this.#position.seq) + 1);
    this.#position = create(PositionSchema, { epoch: this.#position.epoch, seq });
    const topic = channelTopic(CHANNEL);
    const body = event === undefined ? {} : { event };
    const value = create(EventSchema, { topic, position: this.#position, ...body });
    this.#ring.push(value);
    if (this.#ring.length > RING) this.#ring.shift();
    if (this.#isConnected) this.#wire.push({ case: "event", value });
  }

  #create(id: number): void {
    this.#newest = Math.max(this.#newest, id);
    const message = create(MessageSchema, { id: String(id), channelId: CHANNEL });
    this.#store.set(id, message);
    this.#publish({ case: "messageCreated", value: { message } });
  }

  #pick(which: number): Message | undefined {
    const ids = [...this.#store.keys()].sort((a, b) => a - b);
    const message = this.#store.get(ids[which % ids.length] ?? 0);
    return message?.deleted ? undefined : message;
  }

  #edit(which: number): void {
    const picked = this.#pick(which);
    if (picked === undefined) return;
    const revision = String(Number(picked.revision) + 1);
    const message = { ...picked, revision, content: `revision ${revision}` };
    this.#store.set(Number(picked.id), message);
    this.#publish({ case: "messageUpdated", value: { message } });
  }

  #delete(which: number): void {
    const picked = this.#pick(which);
    if (picked === undefined) return;
    const message = { ...picked, deleted: true, content: "" };
    this.#store.set(Number(picked.id), message);
    this.#publish({ case: "messageDeleted", value: { message } });
  }

  /** What the gateway sends to a client that connects. */
  #connect(positions: readonly TopicPosition[]): void {
    this.#isConnected = true;
    this.#wire = [frameOf({ case: "hello", value: {} })];
    const held = positions.find(({ topic }) => topic?.id === CHANNEL)?.position;
    const { epoch, seq } = this.#position;
    const first = this.#ring[0] === undefined ? Number.POSITIVE_INFINITY : seqOf(this.#ring[0]);
    if (held === undefined) {
      const state = { case: "channel", value: { lastMessageId: String(this.#newest) } } as const;
      const value = { topic: channelTopic(CHANNEL), position: this.#position, state };
      this.#wire.push(frameOf({ case: "snapshot", value }));
    } else if (held.epoch === epoch && Number(held.seq) + 1 >= first) {
      const missed = this.#ring.filter((event) => seqOf(event) > Number(held.seq));
      this.#wire.push(...missed.map((value) => ({ case: "event", value }) as const));
    } else if (held.epoch !== epoch || held.seq !== seq) {
      this.#gap();
    }
    this.#wire.push(frameOf({ case: "ready", value: {} }));
  }

  #gap(): void {
    const value = { topic: channelTopic(CHANNEL), position: this.#position };
    this.#wire.push(frameOf({ case: "gap", value }));
  }

  /**
   * As the store does it: the deleted ones up to the next message belong to the page, and as many
   * of them as a page may name end it early.
   */
  #list(after: number) {
    const page = create(ListMessagesResponseSchema);
    let behind = 0;
    for (const id of [...this.#store.keys()].filter((id) => id > after).sort((a, b) => a - b)) {
      const message = this.#store.get(id) as Message;
      if (!message.deleted && page.messages.length === PAGE) {
        page.deletedIds.length -= behind;
        page.hasNewer = true;
        break;
      }
      if (!message.deleted) {
        page.messages.push(message);
        behind = 0;
      } else if (page.deletedIds.length === DELETED) {
        page.hasNewer = true;
        break;
      } else {
        page.deletedIds.push(message.id);
        behind += 1;
      }
    }
    return page;
  }

  #give(input: Input): void {
    for (const action of this.machine.handle(input)) {
      if (action.type === "connect") this.#connect(action.positions);
      else if (action.type === "disconnect") this.#disconnect();
      else if (action.type === "page") {
        this.#calls.push({ run: action.run, after: Number(action.after) });
      } else if (action.type === "wait" && action.timer === "connect") this.#waits.push("connect");
      else if (action.type === "hold" || action.type === "emit") this.#items.push(action);
    }
  }

  #disconnect(): void {
    this.#isConnected = false;
    this.#wire = [];
    this.#calls = [];
  }

  #receive(): boolean {
    const frame = this.#wire.shift();
    if (frame !== undefined) this.#give({ type: "frame", frame });
    return frame !== undefined;
  }

  #answer(): boolean {
    const call = this.#calls.shift();
    if (call === undefined) return false;
    const page = this.#list(call.after);
    this.#give({ type: "page", channel: CHANNEL, run: call.run, page });
    return true;
  }

  #take(): boolean {
    const item = this.#items.shift();
    if (item !== undefined) this.program.take(item);
    return item !== undefined;
  }

  #wait(): void {
    const waits = this.#waits;
    this.#waits = [];
    for (const timer of waits) this.#give({ type: "fired", timer });
  }

  #rerun(missed: number, restarts: boolean): void {
    this.#give({ type: "close" });
    this.#waits = [];
    this.#items.length = 0;
    const { held, began = 0, messages } = this.program;
    const lastId = Number(held?.lastId ?? 0);
    const time = [...this.#store.keys()].filter((id) => id > began && id <= lastId);
    this.lacked.push(time.filter((id) => !messages.has(id)));
    this.program.rerun();
    for (let i = 0; i < missed; i++) this.#create(this.#newest + 1);
    if (restarts) this.#restart();
    const topic = channelTopic(CHANNEL);
    const position = held?.position;
    this.machine = new Machine(this.#rules, {
      positions: position === undefined ? [] : [create(TopicPositionSchema, { topic, position })],
      lastIds: held?.lastId === undefined ? [] : [[CHANNEL, held.lastId]],
    });
    this.#give({ type: "start" });
  }
}

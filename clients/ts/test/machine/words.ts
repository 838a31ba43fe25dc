/** The words of the conformance table, read into inputs and written from actions. */

import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type Duration, DurationSchema } from "@bufbuild/protobuf/wkt";
import { type Advice, ChirmError } from "../../src/error.js";
import type { Event } from "../../src/event.js";
import type { Held } from "../../src/feed.js";
import { TokensSchema } from "../../src/gen/chirm/v1/auth_pb.js";
import { type Channel, ChannelSchema } from "../../src/gen/chirm/v1/channel_pb.js";
import {
  type Position,
  PositionSchema,
  type Topic,
  TopicKind,
  TopicPositionSchema,
  TopicSchema,
} from "../../src/gen/chirm/v1/common_pb.js";
import {
  Advice as ClosingAdvice,
  type EventSchema,
  ServerFrameSchema,
  type ViewedChannel,
} from "../../src/gen/chirm/v1/gateway_pb.js";
import {
  ListMessagesResponseSchema,
  type Message,
  MessageSchema,
} from "../../src/gen/chirm/v1/message_pb.js";
import { ErrorInfoSchema, RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb.js";
import { type Status, StatusSchema } from "../../src/gen/google/rpc/status_pb.js";
import type { Start } from "../../src/machine/index.js";
import type { Action, Delay, Input, Received, Timer } from "../../src/machine/step.js";

const ADVICE = ["resume", "retry", "reauthenticate", "stop"];
const TIMER = /^(connect|handshake|heartbeat|renew|pace|steady|answer\.\d+|resend\.\d+)$/;

function position(text = ""): Position {
  const [epoch, seq] = text.split(":");
  if (epoch === undefined || seq === undefined) throw new Error(`no position ${text}`);
  return create(PositionSchema, { epoch, seq });
}

export function topic(text = ""): Topic {
  const kind = { c: TopicKind.CHANNEL, s: TopicKind.SERVER, u: TopicKind.USER }[text[0] ?? ""];
  if (kind === undefined) throw new Error(`no topic ${text}`);
  return create(TopicSchema, { kind, id: text.slice(1) });
}

/** `101`, or `101r2` for its second revision. */
function message(text = ""): Message {
  const [id, revision] = text.split("r");
  return create(MessageSchema, { id: id ?? "", revision: revision ?? "0", channelId: "7" });
}

function error(advice = ""): ChirmError {
  if (!ADVICE.includes(advice)) throw new Error(`no advice ${advice}`);
  return new ChirmError({
    code: "UNKNOWN",
    reason: "TABLE",
    message: "as the table says",
    advice: advice as Advice,
  });
}

function timer(text = ""): Timer {
  if (!TIMER.test(text)) throw new Error(`no timer ${text}`);
  return text as Timer;
}

/** The position and the last id with which the program runs again, if it does. */
export function readKept(text: string): Start | undefined {
  const [word, channel, at, lastId] = text.split(" ");
  if (word !== "again") return undefined;
  if (lastId === undefined) throw new Error(`no last id: ${text}`);
  const of = topic(channel);
  const held = () => create(TopicPositionSchema, { topic: of, position: position(at) });
  return { positions: at === "none" ? [] : [held()], lastIds: [[of.id, lastId]] };
}

export function read(text: string): Input {
  const [word = "", ...rest] = text.split(" ");
  const [first, second, third] = rest;
  switch (word) {
    case "start":
    case "cut":
    case "close":
      return { type: word };
    case "token": {
      if (first !== undefined && first !== "renews") throw new Error(`no token ${first}`);
      return { type: word, renews: first === "renews", lifetimeMs: ms(second) };
    }
    case "renewed":
      return { type: word, tokens: create(TokensSchema), lifetimeMs: ms(first) };
    case "renew_failed":
    case "lost":
      return { type: word, error: error(first) };
    case "fired":
      return { type: word, timer: timer(first) };
    case "view":
      return { type: word, channels: rest };
    case "send": {
      const channel = topic(second).id;
      return { type: word, key: Number(first), channel, stored: third === "stored" };
    }
    case "answer": {
      const answer = second === "ok" ? { message: message(third) } : { error: error(second) };
      return { type: word, key: Number(first), answer };
    }
    case "page":
      return page(first, second, rest.slice(2));
    case "page_failed":
      return { type: word, channel: topic(first).id, run: Number(second), error: error(third) };
    default:
      return { type: "frame", frame: frame(word, rest) };
  }
}

function ms(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Number(text);
}

function page(channel: string | undefined, run: string | undefined, items: string[]): Input {
  const page = create(ListMessagesResponseSchema);
  for (const item of items) {
    if (item === "more") page.hasNewer = true;
    else if (item.startsWith("-")) page.deletedIds.push(item.slice(1));
    else page.messages.push(message(item));
  }
  return { type: "page", channel: topic(channel).id, run: Number(run), page };
}

function duration(ms = ""): Duration {
  const whole = Number(ms);
  const seconds = Math.floor(whole / 1000);
  return create(DurationSchema, { seconds: BigInt(seconds), nanos: (whole % 1000) * 1e6 });
}

function frame(word: string, rest: string[]): Received {
  const [first, second, ...more] = rest;
  const of = (frame: Parameters<typeof create<typeof ServerFrameSchema>>[1]) =>
    create(ServerFrameSchema, frame).frame;
  switch (word) {
    case "hello":
      return of({ frame: { case: word, value: { heartbeatInterval: duration(first) } } });
    case "ready":
      return of({ frame: { case: word, value: {} } });
    case "heartbeat_ack":
      return of({ frame: { case: "heartbeatAck", value: {} } });
    case "reconnect":
      return of({ frame: { case: word, value: { after: duration(first) } } });
    case "closing": {
      const advice = ClosingAdvice[(first ?? "").toUpperCase() as keyof typeof ClosingAdvice];
      if (advice === undefined) throw new Error(`no advice ${first}`);
      return of({ frame: { case: word, value: { advice } } });
    }
    case "removed":
      return of({ frame: { case: "topicRemoved", value: { topic: topic(first) } } });
    case "gap": {
      const gap = { topic: topic(first), position: position(second) };
      const [server] = more;
      const value = server === undefined ? gap : { ...gap, channel: channelOf(first, server) };
      return of({ frame: { case: word, value } });
    }
    case "snapshot": {
      const snapshot = { topic: topic(first), position: position(second) };
      const [lastMessageId] = more;
      if (lastMessageId === undefined) return of({ frame: { case: word, value: snapshot } });
      const value = { lastMessageId, channel: channelOf(first, "s3") };
      const state = { case: "channel", value } as const;
      return of({ frame: { case: word, value: { ...snapshot, state } } });
    }
    case "event":
      return of({ frame: { case: word, value: event(first, second, more) } });
    case "result":
      return of({ frame: { case: word, value: { callId: Number(first), ...result(rest) } } });
    default:
      throw new Error(`no input ${word} ${rest.join(" ")}`);
  }
}

function result([, word, of, after]: string[]) {
  switch (word) {
    case "ok":
      return { result: { case: "sendMessage", value: { message: message(of) } } } as const;
    case "retry":
      return { result: { case: "error", value: create(StatusSchema, { code: 14 }) } } as const;
    case "limited":
      return { result: { case: "error", value: limited(of ?? "", after) } } as const;
    case "refused":
      return { result: { case: "error", value: create(StatusSchema, { code: 3 }) } } as const;
    default:
      throw new Error(`no answer ${word}`);
  }
}

/** A channel of a server. */
function channelOf(channel: string | undefined, server: string): Channel {
  return create(ChannelSchema, { id: topic(channel).id, serverId: topic(server).id });
}

/** Refused for the rate `of` the channel, or of the stream. */
function limited(of: string, ms: string | undefined): Status {
  const info = create(ErrorInfoSchema, {
    reason: "RATE_LIMITED",
    domain: "chirm.dev",
    metadata: { scope: of },
  });
  const retry = create(RetryInfoSchema, { retryDelay: duration(ms) });
  const url = (name: string) => `type.googleapis.com/${name}`;
  return create(StatusSchema, {
    code: 8,
    details: [
      { typeUrl: url(ErrorInfoSchema.typeName), value: toBinary(ErrorInfoSchema, info) },
      { typeUrl: url(RetryInfoSchema.typeName), value: toBinary(RetryInfoSchema, retry) },
    ],
  });
}

function event(
  of: string | undefined,
  at: string | undefined,
  [word, what]: string[],
): MessageInitShape<typeof EventSchema> {
  const event = { topic: topic(of), position: position(at) };
  const value = { message: message(what ?? "0") };
  switch (word) {
    case "created":
      return { ...event, event: { case: "messageCreated", value } };
    case "updated":
      return { ...event, event: { case: "messageUpdated", value } };
    case "deleted":
      return { ...event, event: { case: "messageDeleted", value } };
    case "removed":
      return { ...event, event: { case: "topicRemoved", value: { topic: topic(what) } } };
    case "other":
      return { ...event, event: { case: "userUpdated", value: {} } };
    default:
      throw new Error(`no event ${word}`);
  }
}

const at = ({ epoch, seq }: Position): string => `${epoch}:${seq}`;

function name(topic: Topic | undefined): string {
  const kind = { [TopicKind.CHANNEL]: "c", [TopicKind.SERVER]: "s" }[topic?.kind as 1 | 2] ?? "u";
  return `${kind}${topic?.id}`;
}

const writeViewed = ({ channelId, position }: ViewedChannel): string =>
  ` c${channelId}${position === undefined ? "" : `@${at(position)}`}`;

/** An action as the table writes it; cancelled timers it doesn't write. */
export function write(action: Action): string | undefined {
  switch (action.type) {
    case "cancel":
      return undefined;
    case "connect": {
      const held = action.positions.map(({ topic, position }) => {
        if (position === undefined) throw new Error("no position");
        return ` ${name(topic)}@${at(position)}`;
      });
      const viewed = action.view.map(writeViewed);
      const mark = viewed.length === 0 ? "" : " view";
      return `connect${held.join("")}${mark}${viewed.join("")}`;
    }
    case "view":
      return `view${action.view.map(writeViewed).join("")}`;
    case "transmit":
      return `transmit ${action.key} call ${action.callId} attempt ${action.attempt}`;
    case "settle": {
      const { key, answer } = action;
      return `settle ${key} ${"message" in answer ? `ok ${answer.message.id}` : "refused"}`;
    }
    case "page": {
      const { channel, after, run, failures } = action;
      const backoff = failures === 0 ? "" : ` backoff ${failures}`;
      return `page c${channel} after ${after} run ${run}${backoff}`;
    }
    case "wait":
      return `wait ${action.timer} ${writeDelay(action.delay)}`;
    case "hold":
      return writeHeld(action);
    case "emit":
      return `emit ${writeEvent(action.event)}`;
    default:
      return action.type;
  }
}

function writeHeld({ topic, position, lastId }: Held): string {
  const last = lastId === undefined ? "" : ` ${lastId}`;
  return `hold ${name(topic)} ${position ? at(position) : "none"}${last}`;
}

function writeDelay(delay: Delay): string {
  if ("partOfMs" in delay) return `part of ${delay.partOfMs} ms`;
  if (!("ms" in delay)) return `backoff ${delay.backoff}`;
  return delay.backoff === undefined
    ? `${delay.ms} ms`
    : `${delay.ms} ms + backoff ${delay.backoff}`;
}

function writeEvent(event: Event): string {
  switch (event.type) {
    case "message":
      return `message ${event.message.id} ${event.source}`;
    case "messageUpdated":
      return `updated ${event.message.id}`;
    case "messageDeleted":
      return `deleted ${event.message.id}`;
    case "snapshot":
      return `snapshot ${name(event.snapshot.topic)}`;
    case "gap":
      return `gap ${name(event.gap.topic)}${event.cause === "server" ? "" : ` ${event.cause}`}`;
    case "topic":
      return `topic ${name(event.event.topic)}`;
    case "topicRemoved":
      return `removed ${name(event.topic)}`;
    case "tokensRenewed":
      return "renewed";
    case "disconnected":
      return event.reason.advice === "reauthenticate"
        ? "disconnected reauthenticate"
        : "disconnected";
    default:
      return event.type;
  }
}

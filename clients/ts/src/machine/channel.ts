/** A channel: the position held, and gaps. */

import { create } from "@bufbuild/protobuf";
import { connectionError } from "../error.js";
import type { GapCause, Source } from "../event.js";
import type { Channel as Properties } from "../gen/chirm/v1/channel_pb.js";
import { type Position, PositionSchema, type Topic, TopicKind } from "../gen/chirm/v1/common_pb.js";
import {
  type Gap,
  GapSchema,
  type Snapshot,
  type Event as TopicEvent,
} from "../gen/chirm/v1/gateway_pb.js";
import type { Message } from "../gen/chirm/v1/message_pb.js";
import { compareIds, idBefore } from "../ids.js";
import { channelTopic, type Machine, topicKey } from "./index.js";
import { forgetOld, type Paging, startPaging } from "./paging.js";
import { type Origin, Seen } from "./seen.js";
import { apply } from "./topic.js";

/** Where a channel stands. */
export type Place =
  /** Nowhere: the server will say. */
  | { readonly name: "unheld" }
  /** Complete up to here. */
  | { readonly name: "held"; readonly position: Position }
  /** Complete up to its target when the paging ends. */
  | { readonly name: "paging"; readonly paging: Paging };

/** What a client knows of a channel. */
export class Channel {
  /** Its server; "0" for none, or not known yet. */
  serverId = "0";
  place: Place = { name: "unheld" };
  readonly seen: Seen;

  constructor(dedupeOff: boolean) {
    this.seen = new Seen(dedupeOff);
  }

  /** The position that may be presented. */
  get held(): Position | undefined {
    return this.place.name === "held" ? this.place.position : undefined;
  }

  hold(position: Position): void {
    this.place = { name: "held", position };
  }

  /** The connection is gone; what was being paged has no position. */
  stopPaging(): void {
    if (this.place.name === "paging") this.place = { name: "unheld" };
  }
}

/** Whether an event at `next` comes right after `held`. */
export function follows(held: Position, next: Position): boolean {
  return held.epoch === next.epoch && BigInt(held.seq) + 1n === BigInt(next.seq);
}

/** Whether `position` is of the same epoch as `held`, and not above it. */
export function isAtOrBelow(position: Position, held: Position): boolean {
  return held.epoch === position.epoch && compareIds(position.seq, held.seq) <= 0;
}

/** The position before an event's. */
export function before({ epoch, seq }: Position): Position {
  return create(PositionSchema, { epoch, seq: idBefore(seq) });
}

function isFollowed(m: Machine, id: string): boolean {
  return !m.rules.viewedOnly || m.viewed.includes(id);
}

/**
 * Every channel begins with its snapshot, so that an event of one which isn't known was under way
 * when it was removed. But the snapshot of one that came into view, left it and came again may have
 * arrived while it was out of view.
 */
function mayBeginWithAnEvent(m: Machine, id: string): boolean {
  return m.rules.viewedOnly && m.viewed.includes(id) && !m.removed.has(id);
}

/** Forgets a channel that is no longer visible. */
export function forgetChannel(m: Machine, id: string): void {
  m.channels.delete(id);
  if (m.viewed.includes(id)) m.removed.add(id);
}

export function channelEvent(
  m: Machine,
  id: string,
  position: Position,
  event: TopicEvent,
  source: Source,
): void {
  if (!m.channels.has(id) && !mayBeginWithAnEvent(m, id)) return;
  const { place, seen } = m.channel(id);
  if (place.name === "paging") {
    const kept = place.paging.keep(position, event, source, m.rules.bounds);
    if (kept === "had") m.stats.duplicates += 1;
    else if (kept !== "kept") missed(m, channelTopic(id), kept.target, kept.cause);
    return;
  }
  if (place.name === "held") {
    if (isAtOrBelow(position, place.position)) {
      m.stats.duplicates += 1;
      return;
    }
    if (follows(place.position, position)) {
      apply(m, event, source);
      return;
    }
  }
  if (m.rules.jumpCheckOff) {
    apply(m, event, source);
    return;
  }
  // All before the event was stored before it was published, so pages read from now on have it; the
  // event itself then comes in its turn.
  const target = before(position);
  const body = event.event;
  if (!m.rules.history && body.case === "messageCreated" && body.value.message !== undefined) {
    // For a channel that was never seen its time begins with this message.
    seen.startAt(idBefore(body.value.message.id));
  }
  missed(m, channelTopic(id), target, "jump");
  startPaging(m, id, target);
  channelEvent(m, id, position, event, source);
}

/** Tells the program of something that was missed. */
export function missed(m: Machine, topic: Topic, position: Position, cause: GapCause): void {
  if (cause === "jump") m.stats.jumps += 1;
  if (cause === "server") m.stats.gaps += 1;
  m.emit({ type: "gap", gap: create(GapSchema, { topic, position }), cause });
}

/** Notes which server a channel is of. */
export function learn(m: Machine, channel: Properties): void {
  const known = m.channels.get(channel.id);
  if (known !== undefined) known.serverId = channel.serverId;
}

/** A message event at its place; the position is held already. */
export function messageEvent(m: Machine, id: string, event: TopicEvent, source: Source): void {
  const body = event.event;
  switch (body.case) {
    case "messageCreated":
      takeMessage(m, id, body.value.message, "created", source, event.position);
      break;
    case "messageUpdated":
      takeMessage(m, id, body.value.message, "updated", source, event.position);
      break;
    case "messageDeleted":
      takeMessage(m, id, body.value.message, "deleted", source, event.position);
      break;
  }
  forgetOld(m, id);
}

/** Tells the program of a message, as far as it hasn't had it. */
export function takeMessage(
  m: Machine,
  id: string,
  message: Message | undefined,
  origin: Origin,
  source: Source,
  position: Position | undefined,
): void {
  if (message === undefined) return;
  switch (m.channel(id).seen.take(message, origin)) {
    case "new":
      m.emit({ type: "message", message, source, position });
      if (source === "page") m.hold(channelTopic(id));
      return;
    case "updated":
      return m.emit({ type: "messageUpdated", message });
    case "deleted":
      return m.emit({ type: "messageDeleted", message });
    case "nothing":
      m.stats.duplicates += 1;
  }
}

export function channelSnapshot(
  m: Machine,
  id: string,
  position: Position,
  snapshot: Snapshot,
): void {
  const state = snapshot.state.case === "channel" ? snapshot.state.value : undefined;
  const serverId = state?.channel?.serverId ?? "0";
  const lastMessageId = state?.lastMessageId ?? "0";
  m.emit({ type: "snapshot", snapshot });
  m.removed.delete(id);
  const known = m.channels.get(id);
  if (!isFollowed(m, id)) {
    // Nothing of it will come, so nothing needs closing; viewing it presents what is held.
    if (known !== undefined) known.serverId = serverId;
    return;
  }
  const { history } = m.rules;
  const channel = m.channel(id);
  channel.serverId = serverId;
  const held = channel.held;
  if (held !== undefined && held.epoch === position.epoch && held.seq === position.seq) return;
  channel.seen.startAt(history ? "0" : lastMessageId);
  if (known !== undefined) missed(m, channelTopic(id), position, "server");
  if (known !== undefined || history) return startPaging(m, id, position);
  channel.hold(position);
  m.hold(channelTopic(id));
}

export function gap(m: Machine, gap: Gap): void {
  const { topic, position } = gap;
  if (topic === undefined || position === undefined) return;
  m.stats.gaps += 1;
  if (gap.channel !== undefined) learn(m, gap.channel);
  m.emit({ type: "gap", gap, cause: "server" });
  if (topic.kind !== TopicKind.CHANNEL) {
    // Only channels have history. Without its position the topic comes as a snapshot.
    m.others.delete(topicKey(topic));
    m.hold(topic);
    m.lost(connectionError("a topic without history has a gap"));
    return;
  }
  if (isFollowed(m, topic.id)) {
    startPaging(m, topic.id, position);
    return;
  }
  const channel = m.channels.get(topic.id);
  if (channel !== undefined) {
    channel.place = { name: "unheld" };
    m.hold(topic);
  }
}

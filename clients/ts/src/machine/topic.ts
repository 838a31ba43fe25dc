/** Topics: events at their place or not, snapshots, removals. */

import { create } from "@bufbuild/protobuf";
import { connectionError } from "../error.js";
import type { Source } from "../event.js";
import { type Topic, TopicKind, TopicSchema } from "../gen/chirm/v1/common_pb.js";
import type { Snapshot, Event as TopicEvent } from "../gen/chirm/v1/gateway_pb.js";
import {
  before,
  channelEvent,
  channelSnapshot,
  follows,
  forgetChannel,
  isAtOrBelow,
  learn,
  messageEvent,
  missed,
} from "./channel.js";
import { channelTopic, type Machine, topicKey } from "./index.js";

/** An event of a topic, at its place or not. */
export function event(m: Machine, event: TopicEvent): void {
  const { topic, position } = event;
  if (topic === undefined || position === undefined || BigInt(position.seq) < 1n) return;
  const source: Source = m.state === "live" ? "live" : "replay";
  if (topic.kind === TopicKind.CHANNEL) {
    channelEvent(m, topic.id, position, event, source);
    return;
  }
  const held = m.others.get(topicKey(topic))?.position;
  if (held === undefined) {
    // It was removed, and this was under way. What comes to be visible begins with its snapshot.
    return;
  }
  if (isAtOrBelow(position, held)) {
    m.stats.duplicates += 1;
  } else if (follows(held, position) || m.rules.jumpCheckOff) {
    apply(m, event, source);
  } else {
    // Without its position the topic comes as a snapshot.
    missed(m, topic, before(position), "jump");
    m.others.delete(topicKey(topic));
    m.hold(topic);
    m.lost(connectionError("an event of a topic was missed"));
  }
}

/** Applies an event of any topic that stands at its place. */
export function apply(m: Machine, event: TopicEvent, source: Source): void {
  const { topic, position } = event;
  if (topic === undefined || position === undefined) return;
  if (source === "replay") m.stats.replayed += 1;
  if (topic.kind === TopicKind.CHANNEL) m.channel(topic.id).hold(position);
  else m.others.set(topicKey(topic), { topic, position });
  const body = event.event;
  switch (body.case) {
    case "messageCreated":
    case "messageUpdated":
    case "messageDeleted":
      messageEvent(m, topic.id, event, source);
      m.hold(topic);
      return;
    case "channelCreated":
    case "channelUpdated":
      if (body.value.channel !== undefined) learn(m, body.value.channel);
      break;
  }
  m.emit({ type: "topic", event });
  m.hold(topic);
  const removed = removedBy(body);
  if (removed !== undefined) {
    remove(m, removed);
    m.emit({ type: "topicRemoved", topic: removed });
  }
}

/** The topic that an event takes away. */
function removedBy(body: TopicEvent["event"]): Topic | undefined {
  switch (body.case) {
    case "topicRemoved":
      return body.value.topic;
    case "channelDeleted":
      return channelTopic(body.value.channelId);
    case "serverDeleted":
      return create(TopicSchema, { kind: TopicKind.SERVER, id: body.value.serverId });
    default:
      return undefined;
  }
}

export function snapshot(m: Machine, snapshot: Snapshot): void {
  const { topic, position, state } = snapshot;
  if (topic === undefined || position === undefined) return;
  m.stats.snapshots += 1;
  if (topic.kind === TopicKind.CHANNEL) {
    channelSnapshot(m, topic.id, position, snapshot);
    return;
  }
  m.others.set(topicKey(topic), { topic, position });
  if (state.case === "server") for (const channel of state.value.channels) learn(m, channel);
  m.emit({ type: "snapshot", snapshot });
  m.hold(topic);
}

/** Forgets a topic, and with a server its channels. */
export function remove(m: Machine, topic: Topic): void {
  if (topic.kind === TopicKind.CHANNEL) forgetChannel(m, topic.id);
  else m.others.delete(topicKey(topic));
  m.hold(topic);
  if (topic.kind !== TopicKind.SERVER) return;
  const ids = [...m.channels].filter(([, channel]) => channel.serverId === topic.id);
  for (const [id] of ids) {
    forgetChannel(m, id);
    m.hold(channelTopic(id));
  }
}

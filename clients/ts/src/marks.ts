/** What stands on a message, kept up to date by events. */

import { create } from "@bufbuild/protobuf";
import type { Event as TopicEvent } from "./gen/chirm/v1/gateway_pb.js";
import { type Message, type Reaction, ReactionSchema } from "./gen/chirm/v1/message_pb.js";

/**
 * A message that the program holds, brought up to date with an event of its channel: its reactions
 * and whether it is pinned. `userId` is the program's own user, whose reactions are `own`. The same
 * message if the event is of something else, otherwise a new one. Events are applied in their
 * order; one that came before the message was read does no harm, since those after it come, too.
 *
 * An edited message (`messageUpdated`) comes with its reactions, but can't tell which are the
 * user's own: {@link keepOwn} does.
 */
export function applyMark(message: Message, { event }: TopicEvent, userId: string): Message {
  const { value } = event;
  const names = value !== undefined && "channelId" in value && "messageId" in value;
  const isOfIt = names && value.channelId === message.channelId && value.messageId === message.id;
  if (!isOfIt) return message;
  switch (event.case) {
    case "reactionAdded": {
      const { emoji, count } = event.value;
      const own = event.value.userId === userId ? true : undefined;
      return { ...message, reactions: counted(message.reactions, emoji, count, own) };
    }
    case "reactionRemoved": {
      const { emoji, count } = event.value;
      const own = event.value.userId === userId ? false : undefined;
      return { ...message, reactions: counted(message.reactions, emoji, count, own) };
    }
    case "reactionsCleared": {
      const { emoji } = event.value;
      const stays = (kind: Reaction) => emoji !== "" && kind.emoji !== emoji;
      return { ...message, reactions: message.reactions.filter(stays) };
    }
    case "messagePinned":
      return { ...message, pinned: true };
    case "messageUnpinned":
      return { ...message, pinned: false };
    default:
      return message;
  }
}

/**
 * A message that an event brought, with the program's own reactions taken over from the message
 * held: the event says so of none.
 */
export function keepOwn(updated: Message, held: Message): Message {
  const own = new Set(held.reactions.filter((kind) => kind.own).map((kind) => kind.emoji));
  const reactions = updated.reactions.map((kind) => ({ ...kind, own: own.has(kind.emoji) }));
  return { ...updated, reactions };
}

/** The kinds with one's count set; whether it is the user's own stays, unless `own` says so. */
function counted(
  kinds: readonly Reaction[],
  emoji: string,
  count: number,
  own: boolean | undefined,
): Reaction[] {
  if (count <= 0) return kinds.filter((kind) => kind.emoji !== emoji);
  if (!kinds.some((kind) => kind.emoji === emoji)) {
    return [...kinds, create(ReactionSchema, { emoji, count, own: own ?? false })];
  }
  return kinds.map((kind) =>
    kind.emoji === emoji ? { ...kind, count, own: own ?? kind.own } : kind,
  );
}

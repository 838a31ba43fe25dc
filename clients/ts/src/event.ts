/** What the program receives. */

import type { ChirmError } from "./error.js";
import type { Tokens } from "./gen/chirm/v1/auth_pb.js";
import type { Position, Topic } from "./gen/chirm/v1/common_pb.js";
import type {
  ChannelActivity,
  CustomEvent,
  Gap,
  MemberListChanged,
  PresenceChanged,
  Ready,
  Snapshot,
  Event as TopicEvent,
  TypingStarted,
} from "./gen/chirm/v1/gateway_pb.js";
import type { Message } from "./gen/chirm/v1/message_pb.js";

/**
 * How a message came to the program: by the stream as it happened (`live`), by the stream after
 * connecting again (`replay`), from history (`page`).
 */
export type Source = "live" | "replay" | "page";

/**
 * How something came to be missed.
 * - `server`: the server said so, by its own `Gap` or by a snapshot at another position than the
 *   one held.
 * - `jump`: the client noticed a jump of the topic's position. A server that keeps its promises
 *   causes none.
 * - `overflow`: while the channel was paged, more of its events came than the client keeps.
 */
export type GapCause = "server" | "jump" | "overflow";

/** What each kind of event carries, by its name. */
export interface EventMap {
  /** A connection has dealt with every topic; what follows is live. */
  ready: { readonly ready: Ready };
  /** A message that the program hasn't had. Each comes once, a channel's in order of its events. */
  message: {
    readonly message: Message;
    readonly source: Source;
    /** Its channel's position after it; absent if it came from history. */
    readonly position: Position | undefined;
  };
  /**
   * A message was edited; its revision is above any that the program had. Which of its reactions
   * are the user's own it doesn't say: {@link keepOwn}.
   */
  messageUpdated: { readonly message: Message };
  /** A message was deleted. Its content is empty; found by paging, its author is 0, too. */
  messageDeleted: { readonly message: Message };
  /** A topic's state; it replaces what the program held of the topic but for messages. */
  snapshot: { readonly snapshot: Snapshot };
  /**
   * Something of a topic was missed. A channel is now paged: its messages follow. Edits and deletes
   * of messages older than the client remembers don't, nor do reactions and pins of messages that
   * the program has; page again what is cached of those. The state of a server or user follows as a
   * snapshot. Of a PRIVATE or DIRECT channel, `gap.channel` takes the place of its properties and
   * members if the server sent the gap; else read them anew with `getChannel`.
   */
  gap: { readonly gap: Gap; readonly cause: GapCause };
  /** Another event of a topic. {@link applyMark} takes those of reactions and pins. */
  topic: { readonly event: TopicEvent };
  /**
   * A topic is no longer visible. All that was held of it is void; should it come back, it comes as
   * one never seen.
   */
  topicRemoved: { readonly topic: Topic };
  /** Something is new in a channel that isn't viewed. */
  activity: { readonly activity: ChannelActivity };
  /** Somebody types. */
  typing: { readonly typing: TypingStarted };
  /** An integrator's own event. */
  custom: { readonly custom: CustomEvent };
  /** Presences that changed. */
  presence: { readonly presence: PresenceChanged };
  /** A viewed part of a member list changed. */
  memberList: { readonly memberList: MemberListChanged };
  /** A send from a stored outbox was refused for good. */
  sendRefused: { readonly nonce: string; readonly error: ChirmError };
  /** The tokens were renewed, and the old ones are spent: keep these for the next run. */
  tokensRenewed: { readonly tokens: Tokens };
  /**
   * The connection ended, and the client connects again; unless the advice is to reauthenticate:
   * then it waits for {@link Client.setTokens}.
   */
  disconnected: { readonly reason: ChirmError };
  /** The last event: the client won't connect again. */
  closed: { readonly reason: ChirmError };
}

/** The name of a kind of event. */
export type EventType = keyof EventMap;

/** An event of one kind. */
export type EventOf<T extends EventType> = { readonly type: T } & EventMap[T];

/** Something that the program is told, in order. `type` says what it is. */
export type Event = { [T in EventType]: EventOf<T> }[EventType];

/** What a client has been through. All are counts since it started. */
export interface Stats {
  /** Times that a connection got ready. */
  connects: number;
  /** Events that came again from the server's ring before a connection was ready. */
  replayed: number;
  /** Snapshots of topics. */
  snapshots: number;
  /** Gaps: the server's, and snapshots at another position than the one held. */
  gaps: number;
  /** Jumps of a topic's position that the client noticed by itself. */
  jumps: number;
  /** Events and messages dropped because the program had them. */
  duplicates: number;
  /** Pages of history read. */
  pages: number;
  /** Sends that were tried again. */
  resent: number;
}

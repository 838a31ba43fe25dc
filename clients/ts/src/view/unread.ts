/** How far the user has read a channel, counted on by its events. */

import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Message } from "../gen/chirm/v1/message_pb.js";
import type { ReadState } from "../gen/chirm/v1/read_state_pb.js";
import { Role } from "../gen/chirm/v1/server_pb.js";
import { compareIds, maxId } from "../ids.js";

/** Mentions are counted to here, as the server does. */
const MENTIONS_MAX = 1000;

/** How far the user has read a channel. */
export interface UnreadView {
  /** Whether there is something unread. */
  readonly isUnread: boolean;
  /** Read up to here; "0" for nothing. */
  readonly lastReadId: string;
  /** The channel's last message; "0" for none. */
  readonly lastMessageId: string;
  /** Unread mentions of the user, counted to 1,000. */
  readonly mentionCount: number;
  readonly isMuted: boolean;
  /** When the mute ends, in milliseconds since 1970; absent if it doesn't. */
  readonly mutedUntilMs: number | undefined;
}

/** Whom a message may mention. */
export interface Reader {
  readonly userId: string;
  /** Its role in the channel's server, if it has one. */
  readonly role: Role;
}

function mentions(message: Message, { userId, role }: Reader): boolean {
  const isOfRole = role !== Role.UNSPECIFIED && message.mentionRoles.some((low) => role >= low);
  return message.mentionEveryone || message.mentions.includes(userId) || isOfRole;
}

/** A channel's read state. */
export class Unread {
  #lastReadId = "0";
  #lastMessageId = "0";
  #mentionCount = 0;
  /** Up to here the server has counted mentions. */
  #countedTo = "0";
  #isMuted = false;
  #mutedUntilMs: number | undefined;

  get snapshot(): UnreadView {
    const isOver = this.#mutedUntilMs !== undefined && this.#mutedUntilMs <= Date.now();
    return {
      isUnread: compareIds(this.#lastMessageId, this.#lastReadId) > 0,
      lastReadId: this.#lastReadId,
      lastMessageId: this.#lastMessageId,
      mentionCount: this.#mentionCount,
      isMuted: this.#isMuted && !isOver,
      mutedUntilMs: this.#mutedUntilMs,
    };
  }

  /** What the server says. */
  take(state: ReadState): void {
    this.#lastReadId = maxId(this.#lastReadId, state.lastReadId);
    this.#saw(state.lastMessageId);
    this.#countedTo = maxId(this.#countedTo, state.lastMessageId);
    this.#mentionCount = state.mentionCount;
    this.#isMuted = state.muted;
    this.#mutedUntilMs = state.mutedUntil && timestampMs(state.mutedUntil);
  }

  /** Not named among those that have something unread. */
  readAll(): void {
    this.#read(this.#lastMessageId);
    this.#isMuted = false;
    this.#mutedUntilMs = undefined;
  }

  /** The channel has a message with this id. */
  saw(id: string): void {
    this.#saw(id);
  }

  /** A message that is new. */
  message(message: Message, reader: Reader): void {
    const { id, authorId } = message;
    this.#saw(id);
    if (authorId === reader.userId) {
      // Who sends has read the channel up to there, which nobody is told of.
      this.#read(id);
    } else if (this.#counts(id) && mentions(message, reader)) {
      this.#mentionCount = Math.min(this.#mentionCount + 1, MENTIONS_MAX);
    }
  }

  /** A message that was shown is deleted: it counts as a mention no more. */
  deleted(message: Message, reader: Reader): void {
    const isUnread = compareIds(message.id, this.#lastReadId) > 0;
    if (isUnread && message.authorId !== reader.userId && mentions(message, reader)) {
      this.#mentionCount = Math.max(0, this.#mentionCount - 1);
    }
  }

  #saw(id: string): void {
    this.#lastMessageId = maxId(this.#lastMessageId, id);
  }

  #read(id: string): void {
    if (compareIds(id, this.#lastReadId) <= 0) return;
    this.#lastReadId = id;
    this.#mentionCount = 0;
  }

  #counts(id: string): boolean {
    return compareIds(id, this.#lastReadId) > 0 && compareIds(id, this.#countedTo) > 0;
  }
}

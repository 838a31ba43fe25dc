/** What a program says about its connection and its sends. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import { configError } from "./error.js";
import type { TopicPositionSchema } from "./gen/chirm/v1/common_pb.js";
import type {
  ClientFrame,
  Delivery,
  Intent,
  MemberListViewSchema,
  ServerFrame,
} from "./gen/chirm/v1/gateway_pb.js";
import type { PresenceStatus } from "./gen/chirm/v1/presence_pb.js";
import { isId } from "./ids.js";
import type { OutboxStore } from "./outbox.js";
import type { TokenSource, TokensInit } from "./tokens.js";
import type { TransportFactory } from "./transport/index.js";

/** Most channels in view, and most users. */
const VIEWED_MAX = 100;

/** How a client connects and what it asks for. */
export interface ClientOptions {
  /** The server: `https://chat.example.com`, or `http://127.0.0.1:7300` on one's own machine. */
  readonly url: string;
  /** An access token, a bot's token or a service key. */
  readonly token?: string;
  /**
   * What signing in gave, in place of `token`: tokens are renewed before they end and when they are
   * refused, and the program gets the new ones as `tokensRenewed`.
   */
  readonly tokens?: TokensInit;
  /** Gives new tokens in place of the refresh token. */
  readonly tokenSource?: TokenSource;
  /** gRPC in Node and a WebSocket elsewhere by default. */
  readonly transport?: TransportFactory;
  /** Which channels' events to receive: all (the default), or those viewed. */
  readonly delivery?: Delivery;
  /** The channels viewed from the start: at most 100. */
  readonly viewed?: readonly string[];
  /** The parts of member lists and the users looked at from the start. */
  readonly looking?: Looking;
  /**
   * The status to appear with: ONLINE by default. It is kept over connections, until
   * {@link Client.setPresence} changes it.
   */
  readonly presence?: PresenceStatus;
  /**
   * Names the device, at most 100 characters; a newer connection of the same device and user ends
   * the older. By default nothing is ended.
   */
  readonly device?: string;
  /** What else to receive: typing, presence, custom events. */
  readonly intents?: readonly Intent[];
  /** Positions held from an earlier run, as {@link Client.positions} gave them. */
  readonly positions?: readonly MessageInitShape<typeof TopicPositionSchema>[];
  /**
   * Up to which message all is held of channels from an earlier run, as {@link Client.lastIds} gave
   * them: they belong to the positions. A gap in such a channel is paged from there: edits and
   * deletes of older messages in it don't come. What the earlier run had beyond its positions comes
   * again: a program that keeps messages compares their ids.
   */
  readonly lastIds?: Iterable<readonly [channelId: string, messageId: string]>;
  /**
   * Whether a channel that was never seen is paged from its first message. By default its messages
   * begin with the connection.
   */
  readonly history?: boolean;
  /** How long to wait between attempts to connect, and to repeat a send or a page. */
  readonly backoff?: Backoff;
  /** Where sends are kept until they are answered. In memory by default, at most 1,024. */
  readonly outbox?: OutboxStore;
  /**
   * How many events may wait for the program: 1,024 by default. While it is full nothing more is
   * taken from the server. Without a listener nothing waits for long: a program may only send.
   */
  readonly eventBuffer?: number;
  /**
   * Hears each frame as it goes and as it comes, before the client does anything with it: for logs
   * and checks. `identify` has a token in it.
   */
  readonly tap?: (frame: Tapped) => void;
}

/**
 * What a user looks at besides channels. Presences need `Intent.PRESENCE` among the intents; parts
 * of member lists come anyway, as `memberList`.
 */
export interface Looking {
  /** Parts of member lists: of at most 10 servers, 5 parts of 100 places each. */
  readonly lists?: readonly MessageInitShape<typeof MemberListViewSchema>[];
  /** Users whose presence is wanted wherever they are seen: at most 100. */
  readonly users?: readonly string[];
}

/** A frame on its way. */
export type Tapped = { readonly sent: ClientFrame } | { readonly received: ServerFrame };

/**
 * Full jitter: the n-th wait is anywhere between nothing and `baseMs × 2ⁿ`, never above `maxMs`.
 */
export interface Backoff {
  /** The first wait's upper end, in milliseconds: 500 by default. */
  readonly baseMs: number;
  /** No wait is longer: 60,000 ms by default. */
  readonly maxMs: number;
}

export const BACKOFF: Backoff = { baseMs: 500, maxMs: 60_000 };

/** The upper end of the wait after so many failures, in milliseconds. */
export function ceilingMs({ baseMs, maxMs }: Backoff, failures: number): number {
  return Math.min(baseMs * 2 ** Math.min(failures, 31), maxMs);
}

/** What may go with a message. */
export interface SendOptions {
  /** The message of the same channel that this one answers. */
  readonly replyTo?: string;
  /** A UUID as text that names the message over all its repeats; made if absent. */
  readonly nonce?: string;
  /** What the integrator attaches: at most 16 keys, 4 KiB in all. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Gives up waiting for the answer. The message stays in the outbox and is sent all the same. */
  readonly signal?: AbortSignal;
}

/** Refuses what is no id, by the name of the field. */
export function checkId(field: string, id: string): string {
  if (!isId(id)) {
    throw configError(
      `${field}: ${JSON.stringify(id)} is no id, which is a string of 1 to 19 digits`,
    );
  }
  return id;
}

/** Refuses what is more than may be viewed. */
export function checkIds(field: string, ids: readonly string[]): readonly string[] {
  if (ids.length > VIEWED_MAX) {
    throw configError(`${field}: ${ids.length} of them; at most ${VIEWED_MAX} are allowed`);
  }
  return ids.map((id) => checkId(field, id));
}

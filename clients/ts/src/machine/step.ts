/** The machine's vocabulary: what can happen, what is to be done. */

import type { ChirmError } from "../error.js";
import type { Event } from "../event.js";
import type { Held } from "../feed.js";
import type { Tokens } from "../gen/chirm/v1/auth_pb.js";
import type { TopicPosition } from "../gen/chirm/v1/common_pb.js";
import type { ServerFrame, ViewedChannel } from "../gen/chirm/v1/gateway_pb.js";
import type { ListMessagesResponse, Message } from "../gen/chirm/v1/message_pb.js";

/** What a frame of the server's has in it. */
export type Received = ServerFrame["frame"];

/** The final answer to a send, or one that may not be. */
export type Answer = { readonly message: Message } | { readonly error: ChirmError };

/** What can happen to a client. */
export type Input =
  /** The program started it. */
  | { readonly type: "start" }
  /** The server sent a frame. */
  | { readonly type: "frame"; readonly frame: Received }
  /** The connection ended, or didn't come up. */
  | { readonly type: "lost"; readonly error: ChirmError }
  /** A wait is over. */
  | { readonly type: "fired"; readonly timer: Timer }
  /** A page of history arrived: of a channel's `run`, as the page action named it. */
  | {
      readonly type: "page";
      readonly channel: string;
      readonly run: number;
      readonly page: ListMessagesResponse;
    }
  /** A page couldn't be read. */
  | {
      readonly type: "page_failed";
      readonly channel: string;
      readonly run: number;
      readonly error: ChirmError;
    }
  /** The program sends a message, known by a key from here on; `stored`: from an earlier run. */
  | {
      readonly type: "send";
      readonly key: number;
      readonly channel: string;
      readonly stored: boolean;
    }
  /** A unary send was answered. */
  | { readonly type: "answer"; readonly key: number; readonly answer: Answer }
  /** The program looks at other channels. */
  | { readonly type: "view"; readonly channels: readonly string[] }
  /**
   * There is a token, from the program: whether it can be renewed, and for how long it is good if
   * that is known.
   */
  | { readonly type: "token"; readonly renews: boolean; readonly lifetimeMs: number | undefined }
  /** The token was renewed. */
  | { readonly type: "renewed"; readonly tokens: Tokens; readonly lifetimeMs: number | undefined }
  /** The token couldn't be renewed. */
  | { readonly type: "renew_failed"; readonly error: ChirmError }
  /** The program wants the connection dropped. */
  | { readonly type: "cut" }
  /** The program is done. */
  | { readonly type: "close" };

/** What the client is to do about it. */
export type Action =
  /** Connect, and identify with these. */
  | {
      readonly type: "connect";
      readonly positions: readonly TopicPosition[];
      readonly view: readonly ViewedChannel[];
    }
  /** End the connection. */
  | { readonly type: "disconnect" }
  /** Send a Heartbeat. */
  | { readonly type: "heartbeat" }
  /** Send a View. */
  | { readonly type: "view"; readonly view: readonly ViewedChannel[] }
  /** Send the message of this key. */
  | {
      readonly type: "transmit";
      readonly key: number;
      readonly callId: number;
      readonly attempt: number;
    }
  /** The message of this key has its final answer. */
  | { readonly type: "settle"; readonly key: number; readonly answer: Answer }
  /** Change what renews the token for new ones. */
  | { readonly type: "renew" }
  /** Read the page after this message; with `failures` > 0 after a backoff. */
  | {
      readonly type: "page";
      readonly channel: string;
      readonly after: string;
      readonly run: number;
      readonly failures: number;
    }
  /** Fire a timer later; it replaces one of the same name. */
  | { readonly type: "wait"; readonly timer: Timer; readonly delay: Delay }
  /** Don't fire it. */
  | { readonly type: "cancel"; readonly timer: Timer }
  /** Tell the program. */
  | { readonly type: "emit"; readonly event: Event }
  /** What is held of a topic now. */
  | ({ readonly type: "hold" } & Held)
  /** All is over. */
  | { readonly type: "finish"; readonly error: ChirmError };

/**
 * What a client waits for: to connect again, for Hello, to send the next heartbeat, to renew the
 * token, for the connection to have lasted, to go on with all sends, for the answer to a send (by
 * its key), to go on with a channel's sends.
 */
export type Timer =
  | "connect"
  | "handshake"
  | "heartbeat"
  | "renew"
  | "steady"
  | "pace"
  | `answer.${number}`
  | `resend.${string}`;

/**
 * How long, in milliseconds: `ms` exactly; a random part of `partOfMs`; full jitter after `backoff`
 * failures, on top of `ms` if that is there.
 */
export type Delay =
  | { readonly ms: number; readonly backoff?: number }
  | { readonly partOfMs: number }
  | { readonly backoff: number };

/** Where the connection is. */
export type State =
  /** Not started. */
  | "idle"
  /** On the way to Hello. */
  | "connecting"
  /** Between Hello and Ready. */
  | "syncing"
  /** After Ready. */
  | "live"
  /** Until it connects again. */
  | "waiting"
  /** The token is refused: until it is renewed or there is another. */
  | "signed_out"
  /** For good. */
  | "closed";

/** What doesn't change while a client runs. */
export interface Rules {
  /** Delivery is VIEWED: channels out of view aren't followed. */
  readonly viewedOnly: boolean;
  /** No stream towards the server. */
  readonly listenOnly: boolean;
  /** Channels never seen are paged from their first message. */
  readonly history: boolean;
  /** A bug on purpose, for the tests of tests: what the program had is told again. */
  readonly dedupeOff: boolean;
  /** A bug on purpose, for the tests of tests: jumps are passed over. */
  readonly jumpCheckOff: boolean;
  readonly bounds: Bounds;
}

/** How much a client remembers. */
export interface Bounds {
  /** At least so many of a channel's newest messages are remembered one by one. */
  readonly recentMin: number;
  /** And never more than so many. */
  readonly recentMax: number;
  /** Or while it is paged: those that pages have and waiting events will bring again. */
  readonly recentPagingMax: number;
  /** Events of one channel that wait while its history is paged. */
  readonly waitingMax: number;
  /** Their size in all. */
  readonly waitingBytesMax: number;
}

export const BOUNDS: Bounds = {
  recentMin: 256,
  recentMax: 8192,
  recentPagingMax: 16_384,
  waitingMax: 4096,
  waitingBytesMax: 4 * 1024 * 1024,
};

export const RULES: Rules = {
  viewedOnly: false,
  listenOnly: false,
  history: false,
  dedupeOff: false,
  jumpCheckOff: false,
  bounds: BOUNDS,
};

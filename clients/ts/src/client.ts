/** What a program holds. */

import { create } from "@bufbuild/protobuf";
import { defaultTransport } from "#transport";
import { Api } from "./api.js";
import { type ClientOptions, checkId, checkIds, type Looking, type SendOptions } from "./config.js";
import { Driver } from "./driver/index.js";
import { type ChirmError, configError } from "./error.js";
import type { Event, EventOf, EventType, Stats } from "./event.js";
import { Feed, type Listener } from "./feed.js";
import { TopicKind, type TopicPosition, TopicPositionSchema } from "./gen/chirm/v1/common_pb.js";
import { type Message, SendMessageRequestSchema } from "./gen/chirm/v1/message_pb.js";
import { PresenceStatus } from "./gen/chirm/v1/presence_pb.js";
import { topicKey } from "./machine/index.js";
import { newNonce } from "./nonce.js";
import { MemoryOutbox, type OutboxStore } from "./outbox.js";
import { Credentials, type TokensInit } from "./tokens.js";

const EVENT_BUFFER = 1024;
/** Characters of the words of a presence. */
const PRESENCE_TEXT_MAX = 128;

/** A way to stop waiting. */
export interface Waiting {
  readonly signal?: AbortSignal | undefined;
}

/** Whether a connection got ready; or that it won't, unless something changes. */
type Readiness = "pending" | "ready" | ChirmError;

/**
 * A connection that stays: it connects, and connects again, until it is closed or told by the
 * server to stop.
 *
 * ```ts
 * const client = new Client({ url: "https://chat.example.com", token });
 * for await (const event of client.events()) {
 *   if (event.type === "message") console.log(event.message.content);
 * }
 * ```
 */
export class Client {
  /** Unary calls, with this client's token. */
  readonly api: Api;
  readonly #driver: Driver;
  readonly #feed: Feed;
  readonly #credentials: Credentials;
  readonly #outbox: OutboxStore;
  readonly #positions = new Map<string, TopicPosition>();
  readonly #lastIds: Map<string, string>;
  readonly #started: Promise<void>;
  readonly #ended: Promise<void>;
  #readiness: Readiness = "pending";
  #waitsForReadiness = new Set<() => void>();

  /** Starts the connection. Throws a {@link ChirmError} if an option is of no use. */
  constructor(options: ClientOptions) {
    const transport = (options.transport ?? defaultTransport())(options.url);
    checkIds("viewed", options.viewed ?? []);
    checkLooking(options.looking ?? {});
    const tokens = options.tokens ?? { accessToken: options.token ?? "" };
    const credentials = new Credentials(tokens, options.tokenSource);
    for (const held of options.positions ?? []) {
      const position = create(TopicPositionSchema, held);
      if (position.topic !== undefined) this.#positions.set(topicKey(position.topic), position);
    }
    const lastIds = new Map(options.lastIds);
    const feed = new Feed(options.eventBuffer ?? EVENT_BUFFER, ({ topic, position, lastId }) => {
      if (position === undefined) this.#positions.delete(topicKey(topic));
      else this.#positions.set(topicKey(topic), create(TopicPositionSchema, { topic, position }));
      if (lastId !== undefined) lastIds.set(topic.id, lastId);
      else if (topic.kind === TopicKind.CHANNEL) lastIds.delete(topic.id);
    });
    const outbox = options.outbox ?? new MemoryOutbox();
    let ended = () => {};
    this.#ended = new Promise((resolve) => {
      ended = resolve;
    });
    const note = (event: Event) => {
      this.#note(event);
      if (event.type === "closed") ended();
    };
    this.#lastIds = lastIds;
    this.#feed = feed;
    this.#credentials = credentials;
    this.#outbox = outbox;
    this.api = new Api(transport, () => credentials.token);
    this.#driver = new Driver({ options, lastIds, transport, credentials, outbox, feed, note });
    this.#started = this.#driver.start();
  }

  /**
   * Waits until a connection has got ready for the first time. Throws if it can't without a change:
   * the token was refused, or the server said to stop.
   */
  async ready({ signal }: Waiting = {}): Promise<void> {
    for (;;) {
      signal?.throwIfAborted();
      if (this.#readiness === "ready") return;
      if (this.#readiness !== "pending") throw this.#readiness;
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#waitsForReadiness.delete(wake);
          signal?.removeEventListener("abort", wake);
          resolve();
        };
        this.#waitsForReadiness.add(wake);
        signal?.addEventListener("abort", wake);
      });
    }
  }

  /**
   * The events, in order, from when the first is asked for; the program's first reader gets those
   * before it, too. It ends after `closed`, or when the signal is aborted. It is bounded: as long
   * as one of the readers doesn't go on, the connection isn't read, sends included.
   */
  events({ signal }: Waiting = {}): AsyncGenerator<Event, void, undefined> {
    return this.#feed.events(signal);
  }

  /**
   * Calls a listener for each event of a kind, or for each of them (`"*"`), in order. Answers a
   * function that takes it away again, as an aborted signal does.
   */
  on<T extends EventType>(type: T, listener: Listener<EventOf<T>>, waiting?: Waiting): () => void;
  on(type: "*", listener: Listener<Event>, waiting?: Waiting): () => void;
  on(type: EventType | "*", listener: Listener<never>, { signal }: Waiting = {}): () => void {
    if (signal?.aborted) return () => {};
    const off = this.#feed.listen(type as "*", listener as Listener<Event>);
    signal?.addEventListener("abort", off, { once: true });
    return off;
  }

  /**
   * Sends a message and waits for the server's acknowledgement: then it is durable. It is kept in
   * the outbox and repeated, over connections, under the same nonce until it is acknowledged or
   * refused for good. An aborted signal doesn't take the message back.
   *
   * Throws if the outbox is full, the message was refused, or the client was closed before an
   * answer: then the message may have been sent, and the outbox's store still has it.
   */
  async send(channelId: string, content: string, options: SendOptions = {}): Promise<Message> {
    const { replyTo = "0", nonce = newNonce(), metadata = {}, signal } = options;
    signal?.throwIfAborted();
    const request = create(SendMessageRequestSchema, {
      channelId: checkId("channelId", channelId),
      content,
      nonce,
      replyTo: checkId("replyTo", replyTo),
      metadata: { ...metadata },
    });
    await this.#outbox.put({ nonce, request });
    await this.#started;
    return unlessAborted(this.#driver.send({ nonce, request }), signal);
  }

  /** Says which channels the user looks at, at most 100; replaces what was said before. */
  view(channelIds: readonly string[]): void {
    this.#driver.view(checkIds("channelIds", channelIds));
  }

  /**
   * Says which parts of member lists and which users the user looks at; replaces what was said
   * before.
   */
  look(looking: Looking): void {
    checkLooking(looking);
    this.#driver.look(looking);
  }

  /**
   * Sets the status to appear with, and the user's own words (at most 128 characters; absent leaves
   * them as they are). Both are said again on each new connection. `UNSPECIFIED` leaves the status
   * as it is.
   */
  setPresence(status: PresenceStatus, text?: string): void {
    if (status === PresenceStatus.OFFLINE) {
      throw configError("status: OFFLINE is shown, never set; INVISIBLE is what hides");
    }
    const chars = text === undefined ? 0 : [...text].length;
    if (chars > PRESENCE_TEXT_MAX) {
      throw configError(`text: ${chars} characters; at most ${PRESENCE_TEXT_MAX} are allowed`);
    }
    this.#driver.setPresence(status, text);
  }

  /**
   * The positions of what the program has taken: what to keep for a later run, as JSON if need be,
   * together with {@link lastIds}. A topic whose history is being paged has none.
   */
  positions(): TopicPosition[] {
    return [...this.#positions.values()];
  }

  /**
   * Of each channel, up to which message's id the program has taken all since its time in the
   * channel began. That is its newest message there, or before the first, where its time began: the
   * channel's last message at the time, or "0". For {@link ClientOptions.lastIds} of a later run,
   * which without them misses what came to a channel that had no message yet. They never run ahead
   * of what was taken, as positions don't; a channel that is no longer visible has none.
   */
  lastIds(): [channelId: string, messageId: string][] {
    return [...this.#lastIds];
  }

  /**
   * Uses another token that lasts, a bot's or a service key, for calls from now on and for the next
   * connection. A client that waits for one connects. What renewed the token before doesn't any
   * more, but for a {@link TokenSource}.
   */
  setToken(token: string): void {
    this.setTokens({ accessToken: token });
  }

  /** Uses other tokens: what signing in anew gave. */
  setTokens(tokens: TokensInit): void {
    this.#credentials.use(tokens);
    if (typeof this.#readiness !== "string") this.#settle("pending");
    this.#driver.tellToken();
  }

  /**
   * Drops the connection without a goodbye, as a network would. The client then connects again with
   * its positions.
   */
  cut(): void {
    this.#driver.handle({ type: "cut" });
  }

  /** Counts since the client started. */
  get stats(): Readonly<Stats> {
    return { ...this.#driver.stats };
  }

  /** Ends the connection and waits until it has. */
  async close(): Promise<void> {
    await this.#started;
    this.#driver.handle({ type: "close" });
    await this.#ended;
  }

  /** Closes it, at the end of an `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Tells those who wait for the connection. */
  #note(event: Event): void {
    if (event.type === "ready") this.#settle("ready");
    else if (event.type === "closed" && this.#readiness !== "ready") this.#settle(event.reason);
    else if (event.type === "disconnected" && event.reason.advice === "reauthenticate") {
      if (this.#readiness !== "ready") this.#settle(event.reason);
    }
  }

  #settle(readiness: Readiness): void {
    this.#readiness = readiness;
    for (const wake of [...this.#waitsForReadiness]) wake();
  }
}

function checkLooking({ lists = [], users = [] }: Looking): void {
  for (const { serverId } of lists) checkId("looking.lists.serverId", serverId ?? "");
  checkIds("looking.users", users);
}

/** The same promise, but for whom the signal stops from waiting. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

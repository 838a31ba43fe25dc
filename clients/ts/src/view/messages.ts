/** The newest messages of a channel, in order, as far as they were read. */

import type { Api } from "../api.js";
import { ChirmError } from "../error.js";
import type { Event as TopicEvent } from "../gen/chirm/v1/gateway_pb.js";
import type { ListMessagesResponse, Message } from "../gen/chirm/v1/message_pb.js";
import { compareIds, idBefore } from "../ids.js";
import { applyMark, keepOwn } from "../marks.js";
import { addSorted, removeSorted } from "../sorted.js";

/** Messages a page. */
const PAGE = 100;
/** Marks, or deletions, that wait for a page. */
const WAITING_MAX = 1000;

/** The newest messages of a channel. */
export interface MessagesView {
  /** By id, oldest first. */
  readonly messages: readonly Message[];
  /**
   * `loading` at first and after a gap, when what is shown may be out of date; `failed`: see
   * `error`.
   */
  readonly state: "loading" | "ready" | "failed";
  readonly error: ChirmError | undefined;
  /** Whether the channel has older ones: {@link LocalView.loadOlder}. */
  readonly hasOlder: boolean;
}

/** What a list is made of. */
export interface Parts {
  readonly api: Api;
  readonly channelId: string;
  /** Most messages that it keeps: the newest. */
  readonly messagesMax: number;
  readonly userId: () => string;
  readonly changed: () => void;
}

/** A channel's messages without a hole between them: from a page, and what came since. */
export class MessageList {
  readonly #parts: Parts;
  #messages = new Map<string, Message>();
  /** Those of `#messages`, ascending. */
  #ids: string[] = [];
  /** Whether pages were read, down to the oldest. */
  #isLoaded = false;
  #hasOlder = false;
  #error: ChirmError | undefined;
  /**
   * Counts the times that it was read, so that what an earlier reading brings counts for nothing.
   */
  #run = 0;
  #isReading = false;
  /** What it had when that began. */
  #before: ReadonlySet<string> = new Set();
  /** What happened while it is read: a page may be older, or not. */
  #gone = new Set<string>();
  #marks: TopicEvent[] = [];

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  get snapshot(): MessagesView {
    return {
      messages: this.#ids.map((id) => this.#messages.get(id) as Message),
      state: this.#isReading ? "loading" : this.#error === undefined ? "ready" : "failed",
      error: this.#error,
      hasOlder: this.#hasOlder && this.#ids.length < this.#parts.messagesMax,
    };
  }

  get isFailed(): boolean {
    return !this.#isReading && this.#error !== undefined;
  }

  get(id: string): Message | undefined {
    return this.#messages.get(id);
  }

  /** Reads the newest page; or, after a gap, all that it has and what it missed. */
  async read(): Promise<void> {
    this.#run += 1;
    const run = this.#run;
    this.#begin();
    const oldest = this.#isLoaded ? this.#ids[0] : undefined;
    try {
      const read = await this.#pages(oldest, () => run === this.#run);
      if (read === undefined) return;
      this.#replace(read.messages);
      if (oldest === undefined) this.#hasOlder = read.hasOlder;
      this.#isLoaded = true;
      this.#end(undefined);
    } catch (error) {
      if (run === this.#run) this.#end(error);
    }
  }

  /** Reads the page before the oldest. */
  async older(): Promise<void> {
    const [oldest] = this.#ids;
    if (this.#isReading || !this.snapshot.hasOlder || oldest === undefined) return;
    const run = this.#run;
    this.#begin();
    try {
      const page = await this.#page({ case: "before", value: oldest });
      if (run !== this.#run) return;
      for (const message of page.messages) this.#merge(message);
      this.#hasOlder = page.hasOlder;
      this.#end(undefined);
    } catch (error) {
      if (run === this.#run) this.#end(error);
    }
  }

  /** A message that came, new or edited. */
  put(message: Message): void {
    const held = this.#messages.get(message.id);
    if (held === undefined && this.#isBelow(message.id)) return;
    this.#merge(held === undefined ? message : keepOwn(message, held));
    this.#trim();
    this.#parts.changed();
  }

  /** A message that was deleted; one that it hasn't may be on a page that is being read. */
  remove(id: string): void {
    if (this.#isReading) this.#gone.add(id);
    this.#readIfTooMany();
    if (!this.#messages.delete(id)) return;
    removeSorted(this.#ids, id, compareIds);
    this.#parts.changed();
  }

  /** An event of reactions or pins. */
  mark(event: TopicEvent): void {
    if (this.#isReading) this.#marks.push(event);
    this.#readIfTooMany();
    if (this.#apply(event)) this.#parts.changed();
  }

  /** What happened in the time of a page is more than is kept: the page is read anew. */
  #readIfTooMany(): void {
    if (Math.max(this.#marks.length, this.#gone.size) > WAITING_MAX) void this.read();
  }

  #begin(): void {
    this.#isReading = true;
    this.#before = new Set(this.#ids);
    this.#gone.clear();
    this.#marks = [];
    this.#parts.changed();
  }

  #end(error: unknown): void {
    this.#isReading = false;
    this.#error =
      error === undefined || error instanceof ChirmError
        ? error
        : new ChirmError({ code: "UNKNOWN", reason: "", message: String(error), advice: "retry" });
    if (error === undefined) for (const event of this.#marks) this.#apply(event);
    this.#trim();
    this.#parts.changed();
  }

  /** All from an id on, or the newest page; nothing if it isn't wanted any more. */
  async #pages(oldest: string | undefined, isWanted: () => boolean) {
    let hasOlder = false;
    const messages: Message[] = [];
    let after = oldest === undefined ? undefined : idBefore(oldest);
    for (;;) {
      const anchor = after === undefined ? undefined : ({ case: "after", value: after } as const);
      const page = await this.#page(anchor);
      if (!isWanted()) return undefined;
      messages.push(...page.messages);
      hasOlder ||= page.hasOlder;
      const newest = [...page.messages.map(({ id }) => id), ...page.deletedIds]
        .sort(compareIds)
        .at(-1);
      if (after === undefined || !page.hasNewer || newest === undefined)
        return { messages, hasOlder };
      after = newest;
    }
  }

  #page(
    anchor: { readonly case: "after" | "before"; readonly value: string } | undefined,
  ): Promise<ListMessagesResponse> {
    const request = { channelId: this.#parts.channelId, limit: PAGE };
    const anchored = anchor === undefined ? request : { ...request, anchor };
    return this.#parts.api.messages.listMessages(anchored);
  }

  /** Takes over what was read; what came meanwhile stays. */
  #replace(read: readonly Message[]): void {
    const held = this.#messages;
    const came = this.#ids.filter((id) => !this.#before.has(id));
    this.#messages = new Map(came.map((id) => [id, held.get(id) as Message]));
    this.#ids = came;
    for (const message of read) {
      const had = held.get(message.id);
      const isOlder = had !== undefined && compareIds(had.revision, message.revision) > 0;
      this.#merge(isOlder ? had : message);
    }
  }

  #merge(message: Message): void {
    const { id, revision, deleted } = message;
    if (deleted || this.#gone.has(id)) return;
    const held = this.#messages.get(id);
    if (held !== undefined && compareIds(held.revision, revision) > 0) return;
    this.#messages.set(id, message);
    addSorted(this.#ids, id, compareIds);
  }

  #apply(event: TopicEvent): boolean {
    const { value } = event.event;
    const id = value !== undefined && "messageId" in value ? value.messageId : "";
    const held = this.#messages.get(id);
    if (held === undefined) return false;
    const marked = applyMark(held, event, this.#parts.userId());
    this.#messages.set(id, marked);
    return marked !== held;
  }

  /** Whether it is older than what is shown, and there are others between. */
  #isBelow(id: string): boolean {
    const [oldest] = this.#ids;
    return this.#hasOlder && oldest !== undefined && compareIds(id, oldest) < 0;
  }

  #trim(): void {
    const tooMany = this.#ids.length - this.#parts.messagesMax;
    if (tooMany <= 0) return;
    for (const id of this.#ids.splice(0, tooMany)) this.#messages.delete(id);
    this.#hasOlder = true;
  }
}

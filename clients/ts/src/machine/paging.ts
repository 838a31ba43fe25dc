/** Paging a channel's history: what closes a gap. */

import { create, toBinary } from "@bufbuild/protobuf";
import { type ChirmError, connectionError } from "../error.js";
import type { GapCause, Source } from "../event.js";
import type { Position } from "../gen/chirm/v1/common_pb.js";
import { EventSchema, type Event as TopicEvent } from "../gen/chirm/v1/gateway_pb.js";
import { type ListMessagesResponse, MessageSchema } from "../gen/chirm/v1/message_pb.js";
import { compareIds, maxId } from "../ids.js";
import { before, follows, isAtOrBelow, takeMessage } from "./channel.js";
import { channelTopic, type Machine } from "./index.js";
import type { Bounds } from "./step.js";
import { renew } from "./token.js";
import { apply } from "./topic.js";

/**
 * What became of an event that waits for the end of a paging: it was `kept`, or kept or paged
 * before (`had`); or it and all that waited must be paged up to the target, too: a jump, or too
 * many.
 */
export type Kept = "kept" | "had" | { readonly target: Position; readonly cause: GapCause };

export class Paging {
  failures = 0;
  /** Some that waited were dropped: page once more. */
  again = false;
  /** The events after the target. */
  waiting: { readonly event: TopicEvent; readonly source: Source }[] = [];
  #waitingBytes = 0;

  constructor(
    /** Tells this paging from earlier ones, whose late pages count for nothing. */
    readonly run: number,
    public target: Position,
    public after: string,
  ) {}

  /** Keeps an event for later. */
  keep(position: Position, event: TopicEvent, source: Source, bounds: Bounds): Kept {
    const last = this.waiting.at(-1)?.event.position ?? this.target;
    if (isAtOrBelow(position, last)) return "had";
    let kept: Kept = "kept";
    if (!follows(last, position)) {
      // A jump inside of a gap makes it a wider gap.
      kept = { target: before(position), cause: "jump" };
      this.#dropWaiting(kept.target);
    }
    this.#waitingBytes += toBinary(EventSchema, event).length;
    this.waiting.push({ event, source });
    const { waitingMax, waitingBytesMax } = bounds;
    if (this.waiting.length > waitingMax || this.#waitingBytes > waitingBytesMax) {
      this.#dropWaiting(position);
      kept = { target: position, cause: "overflow" };
    }
    return kept;
  }

  /** The lowest id of the new messages that wait: pages may have it, and many after it. */
  firstWaiting(): string | undefined {
    let first: string | undefined;
    for (const { event } of this.waiting) {
      const id = event.event.case === "messageCreated" ? event.event.value.message?.id : undefined;
      if (id !== undefined && (first === undefined || compareIds(id, first) < 0)) first = id;
    }
    return first;
  }

  #dropWaiting(target: Position): void {
    this.waiting = [];
    this.#waitingBytes = 0;
    this.target = target;
    this.again = true;
  }
}

/** Begins to page all that the program may have missed. No position is held until it ends. */
export function startPaging(m: Machine, id: string, target: Position): void {
  const channel = m.channel(id);
  channel.seen.keepFrom(undefined);
  if (m.rules.history) channel.seen.startAt("0");
  const after = channel.seen.floor;
  if (after === undefined) {
    // The program had nothing of the channel that this client knows of.
    channel.hold(target);
    m.hold(channelTopic(id));
    return;
  }
  m.runs += 1;
  channel.place = { name: "paging", paging: new Paging(m.runs, target, after) };
  m.hold(channelTopic(id));
  m.act({ type: "page", channel: id, after, run: m.runs, failures: 0 });
}

export function forgetOld(m: Machine, id: string): void {
  m.channels.get(id)?.seen.forgetOld(m.rules.bounds);
}

function pagingOf(m: Machine, id: string, run: number): Paging | undefined {
  const place = m.channels.get(id)?.place;
  return place?.name === "paging" && place.paging.run === run ? place.paging : undefined;
}

export function page(m: Machine, id: string, run: number, page: ListMessagesResponse): void {
  const paging = pagingOf(m, id, run);
  if (paging === undefined) return;
  // A page may end with ids of deleted messages, and may have nothing else.
  const ids = [...page.messages.map((message) => message.id), ...page.deletedIds];
  const newest = ids.length > 0 ? ids.reduce(maxId) : undefined;
  if (page.hasNewer && (newest === undefined || compareIds(newest, paging.after) <= 0)) {
    pageFailed(m, id, run, connectionError("a page that leads nowhere"));
    return;
  }
  m.stats.pages += 1;
  for (const message of page.messages) takeMessage(m, id, message, "page", "page", undefined);
  const { seen } = m.channel(id);
  for (const deletedId of page.deletedIds) {
    if (!seen.takeDeleted(deletedId)) continue;
    const message = create(MessageSchema, { id: deletedId, channelId: id, deleted: true });
    m.emit({ type: "messageDeleted", message });
  }
  seen.keepFrom(paging.firstWaiting());
  forgetOld(m, id);
  paging.failures = 0;
  if (page.hasNewer && newest !== undefined) {
    paging.after = newest;
  } else if (paging.again) {
    paging.again = false;
    paging.after = seen.floor ?? "0";
  } else {
    endPaging(m, id, paging);
    return;
  }
  m.act({ type: "page", channel: id, after: paging.after, run, failures: 0 });
}

function endPaging(m: Machine, id: string, paging: Paging): void {
  m.channel(id).hold(paging.target);
  m.hold(channelTopic(id));
  for (const { event, source } of paging.waiting) {
    if (m.channels.has(id)) apply(m, event, source);
  }
  m.channels.get(id)?.seen.keepFrom(undefined);
  forgetOld(m, id);
}

export function pageFailed(m: Machine, id: string, run: number, error: ChirmError): void {
  const paging = pagingOf(m, id, run);
  if (paging === undefined) return;
  if (error.advice === "stop") {
    // It isn't visible any more, of which the stream tells; or the next connection does.
    m.channel(id).place = { name: "unheld" };
    return;
  }
  if (error.advice === "reauthenticate" && !renew(m)) {
    m.lost(error);
    return;
  }
  paging.failures += 1;
  const { after, failures } = paging;
  m.act({ type: "page", channel: id, after, run, failures });
}

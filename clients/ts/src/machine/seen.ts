/** Which messages of a channel the program has had. */

import type { Message } from "../gen/chirm/v1/message_pb.js";
import { compareIds, idBefore, idTimeMs, maxId } from "../ids.js";
import { addSorted } from "../sorted.js";
import type { Bounds } from "./step.js";

/**
 * Between the least and the most that is remembered, those of the last 30 s before the newest, by
 * the time in their ids: sends in flight over a gap may come in with ids so far below the newest.
 */
const RECENT_AGE_MS = 30_000;

interface Version {
  readonly revision: string;
  readonly deleted: boolean;
}

const GONE: Version = { revision: "0", deleted: true };

/** What brought a message. */
export type Origin = "created" | "updated" | "deleted" | "page";

/** What a message is to the program; `nothing`: it has had it. */
export type News = "new" | "updated" | "deleted" | "nothing";

/**
 * The program has had all up to the floor (or they lie before its time), and of those above exactly
 * the recent ones.
 */
export class Seen {
  #floor: string | undefined;
  readonly #recent = new Map<string, Version>();
  /** Those of `#recent`, ascending. */
  readonly #ids: string[] = [];
  /** While the channel is paged: events with ids from here on wait, and pages have them, too. */
  #waitingFrom: string | undefined;
  readonly #dedupeOff: boolean;

  constructor(dedupeOff: boolean) {
    this.#dedupeOff = dedupeOff;
  }

  /** All up to this id is taken as had; nothing changes if a floor is known. */
  startAt(floor: string): void {
    this.#floor ??= floor;
  }

  /** How many messages are remembered. */
  get remembered(): number {
    return this.#recent.size;
  }

  /** Where paging begins: all above is compared with what is remembered. */
  get floor(): string | undefined {
    return this.#floor;
  }

  /**
   * Up to which id the program has had all since its time began. That is the newest that it had:
   * pages rise, and what comes live waits until they end. All that is remembered lies above the
   * floor.
   */
  get lastId(): string | undefined {
    return this.#ids.at(-1) ?? this.#floor;
  }

  /** What the message is to the program; from now on it has had it. */
  take(message: Message, origin: Origin): News {
    const atOnce = origin === "created" || origin === "page" ? "new" : origin;
    if (this.#dedupeOff) return atOnce;
    const { id, revision } = message;
    const deleted = message.deleted || origin === "deleted";
    if (origin === "created") this.#floor ??= idBefore(id);
    const had = this.#recent.get(id);
    if (had !== undefined) {
      if (had.deleted) return "nothing";
      if (!deleted && compareIds(revision, had.revision) <= 0) return "nothing";
      this.#recent.set(id, { revision, deleted });
      return deleted ? "deleted" : "updated";
    }
    if (this.#isAtFloor(id)) {
      // Its position is new, or it wouldn't be here. An id so late was never remembered.
      return origin === "page" ? "nothing" : atOnce;
    }
    this.#remember(id, { revision, deleted });
    if (origin === "deleted") return "deleted";
    return deleted ? "nothing" : "new";
  }

  /** A page named the id as deleted: whether the program has it and doesn't know. */
  takeDeleted(id: string): boolean {
    if (this.#dedupeOff || this.#isAtFloor(id)) return false;
    const had = this.#recent.get(id);
    this.#remember(id, GONE);
    return had !== undefined && !had.deleted;
  }

  /** From which id on nothing is forgotten because events of it wait; `undefined`: none do. */
  keepFrom(firstWaiting: string | undefined): void {
    this.#waitingFrom = firstWaiting;
  }

  /**
   * Keeps the memory within its limits. Called when a whole page, or an event, was taken: what a
   * page says of a message must still find it remembered.
   */
  forgetOld(bounds: Bounds): void {
    const newest = this.#ids.at(-1);
    if (newest === undefined || this.#ids.length <= bounds.recentMin) return;
    const newestMs = idTimeMs(newest);
    let forgotten = 0;
    while (this.#recent.size > bounds.recentMin) {
      const id = this.#ids[forgotten] as string;
      const isRecent = newestMs - idTimeMs(id) <= RECENT_AGE_MS;
      if (isRecent && this.#recent.size <= bounds.recentMax) break;
      const isWaitedFor = this.#waitingFrom !== undefined && compareIds(id, this.#waitingFrom) >= 0;
      if (isWaitedFor && this.#recent.size <= bounds.recentPagingMax) break;
      this.#recent.delete(id);
      forgotten += 1;
      this.#floor = this.#floor === undefined ? id : maxId(this.#floor, id);
    }
    this.#ids.splice(0, forgotten);
  }

  #isAtFloor(id: string): boolean {
    return this.#floor === undefined || compareIds(id, this.#floor) <= 0;
  }

  #remember(id: string, version: Version): void {
    this.#recent.set(id, version);
    addSorted(this.#ids, id, compareIds);
  }
}

/**
 * What travels to the program: events, and the positions that it holds once it has taken them. It
 * is bounded: a program that doesn't take its events in time holds up its connection.
 */

import type { Event, EventOf, EventType } from "./event.js";
import type { Position, Topic } from "./gen/chirm/v1/common_pb.js";

/** What a program holds of a topic, as far as it has taken its events. */
export interface Held {
  readonly topic: Topic;
  /** Up to where it is complete. */
  readonly position: Position | undefined;
  /** Of a channel: up to which message it has all since its time there began. */
  readonly lastId: string | undefined;
}

/** An event, or what is held of a topic from here on. */
export type Item = { readonly event: Event } | Held;

/** Hears events, one after the other. */
export type Listener<E> = (event: E) => void;

/** Somebody who takes the items, and how far. */
interface Cursor {
  next: number;
  /** Called when there is something to take, or nothing more will be. */
  wake: () => void;
}

/** All kinds of events at once, for a listener. */
const ANY = "*";

export class Feed {
  readonly #itemsMax: number;
  readonly #held: (held: Held) => void;
  /** What somebody still has to take. */
  #items: Item[] = [];
  /** The number of the first of them. */
  #first = 0;
  /** Nobody is there, and what came was too much to be kept. */
  #isUnheard = false;
  #isEnded = false;
  readonly #cursors = new Set<Cursor>();
  readonly #listeners = new Map<string, Set<Listener<never>>>();
  #listening: Cursor | undefined;
  #isTelling = false;
  #waitsForRoom: (() => void)[] = [];

  /** With room for so many items; `held` hears what the program holds. */
  constructor(itemsMax: number, held: (held: Held) => void) {
    this.#itemsMax = Math.max(1, itemsMax);
    this.#held = held;
  }

  /** Whether the program has enough to do. */
  get isFull(): boolean {
    return this.#items.length >= this.#itemsMax;
  }

  /** Waits until there is room. */
  async room(): Promise<void> {
    while (this.isFull) {
      await new Promise<void>((resolve) => {
        this.#waitsForRoom.push(resolve);
      });
    }
  }

  push(item: Item): void {
    this.#items.push(item);
    if (this.#cursors.size === 0 && (this.#isUnheard || this.isFull)) {
      // The program only sends, it seems: it isn't to be held up.
      this.#isUnheard = true;
      this.#trim();
    }
    for (const cursor of this.#cursors) cursor.wake();
  }

  /** Nothing more comes. */
  end(): void {
    this.#isEnded = true;
    for (const cursor of this.#cursors) cursor.wake();
  }

  /**
   * Calls a listener for each event of a kind, or for each. What nobody heard yet comes first, if
   * it is the program's first listener. Answers what takes it away again.
   */
  listen<T extends EventType>(type: T, listener: Listener<EventOf<T>>): () => void;
  listen(type: typeof ANY, listener: Listener<Event>): () => void;
  listen(type: string, listener: Listener<never>): () => void {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners);
    // A function of its own, so that the same one can listen twice.
    const own: Listener<never> = (event) => listener(event);
    listeners.add(own);
    this.#listening ??= this.#cursor(() => this.#tellSoon());
    return () => {
      listeners.delete(own);
      if ([...this.#listeners.values()].every(({ size }) => size === 0)) this.#stopListening();
    };
  }

  /**
   * The events from when the first is asked for on, and what nobody heard yet. Ends after the last,
   * or when aborted.
   */
  async *events(signal?: AbortSignal): AsyncGenerator<Event, void, undefined> {
    let wake = () => {};
    const cursor = this.#cursor(() => wake());
    const abort = () => wake();
    signal?.addEventListener("abort", abort);
    try {
      while (!signal?.aborted) {
        const event = this.#take(cursor);
        if (event !== undefined) {
          yield event;
        } else if (this.#isEnded) {
          return;
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      signal?.removeEventListener("abort", abort);
      this.#cursors.delete(cursor);
      this.#trim();
    }
  }

  #cursor(wake: () => void): Cursor {
    const isFirst = this.#cursors.size === 0;
    const cursor = { next: isFirst ? this.#first : this.#first + this.#items.length, wake };
    this.#cursors.add(cursor);
    this.#isUnheard = false;
    if (this.#items.length > 0 || this.#isEnded) wake();
    return cursor;
  }

  /** The next event for somebody; what it holds on the way there, it holds then. */
  #take(cursor: Cursor): Event | undefined {
    for (;;) {
      const item = this.#items[cursor.next - this.#first];
      if (item === undefined) return undefined;
      cursor.next += 1;
      this.#trim();
      if ("event" in item) return item.event;
    }
  }

  /** Forgets what everybody has taken. */
  #trim(): void {
    const end = this.#first + this.#items.length;
    let taken = this.#cursors.size === 0 && !this.#isUnheard ? this.#first : end;
    for (const { next } of this.#cursors) taken = Math.min(taken, next);
    const gone = this.#items.splice(0, taken - this.#first);
    this.#first = taken;
    for (const item of gone) if ("topic" in item) this.#held(item);
    if (!this.isFull) for (const resolve of this.#waitsForRoom.splice(0)) resolve();
  }

  /** Not at once: what listens from the same turn of the program on hears the same. */
  #tellSoon(): void {
    if (this.#isTelling) return;
    this.#isTelling = true;
    queueMicrotask(() => {
      this.#isTelling = false;
      this.#tell();
    });
  }

  #tell(): void {
    const cursor = this.#listening;
    if (cursor === undefined) return;
    for (let event = this.#take(cursor); event !== undefined; event = this.#take(cursor)) {
      for (const type of [event.type, ANY]) {
        for (const listener of [...(this.#listeners.get(type) ?? [])]) {
          tell(listener as Listener<Event>, event);
        }
      }
    }
  }

  #stopListening(): void {
    if (this.#listening === undefined) return;
    this.#cursors.delete(this.#listening);
    this.#listening = undefined;
    this.#trim();
  }
}

/**
 * A listener that throws is a bug of the program's: it comes to be known, and stops nobody else.
 */
function tell(listener: Listener<Event>, event: Event): void {
  try {
    listener(event);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

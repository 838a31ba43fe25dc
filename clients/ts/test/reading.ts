/** A program that takes a client's events. */

import type { Client } from "../src/client.js";
import type { Event, EventOf, EventType } from "../src/event.js";

/** Not an assertion: it keeps a failing test from hanging. */
const PATIENCE_MS = 30_000;

export class Reading {
  readonly #events: AsyncGenerator<Event, void, undefined>;

  constructor(client: Client) {
    this.#events = client.events();
  }

  /** The next event of a kind; those before it are passed over. */
  async next<T extends EventType>(type: T): Promise<EventOf<T>> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new Error(`no event of the kind ${type} came`);
      timer = setTimeout(() => reject(error), PATIENCE_MS);
    });
    try {
      for (;;) {
        const { value } = await Promise.race([this.#events.next(), late]);
        if (value === undefined) throw new Error(`the client ended before an event ${type}`);
        if (value.type === type) return value as unknown as EventOf<T>;
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** The ids of the next messages, and how they came. */
  async messages(count: number): Promise<[id: number, source: string][]> {
    const messages: [number, string][] = [];
    while (messages.length < count) {
      const { message, source } = await this.next("message");
      messages.push([Number(message.id), source]);
    }
    return messages;
  }

  async ids(count: number): Promise<number[]> {
    return (await this.messages(count)).map(([id]) => id);
  }

  /** Whether the client has told everything. */
  async isOver(): Promise<boolean> {
    return (await this.#events.next()).done === true;
  }
}

export const range = (first: number, last: number): number[] =>
  Array.from({ length: last - first + 1 }, (_, i) => first + i);

/** Who is here, as far as the server tells. */

import type { PresenceChanged } from "../gen/chirm/v1/gateway_pb.js";
import { type Presence, PresenceStatus } from "../gen/chirm/v1/presence_pb.js";

/**
 * After a connection got ready, presences that it didn't name are those of people who went away.
 */
const SETTLES_MS = 3000;

/** Users whose presence is read by one call. */
const BATCH = 100;

export class Presences {
  readonly #changed: (userId: string) => void;
  /** Of those who aren't offline. */
  readonly #presences = new Map<string, Presence>();
  /** Those that were named since the connection began. */
  readonly #named = new Set<string>();
  #settling: ReturnType<typeof setTimeout> | undefined;

  constructor(changed: (userId: string) => void) {
    this.#changed = changed;
  }

  get(userId: string): Presence | undefined {
    return this.#presences.get(userId);
  }

  take({ presences }: PresenceChanged): void {
    for (const presence of presences) {
      const { userId, status } = presence;
      if (status === PresenceStatus.OFFLINE) {
        this.#absent(userId);
      } else {
        this.#presences.set(userId, presence);
        this.#named.add(userId);
        this.#changed(userId);
      }
    }
  }

  /** A user who went away, or isn't seen any more. */
  #absent(userId: string): void {
    this.#named.delete(userId);
    if (this.#presences.delete(userId)) this.#changed(userId);
  }

  /**
   * A server is gone, and with it the right to see its members, of whom nobody tells: whoever is
   * seen nowhere else is forgotten. `read` gives the presences of those who may be seen.
   */
  async recheck(read: (userIds: string[]) => Promise<readonly Presence[]>): Promise<void> {
    const held = [...this.#presences];
    for (let first = 0; first < held.length; first += BATCH) {
      const some = held.slice(first, first + BATCH);
      const seen = new Set((await read(some.map(([id]) => id))).map(({ userId }) => userId));
      for (const [userId, presence] of some) {
        // Who was named meanwhile is seen.
        if (!seen.has(userId) && this.#presences.get(userId) === presence) this.#absent(userId);
      }
    }
  }

  /** A connection got ready: who isn't named soon is offline. */
  ready(): void {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => {
      for (const userId of [...this.#presences.keys()]) {
        if (!this.#named.has(userId)) this.#absent(userId);
      }
    }, SETTLES_MS);
  }

  /** The connection is gone; the next one names everybody anew. */
  disconnected(): void {
    clearTimeout(this.#settling);
    this.#named.clear();
  }
}

/** Who is here, as far as the server tells. */

import type { PresenceChanged } from "../gen/chirm/v1/gateway_pb.js";
import { type Presence, PresenceStatus } from "../gen/chirm/v1/presence_pb.js";

/** After a connection got ready, presences that it didn't name are those of people who went away. */
const SETTLES_MS = 3000;

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
        this.absent(userId);
      } else {
        this.#presences.set(userId, presence);
        this.#named.add(userId);
        this.#changed(userId);
      }
    }
  }

  /** A user of whom nothing more is told, or who went away. */
  absent(userId: string): void {
    this.#named.delete(userId);
    if (this.#presences.delete(userId)) this.#changed(userId);
  }

  /** A connection got ready: who isn't named soon is offline. */
  ready(): void {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => {
      for (const userId of [...this.#presences.keys()]) {
        if (!this.#named.has(userId)) this.absent(userId);
      }
    }, SETTLES_MS);
  }

  /** The connection is gone; the next one names everybody anew. */
  disconnected(): void {
    clearTimeout(this.#settling);
    this.#named.clear();
  }
}

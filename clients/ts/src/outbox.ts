/** Where sends wait until the server has answered them. */

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { ChirmError } from "./error.js";
import { type SendMessageRequest, SendMessageRequestSchema } from "./gen/chirm/v1/message_pb.js";

/** Most sends that an outbox keeps by default. */
const ENTRIES_MAX = 1024;

/** A send that has no answer yet. */
export interface OutboxEntry {
  /** The message's nonce: the entry's key. */
  readonly nonce: string;
  /** The request, as first sent. Its `attempt` is counted by the client. */
  readonly request: SendMessageRequest;
}

/**
 * Keeps sends that have no answer yet. With a durable store a message survives its program: the
 * next one that starts with the same store sends it, as a repeat, under the same nonce. So a store
 * belongs to one user of one server.
 */
export interface OutboxStore {
  /**
   * Keeps an entry, or replaces the one with its nonce. A durable store has it on disk before it
   * answers, and answers in the order in which it was asked. Refuses when full: an outbox is
   * bounded.
   */
  put(entry: OutboxEntry): Promise<void>;
  /** Forgets an entry: it was answered. Absent entries are no error. */
  remove(nonce: string): Promise<void>;
  /** All entries, oldest first. Called once, when a client starts. */
  load(): Promise<OutboxEntry[]>;
}

function fullError(count: number): ChirmError {
  return new ChirmError({
    code: "RESOURCE_EXHAUSTED",
    reason: "OUTBOX_FULL",
    message: `${count} messages wait to be sent, which is as many as may`,
    advice: "retry",
  });
}

/** Keeps sends as long as the program runs. */
export class MemoryOutbox implements OutboxStore {
  readonly #entries = new Map<string, OutboxEntry>();
  readonly #entriesMax: number;

  /** An outbox of at most so many entries: 1,024 by default. */
  constructor(entriesMax = ENTRIES_MAX) {
    this.#entriesMax = entriesMax;
  }

  async put(entry: OutboxEntry): Promise<void> {
    const count = this.#entries.size;
    if (!this.#entries.has(entry.nonce) && count >= this.#entriesMax) throw fullError(count);
    this.#entries.set(entry.nonce, entry);
  }

  async remove(nonce: string): Promise<void> {
    this.#entries.delete(nonce);
  }

  async load(): Promise<OutboxEntry[]> {
    return [...this.#entries.values()];
  }
}

const STORE = "entries";
const BY_NONCE = "nonce";

/** As an entry lies in the database. Its key is counted, so that the oldest comes first. */
interface Row {
  readonly nonce: string;
  readonly request: Uint8Array;
}

/** Keeps sends in a browser's IndexedDB, so that they survive a reload and a closed tab. */
export class IndexedDbOutbox implements OutboxStore {
  readonly #name: string;
  readonly #entriesMax: number;
  #database: Promise<IDBDatabase> | undefined;

  /**
   * An outbox in the database of this name. Another user or server needs another name: messages
   * would go out under the wrong one. At most so many entries: 1,024 by default.
   */
  constructor(name: string, entriesMax = ENTRIES_MAX) {
    this.#name = name;
    this.#entriesMax = entriesMax;
  }

  async put({ nonce, request }: OutboxEntry): Promise<void> {
    const row: Row = { nonce, request: toBinary(SendMessageRequestSchema, request) };
    const { store, done } = await this.#transaction("readwrite");
    const [key, count] = await Promise.all([
      answered(store.index(BY_NONCE).getKey(nonce)),
      answered(store.count()),
    ]);
    if (key === undefined && count >= this.#entriesMax) throw fullError(count);
    store.put(row, key);
    await done;
  }

  async remove(nonce: string): Promise<void> {
    const { store, done } = await this.#transaction("readwrite");
    const key = await answered(store.index(BY_NONCE).getKey(nonce));
    if (key !== undefined) store.delete(key);
    await done;
  }

  async load(): Promise<OutboxEntry[]> {
    const { store } = await this.#transaction("readonly");
    const rows: Row[] = await answered(store.getAll());
    return rows.map(({ nonce, request }) => ({
      nonce,
      request: fromBinary(SendMessageRequestSchema, request),
    }));
  }

  /** Closes the database, which the next call opens again. */
  async close(): Promise<void> {
    const database = this.#database;
    this.#database = undefined;
    (await database)?.close();
  }

  async #transaction(mode: IDBTransactionMode) {
    this.#database ??= this.#open();
    let database: IDBDatabase;
    try {
      database = await this.#database;
    } catch (error) {
      this.#database = undefined;
      throw error;
    }
    // What is answered is on disk, not on its way there.
    const transaction = database.transaction(STORE, mode, { durability: "strict" });
    const done = new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(storeError(transaction.error));
    });
    // Whoever needs it waits for it; nobody else is to be told that it failed.
    done.catch(() => {});
    return { store: transaction.objectStore(STORE), done };
  }

  async #open(): Promise<IDBDatabase> {
    const request = indexedDB.open(this.#name, 1);
    request.onupgradeneeded = () => {
      const store = request.result.createObjectStore(STORE, { autoIncrement: true });
      store.createIndex(BY_NONCE, "nonce", { unique: true });
    };
    const database = await answered(request);
    // Another tab wants to delete or change it, or the browser took it away.
    database.onversionchange = () => void this.close();
    database.onclose = () => {
      this.#database = undefined;
    };
    return database;
  }
}

function answered<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(storeError(request.error));
  });
}

function storeError(cause: DOMException | null): ChirmError {
  const message = `the outbox's database: ${cause?.message ?? "it was closed"}`;
  const [code, reason] = ["UNAVAILABLE", "OUTBOX_UNAVAILABLE"] as const;
  return new ChirmError({ code, reason, message, advice: "retry" }, { cause });
}

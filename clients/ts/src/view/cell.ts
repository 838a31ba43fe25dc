/** A value that UI code subscribes to. */

/**
 * Something that changes: what `useSyncExternalStore` and its like take. The value is the same
 * object as long as nothing changed.
 */
export interface Readable<T> {
  /**
   * Calls a listener after changes; many in one turn of the program are one. Answers what ends it.
   */
  readonly subscribe: (listener: () => void) => () => void;
  /** The value as it is now; not to be changed. */
  readonly getSnapshot: () => T;
}

/** A value that is computed when somebody asks and something changed. */
export class Cell<T> implements Readable<T> {
  readonly #compute: () => T;
  readonly #listeners = new Set<() => void>();
  readonly #watched: ((isWatched: boolean) => void) | undefined;
  #value: T | undefined;
  #isFresh = false;
  #isTelling = false;

  /** `watched` hears when the first listener comes and when the last one goes. */
  constructor(compute: () => T, watched?: (isWatched: boolean) => void) {
    this.#compute = compute;
    this.#watched = watched;
  }

  get isWatched(): boolean {
    return this.#listeners.size > 0;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    const own = () => listener();
    this.#listeners.add(own);
    if (this.#listeners.size === 1) this.#watched?.(true);
    return () => {
      if (this.#listeners.delete(own) && this.#listeners.size === 0) this.#watched?.(false);
    };
  };

  readonly getSnapshot = (): T => {
    if (!this.#isFresh) {
      this.#value = this.#compute();
      this.#isFresh = true;
    }
    return this.#value as T;
  };

  /** What it is computed from has changed. */
  changed(): void {
    this.#isFresh = false;
    if (this.#isTelling || this.#listeners.size === 0) return;
    this.#isTelling = true;
    queueMicrotask(() => {
      this.#isTelling = false;
      for (const listener of [...this.#listeners]) listener();
    });
  }
}

/** So many that nobody watches are kept for whoever asks again. */
const UNWATCHED_MAX = 1024;

interface Kept<T> {
  readonly cell: Cell<T>;
  readonly readable: Readable<T>;
}

/** Values by a key. */
export class Cells<T> {
  readonly #compute: (key: string) => T;
  readonly #watched: ((key: string, isWatched: boolean) => void) | undefined;
  readonly #cells = new Map<string, Kept<T>>();

  constructor(compute: (key: string) => T, watched?: (key: string, isWatched: boolean) => void) {
    this.#compute = compute;
    this.#watched = watched;
  }

  /**
   * What changes of a key. It may be kept: it finds its cell anew, should that have been forgotten.
   */
  get(key: string): Readable<T> {
    return this.#at(key).readable;
  }

  changed(key: string): void {
    this.#cells.get(key)?.cell.changed();
  }

  allChanged(): void {
    for (const { cell } of this.#cells.values()) cell.changed();
  }

  #at(key: string): Kept<T> {
    const known = this.#cells.get(key);
    if (known !== undefined) return known;
    if (this.#cells.size >= UNWATCHED_MAX) this.#tidy();
    const cell = new Cell(
      () => this.#compute(key),
      (isWatched) => this.#watched?.(key, isWatched),
    );
    const readable: Readable<T> = {
      subscribe: (listener) => this.#at(key).cell.subscribe(listener),
      getSnapshot: () => this.#at(key).cell.getSnapshot(),
    };
    const made = { cell, readable };
    this.#cells.set(key, made);
    return made;
  }

  #tidy(): void {
    for (const [key, { cell }] of this.#cells) if (!cell.isWatched) this.#cells.delete(key);
  }
}

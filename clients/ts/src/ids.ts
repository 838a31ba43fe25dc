/**
 * Snowflakes and other 64-bit numbers, as the strings of decimal digits that they travel as:
 * numbers of JavaScript end at 53 bits, and strings are keys of maps, compare with `===` and go
 * through JSON.
 */

const ID = /^(0|[1-9]\d{0,18})$/;
/** The first moment of ids: the start of 2025. */
const EPOCH_MS = 1_735_689_600_000;
/** An id is milliseconds above these bits. */
const TIME_SHIFT = 22n;

/** Below, at or above zero as the first id lies to the second. Both have no leading zeros. */
export function compareIds(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The higher of two ids. */
export function maxId(a: string, b: string): string {
  return compareIds(a, b) < 0 ? b : a;
}

/** The id right below. */
export function idBefore(id: string): string {
  return String(BigInt(id) - 1n);
}

/** Whether a text is an id: 1 to 19 decimal digits without leading zeros. */
export function isId(text: unknown): text is string {
  return typeof text === "string" && ID.test(text);
}

/** When an id was given out: a message's is when it was sent. In milliseconds since 1970. */
export function idTimeMs(id: string): number {
  return Number(BigInt(id) >> TIME_SHIFT) + EPOCH_MS;
}

/**
 * Arrays that are kept in order. What is added mostly belongs at the end, what is removed mostly
 * stands at the front: both are cheap.
 */

type Compare<T> = (a: T, b: T) => number;

/** Where a value stands, or belongs: the first place whose value isn't below it. */
export function placeOf<T>(values: readonly T[], value: T, compare: Compare<T>): number {
  let low = 0;
  let high = values.length;
  const last = values[high - 1];
  if (last !== undefined && compare(last, value) < 0) return high;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compare(values[middle] as T, value) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Adds a value, unless it is there. */
export function addSorted<T>(values: T[], value: T, compare: Compare<T>): void {
  const place = placeOf(values, value, compare);
  const there = values[place];
  if (there !== undefined && compare(there, value) === 0) return;
  values.splice(place, 0, value);
}

/** Takes a value out, if it is there. */
export function removeSorted<T>(values: T[], value: T, compare: Compare<T>): void {
  const place = placeOf(values, value, compare);
  const there = values[place];
  if (there !== undefined && compare(there, value) === 0) values.splice(place, 1);
}

/** Parts of a server's member list. */

import type {
  MemberListChanged,
  MemberListGroup,
  MemberListItem,
  MemberListOp,
} from "../gen/chirm/v1/gateway_pb.js";
import { MemberListOp_Kind as Kind } from "../gen/chirm/v1/gateway_pb.js";

/** A part of a member list: its first place, from 0, and how many places, 1 to 100. */
export interface Range {
  readonly start: number;
  readonly count: number;
}

/** A part of a member list as it is: fewer places at the end of the list. */
export interface RangeView extends Range {
  /** Members, and headings of groups. */
  readonly items: readonly MemberListItem[];
}

/** What is shown of a server's member list. */
export interface MembersView {
  /** All groups with their counts. */
  readonly groups: readonly MemberListGroup[];
  /** Those that {@link LocalView.showMembers} named, as far as they have come. */
  readonly ranges: readonly RangeView[];
}

interface Held {
  readonly seq: bigint;
  readonly items: MemberListItem[];
}

const keyOf = ({ start, count }: Range): string => `${start}+${count}`;

/** A server's member list, as far as it is shown. */
export class MemberList {
  #wanted: readonly Range[] = [];
  #groups: readonly MemberListGroup[] = [];
  readonly #held = new Map<string, Held>();

  get wanted(): readonly Range[] {
    return this.#wanted;
  }

  /** Shows these parts from now on; what is held of others goes. */
  show(ranges: readonly Range[]): void {
    this.#wanted = ranges;
    const keys = new Set(ranges.map(keyOf));
    for (const key of this.#held.keys()) if (!keys.has(key)) this.#held.delete(key);
  }

  get snapshot(): MembersView {
    const ranges = this.#wanted.flatMap(({ start, count }) => {
      const held = this.#held.get(keyOf({ start, count }));
      return held === undefined ? [] : [{ start, count, items: held.items }];
    });
    return { groups: this.#groups, ranges };
  }

  /** Takes a change. False: one before it is missing, so the part must be sent anew. */
  take({ range, seq, ops, groups }: MemberListChanged): boolean {
    if (range === undefined || !this.#wanted.some((wanted) => keyOf(wanted) === keyOf(range))) {
      return true;
    }
    this.#groups = groups;
    const key = keyOf(range);
    const held = this.#held.get(key);
    const isAnew = ops[0]?.kind === Kind.SYNC;
    const follows = held !== undefined && BigInt(seq) === held.seq + 1n;
    const items = isAnew || follows ? applied(held?.items ?? [], range, ops) : undefined;
    if (items === undefined) this.#held.delete(key);
    else this.#held.set(key, { seq: BigInt(seq), items });
    return items !== undefined;
  }
}

/** The places of a part after some steps; nothing if they don't belong to it. */
function applied(
  before: readonly MemberListItem[],
  { start }: Range,
  ops: readonly MemberListOp[],
): MemberListItem[] | undefined {
  let items = [...before];
  for (const op of ops) {
    const place = op.index - start;
    const [item] = op.items;
    if (op.kind === Kind.SYNC) {
      items = [...op.items];
    } else if (op.kind === Kind.DELETE && place >= 0 && place < items.length) {
      items.splice(place, 1);
    } else if (item === undefined || place < 0 || place > items.length) {
      return undefined;
    } else if (op.kind === Kind.INSERT) {
      items.splice(place, 0, item);
    } else if (op.kind === Kind.UPDATE && place < items.length) {
      items[place] = item;
    } else {
      return undefined;
    }
  }
  return items;
}

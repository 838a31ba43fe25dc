/** A part of a server's member list, who is here first, as `memberListChanged` tells it. */

/** The places that the page asks for. */
export const RANGE = { start: 0, count: 100 };

export class MemberList {
  constructor() {
    this.clear();
  }

  clear() {
    this.serverId = undefined;
    this.items = [];
    this.groups = [];
    this.seq = undefined;
    /** A frame was missed: the range must be asked for anew. */
    this.isBroken = false;
  }

  take({ serverId, seq = "0", ops = [], groups = [] }, known) {
    if (serverId !== this.serverId) return;
    const isAnew = ops[0]?.kind === "KIND_SYNC";
    if (!isAnew && BigInt(seq) !== (this.seq ?? -2n) + 1n) {
      this.isBroken = this.seq !== undefined;
      return;
    }
    this.seq = BigInt(seq);
    this.groups = groups;
    for (const { kind, index = 0, items = [] } of ops) {
      const at = index - RANGE.start;
      for (const { member } of items) known(member?.user);
      if (kind === "KIND_SYNC") this.items = items;
      if (kind === "KIND_INSERT") this.items.splice(at, 0, ...items);
      if (kind === "KIND_UPDATE") this.items[at] = items[0];
      if (kind === "KIND_DELETE") this.items.splice(at, 1);
    }
  }
}

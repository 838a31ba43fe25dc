/** Parts of the local view by themselves, where a real server would have to misbehave. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import type { Api } from "../src/api.js";
import {
  EventSchema,
  MemberListOp_Kind as Kind,
  MemberListChangedSchema,
  type MemberListOpSchema,
} from "../src/gen/chirm/v1/gateway_pb.js";
import {
  type ListMessagesResponse,
  ListMessagesResponseSchema,
  MessageSchema,
} from "../src/gen/chirm/v1/message_pb.js";
import { ReadStateSchema } from "../src/gen/chirm/v1/read_state_pb.js";
import { Role } from "../src/gen/chirm/v1/server_pb.js";
import { applyMark, keepOwn } from "../src/marks.js";
import { Cell, Cells } from "../src/view/cell.js";
import { MemberList } from "../src/view/members.js";
import { MessageList } from "../src/view/messages.js";
import { Unread } from "../src/view/unread.js";

type Op = MessageInitShape<typeof MemberListOpSchema>;

const member = (userId: string) => ({ item: { case: "member", value: { userId } } }) as const;
const op = (kind: Kind, index: number, ...users: string[]): Op => ({
  kind,
  index,
  items: users.map(member),
});
const RANGE = { start: 10, count: 3 };
const change = (seq: number, ...ops: Op[]) =>
  create(MemberListChangedSchema, { serverId: "3", range: RANGE, seq: String(seq), ops });

describe("a part of a member list", () => {
  const shown = (list: MemberList) =>
    list.snapshot.ranges.map(({ items }) =>
      items.map(({ item }) => (item.case === "member" ? item.value.userId : "")),
    );

  test("takes its steps in their order", () => {
    const list = new MemberList();
    list.show([RANGE]);
    expect(list.take(change(7, op(Kind.SYNC, 10, "a", "b", "c")))).toBe(true);
    expect(list.take(change(8, op(Kind.DELETE, 10), op(Kind.INSERT, 12, "d")))).toBe(true);
    expect(shown(list)).toEqual([["b", "c", "d"]]);
    expect(list.take(change(9, op(Kind.UPDATE, 11, "C"), op(Kind.DELETE, 12)))).toBe(true);
    expect(shown(list)).toEqual([["b", "C"]]);
    expect(list.take(change(1, op(Kind.SYNC, 10, "z")))).toBe(true);
    expect(shown(list)).toEqual([["z"]]);
  });

  test.each([
    ["a step is missing", change(9, op(Kind.DELETE, 10))],
    ["a place isn't its", change(8, op(Kind.INSERT, 9, "x"))],
    ["a place isn't there", change(8, op(Kind.UPDATE, 13, "x"))],
    ["there is nobody to come in", change(8, op(Kind.INSERT, 10))],
    ["nobody is there to go", change(8, op(Kind.DELETE, 13))],
  ])("is to be sent anew when %s", (_, wrong) => {
    const list = new MemberList();
    list.show([RANGE]);
    list.take(change(7, op(Kind.SYNC, 10, "a", "b", "c")));
    expect(list.take(wrong)).toBe(false);
    expect(shown(list)).toEqual([]);
  });

  test("that isn't shown is passed over", () => {
    const list = new MemberList();
    expect(list.take(change(7, op(Kind.SYNC, 10, "a")))).toBe(true);
    expect(shown(list)).toEqual([]);
  });
});

describe("a channel's messages", () => {
  const message = (id: string) => create(MessageSchema, { id, channelId: "1" });

  /** A list, and how to answer the page that it asked for. */
  function reading() {
    const asked: ((page: ListMessagesResponse) => void)[] = [];
    const listMessages = () => new Promise((answer) => asked.push(answer));
    const list = new MessageList({
      api: { messages: { listMessages } } as unknown as Api,
      channelId: "1",
      messagesMax: 10,
      userId: () => "1",
      changed: () => {},
    });
    const read = async (during: () => void, ...ids: string[]) => {
      const done = list.read();
      during();
      asked.pop()?.(create(ListMessagesResponseSchema, { messages: ids.map(message) }));
      await done;
      return list.snapshot.messages.map(({ id }) => id);
    };
    return { list, read };
  }

  test("are without one that was deleted while a page that has it was on its way", async () => {
    const { list, read } = reading();
    expect(await read(() => list.remove("2"), "1", "2", "3")).toEqual(["1", "3"]);
  });

  test("are without the newest, if it went during a gap", async () => {
    const { read } = reading();
    await read(() => {}, "1", "2", "3");
    expect(await read(() => {}, "1", "2")).toEqual(["1", "2"]);
  });

  test("have what came while a page was on its way that doesn't have it yet", async () => {
    const { list, read } = reading();
    await read(() => {}, "1", "2");
    expect(await read(() => list.put(message("3")), "1", "2")).toEqual(["1", "2", "3"]);
  });

  test("are read anew when too much happened while a page was on its way", async () => {
    const { list, read } = reading();
    const flood = () => {
      for (let i = 10; i <= 1010; i++) list.remove(`${i}`);
    };
    // The page that is answered is the second one: the first counts for nothing.
    void read(flood, "1", "2");
    await expect.poll(() => list.snapshot.messages.map(({ id }) => id)).toEqual(["1", "2"]);
  });
});

describe("what is unread", () => {
  const reader = { userId: "1", role: Role.MODERATOR };
  const from = (authorId: string, id: string, more = {}) =>
    create(MessageSchema, { id, authorId, ...more });

  test("counts mentions of the user, its roles and everyone, after what the server counted", () => {
    const unread = new Unread();
    unread.take(
      create(ReadStateSchema, { lastReadId: "10", lastMessageId: "20", mentionCount: 2 }),
    );
    unread.message(from("2", "20", { mentions: ["1"] }), reader);
    expect(unread.snapshot).toMatchObject({ mentionCount: 2, isUnread: true });
    unread.message(from("2", "21", { mentions: ["1"] }), reader);
    unread.message(from("2", "22", { mentionRoles: [Role.MODERATOR] }), reader);
    unread.message(from("2", "23", { mentionRoles: [Role.ADMIN] }), reader);
    unread.message(from("2", "24", { mentionEveryone: true }), reader);
    expect(unread.snapshot.mentionCount).toBe(5);
    unread.deleted(from("2", "24", { mentionEveryone: true }), reader);
    expect(unread.snapshot).toMatchObject({ mentionCount: 4, lastMessageId: "24" });
    unread.message(from("1", "25"), reader);
    expect(unread.snapshot).toMatchObject({ mentionCount: 0, isUnread: false, lastReadId: "25" });
  });

  test("never goes back, and ends a mute by the clock", () => {
    const unread = new Unread();
    unread.take(create(ReadStateSchema, { lastReadId: "10", lastMessageId: "10" }));
    const mutedUntil = { seconds: 1n, nanos: 0 };
    unread.take(create(ReadStateSchema, { lastReadId: "9", muted: true, mutedUntil }));
    expect(unread.snapshot).toMatchObject({ lastReadId: "10", isMuted: false, mutedUntilMs: 1000 });
    unread.take(create(ReadStateSchema, { muted: true }));
    expect(unread.snapshot.isMuted).toBe(true);
  });
});

describe("cells", () => {
  test("tell once a turn, and give the same value as long as nothing changed", async () => {
    let value = 1;
    const cell = new Cell(() => ({ value }));
    const first = cell.getSnapshot();
    expect(cell.getSnapshot()).toBe(first);
    let told = 0;
    const off = cell.subscribe(() => {
      told += 1;
    });
    value = 2;
    cell.changed();
    cell.changed();
    await Promise.resolve();
    expect([told, cell.getSnapshot().value]).toEqual([1, 2]);
    off();
    cell.changed();
    await Promise.resolve();
    expect(told).toBe(1);
  });

  test("that nobody watches are forgotten, and found again", async () => {
    const values = new Map<string, number>();
    const cells = new Cells((key) => values.get(key) ?? 0);
    const [early, watched] = [cells.get("early"), cells.get("watched")];
    let told = 0;
    watched.subscribe(() => {
      told += 1;
    });
    for (let i = 0; i < 5_000; i++) cells.get(String(i)).getSnapshot();
    let toldEarly = 0;
    early.subscribe(() => {
      toldEarly += 1;
    });
    for (const key of ["early", "watched"]) {
      values.set(key, 7);
      cells.changed(key);
    }
    await Promise.resolve();
    expect([told, toldEarly, early.getSnapshot(), watched.getSnapshot()]).toEqual([1, 1, 7, 7]);
  });
});

describe("marks", () => {
  const message = create(MessageSchema, { id: "7", channelId: "3" });
  const mark = (name: "reactionAdded" | "reactionRemoved", userId: string, count: number) =>
    create(EventSchema, {
      event: {
        case: name,
        value: { channelId: "3", messageId: "7", userId, emoji: "a", count },
      } as never,
    });

  test("count as the latest says, and own follows from the user", () => {
    const kinds = (m: typeof message) => m.reactions.map(({ count, own }) => [count, own]);
    const one = applyMark(message, mark("reactionAdded", "2", 1), "1");
    expect(kinds(one)).toEqual([[1, false]]);
    const two = applyMark(one, mark("reactionAdded", "1", 2), "1");
    expect(kinds(two)).toEqual([[2, true]]);
    expect(kinds(applyMark(two, mark("reactionRemoved", "2", 1), "1"))).toEqual([[1, true]]);
    expect(kinds(applyMark(two, mark("reactionRemoved", "1", 0), "1"))).toEqual([]);
    // The message that was held is as it was.
    expect(message.reactions).toEqual([]);
  });

  test("of other messages change nothing", () => {
    const other = create(MessageSchema, { id: "8", channelId: "3" });
    expect(applyMark(other, mark("reactionAdded", "2", 1), "1")).toBe(other);
    const ready = create(EventSchema, { event: { case: "userUpdated", value: {} } });
    expect(applyMark(message, ready, "1")).toBe(message);
  });

  test("that are the user's own survive an edit", () => {
    const held = applyMark(message, mark("reactionAdded", "1", 1), "1");
    const edited = { ...held, reactions: held.reactions.map((kind) => ({ ...kind, own: false })) };
    expect(keepOwn(edited, held)).toEqual(held);
  });
});

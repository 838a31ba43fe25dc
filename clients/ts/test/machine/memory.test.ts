/** What a channel remembers stays bounded, and is remembered as long as it is needed. */

import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { EventSchema, ServerFrameSchema } from "../../src/gen/chirm/v1/gateway_pb.js";
import { ListMessagesResponseSchema, MessageSchema } from "../../src/gen/chirm/v1/message_pb.js";
import { channelTopic, Machine } from "../../src/machine/index.js";
import { Seen } from "../../src/machine/seen.js";
import { type Action, BOUNDS, type Bounds, RULES } from "../../src/machine/step.js";

const CHANNEL = "7";

const message = (id: bigint | number) =>
  create(MessageSchema, { id: String(id), channelId: CHANNEL });

test("what is remembered stays bounded", () => {
  const seen = new Seen(false);
  seen.startAt("0");
  for (let id = 1; id <= 20_000; id++) {
    expect(seen.take(message(id), "created")).toBe("new");
    seen.forgetOld(BOUNDS);
  }
  expect(seen.floor).toBe(String(20_000 - BOUNDS.recentMax));
  // An hour later nothing of it is needed but the least.
  seen.take(message(3_600_000n << 22n), "created");
  seen.forgetOld(BOUNDS);
  expect(seen.floor).toBe(String(20_001 - BOUNDS.recentMin));
});

/** A client that pages a channel after message 100; gaps end at position 1:10. */
function paging(bounds: Bounds): Machine {
  const machine = new Machine({ ...RULES, bounds }, { lastIds: [[CHANNEL, "100"]] });
  const gap = { topic: channelTopic(CHANNEL), position: { epoch: "1", seq: "10" } };
  machine.handle({ type: "start" });
  for (const frame of [
    { case: "hello", value: {} },
    { case: "gap", value: gap },
    { case: "ready", value: {} },
  ] as const) {
    machine.handle({ type: "frame", frame: create(ServerFrameSchema, { frame }).frame });
  }
  return machine;
}

function created(machine: Machine, seq: number, id: number): Action[] {
  const value = create(EventSchema, {
    topic: channelTopic(CHANNEL),
    position: { epoch: "1", seq: String(seq) },
    event: { case: "messageCreated", value: { message: message(id) } },
  });
  return machine.handle({ type: "frame", frame: { case: "event", value } });
}

function page(machine: Machine, first: number, last: number, hasNewer: boolean): Action[] {
  const messages = Array.from({ length: last - first + 1 }, (_, i) => message(first + i));
  const page = create(ListMessagesResponseSchema, { messages, hasNewer });
  return machine.handle({ type: "page", channel: CHANNEL, run: 1, page });
}

const news = (actions: Action[]): number =>
  actions.filter((a) => a.type === "emit" && a.event.type === "message").length;

const remembered = (machine: Machine) => machine.channels.get(CHANNEL)?.seen.remembered;

test("what waits is remembered however long the paging", () => {
  const machine = paging(BOUNDS);
  created(machine, 11, 150);
  created(machine, 12, 9_200);
  let had = 0;
  for (let first = 101; first <= 10_000; first += 100) {
    had += news(page(machine, first, first + 99, first < 9_901));
  }
  // The pages had both messages that waited.
  expect(had).toBe(9_900);
  expect(remembered(machine)).toBe(BOUNDS.recentMax);
  expect(machine.stats.duplicates).toBe(2);
  expect(news(created(machine, 13, 10_001))).toBe(1);
});

test("what is remembered of a paging stays bounded", () => {
  const machine = paging(BOUNDS);
  created(machine, 11, 150);
  for (let first = 101; first <= 40_000; first += 100) {
    page(machine, first, first + 99, true);
    expect(remembered(machine)).toBeLessThanOrEqual(BOUNDS.recentPagingMax);
  }
});

test("events that are too many to wait are paged, and the program is told", () => {
  const machine = paging({ ...BOUNDS, waitingMax: 2 });
  expect(created(machine, 11, 101)).toEqual([]);
  expect(created(machine, 12, 102)).toEqual([]);
  const [told] = created(machine, 13, 103);
  if (told?.type !== "emit" || told.event.type !== "gap") throw new Error("it isn't told");
  expect(told.event.cause).toBe("overflow");
  expect(told.event.gap.position).toMatchObject({ epoch: "1", seq: "13" });
  created(machine, 14, 104);
  // The page was read before the events that were dropped.
  expect(news(page(machine, 101, 101, false))).toBe(1);
  expect(news(page(machine, 101, 103, false))).toBe(3);
  expect(news(created(machine, 15, 105))).toBe(1);
});

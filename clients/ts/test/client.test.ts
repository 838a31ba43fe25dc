/**
 * The client against a server that can be told to misbehave, over real sockets, by every carrier.
 */

import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Client } from "../src/client.js";
import type { ClientOptions } from "../src/config.js";
import { ChirmError } from "../src/error.js";
import { Advice } from "../src/gen/chirm/v1/gateway_pb.js";
import { SendMessageRequestSchema } from "../src/gen/chirm/v1/message_pb.js";
import { PresenceStatus } from "../src/gen/chirm/v1/presence_pb.js";
import { channelTopic } from "../src/machine/index.js";
import { MemoryOutbox, type OutboxEntry, type OutboxStore } from "../src/outbox.js";
import { CARRIERS, type Carrier } from "./carriers.js";
import { CHANNEL, FakeServer, TOKEN } from "./fake/server.js";
import { Reading, range } from "./reading.js";

let server: FakeServer;
const clients: Client[] = [];

beforeEach(async () => {
  server = await FakeServer.start();
});

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await server.stop();
});

function start({ isGrpc, transport }: Carrier, options: Partial<ClientOptions> = {}): Client {
  const client = new Client({
    url: server.url(isGrpc),
    token: TOKEN,
    transport,
    backoff: { baseMs: 5, maxMs: 20 },
    ...options,
  });
  clients.push(client);
  return client;
}

const gap = (seq: string) =>
  ({
    case: "gap",
    value: { topic: channelTopic(CHANNEL), position: { epoch: "1", seq } },
  }) as const;

describe.each(CARRIERS)("by $name", (carrier) => {
  test("what happens arrives live", async () => {
    const client = start(carrier);
    const reading = new Reading(client);
    await client.ready();
    server.create(101);
    server.create(102);
    expect(await reading.messages(2)).toEqual([
      [101, "live"],
      [102, "live"],
    ]);
    await client.close();
    const { reason } = await reading.next("closed");
    expect(reason.reason).toBe("CLIENT_CLOSED");
    expect(await reading.isOver()).toBe(true);
  });

  test("a cut is resumed at the position held", async () => {
    const client = start(carrier);
    const reading = new Reading(client);
    await reading.next("ready");
    server.create(101);
    await reading.ids(1);
    client.cut();
    const { reason } = await reading.next("disconnected");
    expect(reason.advice).toBe("resume");
    server.create(102);
    server.create(103);
    expect(await reading.ids(2)).toEqual([102, 103]);
    await reading.next("ready");
    const [, presented] = server.identified;
    expect(presented?.positions).toMatchObject([{ position: { epoch: "1", seq: "1" } }]);
    expect(client.stats).toMatchObject({ connects: 2, gaps: 0 });
  });

  test("a network that breaks is resumed, too", async () => {
    const client = start(carrier);
    const reading = new Reading(client);
    await reading.next("ready");
    server.create(101);
    await reading.ids(1);
    server.breakAll();
    await reading.next("disconnected");
    server.create(102);
    expect(await reading.ids(1)).toEqual([102]);
    expect(client.stats).toMatchObject({ gaps: 0, duplicates: 0 });
  });

  test("a gap is paged, and nothing comes twice", async () => {
    const client = start(carrier);
    const reading = new Reading(client);
    await reading.next("ready");
    server.create(101);
    await reading.ids(1);
    client.cut();
    await reading.next("disconnected");
    for (const id of range(102, 350)) server.create(id);
    server.forget();
    // Whether it comes back before or after that, a position of the old epoch says too little.
    client.cut();
    server.create(351);
    expect(await reading.ids(250)).toEqual(range(102, 351));
    server.create(352);
    expect(await reading.ids(1)).toEqual([352]);
    expect(client.positions()[0]?.position?.epoch).toBe("2");
  });

  test("what a run left lets the next go on, though a channel had no message", async () => {
    const client = start(carrier);
    const reading = new Reading(client);
    await reading.next("ready");
    expect(client.lastIds()).toEqual([[CHANNEL, "0"]]);
    let open = () => {};
    server.pageGate = new Promise((resolve) => {
      open = resolve;
    });
    server.forget();
    client.cut();
    await reading.next("gap");
    await reading.next("ready");
    await client.close();
    open();
    // It ended while the channel was paged.
    const left = { positions: client.positions(), lastIds: client.lastIds() };
    expect(left).toEqual({ positions: [], lastIds: [[CHANNEL, "0"]] });
    for (const id of range(101, 150)) server.create(id);
    const { positions, lastIds } = JSON.parse(JSON.stringify(left));
    // What can be gone through once is enough.
    const next = start(carrier, { positions, lastIds: new Map<string, string>(lastIds).entries() });
    expect(await new Reading(next).ids(50)).toEqual(range(101, 150));
  });

  test("a jump is noticed and closed", async () => {
    const client = start(carrier);
    const reading = new Reading(client);
    await reading.next("ready");
    server.create(101);
    await reading.ids(1);
    server.create(102);
    const position = { epoch: "1", seq: "9" };
    server.tell({ case: "event", value: { topic: channelTopic(CHANNEL), position } });
    expect(await reading.ids(1)).toEqual([102]);
    const { gap, cause } = await reading.next("gap");
    expect([gap.position?.epoch, gap.position?.seq, cause]).toEqual(["1", "8", "jump"]);
    expect(client.stats.jumps).toBe(1);
  });

  test("a channel never seen is paged when history is wanted", async () => {
    for (const id of range(1, 250)) server.create(id);
    const client = start(carrier, { history: true });
    const reading = new Reading(client);
    expect(await reading.messages(250)).toEqual(range(1, 250).map((id) => [id, "page"]));
    expect(client.stats.pages).toBe(3);
  });

  test("what is refused for now is repeated by its nonce, before those after it", async () => {
    const client = start(carrier);
    await client.ready();
    server.refusals = 3;
    const sends = ["a", "b", "c"].map((content) => client.send(CHANNEL, content));
    const sent = await Promise.all(sends);
    expect(sent.map(({ content }) => content)).toEqual(["a", "b", "c"]);
    const ids = sent.map(({ id }) => Number(id));
    expect(ids).toEqual([...ids].sort((a, b) => a - b));
    expect(client.stats.resent).toBe(3);
  });

  test("a refused token waits for another", async () => {
    const client = start(carrier, { token: "v1.1.wrong" });
    const refused = await client.ready().catch((error) => error);
    expect(refused).toBeInstanceOf(ChirmError);
    expect(refused).toMatchObject({ code: "UNAUTHENTICATED", advice: "reauthenticate" });
    client.setToken(TOKEN);
    await client.ready();
  });

  test("a page refused for its token is read with a new one", async () => {
    const renewed = "v1.1.renewed";
    let asked = 0;
    const tokenSource = async () => {
      asked += 1;
      return { accessToken: renewed };
    };
    const client = start(carrier, { tokenSource });
    const reading = new Reading(client);
    await reading.next("ready");
    server.create(101);
    await reading.ids(1);
    server.token = renewed;
    server.createUnsaid(102);
    server.tell(gap("2"));
    await reading.next("tokensRenewed");
    expect(await reading.ids(1)).toEqual([102]);
    // The connection stayed.
    expect(client.stats.connects).toBe(1);
    expect(asked).toBe(1);
  });

  test("a page refused for a token of before is read with the present one", async () => {
    const client = start(carrier);
    const reading = new Reading(client);
    await reading.next("ready");
    server.create(101);
    await reading.ids(1);
    server.token = "v1.1.next";
    server.createUnsaid(102);
    let answer = () => {};
    server.pageGate = new Promise((resolve) => {
      answer = resolve;
    });
    server.tell(gap("2"));
    await reading.next("gap");
    client.setToken("v1.1.next");
    answer();
    expect(await reading.ids(1)).toEqual([102]);
    expect(client.stats.connects).toBe(1);
  });

  test("a refresh token buys another token when one is refused", async () => {
    server.refreshes.set("r1", "v1.1.next");
    server.token = "v1.1.next";
    const tokens = { accessToken: TOKEN, refreshToken: "r1" };
    const client = start(carrier, { tokens });
    const reading = new Reading(client);
    const { reason } = await reading.next("disconnected");
    expect(reason.advice).toBe("resume");
    const { tokens: renewed } = await reading.next("tokensRenewed");
    expect(renewed).toMatchObject({ accessToken: "v1.1.next", refreshToken: "r1+" });
    await reading.next("ready");
  });

  test("the server can say stop", async () => {
    const client = start(carrier);
    const reading = new Reading(client);
    await reading.next("ready");
    server.tell({ case: "closing", value: { reason: "BANNED", advice: Advice.STOP } });
    const { reason } = await reading.next("closed");
    expect(reason.reason).toBe("BANNED");
    const late = await client.send(CHANNEL, "late").catch((error) => error);
    expect(late).toMatchObject({ reason: "BANNED", advice: "stop" });
  });

  test("viewing is said, and said again on the next connection", async () => {
    const client = start(carrier);
    const reading = new Reading(client);
    await reading.next("ready");
    client.view([CHANNEL]);
    if (!carrier.listenOnly) client.cut();
    await reading.next("ready");
    const views = server.identified.map(({ view }) => view?.channels.map((c) => c.channelId));
    expect(views).toEqual([[], [CHANNEL]]);
  });

  test("a presence is said again on the next connection", async () => {
    const client = start(carrier);
    const reading = new Reading(client);
    await reading.next("ready");
    client.setPresence(PresenceStatus.IDLE, "at lunch");
    while (server.presences.length < 1) await new Promise(setImmediate);
    client.cut();
    await reading.next("ready");
    while (server.presences.length < 2) await new Promise(setImmediate);
    expect(server.identified[1]?.presence).toBe(PresenceStatus.IDLE);
    expect(server.presences.map(({ text }) => text)).toEqual(["at lunch", "at lunch"]);
  });

  test("a stored outbox is sent as a repeat", async () => {
    const outbox = new MemoryOutbox(2);
    const nonce = "01978f3e-0000-7000-8000-000000000001";
    const fields = { channelId: CHANNEL, content: "from before", nonce };
    const request = create(SendMessageRequestSchema, fields);
    await outbox.put({ nonce, request });
    const reading = new Reading(start(carrier, { outbox }));
    await reading.ids(1);
    expect(server.attempts).toEqual([1]);
    while ((await outbox.load()).length > 0) await new Promise(setImmediate);
  });

  test("a program that takes no events holds its connection up, and misses nothing", async () => {
    const client = start(carrier, { eventBuffer: 8 });
    const reading = new Reading(client);
    await reading.next("ready");
    for (const id of range(101, 6_000)) server.create(id);
    expect(await reading.ids(5_900)).toEqual(range(101, 6_000));
  });
});

const twoWay = CARRIERS.filter(({ listenOnly }) => !listenOnly);

describe.each(twoWay)("by $name both ways", (carrier) => {
  test("a server that answers no heartbeat is given up", async () => {
    server.isDeaf = true;
    const reading = new Reading(start(carrier));
    await reading.next("ready");
    const { reason } = await reading.next("disconnected");
    expect(reason.message).toContain("heartbeat");
    await reading.next("ready");
  });

  test("a send whose answer is lost is repeated by its nonce", async () => {
    const client = start(carrier);
    const reading = new Reading(client);
    await reading.next("ready");
    server.answersLost = 2;
    // Sending and taking events go together: the answer comes by the same connection.
    const [sent, [id]] = await Promise.all([client.send(CHANNEL, "once"), reading.ids(1)]);
    expect(sent).toMatchObject({ content: "once", id: String(id) });
    expect(server.attempts).toEqual([0, 1, 2]);
    expect(client.stats.resent).toBe(2);
  });
});

const [grpc] = CARRIERS as [Carrier];

test("a program may wait for its sends while it takes events, however many wait", async () => {
  const client = start(grpc, { eventBuffer: 8 });
  const answered: string[] = [];
  for await (const event of client.events()) {
    if (event.type === "ready") for (const id of range(101, 3_000)) server.create(id);
    if (event.type !== "message") continue;
    if (event.message.content !== "") break;
    if (Number(event.message.id) % 1000 === 0) {
      answered.push((await client.send(CHANNEL, `after ${event.message.id}`)).content);
    }
  }
  // The third is the one whose own message is seen first, or was sent before it.
  expect(answered).toEqual(["after 1000", "after 2000", "after 3000"]);
});

test("a program that only sends is not held up by its events", async () => {
  const client = start(grpc, { eventBuffer: 4 });
  for (let i = 0; i < 20; i++) await client.send(CHANNEL, `message ${i}`);
  expect(server.attempts).toHaveLength(20);
  // What is taken by nobody is held all the same.
  expect(client.positions()[0]?.position?.seq).toBe("20");
});

test("a send that is given up is sent all the same", async () => {
  /** An outbox whose `put` takes until it is let through. */
  class Slow implements OutboxStore {
    readonly inner = new MemoryOutbox();
    through = () => {};
    async put(entry: OutboxEntry) {
      await new Promise<void>((resolve) => {
        this.through = resolve;
      });
      await this.inner.put(entry);
    }
    remove = (nonce: string) => this.inner.remove(nonce);
    load = () => this.inner.load();
  }
  const outbox = new Slow();
  const client = start(grpc, { outbox });
  const reading = new Reading(client);
  await reading.next("ready");
  const controller = new AbortController();
  const sending = client.send(CHANNEL, "given up", { signal: controller.signal });
  controller.abort(new Error("no patience"));
  outbox.through();
  await expect(sending).rejects.toThrow("no patience");
  expect((await reading.next("message")).message.content).toBe("given up");
});

test("listeners hear what came before the first of them, until they are taken away", async () => {
  const client = start(grpc);
  await client.ready();
  const heard: string[] = [];
  const off = client.on("*", ({ type }) => heard.push(type));
  client.on("message", ({ message }) => heard.push(message.id));
  server.create(101);
  while (heard.length < 4) await new Promise(setImmediate);
  expect(heard).toEqual(["snapshot", "ready", "101", "message"]);
  off();
  server.create(102);
  while (!heard.includes("102")) await new Promise(setImmediate);
  expect(heard.slice(4)).toEqual(["102"]);
});

test("two readers have the same events, and the slower one decides what is held", async () => {
  const client = start(grpc);
  const [fast, slow] = [new Reading(client), new Reading(client)];
  await Promise.all([fast.next("ready"), slow.next("ready")]);
  server.create(101);
  expect(await fast.ids(1)).toEqual([101]);
  server.create(102);
  expect(await fast.ids(1)).toEqual([102]);
  expect(client.positions()[0]?.position?.seq).toBe("0");
  expect(client.lastIds()).toEqual([[CHANNEL, "0"]]);
  expect(await slow.ids(2)).toEqual([101, 102]);
  expect(client.positions()[0]?.position?.seq).toBe("1");
  expect(client.lastIds()).toEqual([[CHANNEL, "101"]]);
});

test("events end when their signal says so", async () => {
  const client = start(grpc);
  const controller = new AbortController();
  const types: string[] = [];
  for await (const { type } of client.events({ signal: controller.signal })) {
    types.push(type);
    if (type === "ready") controller.abort();
  }
  expect(types).toEqual(["snapshot", "ready"]);
});

test.each(["127.0.0.1", "ftp://127.0.0.1:1", "not a url", "http://u:p@127.0.0.1/"])(
  "%s is no server's URL",
  (url) => {
    expect(() => new Client({ url })).toThrow(expect.objectContaining({ reason: "BAD_CONFIG" }));
  },
);

test("a token that can't be one is refused, and not shown", () => {
  const make = () => new Client({ url: "http://127.0.0.1:1", token: "tök en" });
  expect(make).toThrow("token: a token has printable ASCII characters only");
  expect(make).not.toThrow("tök en");
});

test.each(["", "x", "1.5", "-1", "01", "12345678901234567890"])(
  "%j is no channel's id",
  async (id) => {
    const client = start(grpc);
    await expect(client.send(id, "lost")).rejects.toThrow("channelId: ");
  },
);

test("an outbox is bounded", async () => {
  const outbox = new MemoryOutbox(1);
  const entry = (nonce: string): OutboxEntry => ({
    nonce,
    request: create(SendMessageRequestSchema),
  });
  await outbox.put(entry("a"));
  await outbox.put(entry("a"));
  await expect(outbox.put(entry("b"))).rejects.toMatchObject({ reason: "OUTBOX_FULL" });
  await outbox.remove("a");
  await outbox.put(entry("b"));
  expect(await outbox.load()).toEqual([entry("b")]);
});

/** The local view of a real server's doings. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Client } from "../../src/client.js";
import type { ClientOptions } from "../../src/config.js";
import { ChannelType } from "../../src/gen/chirm/v1/channel_pb.js";
import { Intent } from "../../src/gen/chirm/v1/gateway_pb.js";
import type { Message } from "../../src/gen/chirm/v1/message_pb.js";
import { PresenceStatus } from "../../src/gen/chirm/v1/presence_pb.js";
import { grpc } from "../../src/grpc.js";
import { LocalView, type LocalViewOptions, type Readable } from "../../src/view/index.js";
import { Network } from "./network.js";
import { RealServer } from "./server.js";
import { history, join, newChannel, type Somebody, somebody } from "./world.js";

let server: RealServer;
let ann: Somebody;
let bob: Somebody;

beforeAll(async () => {
  server = await RealServer.start();
  ann = await somebody(server);
  bob = await somebody(server);
  await join(bob, ann);
});

afterAll(() => server?.stop());

const open: Client[] = [];
afterAll(() => Promise.all(open.map((client) => client.close())));

function start(
  who: Somebody,
  options: Partial<ClientOptions> = {},
  kept: LocalViewOptions = {},
): { client: Client; view: LocalView } {
  const client = new Client({
    url: server.url,
    token: who.token,
    transport: grpc(),
    backoff: { baseMs: 5, maxMs: 50 },
    intents: [Intent.PRESENCE],
    ...options,
  });
  open.push(client);
  return { client, view: new LocalView(client, kept) };
}

/** Waits until a part of a view is as it is to be. */
function until<T>(readable: Readable<T>, isSo: (value: T) => boolean): Promise<T> {
  return new Promise((resolve) => {
    const look = () => {
      const value = readable.getSnapshot();
      if (!isSo(value)) return;
      off();
      resolve(value);
    };
    const off = readable.subscribe(look);
    queueMicrotask(look);
  });
}

const contents = ({ messages }: { messages: readonly Message[] }) =>
  messages.map(({ content }) => content);

const send = async (who: Somebody, channelId: string, content: string): Promise<string> =>
  (await who.api.messages.sendMessage({ channelId, content })).message?.id ?? "";

describe("a view", () => {
  test("has servers and channels as they come, change and go", async () => {
    const { client, view } = start(ann);
    await client.ready();
    const self = await until(view.self, (self) => self !== undefined);
    expect(self?.id).toBe(ann.userId);
    expect((await until(view.servers, (all) => all.length > 0)).map(({ id }) => id)).toEqual([
      ann.serverId,
    ]);
    const channelId = await newChannel(ann, "comes");
    const channels = view.channels(ann.serverId);
    await until(channels, (all) => all.some(({ id }) => id === channelId));
    const channel = { name: "changes", rank: -1 };
    await ann.api.channels.updateChannel({ channelId, channel });
    const [first] = await until(channels, (all) => all.some(({ name }) => name === "changes"));
    expect(first?.id).toBe(channelId);
    await ann.api.channels.deleteChannel({ channelId });
    await until(channels, (all) => all.every(({ id }) => id !== channelId));
    expect(view.channel(channelId).getSnapshot()).toBeUndefined();
    const direct = { type: ChannelType.DIRECT, memberIds: [bob.userId] };
    await ann.api.channels.createChannel(direct);
    const [talk] = await until(view.directChannels, (all) => all.length === 1);
    expect(talk?.memberIds).toContain(bob.userId);
    const { server: other } = await ann.api.servers.createServer({ name: "Other" });
    await until(view.servers, (all) => all.length === 2);
    await ann.api.servers.deleteServer({ serverId: other?.id ?? "" });
    await until(view.servers, (all) => all.length === 1);
  });

  test("has messages in order: those before it, new ones, edits, marks, deletes", async () => {
    const channelId = await newChannel(ann, "messages");
    const [one, two] = [await send(bob, channelId, "one"), await send(bob, channelId, "two")];
    const { client, view } = start(ann);
    await client.ready();
    const messages = view.messages(channelId);
    const shown = await until(messages, ({ state }) => state === "ready");
    expect([contents(shown), shown.hasOlder]).toEqual([["one", "two"], false]);
    await send(bob, channelId, "three");
    await until(messages, (now) => contents(now).length === 3);
    const [emoji, messageId] = ["👋", one];
    await ann.api.messages.addReaction({ channelId, messageId, emoji });
    await bob.api.messages.addReaction({ channelId, messageId, emoji });
    await until(messages, (now) => now.messages[0]?.reactions[0]?.count === 2);
    await bob.api.messages.editMessage({ channelId, messageId, content: "ONE" });
    const edited = await until(messages, (now) => contents(now)[0] === "ONE");
    // An edit doesn't say which reactions are the user's own.
    expect(edited.messages[0]?.reactions).toMatchObject([{ emoji, count: 2, own: true }]);
    await bob.api.messages.deleteMessage({ channelId, messageId: two });
    const left = await until(messages, (now) => now.messages.length === 2);
    expect(contents(left)).toEqual(["ONE", "three"]);
    // Nothing changed since, so it is the same object.
    expect(messages.getSnapshot()).toBe(left);
  });

  test("keeps the newest messages, and reads older ones when asked", async () => {
    const channelId = await newChannel(ann, "long");
    for (let i = 0; i < 230; i++) await send(bob, channelId, `${i}`);
    const { client, view } = start(ann, {}, { messagesMax: 150 });
    await client.ready();
    const messages = view.messages(channelId);
    const first = await until(messages, ({ state }) => state === "ready");
    expect([contents(first)[0], contents(first).length, first.hasOlder]).toEqual([
      "130",
      100,
      true,
    ]);
    await view.loadOlder(channelId);
    const more = messages.getSnapshot();
    // No more than are kept, though there are older ones.
    expect([contents(more)[0], contents(more).at(-1), more.hasOlder]).toEqual(["80", "229", false]);
    await send(bob, channelId, "230");
    const last = await until(messages, (now) => contents(now).at(-1) === "230");
    expect([contents(last)[0], contents(last).length]).toEqual(["81", 150]);
  });

  test("counts what is unread, on all of the user's devices", async () => {
    const channelId = await newChannel(ann, "unread");
    const [here, there] = [start(ann), start(ann)];
    await Promise.all([here.client.ready(), there.client.ready()]);
    const [unread, elsewhere] = [here.view.unread(channelId), there.view.unread(channelId)];
    await send(bob, channelId, "hello");
    await until(unread, ({ isUnread, mentionCount }) => isUnread && mentionCount === 0);
    await send(bob, channelId, `hello <@${ann.userId}>`);
    await send(bob, channelId, "hello <@&owner>");
    const last = await send(bob, channelId, "hello");
    const told = await until(unread, ({ lastMessageId }) => lastMessageId === last);
    expect(told).toMatchObject({ isUnread: true, mentionCount: 2 });
    await here.view.ack(channelId);
    await until(elsewhere, ({ isUnread, mentionCount }) => !isUnread && mentionCount === 0);
    const own = await send(ann, channelId, "read by writing");
    const after = await until(unread, ({ lastMessageId }) => lastMessageId === own);
    expect(after).toMatchObject({ isUnread: false, lastReadId: own });
    await ann.api.readStates.muteChannel({ channelId });
    await until(unread, ({ isMuted }) => isMuted);
  });

  test("has who is here, and parts of the member list", async () => {
    const { client, view } = start(ann);
    await client.ready();
    view.showMembers(ann.serverId, [{ start: 0, count: 10 }]);
    const members = view.members(ann.serverId);
    const names = (items: typeof members) =>
      items
        .getSnapshot()
        .ranges.flatMap(({ items }) => items)
        .map(({ item }) => (item.case === "member" ? item.value.userId : "group"));
    await until(members, ({ ranges }) => (ranges[0]?.items.length ?? 0) >= 4);
    expect(names(members)).toEqual(["group", ann.userId, "group", bob.userId]);
    const other = start(bob);
    await other.client.ready();
    const here = await until(view.presence(bob.userId), (presence) => presence !== undefined);
    expect(here?.status).toBe(PresenceStatus.ONLINE);
    await until(members, ({ groups }) => groups.length === 2 && groups.every((g) => g.count === 1));
    other.client.setPresence(PresenceStatus.DO_NOT_DISTURB, "busy");
    const busy = await until(view.presence(bob.userId), (presence) => presence?.text === "busy");
    expect(busy?.status).toBe(PresenceStatus.DO_NOT_DISTURB);
    const carl = await somebody(server);
    const hers = start(carl);
    await hers.client.ready();
    await join(carl, ann);
    await until(members, () => names(members).includes(carl.userId));
    // They see each other, as long as they share a server.
    await until(view.presence(carl.userId), (presence) => presence !== undefined);
    await until(hers.view.presence(ann.userId), (presence) => presence !== undefined);
    await carl.api.servers.leaveServer({ serverId: ann.serverId });
    await until(members, () => !names(members).includes(carl.userId));
    await until(view.presence(carl.userId), (presence) => presence === undefined);
    await until(hers.view.presence(ann.userId), (presence) => presence === undefined);
    expect(hers.view.presence(carl.userId).getSnapshot()).toBeDefined();
  });

  test("is what the server has after cuts and crashes", async () => {
    const channelId = await newChannel(ann, "storm");
    const network = await Network.to(server.url);
    const { client, view } = start(ann, { url: network.url });
    await client.ready();
    const messages = view.messages(channelId);
    await until(messages, ({ state }) => state === "ready");
    const ids: string[] = [];
    const pick = () => ids[Math.floor(Math.random() * ids.length)] ?? "0";
    for (let i = 0; i < 240; i++) {
      const [messageId, what] = [pick(), Math.random()];
      if (ids.length < 5 || what < 0.5) ids.push(await send(bob, channelId, `${i}`));
      else if (what < 0.65) {
        await bob.api.messages.editMessage({ channelId, messageId, content: `${i}, edited` });
      } else if (what < 0.75) {
        await bob.api.messages.deleteMessage({ channelId, messageId });
        ids.splice(ids.indexOf(messageId), 1);
      } else if (what < 0.9) {
        await bob.api.messages.addReaction({ channelId, messageId, emoji: `e${i % 3}` });
      } else {
        await bob.api.messages.removeReaction({ channelId, messageId, emoji: `e${i % 3}` });
      }
      if (i % 20 === 10) network.cut();
      if (i % 80 === 50) {
        // What happens until it is up again is in no server's memory.
        network.down();
        await server.kill();
        await server.run();
      }
      if (i % 80 === 70) network.up();
    }
    const last = await send(bob, channelId, "the end");
    const isOver = (now: ReturnType<typeof messages.getSnapshot>) =>
      now.state === "ready" && now.messages.at(-1)?.id === last;
    await until(messages, isOver);
    // The last message may have come by a page, before events that are older than it.
    const all = await history(ann.api, channelId);
    const now = () => messages.getSnapshot().messages;
    await expect.poll(now, { timeout: 30_000 }).toEqual(all);
    await network.close();
  });
});

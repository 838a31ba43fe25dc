/**
 * README's examples, and those of their own, as a newcomer runs them: what they say they print,
 * they print.
 */

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Api } from "../../src/api.js";
import { RealServer } from "../real/server.js";
import { type Somebody, somebody } from "../real/world.js";
import { Newcomer } from "./newcomer.js";

const ROOT = new URL("../../", import.meta.url);
const readme = readFileSync(new URL("README.md", ROOT), "utf8");
const examples = [...readme.matchAll(/```js\n([\s\S]*?)```/g)].map(([, code = ""]) => code);

let server: RealServer;
let ann: Somebody;
let newcomer: Newcomer;

beforeAll(async () => {
  newcomer = new Newcomer();
  server = await RealServer.start();
  ann = await somebody(server);
}, 120_000);

afterAll(async () => {
  await server?.stop();
  newcomer?.remove();
});

const filled = (code: string): string =>
  code
    .replaceAll("http://127.0.0.1:7300", server.url)
    .replaceAll("YOUR TOKEN", ann.token)
    .replaceAll("YOUR CHANNEL", ann.channelId);

describe("README's", () => {
  test("has examples", () => expect(examples.length).toBeGreaterThan(5));

  test.each(examples.map((code, i) => [i + 1, code] as const))("example %i", async (i, code) => {
    const promised = [...code.matchAll(/\/\/ prints: (.*)/g)].map(([, line]) => line);
    expect(promised.length).toBeGreaterThan(0);
    const file = newcomer.write(`example-${i}.js`, filled(code));
    const printed = await newcomer.run([file], {}, promised as string[]);
    expect(printed).toEqual(expect.arrayContaining(promised));
  });
});

describe("the example", () => {
  const environment = () => ({ CHIRM_URL: server.url, CHIRM_TOKEN: ann.token });
  beforeAll(() => {
    for (const name of ["quickstart.js", "bot.js", "back-end.js"]) {
      newcomer.copy(new URL(`examples/${name}`, ROOT).pathname, name);
    }
  });

  test("quickstart, in under 15 lines", async () => {
    const said = `${ann.userId}: Hello, Chirm`;
    const printed = await newcomer.run(["quickstart.js", ann.channelId], environment(), [said]);
    expect(printed).toContain(said);
    const text = readFileSync(new URL("examples/quickstart.js", ROOT), "utf8");
    expect(text.split("\n").length).toBeLessThan(15);
  });

  test("back end", async () => {
    const env = { ...environment(), CHIRM_KEY: server.key() };
    const printed = await newcomer.run(["back-end.js", "player-1", "player-2"], env);
    expect(printed).toEqual([
      expect.stringMatching(/^player-1 is user \d+; its token ends at \d+$/),
      expect.stringMatching(/^player-2 is user \d+; its token ends at \d+$/),
      expect.stringMatching(/^sent \d+ to channel \d+$/),
    ]);
  });

  test("bot, which answers once though it is stopped and started", async () => {
    const { channelId } = ann;
    const { token } = await ann.api.auth.createBot({ username: "dice" });
    const { user } = await ann.api.users.lookupUser({ username: "dice" });
    const backEnd = new Api({ url: server.url, token: server.key() });
    await backEnd.servers.addMember({ serverId: ann.serverId, userId: user?.id ?? "" });
    backEnd.close();
    const env = { CHIRM_URL: server.url, CHIRM_TOKEN: token };
    const repliedTo = async () => {
      const { messages } = await ann.api.messages.listMessages({ channelId, limit: 100 });
      return messages.filter(({ authorId }) => authorId === user?.id).map((m) => m.replyTo);
    };
    const roll = async () => {
      const { message } = await ann.api.messages.sendMessage({ channelId, content: "!roll" });
      return message?.id ?? "";
    };
    let bot = newcomer.start(["bot.js"], env);
    // It hears what is said from its first connection on.
    while ((await repliedTo()).length === 0) {
      await roll();
      await sleep(100);
    }
    await bot.stop();
    const missed = await roll();
    bot = newcomer.start(["bot.js"], env);
    while (!(await repliedTo()).includes(missed)) await sleep(50);
    await bot.stop();
    const all = await repliedTo();
    expect(new Set(all).size).toBe(all.length);
  });
});

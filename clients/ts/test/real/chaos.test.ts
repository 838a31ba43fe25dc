/**
 * Clients of a real server whose connections are cut, whose server is killed, and that are killed
 * themselves: nothing is missing, nothing comes twice, everything comes in its order.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Client } from "../../src/client.js";
import { CARRIERS } from "../carriers.js";
import { Reading } from "../reading.js";
import { Network } from "./network.js";
import { RealServer } from "./server.js";
import { history, newChannel, type Somebody, somebody } from "./world.js";

const MESSAGES = 400;
const BACKOFF = { baseMs: 5, maxMs: 50 };

let server: RealServer;
let ann: Somebody;

beforeAll(async () => {
  server = await RealServer.start();
  ann = await somebody(server);
});

afterAll(() => server?.stop());

/** Sends many messages by a client, a few at once. */
async function sendAll(client: Client, channelId: string, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let first = 0; first < count; first += 10) {
    const texts = Array.from({ length: 10 }, (_, i) => `message ${first + i}`);
    const sent = await Promise.all(texts.map((text) => client.send(channelId, text)));
    ids.push(...sent.map(({ id }) => id));
  }
  return ids;
}

/** Does something again and again, as long as something else takes. */
async function meanwhile(act: () => Promise<void>, what: Promise<unknown>): Promise<void> {
  let isOver = false;
  const over = what.finally(() => {
    isOver = true;
  });
  while (!isOver) await act();
  await over;
}

describe.each(CARRIERS)("by $name", ({ transport }) => {
  test("cut again and again, with the server killed twice", async () => {
    const channel = await newChannel(ann, "chaos");
    const network = await Network.to(server.url);
    const start = () =>
      new Client({ url: network.url, token: ann.token, transport, backoff: BACKOFF });
    const [watcher, sender] = [start(), start()];
    const reading = new Reading(watcher);
    await Promise.all([reading.next("ready"), sender.ready()]);
    const sending = sendAll(sender, channel, MESSAGES);
    const kills = (async () => {
      for (let i = 0; i < 2; i++) {
        await sleep(300);
        await server.kill();
        await server.run();
      }
    })();
    const cuts = meanwhile(
      async () => {
        await sleep(20 + Math.random() * 120);
        network.cut();
      },
      Promise.all([sending, kills]),
    );
    const received: string[] = [];
    while (received.length < MESSAGES) received.push((await reading.next("message")).message.id);
    await cuts;
    const acknowledged = await sending;
    const stored = (await history(ann.api, channel)).map(({ id, content }) => ({ id, content }));
    expect(stored.map(({ content }) => content)).toEqual(
      Array.from({ length: MESSAGES }, (_, i) => `message ${i}`),
    );
    expect(acknowledged).toEqual(stored.map(({ id }) => id));
    expect(received).toEqual(acknowledged);
    expect(watcher.stats.connects).toBeGreaterThan(3);
    await Promise.all([watcher.close(), sender.close()]);
    await network.close();
  });
});

describe("programs that are killed and started again", () => {
  const folder = mkdtempSync(join(tmpdir(), "chirm-ts-program-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  function program(name: string, ...more: string[]): ChildProcess {
    const file = new URL(`./${name}.ts`, import.meta.url).pathname;
    const args = ["--import", "tsx", file, server.url, ann.token, ann.channelId, folder, ...more];
    return spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit"] });
  }

  const lines = (name: string): string[] => {
    const file = join(folder, name);
    return existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : [];
  };

  /** Runs a program, killing it in the middle of its work so many times, which its file shows. */
  async function killed(
    start: () => ChildProcess,
    file: string,
    kills: number,
  ): Promise<ChildProcess> {
    for (let i = 0; i < kills; i++) {
      const begun = lines(file).length;
      const child = start();
      const exited = once(child, "exit");
      while (lines(file).length < begun + 100) await sleep(5);
      await sleep(Math.random() * 30);
      child.kill("SIGKILL");
      const [code] = await exited;
      expect(code, "it was killed before it had ended").toBeNull();
    }
    return start();
  }

  test("a watcher and a sender", async () => {
    const count = 3000;
    const watching = killed(() => program("watcher"), "messages", 4);
    const sending = killed(() => program("sender", String(count)), "outbox", 4);
    const sender = await sending;
    if (sender.exitCode === null) await once(sender, "exit");
    expect(sender.exitCode).toBe(0);
    const watcher = await watching;
    const stored = (await history(ann.api, ann.channelId)).map((m) => `${m.id} ${m.content}`);
    expect(stored.map((line) => line.split(" ")[1])).toEqual(
      Array.from({ length: count }, (_, i) => String(i)),
    );
    // The test's own patience ends this if it never comes.
    while (lines("messages").length < count) await sleep(50);
    watcher.kill("SIGKILL");
    await once(watcher, "exit");
    expect(lines("messages")).toEqual(stored);
  });
});

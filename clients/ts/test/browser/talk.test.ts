/**
 * Two people in pages of a real browser, on a real server: whatever breaks between them, in the end
 * both show what history has, and each message came to each of them once.
 */

import { readFileSync } from "node:fs";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { build } from "vite";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Newcomer } from "../package/newcomer.js";
import { Network } from "../real/network.js";
import { RealServer } from "../real/server.js";
import { history, join, newChannel, type Somebody, somebody } from "../real/world.js";
import { browser, Site } from "./site.js";

const CARRIERS = ["websocket", "websocket with json", "grpc-web"] as const;
const DEADLINE_MS = 3000;
const SETTINGS = {
  CHIRM__GATEWAY__HEARTBEAT_MS: String(DEADLINE_MS / 3),
  CHIRM__GATEWAY__DEADLINE_MS: String(DEADLINE_MS),
  CHIRM__GATEWAY__GRACE_MS: "500",
};

/** What `talk.js` gives to the page. */
interface Talk {
  talk(options: Record<string, string>): Promise<void>;
  write(name: string, size: number): Promise<void>;
  shown(size: number): Promise<string[]>;
  received(size: number): Promise<string[]>;
  sees(isHere: boolean): Promise<void>;
  connects(): number;
}
declare const window: Talk;

let newcomer: Newcomer;
let site: Site;
let chromium: Browser;
let server: RealServer;
let people: readonly [Somebody, Somebody];

beforeAll(async () => {
  newcomer = new Newcomer();
  server = await RealServer.start(SETTINGS);
  people = [await somebody(server), await somebody(server)];
  await join(people[1], people[0]);
  newcomer.write("talk.js", readFileSync(new URL("talk.js", import.meta.url), "utf8"));
  newcomer.write("index.html", '<!doctype html><script type="module" src="/talk.js"></script>');
  const root = newcomer.folder;
  await build({ root, configFile: false, logLevel: "error", base: "./" });
  site = await Site.of(newcomer.folder);
  chromium = await browser();
}, 120_000);

afterAll(async () => {
  await chromium?.close();
  await Promise.all([site?.close(), server?.stop()]);
  newcomer?.remove();
});

const talkers: Talker[] = [];
// Also those of a test that failed, lest the next one sees them.
afterEach(() => Promise.all(talkers.splice(0).map((talker) => talker.close())));

/** One of two, in a page and with a network of its own. */
class Talker {
  readonly page: Page;
  readonly network: Network;
  readonly #context: BrowserContext;

  private constructor(context: BrowserContext, page: Page, network: Network) {
    this.#context = context;
    this.page = page;
    this.network = network;
  }

  static async start(who: Somebody, other: Somebody, carrier: string, channelId: string) {
    const [context, network] = [await chromium.newContext(), await Network.to(server.url)];
    const talker = new Talker(context, await context.newPage(), network);
    talkers.push(talker);
    await talker.page.goto(`${site.url}/dist/index.html`);
    const { url } = network;
    const options = { url, token: who.token, other: other.userId, carrier, channelId };
    await talker.page.evaluate((options) => window.talk(options), options);
    return talker;
  }

  write(name: string, size: number): Promise<void> {
    const written = this.page.evaluate(([name, size]) => window.write(name, size), [
      name,
      size,
    ] as const);
    // What a page that is closed had under way fails; the test has failed by then.
    written.catch(() => {});
    return written;
  }

  shown(size: number): Promise<string[]> {
    return this.page.evaluate((size) => window.shown(size), size);
  }

  received(size: number): Promise<string[]> {
    return this.page.evaluate((size) => window.received(size), size);
  }

  sees(isHere: boolean): Promise<void> {
    return this.page.evaluate((isHere) => window.sees(isHere), isHere);
  }

  connects(): Promise<number> {
    return this.page.evaluate(() => window.connects());
  }

  /**
   * Stops the page's timers and all else that it would do, as browsers freeze a tab out of sight.
   * (A headless browser shows all its tabs, and freezes none.) Answers what wakes it.
   */
  async sleep(): Promise<() => Promise<void>> {
    const session = await this.#context.newCDPSession(this.page);
    await session.send("Debugger.enable");
    const paused = new Promise<void>((resolve) => {
      session.once("Debugger.paused", () => resolve());
    });
    await session.send("Debugger.pause");
    await paused;
    return async () => {
      await session.send("Debugger.resume");
      await session.detach();
    };
  }

  async close(): Promise<void> {
    await this.#context.close();
    await this.network.close();
  }
}

describe.each(CARRIERS)("by %s", (carrier) => {
  /** Two who talk in a new channel, until the test is over. */
  async function inPages(act: (ann: Talker, bob: Talker, channelId: string) => Promise<void>) {
    const channelId = await newChannel(people[0], "talk");
    const ann = await Talker.start(people[0], people[1], carrier, channelId);
    const bob = await Talker.start(people[1], people[0], carrier, channelId);
    await act(ann, bob, channelId);
  }

  /** Both show what is stored, of which there is so much, and had each of it once. */
  async function agree(ann: Talker, bob: Talker, channelId: string, size: number) {
    const views = await Promise.all([ann.shown(size), bob.shown(size)]);
    const events = await Promise.all([ann.received(size), bob.received(size)]);
    const stored = await history(people[0].api, channelId);
    expect(stored).toHaveLength(size);
    const lines = stored.map(({ id, authorId, content }) => `${id} ${authorId} ${content}`);
    const ids = stored.map(({ id }) => id);
    for (const view of views) expect(view).toEqual(lines);
    for (const received of events) expect(received).toEqual(ids);
  }

  test("a conversation", () =>
    inPages(async (ann, bob, channelId) => {
      for (let turn = 0; turn < 10; turn++) {
        await ann.write(`ann ${turn}`, 1);
        await bob.shown(2 * turn + 1);
        await bob.write(`bob ${turn}`, 1);
        await ann.shown(2 * turn + 2);
      }
      await agree(ann, bob, channelId, 20);
    }));

  test("one of them offline while both write", () =>
    inPages(async (ann, bob, channelId) => {
      await Promise.all([ann.write("ann before", 5), bob.write("bob before", 5)]);
      await ann.sees(true);
      bob.network.down();
      const offline = bob.write("bob offline", 20);
      await ann.write("ann meanwhile", 20);
      await ann.sees(false);
      bob.network.up();
      await offline;
      await Promise.all([ann.write("ann after", 5), bob.write("bob after", 5)]);
      await agree(ann, bob, channelId, 60);
      expect(await bob.connects()).toBeGreaterThan(1);
    }));

  test("the server killed and started again under them", () =>
    inPages(async (ann, bob, channelId) => {
      const writing = [ann.write("ann", 200), bob.write("bob", 200)];
      await ann.shown(20);
      await server.kill();
      await server.run();
      await Promise.all(writing);
      await agree(ann, bob, channelId, 400);
      const connects = await Promise.all([ann.connects(), bob.connects()]);
      for (const times of connects) expect(times).toBeGreaterThan(1);
    }));

  test("a tab asleep for longer than the deadline", () =>
    inPages(async (ann, bob, channelId) => {
      await Promise.all([ann.write("ann before", 5), bob.write("bob before", 5)]);
      await ann.sees(true);
      const wake = await bob.sleep();
      await ann.write("ann meanwhile", 50);
      // A stream that carries nothing from the client has no deadline: whose page sleeps there, is
      // there still.
      if (carrier === "grpc-web") await new Promise((wake) => setTimeout(wake, 2 * DEADLINE_MS));
      else await ann.sees(false);
      await wake();
      await Promise.all([ann.write("ann after", 5), bob.write("bob after", 5)]);
      await agree(ann, bob, channelId, 70);
      if (carrier !== "grpc-web") expect(await bob.connects()).toBeGreaterThan(1);
    }));

  test(
    "5,000 messages",
    () =>
      inPages(async (ann, bob, channelId) => {
        await Promise.all([ann.write("ann", 3000), bob.write("bob", 2000)]);
        await agree(ann, bob, channelId, 5000);
      }),
    300_000,
  );
});

/**
 * The package in pages of a real browser: with a bundler and without, over reloads and closed tabs.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CHANNEL, FakeServer, TOKEN } from "../fake/server.js";
import { Newcomer } from "../package/newcomer.js";
import { RealServer } from "../real/server.js";
import { somebody } from "../real/world.js";
import { browser, Console, Site } from "./site.js";

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
const [, first = ""] = readme.match(/```js\n([\s\S]*?)```/) ?? [];
const [, importMap = ""] = readme.match(/```html\n([\s\S]*?)```/) ?? [];

let newcomer: Newcomer;
let site: Site;
let chromium: Browser;
let fake: FakeServer;
let real: RealServer;

beforeAll(async () => {
  newcomer = new Newcomer();
  site = await Site.of(newcomer.folder);
  fake = await FakeServer.start();
  real = await RealServer.start();
  chromium = await browser();
  const bundle = "node_modules/@chirm/client/dist/bundle/chirm.js";
  site.put("/chirm.js", readFileSync(join(newcomer.folder, bundle), "utf8"));
}, 120_000);

afterAll(async () => {
  await chromium?.close();
  await Promise.all([site?.close(), fake?.stop(), real?.stop()]);
  newcomer?.remove();
});

/** README's first example, for a real server. */
async function example(): Promise<string> {
  const { token, channelId } = await somebody(real);
  return first
    .replace("http://127.0.0.1:7300", real.url)
    .replace("YOUR TOKEN", token)
    .replace("YOUR CHANNEL", channelId);
}

describe("README's first example", () => {
  test("in a page without a bundler", async () => {
    site.put("/plain.html", `<!doctype html>${importMap}`);
    site.put("/main.js", await example());
    const page = await chromium.newPage();
    const told = new Console(page);
    await page.goto(`${site.url}/plain.html`);
    await told.says("Hello, Chirm");
    await page.close();
  });

  test("in a page by Vite", async () => {
    newcomer.write("app.js", await example());
    newcomer.write("index.html", '<!doctype html><script type="module" src="/app.js"></script>');
    const root = newcomer.folder;
    await build({ root, configFile: false, logLevel: "error", base: "./" });
    const page = await chromium.newPage();
    const told = new Console(page);
    await page.goto(`${site.url}/dist/index.html`);
    await told.says("Hello, Chirm");
    await page.close();
  });
});

/** A page whose script has the client's names and a channel to send to. */
async function open(name: string, script: string, context = chromium) {
  const names = "Client, ChirmError, IndexedDbOutbox, grpcWeb, webSocket";
  const options = JSON.stringify({ url: fake.url(false), token: TOKEN });
  const imports = `import { ${names} } from "/chirm.js"; const options = ${options};`;
  const backoff = "options.backoff = { baseMs: 5, maxMs: 50 };";
  site.put(`/${name}.js`, `${imports}${backoff}\n${script}`);
  site.put(`/${name}.html`, `<!doctype html><script type="module" src="/${name}.js"></script>`);
  const page = await context.newPage();
  const told = new Console(page);
  await page.goto(`${site.url}/${name}.html`);
  return { page, told };
}

describe.each(["webSocket()", "grpcWeb()"])("by %s", (transport) => {
  test("a connection that breaks is resumed", async () => {
    const { page, told } = await open(
      "breaks",
      `const client = new Client({ ...options, transport: ${transport} });
      client.on("message", ({ message, source }) => console.log(message.content));
      client.on("ready", () => console.log("ready " + client.stats.connects));
      window.send = (text) => client.send("${CHANNEL}", text);`,
    );
    await told.says("ready 1");
    await page.evaluate("send('before')");
    fake.breakAll();
    await page.evaluate("send('after')");
    await told.says("after");
    await told.says("ready 2");
    const messages = told.lines.filter((line) => !line.startsWith("ready"));
    expect(messages.filter((line) => line === "before" || line === "after")).toEqual([
      "before",
      "after",
    ]);
    await page.close();
  });
});

describe("an outbox in IndexedDB", () => {
  test("keeps entries in order over reloads, and is bounded", async () => {
    const { page, told } = await open(
      "keeps",
      `const outbox = new IndexedDbOutbox("keeps", 3);
      const entry = (nonce, content) =>
        ({ nonce, request: { $typeName: "chirm.v1.SendMessageRequest", channelId: "7", content,
          nonce, replyTo: "0", attempt: 0, metadata: {} } });
      const shown = async () =>
        (await outbox.load()).map((e) => e.nonce + e.request.content).join();
      if ((await shown()) === "") {
        for (const nonce of ["c", "a", "b"]) await outbox.put(entry(nonce, 1));
        await outbox.put(entry("c", 2));
        const refused = await outbox.put(entry("d", 1)).catch((error) => error.reason);
        await outbox.remove("absent");
        console.log(refused, await shown());
        await outbox.remove("a");
        location.reload();
      } else {
        console.log("again", await shown());
      }`,
    );
    await told.says("OUTBOX_FULL c2,a1,b1");
    await told.says("again c2,b1");
    await page.close();
  });

  test("sends after the tab was closed what wasn't sent before", async () => {
    // Tabs of one browser share what is stored.
    const tabs = await chromium.newContext();
    const script = `const outbox = new IndexedDbOutbox("tabs");
      const client = new Client({ ...options, outbox });
      client.on("message", ({ message }) => console.log(message.content));
      if (location.hash === "") {
        await client.ready();
        client.cut();
        client.send("${CHANNEL}", "from a closed tab");
        while ((await outbox.load()).length === 0) await new Promise((r) => setTimeout(r, 5));
        console.log("stored");
      }`;
    // It never answers, as if the tab had been closed before the answer.
    fake.answersLost = 1_000_000;
    const before = fake.attempts.length;
    const { page, told } = await open("tabs", script, tabs as unknown as Browser);
    await told.says("stored");
    await page.close();
    fake.answersLost = 0;
    const again = await tabs.newPage();
    const later = new Console(again);
    await again.goto(`${site.url}/tabs.html#again`);
    await again.evaluate(
      `new Promise(async (resolve) => {
        const { IndexedDbOutbox } = await import("/chirm.js");
        const outbox = new IndexedDbOutbox("tabs");
        while ((await outbox.load()).length > 0) await new Promise((r) => setTimeout(r, 20));
        resolve();
      })`,
    );
    expect(fake.contents().filter((content) => content === "from a closed tab")).toHaveLength(1);
    expect(fake.attempts.length).toBeGreaterThan(before);
    expect(later.lines.filter((line) => line.startsWith("error"))).toEqual([]);
    await tabs.close();
  });
});

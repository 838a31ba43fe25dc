/** The page to try a server with, `web/`: two people talk by it, on a real server. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Browser, BrowserContextOptions, Locator, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { RealServer } from "../real/server.js";
import { Front } from "./front.js";
import { browser } from "./site.js";

/** Where pictures of the page go, to be looked at, if this names a folder. */
const PICTURES = process.env.CHIRM_PICTURES;
const PATIENCE_MS = 30_000;

let server: RealServer;
let chromium: Browser;
const open: Person[] = [];
let count = 0;

beforeAll(async () => {
  server = await RealServer.start({
    CHIRM__GATEWAY__HEARTBEAT_MS: "2000",
    CHIRM__GATEWAY__DEADLINE_MS: "6000",
    // Who leaves is gone at once.
    CHIRM__GATEWAY__GRACE_MS: "100",
  });
  chromium = await browser();
});

afterEach(() => Promise.all(open.splice(0).map((person) => person.close())));

afterAll(async () => {
  await chromium?.close();
  await server?.stop();
});

/** Somebody with a browser and a network of its own. */
class Person {
  readonly name: string;
  readonly page: Page;
  readonly front: Front;
  /** What went wrong on the page. */
  readonly errors: string[] = [];

  private constructor(name: string, page: Page, front: Front) {
    this.name = name;
    this.page = page;
    this.front = front;
    page.setDefaultTimeout(PATIENCE_MS);
    page.on("pageerror", (error) => this.errors.push(error.message));
    page.on("console", (message) => {
      if (/Content Security Policy/.test(message.text())) this.errors.push(message.text());
    });
  }

  /** Opens the page and enters by a name. */
  static async enters(
    name: string,
    hash = "",
    options: BrowserContextOptions = {},
    at: RealServer = server,
  ): Promise<Person> {
    const front = await Front.of(at.url);
    const context = await chromium.newContext({
      viewport: { width: 1280, height: 800 },
      ...options,
    });
    const person = new Person(`${name}-${++count}`, await context.newPage(), front);
    open.push(person);
    await person.page.goto(`${front.url}/${hash}`);
    await person.picture("welcome");
    await person.page.getByLabel("Name").fill(person.name);
    await person.page.getByRole("button", { name: "Enter" }).click();
    await person.is("Live");
    return person;
  }

  /** Waits until the state of the connection is that. */
  is(state: string): Promise<void> {
    return this.page.locator("#state", { hasText: state }).waitFor();
  }

  messages(): Locator {
    return this.page.locator("#messages .content");
  }

  /** Waits until a message with exactly this content is there. */
  sees(content: string): Promise<void> {
    return this.page.locator("#messages").getByText(content, { exact: true }).waitFor();
  }

  async says(content: string): Promise<void> {
    await this.page.getByRole("textbox", { name: "Message" }).fill(content);
    await this.page.keyboard.press("Enter");
  }

  /** Says many things as fast as a page can, at most 100. */
  async saysAll(contents: string[]): Promise<void> {
    await this.page.evaluate((contents) => {
      const text = document.querySelector("#text") as HTMLTextAreaElement;
      for (const content of contents) {
        text.value = content;
        text.form?.requestSubmit();
      }
    }, contents);
  }

  /** Answers the dialog that a button opens. */
  async answers(button: string, text: string, go: string): Promise<void> {
    await this.page.getByRole("button", { name: button }).click();
    await this.page.locator("#ask-input").fill(text);
    await this.page.locator("#ask").getByRole("button", { name: go }).click();
  }

  /** Makes a server and gives the address that invites to it. */
  async invites(): Promise<string> {
    await this.answers("New server", "Our place", "Make it");
    await this.page.getByRole("button", { name: "# general" }).waitFor();
    await this.page.locator("#invite").click();
    const told = await this.page.locator("#toast:visible").textContent();
    return `#join=${told?.match(/([a-z0-9]{10})$/)?.[1]}`;
  }

  /** Deletes the channel that is open: the page has no button for that. */
  async deletesChannel(): Promise<void> {
    await this.calls("DELETE", `/v1/channels/${await this.channel()}`);
  }

  /** The channel that is open. */
  async channel(): Promise<string> {
    const place = this.page.locator(".place[aria-current]");
    return (await place.getAttribute("data-focus")) ?? "";
  }

  /** The tokens that the page keeps. */
  async tokens(): Promise<Record<"accessToken" | "refreshToken" | "accessExpiresAt", string>> {
    const kept = await this.page.evaluate(() => sessionStorage.getItem("chirm"));
    return JSON.parse(kept ?? "").tokens;
  }

  /** Makes a call beside the page, as its user. */
  async calls(method: string, path: string): Promise<void> {
    const authorization = `Bearer ${(await this.tokens()).accessToken}`;
    const headers = { authorization, "content-type": "application/json" };
    const body = method === "POST" ? "{}" : null;
    const { status } = await fetch(this.front.url + path, { method, headers, body });
    expect(status).toBe(200);
  }

  /** The frames that the panel shows, as `↑ name` or `↓ name`. */
  async frames(): Promise<string[]> {
    return this.page.locator("#frames-list summary").evaluateAll((all) =>
      all.map((summary) => {
        const text = (part: string) => summary.querySelector(part)?.textContent;
        return `${text(".arrow")} ${text(".what")}`;
      }),
    );
  }

  async picture(name: string): Promise<void> {
    if (PICTURES === undefined) return;
    mkdirSync(PICTURES, { recursive: true });
    await this.page.screenshot({ path: join(PICTURES, `${this.name}-${name}.png`) });
  }

  async close(): Promise<void> {
    await this.page.context().close();
    await this.front.close();
  }
}

async function two(): Promise<readonly [Person, Person]> {
  const ann = await Person.enters("ann");
  const invitation = await ann.invites();
  const bob = await Person.enters("bob", invitation);
  await bob.page.locator("#ask").getByRole("button", { name: "Join" }).click();
  await bob.page.getByRole("button", { name: "# general" }).waitFor();
  return [ann, bob];
}

const noErrors = (...people: Person[]) =>
  expect(people.flatMap(({ errors }) => errors)).toEqual([]);

test("two talk, edit, react and delete, and see each other", async () => {
  const [ann, bob] = await two();
  await ann.says("hello, bob");
  await bob.sees("hello, bob");
  await bob.says("<b>hello</b>, ann");
  await ann.sees("<b>hello</b>, ann");
  await ann.page.locator("#members .online", { hasText: bob.name }).waitFor();

  const mine = bob.page.locator(".message", { hasText: "<b>hello</b>" });
  await mine.hover();
  await mine.getByLabel("Edit").click();
  await bob.page.getByLabel("Edit the message").fill("hello, ann");
  await bob.page.keyboard.press("Enter");
  await ann.page.locator(".message", { hasText: "hello, ann (edited)" }).waitFor();

  const edited = bob.page.locator(".message", { hasText: "hello, ann (edited)" });
  const its = ann.page.locator(".message", { hasText: "hello, ann" });
  await its.hover();
  await its.getByLabel("React with 🎉").click();
  await bob.page.getByRole("button", { name: "🎉, 1", pressed: false }).click();
  await ann.page.getByRole("button", { name: "🎉, 2", pressed: true }).waitFor();
  // Whatever a kind of reaction is made of, it is text.
  const odd = encodeURIComponent('"]<i>');
  const id = await edited.getAttribute("data-key");
  await bob.calls("PUT", `/v1/channels/${await bob.channel()}/messages/${id}/reactions/${odd}`);
  await ann.page.getByRole("button", { name: '"]<i>, 1' }).click();
  const both = ann.page.getByRole("button", { name: '"]<i>, 2' });
  await both.waitFor();
  expect(await both.evaluate((chip) => chip === document.activeElement)).toBe(true);
  await ann.picture("talk");

  await edited.hover();
  await edited.getByLabel("Delete").click();
  await its.waitFor({ state: "detached" });
  noErrors(ann, bob);
});

test("what is missed while away is there afterwards, what is written then is sent", async () => {
  const [ann, bob] = await two();
  await ann.says("before");
  await bob.sees("before");
  bob.front.down();
  await bob.page.locator("#banner").waitFor();
  await bob.says("from afar");
  await bob.page.getByText("waits for the connection").waitFor();
  await ann.says("meanwhile");
  await ann.sees("meanwhile");
  await bob.picture("offline");
  bob.front.up();
  await bob.page.getByRole("button", { name: "Connect now" }).click();
  await bob.is("Live");
  const all = ["before", "meanwhile", "from afar"];
  await ann.sees("from afar");
  await bob.sees("meanwhile");
  expect(await ann.messages().allTextContents()).toEqual(all);
  await bob.page.getByText("waits for the connection").waitFor({ state: "detached" });
  expect(await bob.messages().allTextContents()).toEqual(all);
  noErrors(ann, bob);
});

test("what was under way when a connection broke is sent once", async () => {
  const [ann, bob] = await two();
  for (const lost of ["answers", "requests"] as const) {
    bob.front.loses(lost);
    await bob.says(`without ${lost}`);
    await bob.page.getByText("is being sent…").waitFor();
    if (lost === "answers") await ann.sees(`without ${lost}`);
    bob.front.down();
    await bob.page.locator("#banner").waitFor();
    bob.front.up();
    await bob.is("Live");
    await ann.sees(`without ${lost}`);
    await bob.page.locator("#messages .waiting").waitFor({ state: "detached" });
  }
  const all = ["without answers", "without requests"];
  for (const { page } of [ann, bob]) {
    expect(await page.locator("#messages .content").allTextContents()).toEqual(all);
  }
  noErrors(ann, bob);
});

test("a connection that is dead, and doesn't say so, is found out by heartbeats", async () => {
  const ann = await Person.enters("ann");
  await ann.page.locator("#frames-list", { hasText: "heartbeatAck" }).waitFor({
    state: "attached",
  });
  ann.front.loses("answers");
  const told = ann.page.getByText("The server doesn't answer any more.");
  // It may be connected again before this is seen.
  await told.waitFor({ state: "attached" });
  await ann.is("Live");
  await ann.answers("New server", "Alive", "Make it");
  await ann.page.getByRole("button", { name: "# general" }).waitFor();
  noErrors(ann);
});

test("a server that was killed, and is another epoch, is paged anew", async () => {
  const [ann, bob] = await two();
  await ann.says("one");
  await bob.sees("one");
  await bob.page.getByRole("button", { name: "Go offline" }).click();
  await ann.says("two");
  await ann.sees("two");
  await server.kill();
  await ann.page.locator("#banner").waitFor();
  await server.run();
  await ann.is("Live");
  await ann.says("three");
  await bob.page.getByRole("button", { name: "Go online" }).click();
  await bob.is("Live");
  await bob.sees("two");
  await bob.sees("three");
  expect(await bob.messages().allTextContents()).toEqual(["one", "two", "three"]);
  noErrors(ann, bob);
});

test("history is read back in pages, and a reload shows the same", async () => {
  const [ann, bob] = await two();
  const lines = Array.from({ length: 60 }, (_, i) => `line ${i}`);
  await ann.saysAll(lines);
  await bob.sees("line 59");
  await bob.page.reload();
  await bob.is("Live");
  await bob.sees("line 59");
  const newest = await bob.messages().allTextContents();
  expect([newest.length, newest[0]]).toEqual([50, "line 10"]);
  await bob.page.getByRole("button", { name: "Earlier messages" }).click();
  await bob.sees("line 0");
  expect(await bob.messages().allTextContents()).toEqual(lines);
  noErrors(ann, bob);
});

test("channels come, go and tell what is unread; who leaves is away", async () => {
  const [ann, bob] = await two();
  await ann.answers("New channel", "second", "Make it");
  await ann.page.locator("#title", { hasText: "second" }).waitFor();
  await ann.says("here");
  const unread = bob.page.getByRole("button", { name: "# second unread" });
  await unread.click();
  await bob.sees("here");
  await unread.waitFor({ state: "detached" });
  await ann.deletesChannel();
  for (const one of [ann, bob]) await one.page.locator("#title", { hasText: "general" }).waitFor();
  await bob.page.getByRole("textbox", { name: "Message" }).pressSequentially("typ");
  await ann.page.getByText(`${bob.name} types…`).waitFor();
  await bob.page.getByRole("button", { name: "Sign out" }).click();
  await bob.page.getByRole("button", { name: "Enter" }).waitFor();
  await ann.page.locator("#members .away", { hasText: bob.name }).waitFor();
  await ann.deletesChannel();
  await ann.page.getByText("No channel here. Make one.").waitFor();
  await ann.page.getByLabel("Status").selectOption("Idle");
  await ann.page.locator("#members .idle", { hasText: ann.name }).waitFor();
  expect((await ann.frames()).filter((frame) => frame === "↑ view").length).toBeLessThan(10);
  noErrors(ann, bob);
});

test("frames are shown as they pass, without secrets, and can be held", async () => {
  const ann = await Person.enters("ann");
  await ann.invites();
  await ann.page.getByRole("button", { name: "Frames" }).click();
  await ann.says("for all to see");
  await ann.sees("for all to see");
  await ann.page.locator("#frames-list .in", { hasText: "messageCreated" }).waitFor();
  const frames = await ann.frames();
  for (const frame of ["↑ identify", "↓ hello", "↓ ready", "↑ sendMessage", "↓ result"]) {
    expect(frames).toContain(frame);
  }
  await ann.page.locator("#frames-list details").evaluateAll((all) => {
    for (const frame of all) (frame as HTMLDetailsElement).open = true;
  });
  await ann.page.locator("#frames-list pre", { hasText: "for all to see" }).first().waitFor();
  const text = (await ann.page.locator("#frames-list pre").allTextContents()).join("\n");
  const { accessToken, refreshToken } = await ann.tokens();
  expect(text).not.toContain(accessToken);
  expect(text).not.toContain(refreshToken);
  expect(text).toContain('"token": "…hidden…"');
  await ann.picture("frames");
  await ann.page.getByRole("button", { name: "Pause" }).click();
  const held = await ann.frames();
  await ann.says("not shown");
  await ann.sees("not shown");
  expect(await ann.frames()).toEqual(held);
  await ann.page.getByRole("button", { name: "Go on" }).click();
  await ann.saysAll(Array.from({ length: 80 }, (_, i) => `${i}`));
  const stored = ann.page.locator("#messages li:not(.waiting) .content");
  await stored.filter({ hasText: /^79$/ }).waitFor();
  expect((await ann.frames()).length).toBe(200);
  noErrors(ann);
});

test("a name that is taken is refused with the reason, a password signs in", async () => {
  const ann = await Person.enters("ann");
  const front = await Front.of(server.url);
  const page = await chromium.newPage();
  await page.goto(front.url);
  await page.getByLabel("Name").fill(ann.name);
  await page.getByRole("button", { name: "Enter" }).click();
  await page.getByText("Somebody has this name").waitFor();
  await page.getByLabel("Name").fill(`${ann.name}-too`);
  await page.getByLabel("Password").fill("correct horse");
  await page.getByRole("button", { name: "Make an account" }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Password").fill("wrong horse");
  await page.getByRole("button", { name: "Enter" }).click();
  await page.getByText("No account has this name and password").waitFor();
  await page.getByLabel("Password").fill("correct horse");
  await page.getByRole("button", { name: "Enter" }).click();
  await page.locator("#self-name", { hasText: `${ann.name}-too` }).waitFor();
  await page.close();
  await front.close();
});

test("a token that has ended is renewed, an ended session is told", async () => {
  const strict = await RealServer.start({ CHIRM__AUTH__ACCESS_TTL_S: "6" });
  const ann = await Person.enters("ann", "", {}, strict);
  await ann.page.getByRole("button", { name: "Go offline" }).click();
  const { accessExpiresAt, refreshToken } = await ann.tokens();
  while (Date.now() <= Date.parse(accessExpiresAt)) await new Promise((r) => setTimeout(r, 50));
  await ann.page.getByRole("button", { name: "Go online" }).click();
  await ann.is("Live");
  expect((await ann.tokens()).refreshToken).not.toBe(refreshToken);
  await ann.page.reload();
  await ann.is("Live");
  await ann.calls("POST", "/v1/auth/logout");
  await ann.page.getByText("You were signed out. Sign in again.").waitFor();
  noErrors(ann);
  await strict.stop();
});

test("a phone, and the dark", async () => {
  const options = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
  const ann = await Person.enters("ann", "", { ...options, colorScheme: "dark" });
  const places = ann.page.getByRole("button", { name: "Servers and channels" });
  await places.click();
  await ann.answers("New server", "Our place", "Make it");
  await ann.page.locator("#title", { hasText: "general" }).waitFor();
  await places.click();
  await ann.answers("New channel", "a second one", "Make it");
  await ann.page.locator("#title", { hasText: "second" }).waitFor();
  await places.click();
  await ann.picture("places");
  await ann.page.getByRole("button", { name: "# general" }).click();
  await ann.says("from a phone: https://example.com/a-long-address-that-has-to-break-somewhere");
  await ann.page.locator("#messages").getByText("from a phone").waitFor();
  await ann.picture("talk");
  await ann.page.getByRole("button", { name: "People" }).click();
  await ann.page.locator("#members .online").waitFor();
  await ann.page.getByRole("button", { name: "Frames" }).click();
  await ann.page.getByRole("button", { name: "Pause" }).waitFor();
  await ann.picture("frames");
  const overflow = "document.documentElement.scrollWidth - innerWidth";
  expect(await ann.page.evaluate(overflow)).toBe(0);
  noErrors(ann);
});

/** Web servers for the pages of a test, and a real browser that shows them. */

import { existsSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";

const TYPES: Record<string, string> = { ".html": "text/html", ".js": "text/javascript" };
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export class Site {
  readonly #folder: string;
  readonly #server: Server;
  readonly #pages = new Map<string, string>();

  private constructor(folder: string) {
    this.#folder = folder;
    this.#server = createServer((request, response) => {
      const path = normalize(new URL(request.url ?? "/", "http://site").pathname);
      const file = join(this.#folder, path);
      const body = this.#pages.get(path) ?? (existsSync(file) ? readFileSync(file) : undefined);
      response.setHeader("content-type", TYPES[extname(path)] ?? "text/plain");
      response.writeHead(body === undefined ? 404 : 200).end(body);
    });
  }

  /** Serves a folder, and pages that aren't in it. */
  static async of(folder: string): Promise<Site> {
    const site = new Site(folder);
    await new Promise<void>((resolve) => {
      site.#server.listen(0, "127.0.0.1", resolve);
    });
    return site;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  put(path: string, text: string): void {
    this.#pages.set(path, text);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

export function browser(): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: FLAGS,
  });
}

/** What a page says on its console, and what goes wrong on it. */
export class Console {
  readonly lines: string[] = [];

  constructor(page: Page) {
    page.on("console", (message) => this.lines.push(message.text()));
    page.on("pageerror", (error) => this.lines.push(`error: ${error.message}`));
  }

  /** Waits until the page has said so. The test's own patience ends this if it never does. */
  async says(line: string): Promise<void> {
    while (!this.lines.includes(line)) {
      const error = this.lines.find((line) => line.startsWith("error: "));
      if (error !== undefined) throw new Error(error);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

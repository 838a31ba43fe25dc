/**
 * A program that writes the messages of a channel down, to be killed at any moment and started
 * again: it keeps what it has on disk. Usage: watcher.ts URL TOKEN CHANNEL FOLDER
 */

import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Client } from "../../src/client.js";
import { grpc } from "../../src/grpc.js";

const [url = "", token = "", channel = "", folder = ""] = process.argv.slice(2);
const had = join(folder, "messages");
const kept = join(folder, "kept.json");

/** Ends in a newline, or was cut off in the middle of a line, which the next run writes anew. */
function lines(file: string): string[] {
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  const whole = text.slice(0, text.lastIndexOf("\n") + 1);
  writeFileSync(file, whole);
  return whole.split("\n").slice(0, -1);
}

const messages = lines(had);
const seen = new Set(messages.map((line) => line.split(" ")[0]));
const client = new Client({
  url,
  token,
  transport: grpc(),
  backoff: { baseMs: 5, maxMs: 50 },
  history: true,
  ...(existsSync(kept) ? JSON.parse(readFileSync(kept, "utf8")) : {}),
});
for await (const event of client.events()) {
  if (event.type !== "message" || event.message.channelId !== channel) continue;
  const { id, content } = event.message;
  // What the run before had beyond its positions comes again.
  if (seen.has(id)) continue;
  seen.add(id);
  appendFileSync(had, `${id} ${content}\n`);
  const left = { positions: client.positions(), lastIds: client.lastIds() };
  writeFileSync(`${kept}.new`, JSON.stringify(left));
  renameSync(`${kept}.new`, kept);
}

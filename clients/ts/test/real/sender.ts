/**
 * A program that sends numbered messages, to be killed at any moment and started again: what it
 * began to send is in an outbox on disk. Usage: sender.ts URL TOKEN CHANNEL FOLDER COUNT
 */

import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Client } from "../../src/client.js";
import { SendMessageRequestSchema } from "../../src/gen/chirm/v1/message_pb.js";
import { grpc } from "../../src/grpc.js";
import type { OutboxEntry, OutboxStore } from "../../src/outbox.js";

const [url = "", token = "", channel = "", folder = "", count = ""] = process.argv.slice(2);
const AT_ONCE = 8;

/** Keeps entries as lines that are only added: `put …` and `remove …`. */
class FileOutbox implements OutboxStore {
  readonly #file = join(folder, "outbox");
  /** How many were ever put. */
  puts = 0;

  async put({ nonce, request }: OutboxEntry) {
    this.puts += 1;
    appendFileSync(this.#file, `put ${nonce} ${request.content}\n`, { flush: true });
  }

  async remove(nonce: string) {
    appendFileSync(this.#file, `remove ${nonce}\n`);
  }

  async load() {
    const text = existsSync(this.#file) ? readFileSync(this.#file, "utf8") : "";
    const entries = new Map<string, OutboxEntry>();
    for (const line of text.split("\n")) {
      const [what, nonce = "", content = ""] = line.split(" ");
      if (what === "put") {
        const request = create(SendMessageRequestSchema, { channelId: channel, content, nonce });
        entries.set(nonce, { nonce, request });
        this.puts += 1;
      } else if (what === "remove") {
        entries.delete(nonce);
      }
    }
    return [...entries.values()];
  }
}

const outbox = new FileOutbox();
const backoff = { baseMs: 5, maxMs: 50 };
const client = new Client({ url, token, transport: grpc(), outbox, backoff });
await client.ready();
while (outbox.puts < Number(count)) {
  const sends = [];
  for (let i = 0; i < AT_ONCE && outbox.puts < Number(count); i++) {
    sends.push(client.send(channel, String(outbox.puts)));
  }
  await Promise.all(sends);
}
// Those of the run before, too.
while ((await new FileOutbox().load()).length > 0) await new Promise((r) => setTimeout(r, 20));
await client.close();

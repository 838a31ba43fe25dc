// A bot that answers `!roll`, wherever it is a member. It answers each once, though it is stopped
// and started again: it keeps where it was in a file.
//   CHIRM_TOKEN=… node bot.js [STATE FILE]
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { ChirmError, Client } from "@chirm/client";

const url = process.env.CHIRM_URL ?? "http://127.0.0.1:7300";
const [file = "bot-state.json"] = process.argv.slice(2);
const state = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
const client = new Client({
  url,
  token: process.env.CHIRM_TOKEN,
  positions: state.positions,
  lastIds: state.lastIds,
});
process.once("SIGTERM", () => client.close());

for await (const event of client.events()) {
  if (event.type === "disconnected") console.error(`${event.reason}; connecting again`);
  if (event.type !== "message") continue;
  const { id, channelId, content } = event.message;
  if (content === "!roll" && !(await answer(channelId, id))) break;
  const state = { positions: client.positions(), lastIds: client.lastIds() };
  writeFileSync(file, JSON.stringify(state));
}

/**
 * Rolls the dice. The nonce is made of the message's own id, so that what comes again is answered
 * once. False: the bot was stopped in the middle.
 */
async function answer(channelId, messageId) {
  const hex = BigInt(messageId).toString(16).padStart(16, "0");
  const nonce = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4000-8000-00000000${hex.slice(12)}`;
  const eyes = 1 + Number(BigInt(messageId) % 6n);
  try {
    await client.send(channelId, `You rolled ${eyes}`, { replyTo: messageId, nonce });
  } catch (error) {
    if (!(error instanceof ChirmError)) throw error;
    if (error.reason === "CLIENT_CLOSED") return false;
    console.error(`no answer in ${channelId}: ${error}`);
  }
  return true;
}

// Says hello in a channel, and prints what is said there.
//   CHIRM_TOKEN=… node quickstart.js CHANNEL
import { Client } from "@chirm/client";

const url = process.env.CHIRM_URL ?? "http://127.0.0.1:7300";
const [channel] = process.argv.slice(2);
const client = new Client({ url, token: process.env.CHIRM_TOKEN });

client.on("message", ({ message }) => console.log(`${message.authorId}: ${message.content}`));
await client.send(channel, "Hello, Chirm");

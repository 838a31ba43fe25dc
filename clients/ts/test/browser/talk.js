/** The page of one of two who talk. */

import { Client, compareIds, grpcWeb, Intent, webSocket } from "@chirm/client";
import { json } from "@chirm/client/json";
import { LocalView } from "@chirm/client/view";

const CARRIERS = {
  websocket: () => webSocket(),
  "websocket with json": () => webSocket({ codec: json }),
  "grpc-web": () => grpcWeb(),
};
const AT_ONCE = 500;
const SHOWN_MAX = 10_000;

const count = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);

/** A part of the view, once it is as it is to be. */
const until = (readable, isSo) =>
  new Promise((resolve) => {
    const look = () => {
      const value = readable.getSnapshot();
      if (!isSo(value)) return;
      off();
      resolve(value);
    };
    const off = readable.subscribe(look);
    queueMicrotask(look);
  });

window.talk = async ({ carrier, channelId, other, ...options }) => {
  const client = new Client({
    ...options,
    transport: CARRIERS[carrier](),
    backoff: { baseMs: 20, maxMs: 200 },
    intents: [Intent.PRESENCE],
  });
  const view = new LocalView(client, { messagesMax: SHOWN_MAX });
  const received = [];
  client.on("message", ({ message }) => {
    if (message.channelId === channelId) received.push(message.id);
  });
  const messages = view.messages(channelId);
  messages.subscribe(() => {});
  await client.ready();

  /** Sends so many messages, some at once, and waits until they are stored. */
  window.write = async (name, size) => {
    for (let from = 0; from < size; from += AT_ONCE) {
      const texts = count(from, Math.min(from + AT_ONCE, size)).map((i) => `${name} ${i}`);
      await Promise.all(texts.map((text) => client.send(channelId, text)));
    }
  };
  /** What is shown, once it has so many messages. */
  window.shown = async (size) => {
    const isWhole = ({ state, messages }) => state === "ready" && messages.length >= size;
    const { messages: all } = await until(messages, isWhole);
    return all.map(({ id, authorId, content }) => `${id} ${authorId} ${content}`);
  };
  /** Waits until the other one is here, or isn't. */
  window.sees = async (isHere) => {
    await until(view.presence(other), (presence) => (presence !== undefined) === isHere);
  };
  /** The ids of the messages that came as events, once there are so many. */
  window.received = async (size) => {
    while (received.length < size) await new Promise((resolve) => setTimeout(resolve, 20));
    return received.toSorted(compareIds);
  };
  window.connects = () => client.stats.connects;
};

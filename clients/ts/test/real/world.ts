/** Somebody on a real server, with a channel. */

import { Api } from "../../src/api.js";
import { ChannelType } from "../../src/gen/chirm/v1/channel_pb.js";
import type { Message } from "../../src/gen/chirm/v1/message_pb.js";
import { grpc } from "../../src/grpc.js";
import type { RealServer } from "./server.js";

/** An account with a server of its own. */
export interface Somebody {
  readonly api: Api;
  readonly userId: string;
  readonly token: string;
  readonly serverId: string;
  readonly channelId: string;
}

let count = 0;

export async function somebody(server: RealServer): Promise<Somebody> {
  count += 1;
  const anonymous = new Api({ url: server.url, transport: grpc() });
  const name = `somebody-${process.pid}-${count}`;
  const { user, tokens } = await anonymous.auth.register({
    username: name,
    password: "correct horse",
  });
  anonymous.close();
  const token = tokens?.accessToken ?? "";
  const api = new Api({ url: server.url, transport: grpc(), token });
  const { server: made, generalChannelId } = await api.servers.createServer({ name: "Place" });
  const userId = user?.id ?? "";
  return { api, userId, token, serverId: made?.id ?? "", channelId: generalChannelId };
}

/** Lets somebody into another's server. */
export async function join(guest: Somebody, host: Somebody): Promise<void> {
  const { invite } = await host.api.servers.createInvite({ serverId: host.serverId });
  const by = { case: "inviteCode", value: invite?.code ?? "" } as const;
  await guest.api.servers.joinServer({ by });
}

/** A new channel of somebody's server. */
export async function newChannel(host: Somebody, name: string): Promise<string> {
  const type = ChannelType.TEXT;
  const { serverId, api } = host;
  const { channel } = await api.channels.createChannel({ serverId, type, name });
  return channel?.id ?? "";
}

/** All of a channel, as history has it. */
export async function history(api: Api, channelId: string): Promise<Message[]> {
  const all: Message[] = [];
  for (;;) {
    const anchor = { case: "after", value: all.at(-1)?.id ?? "0" } as const;
    const page = await api.messages.listMessages({ channelId, limit: 100, anchor });
    all.push(...page.messages);
    if (!page.hasNewer) return all;
  }
}

/** The servers and channels that the user sees. */

import { type Channel, ChannelType } from "../gen/chirm/v1/channel_pb.js";
import type { ServerState } from "../gen/chirm/v1/gateway_pb.js";
import { type Member, Role, type Server } from "../gen/chirm/v1/server_pb.js";
import { compareIds } from "../ids.js";

interface Place {
  server: Server;
  self: Member | undefined;
}

/** As many as the server lets a user see. */
export class Places {
  readonly #servers = new Map<string, Place>();
  readonly #channels = new Map<string, Channel>();

  servers(): Server[] {
    const servers = [...this.#servers.values()].map(({ server }) => server);
    return servers.sort((a, b) => compareIds(a.id, b.id));
  }

  channelsOf(serverId: string): Channel[] {
    const channels = [...this.#channels.values()].filter((c) => c.serverId === serverId);
    return channels.sort((a, b) => a.rank - b.rank || compareIds(a.id, b.id));
  }

  directChannels(): Channel[] {
    return this.channelsOf("0").sort((a, b) => compareIds(b.id, a.id));
  }

  channel(channelId: string): Channel | undefined {
    return this.#channels.get(channelId);
  }

  /** Whether its changes are events of its own topic, and not of its server's. */
  isOwnTopic({ type }: Channel): boolean {
    return type === ChannelType.PRIVATE || type === ChannelType.DIRECT;
  }

  /** The user's role in a server. */
  roleIn(serverId = ""): Role {
    return this.#servers.get(serverId)?.self?.role ?? Role.UNSPECIFIED;
  }

  /** A server's whole state: its open channels are these, and no others. */
  takeServer({ server, self, channels }: ServerState): void {
    if (server === undefined) return;
    this.#servers.set(server.id, { server, self });
    const open = new Set(channels.map(({ id }) => id));
    for (const channel of this.channelsOf(server.id)) {
      if (!open.has(channel.id) && !this.isOwnTopic(channel)) this.#channels.delete(channel.id);
    }
    for (const channel of channels) this.takeChannel(channel);
  }

  updateServer(server: Server): void {
    const place = this.#servers.get(server.id);
    if (place !== undefined) place.server = server;
  }

  updateSelf(member: Member): void {
    const place = this.#servers.get(member.serverId);
    if (place !== undefined) place.self = member;
  }

  takeChannel(channel: Channel): void {
    this.#channels.set(channel.id, channel);
  }

  removeChannel(channelId: string): Channel | undefined {
    const channel = this.#channels.get(channelId);
    this.#channels.delete(channelId);
    return channel;
  }

  /** Forgets a server. Answers the ids of its channels, which are to be forgotten, too. */
  removeServer(serverId: string): string[] {
    this.#servers.delete(serverId);
    return this.channelsOf(serverId).map(({ id }) => id);
  }
}

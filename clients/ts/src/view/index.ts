/**
 * What a client shows, kept up to date by its events: servers, channels, messages in order, parts
 * of member lists, what is unread, who is here. UI code subscribes to parts of it.
 *
 * - here: {@link LocalView}. `cell`: what is subscribed to. `places`: servers and channels.
 *   `presences`: who is here. `messages`, `members`, `unread`: the same of one channel or server.
 *
 * @packageDocumentation
 */

import type { Client } from "../client.js";
import type { ChirmError } from "../error.js";
import type { Event } from "../event.js";
import type { Channel } from "../gen/chirm/v1/channel_pb.js";
import { TopicKind } from "../gen/chirm/v1/common_pb.js";
import type { Snapshot, Event as TopicEvent } from "../gen/chirm/v1/gateway_pb.js";
import type { Message } from "../gen/chirm/v1/message_pb.js";
import type { Presence } from "../gen/chirm/v1/presence_pb.js";
import type { ReadState } from "../gen/chirm/v1/read_state_pb.js";
import type { Server } from "../gen/chirm/v1/server_pb.js";
import type { User } from "../gen/chirm/v1/user_pb.js";
import { Cell, Cells, type Readable } from "./cell.js";
import { MemberList, type MembersView, type Range } from "./members.js";
import { MessageList, type MessagesView } from "./messages.js";
import { Places } from "./places.js";
import { Presences } from "./presences.js";
import { type Reader, Unread, type UnreadView } from "./unread.js";

export type { Readable } from "./cell.js";
export type { MembersView, Range, RangeView } from "./members.js";
export type { MessagesView } from "./messages.js";
export type { UnreadView } from "./unread.js";

const MESSAGES_MAX = 500;
const LISTS_MAX = 50;
/** Channels of a page of unread ones. */
const UNREAD_PAGE = 1000;

/** How much a {@link LocalView} keeps. */
export interface LocalViewOptions {
  /** Messages of a channel, the newest: 500 by default. */
  readonly messagesMax?: number;
  /**
   * Channels whose messages are kept beside those that are watched, the last ones: 50 by default.
   */
  readonly channelsMax?: number;
}

/** How the connection is. */
export interface ConnectionView {
  readonly state: "connecting" | "live" | "signedOut" | "closed";
  /** Why it isn't live, if it was. */
  readonly reason: ChirmError | undefined;
}

/**
 * What a client shows. It hears the client from when it is made, so make it before the client got
 * ready.
 *
 * ```ts
 * const view = new LocalView(client);
 * const { messages } = useSyncExternalStore(
 *   view.messages(channelId).subscribe,
 *   view.messages(channelId).getSnapshot,
 * );
 * ```
 */
export class LocalView {
  /** How the connection is. */
  readonly connection: Readable<ConnectionView>;
  /** Who the user is; absent until the server has said so. */
  readonly self: Readable<User | undefined>;
  /** The user's servers, by id. */
  readonly servers: Readable<readonly Server[]>;
  /** The user's direct channels, the newest first. */
  readonly directChannels: Readable<readonly Channel[]>;
  readonly #client: Client;
  readonly #messagesMax: number;
  readonly #channelsMax: number;
  readonly #places = new Places();
  #connection: ConnectionView = { state: "connecting", reason: undefined };
  #self: User | undefined;
  readonly #lists = new Map<string, MessageList>();
  readonly #members = new Map<string, MemberList>();
  readonly #unread = new Map<string, Unread>();
  readonly #presences: Presences;
  #users: readonly string[] = [];
  readonly #off: () => void;
  readonly #cells: {
    readonly connection: Cell<ConnectionView>;
    readonly self: Cell<User | undefined>;
    readonly servers: Cell<readonly Server[]>;
    readonly direct: Cell<readonly Channel[]>;
    readonly channels: Cells<readonly Channel[]>;
    readonly channel: Cells<Channel | undefined>;
    readonly messages: Cells<MessagesView>;
    readonly members: Cells<MembersView>;
    readonly unread: Cells<UnreadView>;
    readonly presence: Cells<Presence | undefined>;
  };
  readonly #watched = new Set<string>();

  constructor(client: Client, options: LocalViewOptions = {}) {
    this.#client = client;
    this.#messagesMax = options.messagesMax ?? MESSAGES_MAX;
    this.#channelsMax = options.channelsMax ?? LISTS_MAX;
    this.#cells = {
      connection: new Cell(() => this.#connection),
      self: new Cell(() => this.#self),
      servers: new Cell(() => this.#places.servers()),
      direct: new Cell(() => this.#places.directChannels()),
      channels: new Cells((id) => this.#places.channelsOf(id)),
      channel: new Cells((id) => this.#places.channel(id)),
      messages: new Cells(
        (id) => this.#list(id).snapshot,
        (id, isWatched) => this.#watch(id, isWatched),
      ),
      members: new Cells((id) => this.#memberList(id).snapshot),
      unread: new Cells((id) => (this.#unread.get(id) ?? new Unread()).snapshot),
      presence: new Cells((id) => this.#presences.get(id)),
    };
    this.#presences = new Presences((userId) => this.#cells.presence.changed(userId));
    this.connection = this.#cells.connection;
    this.self = this.#cells.self;
    this.servers = this.#cells.servers;
    this.directChannels = this.#cells.direct;
    this.#off = client.on("*", (event) => this.#take(event));
  }

  /** A server's channels that the user sees, by rank and id. */
  channels(serverId: string): Readable<readonly Channel[]> {
    return this.#cells.channels.get(serverId);
  }

  /** A channel; absent if the user doesn't see it. */
  channel(channelId: string): Readable<Channel | undefined> {
    return this.#cells.channel.get(channelId);
  }

  /**
   * A channel's newest messages. They are read when somebody subscribes, and kept up to date from
   * then on.
   */
  messages(channelId: string): Readable<MessagesView> {
    return this.#cells.messages.get(channelId);
  }

  /**
   * Reads the page of messages before the oldest shown, if there is one and not too many are shown.
   */
  async loadOlder(channelId: string): Promise<void> {
    await this.#list(channelId).older();
  }

  /** What is shown of a server's member list: see {@link showMembers}. */
  members(serverId: string): Readable<MembersView> {
    return this.#cells.members.get(serverId);
  }

  /**
   * Shows these parts of a server's member list, and no others: at most 5 of 100 places, of 10
   * servers. It takes the place of {@link Client.look}.
   */
  showMembers(serverId: string, ranges: readonly Range[]): void {
    this.#memberList(serverId).show(ranges);
    if (ranges.length === 0) this.#members.delete(serverId);
    this.#cells.members.changed(serverId);
    this.#look();
  }

  /** How far the user has read a channel. */
  unread(channelId: string): Readable<UnreadView> {
    return this.#cells.unread.get(channelId);
  }

  /** Marks a channel as read up to a message: the last one, if none is named. */
  async ack(channelId: string, messageId?: string): Promise<void> {
    const last = messageId ?? this.#unread.get(channelId)?.snapshot.lastMessageId ?? "0";
    if (last === "0") return;
    const request = { channelId, messageId: last };
    const { readState } = await this.#client.api.readStates.ackMessage(request);
    if (readState !== undefined) this.#read(readState);
  }

  /**
   * A user's presence; absent if it is offline or not told. It needs `Intent.PRESENCE`, and of
   * users of large servers {@link showUsers}.
   */
  presence(userId: string): Readable<Presence | undefined> {
    return this.#cells.presence.get(userId);
  }

  /**
   * Wants the presence of these users wherever they are seen, and of no others so: at most 100. It
   * takes the place of {@link Client.look}.
   */
  showUsers(userIds: readonly string[]): void {
    this.#users = userIds;
    this.#look();
  }

  /** Hears no more of the client, which goes on. */
  close(): void {
    this.#off();
    this.#presences.disconnected();
  }

  #take(event: Event): void {
    switch (event.type) {
      case "ready":
        return this.#ready();
      case "disconnected":
        return this.#disconnected(event.reason);
      case "closed":
        return this.#connected({ state: "closed", reason: event.reason });
      case "message":
        return this.#message(event.message);
      case "messageUpdated":
        return this.#lists.get(event.message.channelId)?.put(event.message);
      case "messageDeleted":
        return this.#deleted(event.message);
      case "snapshot":
        return this.#snapshot(event.snapshot);
      case "topic":
        return this.#topic(event.event);
      case "gap":
        return this.#gap(event);
      case "topicRemoved":
        return this.#removed(event.topic.kind, event.topic.id);
      case "activity": {
        const { channelId, lastMessageId } = event.activity;
        this.#unreadOf(channelId).saw(lastMessageId);
        return this.#cells.unread.changed(channelId);
      }
      case "presence":
        return this.#presences.take(event.presence);
      case "memberList":
        return this.#memberListChanged(event);
    }
  }

  #connected(connection: ConnectionView): void {
    this.#connection = connection;
    this.#cells.connection.changed();
  }

  #ready(): void {
    this.#connected({ state: "live", reason: undefined });
    this.#presences.ready();
    for (const list of this.#lists.values()) if (list.isFailed) void list.read();
  }

  #disconnected(reason: ChirmError): void {
    const state = reason.advice === "reauthenticate" ? "signedOut" : "connecting";
    this.#connected({ state, reason });
    this.#presences.disconnected();
  }

  #message(message: Message): void {
    const { channelId } = message;
    this.#unreadOf(channelId).message(message, this.#reader(channelId));
    this.#cells.unread.changed(channelId);
    this.#lists.get(channelId)?.put(message);
  }

  #deleted({ channelId, id }: Message): void {
    const list = this.#lists.get(channelId);
    const held = list?.get(id);
    list?.remove(id);
    if (held === undefined) return;
    this.#unreadOf(channelId).deleted(held, this.#reader(channelId));
    this.#cells.unread.changed(channelId);
  }

  #snapshot({ topic, state }: Snapshot): void {
    if (topic === undefined) return;
    if (state.case === "server") {
      this.#places.takeServer(state.value);
      this.#serversChanged();
      this.#cells.channels.changed(topic.id);
      this.#cells.channel.allChanged();
    } else if (state.case === "user") {
      const isAgain = this.#self !== undefined;
      this.#self = state.value.user;
      this.#cells.self.changed();
      // Read states that moved meanwhile may have been missed.
      if (isAgain) void this.#readAgain();
    } else if (state.case === "channel") {
      const { channel, readState, lastMessageId } = state.value;
      if (channel !== undefined) this.#channel(channel);
      if (readState !== undefined) this.#read(readState);
      this.#unreadOf(topic.id).saw(lastMessageId);
      this.#cells.unread.changed(topic.id);
      // What lies between the snapshot and what is shown isn't known.
      void this.#lists.get(topic.id)?.read();
    }
  }

  #topic(event: TopicEvent): void {
    const body = event.event;
    switch (body.case) {
      case "channelCreated":
      case "channelUpdated":
        if (body.value.channel !== undefined) this.#channel(body.value.channel);
        return;
      case "serverUpdated":
        if (body.value.server !== undefined) this.#places.updateServer(body.value.server);
        return this.#serversChanged();
      case "memberUpdated":
        if (body.value.member?.userId === this.#self?.id && body.value.member !== undefined) {
          this.#places.updateSelf(body.value.member);
        }
        return;
      case "readStateChanged":
        if (body.value.readState !== undefined) this.#read(body.value.readState);
        return;
      case "userUpdated":
        this.#self = body.value.user;
        return this.#cells.self.changed();
      default:
        if (event.topic?.kind === TopicKind.CHANNEL) this.#lists.get(event.topic.id)?.mark(event);
    }
  }

  #gap({ gap: { topic, channel } }: Event & { type: "gap" }): void {
    if (topic?.kind !== TopicKind.CHANNEL) return;
    const known = this.#places.channel(topic.id);
    if (channel !== undefined) this.#channel(channel);
    else if (known !== undefined && this.#places.isOwnTopic(known))
      void this.#readChannel(topic.id);
    void this.#lists.get(topic.id)?.read();
  }

  /** Its changes are events of its own, of which some were missed. */
  async #readChannel(channelId: string): Promise<void> {
    try {
      const { channel } = await this.#client.api.channels.getChannel({ channelId });
      if (channel !== undefined) this.#channel(channel);
    } catch {
      // It is no longer visible, of which the stream tells; or the next change tells all of it.
    }
  }

  #channel(channel: Channel): void {
    this.#places.takeChannel(channel);
    this.#cells.channel.changed(channel.id);
    this.#cells.channels.changed(channel.serverId);
    if (channel.serverId === "0") this.#cells.direct.changed();
  }

  #removed(kind: TopicKind, id: string): void {
    const gone = kind === TopicKind.SERVER ? this.#places.removeServer(id) : [id];
    for (const channelId of gone) {
      const serverId = this.#places.removeChannel(channelId)?.serverId;
      this.#lists.delete(channelId);
      this.#unread.delete(channelId);
      this.#cells.channel.changed(channelId);
      this.#cells.messages.changed(channelId);
      this.#cells.unread.changed(channelId);
      if (serverId !== undefined) this.#cells.channels.changed(serverId);
    }
    this.#cells.direct.changed();
    if (kind !== TopicKind.SERVER) return;
    this.#members.delete(id);
    this.#cells.members.changed(id);
    this.#cells.channels.changed(id);
    void this.#recheckPresences();
    this.#serversChanged();
  }

  #serversChanged(): void {
    this.#cells.servers.changed();
  }

  /** Whom the user sees, now that it sees a server less. */
  async #recheckPresences(): Promise<void> {
    const { presence } = this.#client.api;
    try {
      await this.#presences.recheck(
        async (userIds) => (await presence.batchGetPresence({ userIds })).presences,
      );
    } catch {
      // The next connection names everybody anew.
    }
  }

  #memberListChanged({ memberList }: Event & { type: "memberList" }): void {
    const { serverId, range } = memberList;
    const list = this.#members.get(serverId);
    if (list === undefined || range === undefined) return;
    if (!list.take(memberList)) {
      // To be sent a part anew, it is left out of one view and named in the next.
      const wanted = list.wanted;
      const { start, count } = range;
      list.show(wanted.filter((part) => part.start !== start || part.count !== count));
      this.#look();
      list.show(wanted);
      this.#look();
    }
    this.#cells.members.changed(serverId);
  }

  #memberList(serverId: string): MemberList {
    let list = this.#members.get(serverId);
    if (list === undefined) {
      list = new MemberList();
      this.#members.set(serverId, list);
    }
    return list;
  }

  #look(): void {
    const lists = [...this.#members].filter(([, { wanted }]) => wanted.length > 0);
    this.#client.look({
      lists: lists.map(([serverId, { wanted }]) => ({ serverId, ranges: [...wanted] })),
      users: this.#users,
    });
  }

  #reader(channelId: string): Reader {
    const userId = this.#self?.id ?? "";
    return { userId, role: this.#places.roleIn(this.#places.channel(channelId)?.serverId) };
  }

  #unreadOf(channelId: string): Unread {
    let unread = this.#unread.get(channelId);
    if (unread === undefined) {
      unread = new Unread();
      this.#unread.set(channelId, unread);
    }
    return unread;
  }

  #read(state: ReadState): void {
    this.#unreadOf(state.channelId).take(state);
    this.#cells.unread.changed(state.channelId);
  }

  /** Reads what is unread or muted; everything else is read. */
  async #readAgain(): Promise<void> {
    const named = new Set<string>();
    let pageToken = "";
    try {
      do {
        const request = { pageSize: UNREAD_PAGE, includeMuted: true, pageToken };
        const page = await this.#client.api.readStates.listUnread(request);
        for (const state of page.readStates) {
          named.add(state.channelId);
          this.#read(state);
        }
        pageToken = page.nextPageToken;
      } while (pageToken !== "");
    } catch {
      // The next connection that brings the user anew reads it again.
      return;
    }
    for (const [channelId, unread] of this.#unread) {
      if (named.has(channelId)) continue;
      unread.readAll();
      this.#cells.unread.changed(channelId);
    }
  }

  #list(channelId: string): MessageList {
    const known = this.#lists.get(channelId);
    if (known !== undefined) return known;
    const list = new MessageList({
      api: this.#client.api,
      channelId,
      messagesMax: this.#messagesMax,
      userId: () => this.#self?.id ?? "",
      changed: () => this.#cells.messages.changed(channelId),
    });
    this.#lists.set(channelId, list);
    void list.read();
    this.#forgetLists();
    return list;
  }

  #watch(channelId: string, isWatched: boolean): void {
    if (!isWatched) {
      this.#watched.delete(channelId);
      this.#forgetLists();
      return;
    }
    this.#watched.add(channelId);
    const list = this.#list(channelId);
    // The last one that was watched is the last one to be forgotten.
    this.#lists.delete(channelId);
    this.#lists.set(channelId, list);
  }

  #forgetLists(): void {
    const unwatched = [...this.#lists.keys()].filter((id) => !this.#watched.has(id));
    const tooMany = unwatched.length - this.#channelsMax;
    for (const id of unwatched.slice(0, Math.max(0, tooMany))) this.#lists.delete(id);
  }
}

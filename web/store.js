/**
 * What the page knows: topics at positions. The rules are those of docs/protocol.md: what is at or
 * below the position held is dropped, the next one is applied, anything further means a gap.
 */

import { eventName } from "./gateway.js";
import { MemberList } from "./members.js";
import { compareIds, MessageList } from "./messages.js";

const key = ({ kind, id }) => `${kind} ${id}`;
const seqOf = (position) => BigInt(position.seq ?? 0);
const CHANNEL = "TOPIC_KIND_CHANNEL";
const SERVER = "TOPIC_KIND_SERVER";
/** Names of users that are remembered. */
const NAMES_MAX = 5_000;
/** Most positions of an `identify`. */
const POSITIONS_MAX = 4_096;
const BATCH = 100;
/** Channels whose messages are kept: those opened last. */
const LISTS_MAX = 20;

export class Store {
  /**
   * @param {import("./rest.js").Rest} rest
   * @param {() => void} changed something is to be shown otherwise
   * @param {() => void} lost a topic that can't be mended but by connecting again
   */
  constructor(rest, changed, lost) {
    this.rest = rest;
    this.changed = changed;
    this.lost = lost;
    this.self = undefined;
    this.positions = new Map();
    this.servers = new Map();
    this.channels = new Map();
    /** Of channels that were opened, their messages. */
    this.lists = new Map();
    this.members = new MemberList();
    this.names = new Map();
    this.unknown = new Set();
    this.typing = new Map();
    this.unread = new Set();
    this.openChannel = undefined;
  }

  /** The positions held, to resume at. Servers and users go first: there may be too many. */
  held() {
    const rank = ({ topic }) => (topic.kind === CHANNEL ? 1 : 0);
    return [...this.positions.values()].sort((a, b) => rank(a) - rank(b)).slice(0, POSITIONS_MAX);
  }

  /** A frame of the stream. */
  take(name, content) {
    const take = {
      hello: ({ user }) => this.is(user),
      snapshot: (snapshot) => this.snapshot(snapshot),
      event: (event) => this.event(event),
      gap: ({ topic, position, channel }) => {
        if (channel !== undefined) this.channels.set(channel.id, channel);
        this.missed(topic, position);
      },
      ready: () => this.ready(),
      topicRemoved: ({ topic }) => this.removed(topic),
      memberListChanged: (change) => this.members.take(change, (user) => this.known(user)),
      typingStarted: ({ channelId, userId }) => this.typed(channelId, userId),
    }[name];
    take?.(content);
    this.changed();
  }

  /** Every topic was dealt with: what was read when the connection ended is read anew. */
  ready() {
    for (const [channelId, list] of this.lists) {
      if (list.state === "ready" || list.isPaged) continue;
      if (channelId === this.openChannel) list.begin();
      else this.lists.delete(channelId);
    }
  }

  hold(topic, position) {
    this.positions.set(key(topic), { topic, position });
  }

  snapshot({ topic, position, channel, server, user }) {
    if (user !== undefined) this.is(user.user);
    if (server !== undefined) this.takeServer(server);
    if (channel !== undefined) {
      this.channels.set(channel.channel.id, channel.channel);
      const { lastReadId = "0" } = channel.readState ?? {};
      const isUnread = compareIds(channel.lastMessageId ?? "0", lastReadId) > 0;
      this.mark(topic.id, isUnread && topic.id !== this.openChannel);
      // What is shown of its messages is of another position.
      if (this.lists.has(topic.id)) return this.missed(topic, position);
    }
    this.hold(topic, position);
  }

  takeServer({ server, channels = [] }) {
    this.servers.set(server.id, server);
    for (const { id, serverId, type } of [...this.channels.values()]) {
      const isOpen = type !== "CHANNEL_TYPE_PRIVATE";
      if (serverId === server.id && isOpen && !channels.some((kept) => kept.id === id)) {
        this.removed({ kind: CHANNEL, id });
      }
    }
    for (const channel of channels) this.channels.set(channel.id, channel);
  }

  event(event) {
    const { topic, position } = event;
    const list = this.lists.get(topic.id);
    if (topic.kind === CHANNEL && list?.isPaged) {
      list.waits(event);
      return;
    }
    const held = this.positions.get(key(topic))?.position;
    // Of a topic that isn't held, or not any more, it was under way.
    if (held === undefined) return;
    if (held.epoch === position.epoch) {
      if (seqOf(position) <= seqOf(held)) return;
      if (seqOf(position) === seqOf(held) + 1n) {
        this.hold(topic, position);
        this.apply(event);
        return;
      }
    }
    this.missed(topic, position);
  }

  /** Something of a topic was missed up to a position. */
  missed(topic, position) {
    this.positions.delete(key(topic));
    if (topic.kind !== CHANNEL) {
      // Presented without a position, it comes as a snapshot.
      this.lost();
      return;
    }
    const list = this.lists.get(topic.id);
    if (list === undefined || topic.id !== this.openChannel) {
      // Nothing of it is shown, so there is nothing to mend: it is read when it is opened.
      list?.drop();
      this.lists.delete(topic.id);
      this.hold(topic, position);
      this.mark(topic.id, topic.id !== this.openChannel);
      return;
    }
    list.read((events) => {
      this.hold(topic, position);
      for (const event of events) this.event(event);
    });
  }

  apply(event) {
    const name = eventName(event);
    const what = event[name];
    const { topic } = event;
    const list = this.lists.get(topic.id);
    if (name === "messageCreated") this.created(what.message, list);
    if (name === "messageUpdated" || name === "messageDeleted") list?.put(what.message, true);
    if (name === "reactionAdded") list?.reacted(what, what.userId === this.self.id, true);
    if (name === "reactionRemoved") list?.reacted(what, what.userId === this.self.id, false);
    if (name === "reactionsCleared") list?.cleared(what);
    if (name === "channelCreated" || name === "channelUpdated") {
      this.channels.set(what.channel.id, what.channel);
    }
    if (name === "channelDeleted") this.removed({ kind: CHANNEL, id: what.channelId });
    if (name === "serverUpdated") this.servers.set(what.server.id, what.server);
    if (name === "serverDeleted") this.removed({ kind: SERVER, id: what.serverId });
    if (name === "topicRemoved") this.removed(what.topic);
    if (name === "memberJoined" || name === "memberUpdated") this.known(what.member.user);
    if (name === "userUpdated") this.is(what.user);
    if (name === "readStateChanged") {
      const { channelId, lastReadId = "0", lastMessageId = "0" } = what.readState;
      this.mark(channelId, compareIds(lastMessageId, lastReadId) > 0);
    }
  }

  created(message, list) {
    const { channelId, authorId } = message;
    list?.put(message);
    this.typing.delete(`${channelId} ${authorId}`);
    this.mark(channelId, authorId !== this.self.id && channelId !== this.openChannel);
  }

  mark(channelId, isUnread) {
    if (isUnread) this.unread.add(channelId);
    else this.unread.delete(channelId);
  }

  removed(topic) {
    this.positions.delete(key(topic));
    if (topic.kind === CHANNEL) {
      this.channels.delete(topic.id);
      this.lists.get(topic.id)?.drop();
      this.lists.delete(topic.id);
      this.unread.delete(topic.id);
    }
    if (topic.kind !== SERVER) return;
    this.servers.delete(topic.id);
    for (const { id, serverId } of [...this.channels.values()]) {
      if (serverId === topic.id) this.removed({ kind: CHANNEL, id });
    }
  }

  /** The messages of a channel that is opened: read, if they aren't held. */
  open(channelId) {
    this.openChannel = channelId;
    this.unread.delete(channelId);
    const held = this.lists.get(channelId);
    const list = held ?? new MessageList(channelId, this.rest, this.changed);
    this.lists.delete(channelId);
    this.lists.set(channelId, list);
    if (held !== undefined) return;
    const [oldest] = this.lists.keys();
    if (this.lists.size > LISTS_MAX) this.lists.delete(oldest);
    // Read beside the events, which go on: of a message that both tell, the higher revision wins.
    list.begin();
  }

  /** A connection ended: what was being paged has no position, and comes as a snapshot. */
  disconnected() {
    for (const list of this.lists.values()) list.drop();
    this.typing.clear();
  }

  typed(channelId, userId) {
    if (userId === this.self?.id) return;
    const who = `${channelId} ${userId}`;
    clearTimeout(this.typing.get(who)?.timer);
    const timer = setTimeout(() => {
      this.typing.delete(who);
      this.changed();
    }, 10_000);
    this.typing.set(who, { channelId, userId, timer });
  }

  /** Who the user is. */
  is(user) {
    this.self = user;
    this.known(user);
  }

  known(user) {
    if (user === undefined) return;
    if (this.names.size >= NAMES_MAX) this.names.clear();
    this.names.set(user.id, user.displayName ?? user.username ?? user.id);
  }

  /** A user's name; one that isn't known is asked for. */
  name(userId) {
    const name = this.names.get(userId);
    if (name !== undefined) return name;
    if (this.unknown.size === 0) setTimeout(() => this.ask(), 50);
    this.unknown.add(userId);
    return "…";
  }

  async ask() {
    const ids = [...this.unknown].slice(0, BATCH);
    this.unknown.clear();
    try {
      const query = ids.map((id) => `userIds=${id}`).join("&");
      const { users = [] } = await this.rest.call("GET", `/v1/users:batchGet?${query}`);
      // Who isn't told, isn't seen.
      for (const id of ids) this.names.set(id, "somebody");
      for (const user of users) this.known(user);
      this.changed();
    } catch {
      // The next time that the name is to be shown asks again.
    }
  }
}

/** The messages of one channel, as they are shown: the newest, in order of their ids. */

/** Ids are numbers of up to 63 bits, as strings. */
export const compareIds = (a, b) => a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);

const PAGE = 50;
/** Messages that are kept; the oldest go, and can be read again. */
const KEPT_MAX = 1_000;
/** After how long a page that couldn't be read is tried again. */
const AGAIN_MS = 3_000;
/** Events that wait while the channel is paged. */
const WAITING_MAX = 4_096;

export class MessageList {
  constructor(channelId, rest, changed) {
    this.channelId = channelId;
    this.rest = rest;
    this.changed = changed;
    /** Those that were deleted, too: a page may be older than that. */
    this.byId = new Map();
    this.state = "reading";
    this.hasOlder = false;
    this.isPaged = false;
    this.waiting = [];
    this.run = 0;
  }

  /** What is to be shown, in order. */
  shown() {
    return [...this.byId.values()]
      .filter(({ deleted }) => !deleted)
      .sort((a, b) => compareIds(a.id, b.id));
  }

  /**
   * A message from an event, a page or an answer: the highest revision wins, deleted is final.
   * Events don't say which reactions are the user's own: those stay as they were.
   */
  put(message, isEvent = false) {
    const held = this.byId.get(message.id);
    if (held !== undefined) {
      if (held.deleted || BigInt(message.revision ?? 0) < BigInt(held.revision ?? 0)) return;
      const own = new Set(held.reactions?.filter(({ own }) => own).map(({ emoji }) => emoji));
      for (const reaction of message.reactions ?? []) {
        if (isEvent) reaction.own = own.has(reaction.emoji);
      }
    }
    this.byId.set(message.id, message);
    if (this.byId.size <= KEPT_MAX) return;
    const [oldest] = [...this.byId.keys()].sort(compareIds);
    this.byId.delete(oldest);
    this.hasOlder = true;
  }

  /** Somebody reacted, or took it back: the count of the latest event is right. */
  reacted({ messageId, emoji, count = 0 }, isOwn, isThere) {
    const message = this.byId.get(messageId);
    if (message === undefined) return;
    const reactions = message.reactions ?? [];
    const held = reactions.find((reaction) => reaction.emoji === emoji);
    const own = isOwn ? isThere : (held?.own ?? false);
    const others = reactions.filter((reaction) => reaction !== held);
    if (held !== undefined && count > 0) Object.assign(held, { count, own });
    else message.reactions = count > 0 ? [...others, { emoji, count, own }] : others;
  }

  cleared({ messageId, emoji = "" }) {
    const message = this.byId.get(messageId);
    if (message === undefined) return;
    const isLeft = (reaction) => emoji !== "" && reaction.emoji !== emoji;
    message.reactions = message.reactions?.filter(isLeft);
  }

  /** An event that came while the channel is paged. */
  waits(event) {
    this.waiting.push(event);
    // A page that is read from here on has what is dropped.
    if (this.waiting.length > WAITING_MAX) this.read(this.done);
  }

  /** Stops what is being read. */
  drop() {
    this.run += 1;
    this.isPaged = false;
    this.waiting = [];
    if (this.state === "reading") this.state = "failed";
  }

  /** Reads the newest page for the first time. */
  begin() {
    return this.reading(() => {});
  }

  /**
   * Reads the newest page anew after a gap, in place of all that is held; older ones are read as
   * the user goes back. Then gives the events that waited.
   */
  read(done) {
    this.isPaged = true;
    this.waiting = [];
    this.done = done;
    return this.reading(() => {
      this.isPaged = false;
      done(this.waiting.splice(0));
    });
  }

  async reading(done) {
    this.run += 1;
    const { run } = this;
    this.state = "reading";
    this.changed();
    try {
      const page = await this.page("");
      if (run !== this.run) return;
      if (this.isPaged) this.byId.clear();
      this.add(page);
      this.state = "ready";
      done();
    } catch (error) {
      if (run !== this.run) return;
      this.state = "failed";
      const again = () => run === this.run && this.reading(done);
      if (error.isTransient) setTimeout(again, AGAIN_MS);
    }
    this.changed();
  }

  /** Whether more of the past can be shown. */
  get canGoBack() {
    return this.hasOlder && !this.isPaged && this.byId.size + PAGE <= KEPT_MAX;
  }

  /** Reads the page before the oldest message. */
  async older() {
    const [oldest] = [...this.byId.keys()].sort(compareIds);
    if (!this.canGoBack) return;
    const { run } = this;
    const page = await this.page(`&before=${oldest}`);
    if (run === this.run) this.add(page);
    this.changed();
  }

  page(anchor) {
    const path = `/v1/channels/${this.channelId}/messages?limit=${PAGE}${anchor}`;
    return this.rest.call("GET", path);
  }

  add({ messages = [], hasOlder = false }) {
    this.hasOlder = hasOlder;
    for (const message of messages) this.put(message);
  }
}

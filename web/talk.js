/** The open channel's messages, and the box to write in. */

import { $, el, show, toast } from "./dom.js";

const EMOJI = ["👍", "❤️", "😂", "🎉"];
/** Messages of one author so close together have one heading. */
const TOGETHER_MS = 5 * 60_000;
/** Milliseconds from 1970 to the first of ids, which have them in their upper bits. */
const ID_EPOCH_MS = 1_735_689_600_000;
const TYPING_MS = 8_000;

const sentAt = (id) => new Date(Number(BigInt(id) >> 22n) + ID_EPOCH_MS);

export class Talk {
  /** @param {object} session what the page is signed in with: `store`, `gateway`, `outbox` */
  constructor(session) {
    this.session = session;
    this.editing = undefined;
    this.typedAt = 0;
    this.channelId = undefined;
    const { signal } = session;
    $("composer").addEventListener("submit", (event) => this.submit(event), { signal });
    $("text").addEventListener("keydown", (event) => this.key(event), { signal });
    $("text").addEventListener("input", () => this.typing(), { signal });
    $("older").addEventListener("click", () => this.older(), { signal });
  }

  key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("composer").requestSubmit();
  }

  submit(event) {
    event.preventDefault();
    const { store, outbox } = this.session;
    const content = $("text").value.trim();
    if (content === "" || store.openChannel === undefined) return;
    if (outbox.isFull) {
      toast("100 messages wait to be sent. No more fit.");
      return;
    }
    $("text").value = "";
    this.typedAt = 0;
    outbox.add(store.openChannel, content);
    this.toEnd();
  }

  /** Tells the others that the user types, now and then. */
  typing() {
    const { store, gateway } = this.session;
    if (Date.now() - this.typedAt < TYPING_MS || $("text").value === "") return;
    this.typedAt = Date.now();
    if (gateway.isLive) gateway.send({ startTyping: { channelId: store.openChannel } });
  }

  async older() {
    const scroll = $("scroll");
    const below = scroll.scrollHeight - scroll.scrollTop;
    try {
      await this.session.store.lists.get(this.channelId)?.older();
      this.show();
      scroll.scrollTop = scroll.scrollHeight - below;
    } catch (error) {
      toast(error.message);
    }
  }

  toEnd() {
    $("scroll").scrollTop = $("scroll").scrollHeight;
  }

  /** Makes a request of the stream, and says why if it is refused. */
  async ask(name, content) {
    try {
      return await this.session.gateway.request(name, content);
    } catch (error) {
      toast(error.message);
      return undefined;
    }
  }

  show() {
    const { store, outbox } = this.session;
    const scroll = $("scroll");
    const isOther = store.openChannel !== this.channelId;
    const isAtEnd = isOther || scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 40;
    if (isOther) this.editing = undefined;
    this.channelId = store.openChannel;
    const list = store.lists.get(this.channelId);
    const messages = list?.shown() ?? [];
    const nonces = new Set(messages.map(({ nonce }) => nonce));
    const waiting = outbox.entries.filter(
      ({ channelId, nonce }) => channelId === this.channelId && !nonces.has(nonce),
    );
    show($("messages"), [
      ...messages.map((message, i) => this.item(message, messages[i - 1])),
      ...waiting.map((entry) => this.waitingItem(entry)),
    ]);
    $("older").hidden = !list?.canGoBack;
    this.showEmpty(list, messages.length + waiting.length);
    this.showTyping();
    $("composer").hidden = this.channelId === undefined;
    if (isAtEnd) this.toEnd();
  }

  showEmpty(list, count) {
    const { store, gateway } = this.session;
    let text = "";
    if (list === undefined) {
      if (gateway.isLive) {
        text =
          store.servers.size === 0
            ? "No server yet. Make one, or join one by an invitation."
            : "No channel here. Make one.";
      }
    } else if (count === 0) {
      text = {
        reading: "Reading…",
        failed: "The messages can't be read just now.",
        ready: "Nothing was said here yet.",
      }[list.state];
    }
    $("empty").textContent = text;
    $("empty").hidden = text === "";
  }

  showTyping() {
    const { store } = this.session;
    const names = [...store.typing.values()]
      .filter(({ channelId }) => channelId === this.channelId)
      .map(({ userId }) => store.name(userId));
    const who = names.length > 3 ? "Several people type" : names.join(", ");
    const verb = names.length === 1 ? " types…" : " type…";
    $("typing").textContent = names.length === 0 ? "" : names.length > 3 ? `${who}…` : who + verb;
  }

  item(message, before) {
    const { store } = this.session;
    const { id, authorId, revision, reactions = [] } = message;
    const at = sentAt(id);
    const isNext =
      before?.authorId === authorId && at - sentAt(before.id) < TOGETHER_MS && !message.replyTo;
    const name = store.name(authorId);
    const isEdited = this.editing === id;
    // What is being written isn't replaced, whatever happens to the message.
    const version = isEdited ? "edited" : JSON.stringify([revision, reactions, isNext, name]);
    const make = () =>
      el(
        "li",
        { class: isNext ? "message next" : "message" },
        isNext ? undefined : el("div", { class: "head" }, el("strong", {}, name), time(at)),
        isEdited ? this.editor(message) : this.body(message),
        this.reactions(message),
        isEdited ? undefined : this.actions(message, name),
      );
    return { key: id, version, make };
  }

  body({ content = "", editedAt }) {
    const mark = el("small", { class: "hint" }, " (edited)");
    return el("p", { class: "content" }, content, editedAt === undefined ? undefined : mark);
  }

  reactions(message) {
    const { reactions = [] } = message;
    if (reactions.length === 0) return undefined;
    const chips = reactions.map((reaction) => {
      const { emoji, count, own = false } = reaction;
      return el(
        "button",
        {
          class: "chip",
          "aria-pressed": String(own),
          "data-focus": emoji,
          "aria-label": `${emoji}, ${count}`,
          onclick: () => this.react(message, emoji, own),
        },
        `${emoji} ${count}`,
      );
    });
    return el("div", { class: "chips" }, ...chips);
  }

  async react({ channelId, id: messageId }, emoji, isOwn) {
    await this.ask(isOwn ? "removeReaction" : "addReaction", { channelId, messageId, emoji });
  }

  actions(message, name) {
    const { id, channelId, authorId, reactions = [] } = message;
    const isOwn = authorId === this.session.store.self?.id;
    const button = (label, text, onclick) =>
      el("button", { class: "quiet", "aria-label": label, title: label, onclick }, text);
    const emoji = EMOJI.map((one) => {
      const held = reactions.some((reaction) => reaction.emoji === one && reaction.own);
      return button(`React with ${one}`, one, () => this.react(message, one, held));
    });
    const edit = () => {
      this.editing = id;
      this.show();
      $("messages").querySelector(".editor textarea")?.focus();
    };
    const remove = () => this.ask("deleteMessage", { channelId, messageId: id });
    const own = isOwn ? [button("Edit", "✎", edit), button("Delete", "✕", remove)] : [];
    const label = `Message of ${name}`;
    return el("div", { class: "tools", role: "group", "aria-label": label }, ...emoji, ...own);
  }

  editor({ id, channelId, content = "" }) {
    const text = el("textarea", { rows: "2", maxlength: "4000", "aria-label": "Edit the message" });
    text.value = content;
    const end = () => {
      this.editing = undefined;
      this.show();
      $("text").focus();
    };
    const save = async (event) => {
      event.preventDefault();
      const request = { channelId, messageId: id, content: text.value.trim() };
      const answer = await this.ask("editMessage", request);
      if (answer !== undefined) end();
    };
    const form = el(
      "form",
      { class: "editor", onsubmit: save },
      text,
      el(
        "div",
        { class: "row" },
        el("button", { class: "primary" }, "Save"),
        el("button", { type: "button", onclick: end }, "Cancel"),
      ),
    );
    text.addEventListener("keydown", (event) => {
      if (event.key === "Escape") end();
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    return form;
  }

  /** A message that the server hasn't acknowledged. */
  waitingItem(entry) {
    const { outbox, gateway } = this.session;
    const { content, nonce, error } = entry;
    const state = gateway.isLive ? "is being sent…" : "waits for the connection";
    const make = () =>
      el(
        "li",
        { class: "message waiting" },
        el("p", { class: "content" }, content),
        error === undefined
          ? el("small", { class: "hint" }, state)
          : el(
              "div",
              { class: "row error" },
              el("span", { class: "grow" }, `Not sent: ${error}`),
              el("button", { onclick: () => outbox.again(entry) }, "Try again"),
              el("button", { onclick: () => outbox.remove(entry) }, "Drop it"),
            ),
      );
    return { key: nonce, version: JSON.stringify([error, state]), make };
  }
}

function time(at) {
  const isToday = at.toDateString() === new Date().toDateString();
  const clock = { hour: "2-digit", minute: "2-digit" };
  const day = isToday ? {} : { year: "numeric", month: "short", day: "numeric" };
  const text = at.toLocaleString(undefined, { ...day, ...clock });
  return el("time", { datetime: at.toISOString(), title: at.toLocaleString() }, text);
}

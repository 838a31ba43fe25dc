/** Servers, channels and who is here: what stands at the sides. */

import { $, ask, el, show, toast } from "./dom.js";
import { compareIds } from "./messages.js";

const ROLES = {
  ROLE_OWNER: "Owner",
  ROLE_ADMIN: "Admins",
  ROLE_MODERATOR: "Moderators",
  ROLE_MEMBER: "Here",
};
const STATUSES = {
  PRESENCE_STATUS_ONLINE: "online",
  PRESENCE_STATUS_IDLE: "idle",
  PRESENCE_STATUS_DO_NOT_DISTURB: "busy",
};

export class Places {
  /**
   * @param {object} session what the page is signed in with: `store`, `rest`
   * @param {(serverId: string, channelId?: string) => void} open looks at another place
   */
  constructor(session, open) {
    this.session = session;
    this.open = open;
    this.serverId = undefined;
    /** A server that was joined or made, and isn't told of yet. */
    this.wanted = undefined;
    const on = (id, type, act) => $(id).addEventListener(type, act, { signal: session.signal });
    on("servers", "change", () => open($("servers").value));
    on("new-server", "click", () => this.newServer());
    on("new-channel", "click", () => this.newChannel());
    on("join", "click", () => this.join());
    on("invite", "click", () => this.invite());
  }

  /** A server's channels in their order. */
  channels(serverId) {
    const rank = ({ rank = 0 }) => rank;
    return [...this.session.store.channels.values()]
      .filter((channel) => channel.serverId === serverId)
      .sort((a, b) => rank(a) - rank(b) || compareIds(a.id, b.id));
  }

  /** Makes a call and says why if it is refused. */
  async call(...call) {
    try {
      return await this.session.rest.call(...call);
    } catch (error) {
      toast(error.message);
      return undefined;
    }
  }

  async newServer() {
    const name = await ask("A new server", "Its name", "Make it");
    if (name === undefined) return;
    const made = await this.call("POST", "/v1/servers", { name });
    if (made !== undefined) this.want(made.server.id);
  }

  async newChannel() {
    const name = await ask("A new channel", "Its name", "Make it");
    if (name === undefined) return;
    const request = { serverId: this.serverId, type: "CHANNEL_TYPE_TEXT", name };
    const made = await this.call("POST", "/v1/channels", request);
    if (made !== undefined) this.want(this.serverId, made.channel.id);
  }

  /** Joins by an invitation, which may be known already. */
  async join(known) {
    const told = await ask("Join a server", "The invitation's code or link", "Join", known);
    if (told === undefined) return;
    const inviteCode = told.replace(/^.*#join=/, "");
    const joined = await this.call("POST", "/v1/servers:join", { inviteCode });
    if (joined !== undefined) this.want(joined.server.id);
  }

  async invite() {
    const made = await this.call("POST", `/v1/servers/${this.serverId}/invites`, {});
    if (made === undefined) return;
    const link = `${location.origin}${location.pathname}#join=${made.invite.code}`;
    try {
      await navigator.clipboard.writeText(link);
      toast(`Copied. Or say the code: ${made.invite.code}`);
    } catch {
      // Pages without TLS may not.
      toast(`Invitation: ${link}`);
    }
  }

  /** Goes there, as soon as the stream has told of it. */
  want(serverId, channelId) {
    this.wanted = { serverId, channelId };
    this.choose();
  }

  /** Looks at a place that there is, if it can be: what is wanted, else the first. */
  choose() {
    const { store } = this.session;
    const { serverId, channelId } = this.wanted ?? {};
    if (store.servers.has(serverId)) {
      const channels = this.channels(serverId);
      if (channelId === undefined ? channels.length > 0 : store.channels.has(channelId)) {
        this.wanted = undefined;
        this.open(serverId, channelId);
        return;
      }
    }
    if (store.openChannel !== undefined && store.channels.has(store.openChannel)) return;
    const first = store.servers.has(this.serverId) ? this.serverId : this.sorted()[0]?.id;
    const channel = first && this.channels(first)[0]?.id;
    if (first !== this.serverId || channel !== store.openChannel) this.open(first, channel);
  }

  sorted() {
    return [...this.session.store.servers.values()].sort((a, b) => compareIds(a.id, b.id));
  }

  show() {
    const { store } = this.session;
    const servers = this.sorted();
    show(
      $("servers"),
      servers.map(({ id, name }) => ({
        key: id,
        version: name,
        make: () => el("option", { value: id }, name),
      })),
    );
    $("servers").value = this.serverId ?? "";
    $("servers").disabled = servers.length === 0;
    $("new-channel").disabled = this.serverId === undefined;
    $("invite").disabled = this.serverId === undefined;
    const open = this.serverId === undefined ? [] : this.channels(this.serverId);
    show(
      $("channels"),
      open.map((channel) => this.channel(channel, `# ${channel.name}`)),
    );
    const directs = [...store.channels.values()].filter(({ serverId }) => serverId === undefined);
    const others = ({ memberIds = [] }) => memberIds.filter((id) => id !== store.self?.id);
    show(
      $("directs"),
      directs.map((channel) =>
        this.channel(
          channel,
          others(channel)
            .map((id) => store.name(id))
            .join(", "),
        ),
      ),
    );
    $("directs-title").hidden = directs.length === 0;
    $("self-name").textContent = store.self?.displayName ?? "";
    this.showMembers();
  }

  channel({ id }, name) {
    const { store } = this.session;
    const isOpen = id === store.openChannel;
    const isUnread = store.unread.has(id);
    const make = () =>
      el(
        "li",
        {},
        el(
          "button",
          {
            class: isUnread ? "place unread" : "place",
            "data-focus": id,
            "aria-current": isOpen ? "page" : undefined,
            onclick: () => this.open(this.serverId, id),
          },
          el("span", { class: "grow" }, name),
          isUnread
            ? el("span", { class: "dot" }, el("span", { class: "sr" }, "unread"))
            : undefined,
        ),
      );
    return { key: id, version: JSON.stringify([name, isOpen, isUnread]), make };
  }

  showMembers() {
    const { items } = this.session.store.members;
    show(
      $("members"),
      items.map(({ group, member, presence }) => {
        const version = JSON.stringify([group, member?.user, presence]);
        if (group !== undefined) {
          const name = ROLES[group.role] ?? "Away";
          const make = () => el("li", { class: "group" }, `${name} — ${group.count}`);
          return { key: `group ${group.role}`, version, make };
        }
        return { key: member.userId, version, make: () => person(member, presence) };
      }),
    );
  }
}

function person({ user, userId }, { status, text = "" } = {}) {
  const state = STATUSES[status] ?? "away";
  return el(
    "li",
    { class: `person ${state}` },
    el("span", { class: "dot" }, el("span", { class: "sr" }, `${state}: `)),
    el("span", { class: "grow" }, user?.displayName ?? user?.username ?? userId),
    text === "" ? undefined : el("small", { class: "hint" }, text),
  );
}

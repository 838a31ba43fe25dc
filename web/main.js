/**
 * The page: signs in, then shows what the stream tells. `gateway.js` is the stream, `rest.js` the
 * calls beside it, `store.js` what follows from both; `talk.js` and `places.js` show it, and
 * `frames.js` shows the frames themselves.
 */

import { $, toast } from "./dom.js";
import { Frames } from "./frames.js";
import { Gateway } from "./gateway.js";
import { RANGE } from "./members.js";
import { Outbox } from "./outbox.js";
import { Places } from "./places.js";
import { Rest } from "./rest.js";
import { Store } from "./store.js";
import { Talk } from "./talk.js";
import { forget, keep, kept, welcome } from "./welcome.js";

const ACK_MS = 1_000;
const STATES = {
  connecting: "Connecting…",
  live: "Live",
  waiting: "Not connected",
  stopped: "Offline",
  signedOut: "Signed out",
};

/** What the page is while somebody is signed in. */
class Session {
  constructor({ base, tokens }, frames) {
    this.controller = new AbortController();
    this.signal = this.controller.signal;
    const tap = (...passed) => frames.add(...passed);
    this.rest = new Rest(base, tap);
    this.rest.use(tokens);
    this.rest.onTokens = (tokens) => keep({ base, tokens });
    this.isShowing = false;
    this.ackedId = undefined;
    const changed = () => this.changed();
    const lost = () => this.gateway.resume("Something was missed.", 0);
    this.store = new Store(this.rest, changed, lost);
    this.gateway = new Gateway(base, {
      identify: () => this.identify(),
      frame: (name, content) => this.store.take(name, content),
      renew: () => this.rest.renew(),
      state: (state) => this.connection(state),
      tap,
      signal: this.signal,
    });
    const stored = (message) => this.store.lists.get(message.channelId)?.put(message);
    this.outbox = new Outbox(this.gateway, stored, changed);
    this.talk = new Talk(this);
    this.places = new Places(this, (...place) => this.open(...place));
    this.listen();
    this.gateway.connect();
  }

  listen() {
    const on = (id, type, act) => $(id).addEventListener(type, act, { signal: this.signal });
    const toggle = () => {
      if (this.gateway.isStopped) this.gateway.connect();
      else this.gateway.stop("You went offline.");
    };
    on("offline", "click", toggle);
    on("banner-go", "click", () => this.gateway.connect());
    on("status", "change", () => {
      if (this.gateway.isLive) this.gateway.send({ setPresence: { status: $("status").value } });
    });
    on("sign-out", "click", () => this.signOut());
    const seen = () => this.acknowledge();
    document.addEventListener("visibilitychange", seen, { signal: this.signal });
  }

  identify() {
    return {
      token: this.rest.tokens.accessToken,
      delivery: "DELIVERY_ALL",
      intents: ["INTENT_TYPING"],
      presence: $("status").value,
      positions: this.store.held(),
      view: this.view(),
    };
  }

  /** What the user looks at. */
  view() {
    const { openChannel, members } = this.store;
    const { serverId } = members;
    return {
      channels: openChannel === undefined ? [] : [{ channelId: openChannel }],
      memberLists: serverId === undefined ? [] : [{ serverId, ranges: [RANGE] }],
    };
  }

  /** Looks at a server's channel: the first one, if none is named. */
  open(serverId, channelId) {
    const { store, places } = this;
    const channel = channelId ?? (serverId && places.channels(serverId)[0]?.id);
    if (store.members.serverId !== serverId) {
      store.members.clear();
      store.members.serverId = serverId;
    }
    places.serverId = serverId;
    store.openChannel = undefined;
    if (channel !== undefined) store.open(channel);
    if (this.gateway.isLive) this.gateway.send({ view: this.view() });
    aside("places", false);
    this.changed();
  }

  connection({ state, reason = "" }) {
    if (state === "signedOut") {
      this.end();
      welcome(start, "You were signed out. Sign in again.");
      return;
    }
    if (state === "connecting" || state === "waiting") this.store.disconnected();
    if (state === "live") {
      this.outbox.run();
      this.joinByLink();
    }
    $("state").textContent = STATES[state];
    $("state").dataset.state = state;
    $("offline").textContent = this.gateway.isStopped ? "Go online" : "Go offline";
    $("offline").setAttribute("aria-pressed", String(this.gateway.isStopped));
    const isDown = state === "waiting" || state === "stopped";
    // A banner that is there stays while it is tried again.
    if (isDown) {
      const kept = "What you write is sent once there is a connection.";
      $("banner-text").textContent = `Not connected. ${reason} ${kept}`;
    }
    if (state !== "connecting") $("banner").hidden = !isDown;
    this.changed();
  }

  /** Asks whether to join by the invitation that the page's address has. */
  joinByLink() {
    const [, code] = location.hash.match(/^#join=(\w+)$/) ?? [];
    if (code === undefined) return;
    history.replaceState(null, "", location.pathname);
    this.places.join(code);
  }

  /** Something is to be shown otherwise: soon, once for all that comes until then. */
  changed() {
    if (this.isShowing) return;
    this.isShowing = true;
    setTimeout(() => {
      this.isShowing = false;
      if (!this.signal.aborted) this.show();
    }, 16);
  }

  show() {
    const { store, places } = this;
    if (this.gateway.isLive) places.choose();
    if (store.members.isBroken && this.gateway.isLive) {
      // To be sent it anew: leave it out, then name it again.
      store.members.isBroken = false;
      store.members.seq = undefined;
      const view = this.view();
      this.gateway.send({ view: { ...view, memberLists: [] } });
      this.gateway.send({ view });
    }
    const channel = store.channels.get(store.openChannel);
    const name = channel?.name ?? "Direct message";
    $("title").textContent =
      channel === undefined ? "Chirm" : channel.serverId ? `# ${name}` : name;
    document.title = store.unread.size === 0 ? "Chirm" : `(${store.unread.size}) Chirm`;
    $("people").classList.toggle("stale", !this.gateway.isLive);
    places.show();
    this.talk.show();
    this.acknowledge();
  }

  /** Tells the server how far the user has read: at most once a second. */
  acknowledge() {
    const { store, gateway } = this;
    const channelId = store.openChannel;
    const messageId = store.lists.get(channelId)?.shown().at(-1)?.id;
    const isNew = messageId !== undefined && messageId !== this.ackedId;
    if (!isNew || document.hidden || !gateway.isLive || this.acking !== undefined) return;
    this.ackedId = messageId;
    gateway.send({ ackMessage: { channelId, messageId } });
    this.acking = setTimeout(() => {
      this.acking = undefined;
      if (!this.signal.aborted) this.acknowledge();
    }, ACK_MS);
  }

  async signOut() {
    this.gateway.stop();
    // The session ends on its own if the server can't be told.
    await this.rest.call("POST", "/v1/auth/logout", {}).catch(() => {});
    this.end();
    welcome(start);
  }

  end() {
    this.controller.abort();
    this.gateway.stop();
    this.outbox.entries = [];
    forget();
    $("app").hidden = true;
    for (const id of ["messages", "members", "channels", "directs", "servers"]) {
      $(id).replaceChildren();
    }
  }
}

const frames = new Frames();

function start(signedIn) {
  keep(signedIn);
  $("welcome").hidden = true;
  $("app").hidden = false;
  $("banner").hidden = true;
  new Session(signedIn, frames);
}

/** Shows or hides a side of the page; its button says which. */
function aside(id, isShown) {
  $(id).classList.toggle("shown", isShown);
  $(`show-${id}`).setAttribute("aria-expanded", String(isShown));
}

function asides() {
  const isWide = matchMedia("(min-width: 60rem)").matches;
  for (const id of ["places", "people", "frames"]) {
    aside(id, id === "people" && isWide);
    $(`show-${id}`).addEventListener("click", () => {
      aside(id, !$(id).classList.contains("shown"));
      const isOver = !matchMedia("(min-width: 60rem)").matches;
      if (isOver)
        for (const other of ["places", "people", "frames"]) {
          if (other !== id) aside(other, false);
        }
    });
  }
  $("frames").hidden = false;
  $("frames-close").addEventListener("click", () => aside("frames", false));
  document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape" && !matchMedia("(min-width: 60rem)").matches) {
      for (const id of ["places", "people", "frames"]) aside(id, false);
    }
  });
}

window.addEventListener("unhandledrejection", () =>
  toast("Something went wrong; see the console."),
);
asides();
const session = kept();
if (session === undefined) welcome(start, "", (...passed) => frames.add(...passed));
else start(session);

/** The panel that shows what passes between this page and the server. */

import { $, el } from "./dom.js";

const KEPT = 200;
/** Fields whose values aren't shown. */
const SECRETS = new Set(["token", "accessToken", "refreshToken", "password"]);
const TEXT_MAX = 4_000;

/** Content as it is shown: indented, without secrets, cut where it is long. */
function shown(content) {
  const hide = (name, value) => (SECRETS.has(name) ? "…hidden…" : value);
  const text = JSON.stringify(content, hide, 2);
  if (text.length <= TEXT_MAX) return text;
  return `${text.slice(0, TEXT_MAX)}\n… ${text.length} characters in all`;
}

export class Frames {
  constructor() {
    this.list = $("frames-list");
    this.isPaused = false;
    this.missed = 0;
    $("frames-pause").addEventListener("click", () => this.pause());
    $("frames-clear").addEventListener("click", () => this.list.replaceChildren());
    this.pauseLabel();
  }

  pause() {
    this.isPaused = !this.isPaused;
    this.missed = 0;
    this.pauseLabel();
  }

  pauseLabel() {
    const button = $("frames-pause");
    button.setAttribute("aria-pressed", String(this.isPaused));
    const missed = this.missed > 0 ? ` (${this.missed} passed)` : "";
    button.textContent = this.isPaused ? `Go on${missed}` : "Pause";
  }

  /** Something passed: `out` to the server or `in` from it. */
  add(direction, name, content) {
    if (this.isPaused) {
      this.missed += 1;
      this.pauseLabel();
      return;
    }
    const isOut = direction === "out";
    const pre = el("pre", { tabindex: "0" });
    const entry = el(
      "details",
      { class: `frame ${direction}` },
      el(
        "summary",
        {},
        el("span", { class: "arrow", "aria-hidden": "true" }, isOut ? "↑" : "↓"),
        el("span", { class: "sr" }, isOut ? "sent: " : "received: "),
        el("span", { class: "what" }, name),
        el("time", {}, clock()),
      ),
      pre,
    );
    // Written out when it is looked at: 200 of them are much text.
    const text = shown(content);
    entry.addEventListener("toggle", () => {
      pre.textContent = text;
    });
    const isAtEnd = this.list.scrollTop + this.list.clientHeight > this.list.scrollHeight - 30;
    this.list.append(entry);
    while (this.list.childElementCount > KEPT) this.list.firstElementChild.remove();
    if (isAtEnd) this.list.scrollTop = this.list.scrollHeight;
  }
}

const clock = () => new Date().toISOString().slice(11, 23);

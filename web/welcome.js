/** Signing in. */

import { $ } from "./dom.js";
import { Rest } from "./rest.js";

/** For this tab alone: another tab may be somebody else. */
const KEY = "chirm";

export const keep = (signedIn) => sessionStorage.setItem(KEY, JSON.stringify(signedIn));
export const forget = () => sessionStorage.removeItem(KEY);

/** Who is signed in in this tab. */
export function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? undefined;
  } catch {
    return undefined;
  }
}

const randomPassword = () =>
  btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(24))));

function explain({ reason, message }) {
  const known = {
    NAME_TAKEN: "Somebody has this name, or one that looks like it. Is it you? Give its password.",
    CREDENTIALS_WRONG: "No account has this name and password.",
    UNREACHED: "The server can't be reached.",
  };
  return known[reason] ?? message;
}

let tap = () => {};

/**
 * Shows the form.
 *
 * @param {(signedIn: {base: string, tokens: object}) => void} start goes on with who signed in
 * @param {string} [reason] why it is shown
 * @param {(direction: string, name: string, content: object) => void} [heard] hears what passes
 */
export function welcome(start, reason = "", heard = tap) {
  tap = heard;
  const form = $("sign-in");
  const say = (text) => {
    $("sign-in-error").textContent = text;
    $("sign-in-error").hidden = text === "";
  };
  const enter = async (isNew) => {
    const buttons = [$("enter"), $("register")];
    for (const button of buttons) button.disabled = true;
    say("");
    try {
      const base = $("server").value.replace(/\/+$/, "");
      const [username, password] = [$("name").value.trim(), $("password").value];
      const path = isNew || password === "" ? "register" : "login";
      const account = { username, password: password || randomPassword(), device: "web page" };
      const rest = new Rest(base, tap);
      const { tokens } = await rest.call("POST", `/v1/auth/${path}`, account);
      $("password").value = "";
      start({ base, tokens });
    } catch (error) {
      say(explain(error));
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    enter(false);
  };
  $("register").onclick = () => {
    if (form.reportValidity()) enter(true);
  };
  $("server").value ||= location.origin;
  say(reason);
  $("welcome").hidden = false;
  $("name").focus();
}

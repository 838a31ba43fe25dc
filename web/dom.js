/** The few things that the page needs of the DOM. Text is only ever text. */

export const $ = (id) => document.getElementById(id);

/**
 * An element: `class`, `aria-…` and other attributes by name, `on…` as listeners, `true` for an
 * attribute without a value; `undefined` and `false` are left out. Children are nodes or text.
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

/**
 * Shows these elements, reusing those that are there: `key` names each, and one whose `version` is
 * the same stays as it is, so that scrolling and selections stay, too.
 */
export function show(parent, items) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = null;
  for (const { key, version, make } of items.toReversed()) {
    let child = old.get(key);
    if (child === undefined || child.dataset.version !== version) {
      const { focus } = child?.contains(document.activeElement) ? focused() : {};
      const made = make();
      made.dataset.key = key;
      made.dataset.version = version;
      child?.replaceWith(made);
      child = made;
      if (focus !== undefined) child.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
    }
    old.delete(key);
    if (child.nextSibling !== before || child.parentNode !== parent) {
      parent.insertBefore(child, before);
    }
    before = child;
  }
  for (const child of old.values()) child.remove();
}

/** What has the focus, by the name that it keeps when it is made anew: its `data-focus`. */
const focused = () => document.activeElement.dataset;

/** Asks for a line of text, which may be there already; undefined if it isn't given. */
export function ask(title, label, action, text = "") {
  const dialog = $("ask");
  const input = $("ask-input");
  $("ask-title").textContent = title;
  $("ask-label").textContent = label;
  $("ask-go").textContent = action;
  input.value = text;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => resolve(dialog.returnValue === "go" ? input.value.trim() || undefined : undefined),
      { once: true },
    );
  });
}

let hiding;

/** Says something for a while. */
export function toast(text) {
  const box = $("toast");
  box.textContent = text;
  box.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => {
    box.hidden = true;
  }, 6_000);
}

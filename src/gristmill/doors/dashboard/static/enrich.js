// What the pages of enrichment share: calls to the API by session or upload token, and elements made of plain text.

const TOKEN_KEY = "gristmill-upload-";
const csrf = document.querySelector('meta[name="csrf"]')?.getAttribute("content") ?? "";

/** Whether a person is logged in. */
export const loggedIn = csrf !== "";

/** The token of an anonymous upload, if this browser made it. @param {string} id */
export const tokenOf = (id) => sessionStorage.getItem(TOKEN_KEY + id);

/** @param {string} id @param {string | null} token */
export function keepToken(id, token) {
  if (token === null) sessionStorage.removeItem(TOKEN_KEY + id);
  else sessionStorage.setItem(TOKEN_KEY + id, token);
}

/** A refusal of the API. */
export class Refused extends Error {
  /** @param {number} status @param {any} problem */
  constructor(status, problem) {
    super(problem?.detail ?? `The server answered ${status}.`);
    this.status = status;
    this.problem = problem ?? {};
  }
}

/**
 * @param {string} path under /api/v1
 * @param {{ method?: string, json?: unknown, form?: FormData, token?: string | null }} options
 */
export async function api(path, { method = "GET", json, form, token = null } = {}) {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Batch ${token}`;
  if (csrf && method !== "GET") headers["X-CSRF-Token"] = csrf;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(`/api/v1${path}`, {
    method,
    headers,
    credentials: "same-origin",
    body: json === undefined ? form : JSON.stringify(json),
  });
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, body);
  return body;
}

/**
 * An element of plain text and other elements.
 * @param {string} name tag, with classes after dots
 * @param {Record<string, string | boolean | ((event: Event) => void)>} attributes
 * @param {...(Node | string | null)} children
 */
export function make(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** Text in which `this` is code. @param {string} text */
export function ticks(text) {
  const parts = text.split("`");
  return parts.length % 2 ? parts.map((part, at) => (at % 2 ? make("code", {}, part) : part)) : [text];
}

/** @param {string} tone @param {string} title @param {...(Node | string)} rest */
export function banner(tone, title, ...rest) {
  const text = make("div", {}, make("p", {}, make("strong", {}, ...ticks(title))), ...rest);
  return make(`div.banner.banner--${tone}`, tone === "bad" ? { role: "alert" } : {}, text);
}

/**
 * Whether a person really wants it. @param {string} title @param {string} text @param {string} verb on the button
 * @returns {Promise<boolean>}
 */
export function ask(title, text, verb) {
  return new Promise((answer) => {
    const say = (yes) => () => {
      answer(yes);
      box.remove();
    };
    const keep = make("button.btn", { type: "button", click: say(false) }, "Keep it");
    const buttons = make("div.actions", {}, keep, make("button.btn.btn--bad", { type: "button", click: say(true) }, verb));
    const box = make("dialog.ask", { "aria-labelledby": "ask-title", close: say(false) }, make("h2", { id: "ask-title" }, title), make("p", {}, text), buttons);
    document.body.append(box);
    box.showModal();
    keep.focus();
  });
}

const WORDS = {
  uploaded: ["Uploaded", "mute"],
  queued: ["Queued", "mute"],
  running: ["Running", "info"],
  paused: ["Paused", "warn"],
  completed: ["Completed", "ok"],
  failed: ["Failed", "bad"],
  cancelled: ["Cancelled", "mute"],
  succeeded: ["Matched", "ok"],
  empty: ["Empty", "mute"],
  skipped: ["Skipped", "mute"],
  duplicate: ["Duplicate", "mute"],
  pending: ["Pending", "mute"],
};

/** @param {string} status */
export function badge(status) {
  const [text, tone] = WORDS[status] ?? [status, "mute"];
  return make(`span.badge.badge--${tone}`, {}, text);
}

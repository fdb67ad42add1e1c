// A batch that runs: one stream of events updates numbers and bar; rows are loaded anew when some have changed and
// nobody is at work in them. The stream is closed while the page is hidden, and for good once the batch has ended.
import { duration, money, percent, rate, whole, widths } from "./format.js";
import { refresh } from "./regions.js";

const ROWS_MS = 2500;
const SAY_MS = 15_000;
const SLOW = ["failures", "rows"];
const ALL = ["head", "state", "summary", "failures", "receipt", "rows", "balance"];

const main = document.querySelector("main[data-events]");
const said = document.getElementById("said");
let state = main?.dataset.state ?? "";
let changed = false;
let ended = false;
/** @type {EventSource | null} */
let source = null;
let saidAt = 0;

/** @param {string} text */
function say(text) {
  if (said) said.textContent = text;
  saidAt = Date.now();
}

/** @param {string} name @param {string} text */
function put(name, text) {
  for (const node of document.querySelectorAll(`[data-n="${name}"]`)) {
    if (node.textContent !== text) node.textContent = text;
  }
}

/** @param {Record<string, number>} batch */
function drawBar(batch) {
  const parts = [...document.querySelectorAll("[data-bar] rect")];
  const sizes = widths(parts.map((part) => batch[part.dataset.part ?? ""] ?? 0));
  let x = 0;
  parts.forEach((part, index) => {
    part.setAttribute("x", String(x));
    part.setAttribute("width", String(sizes[index]));
    x += sizes[index];
  });
}

/** @param {any} batch */
function show(batch) {
  const done = batch.rows_in - batch.pending - batch.running;
  for (const name of ["succeeded", "empty", "failed", "running", "pending", "duplicate", "skipped", "cancelled"]) {
    put(name, whole(batch[name]));
    for (const line of document.querySelectorAll(`[data-line="${name}"]`)) line.classList.toggle("zero", !batch[name]);
  }
  put("done", whole(done));
  put("percent", percent(done, batch.rows_in));
  put("rate", rate(batch.rate_per_s));
  put("eta", duration(batch.eta_s));
  put("spent", money(batch.spent_micro_usd));
  put("held", money(batch.held_micro_usd));
  put("attempts", whole(batch.attempts));
  drawBar(batch);
  if (Date.now() - saidAt > SAY_MS) say(`${whole(done)} of ${whole(batch.rows_in)} rows`);
}

/** What decides which banner and buttons are shown. @param {any} batch */
function stateOf(batch) {
  const live = batch.status === "queued" || batch.status === "running";
  return batch.running > 0 && !live ? `${batch.status}/finishing` : batch.status;
}

function close() {
  source?.close();
  source = null;
}

async function all() {
  await refresh(ALL, { force: true });
  const word = document.querySelector("[data-state-word]")?.textContent?.trim();
  if (word) say(`The batch is now: ${word}`);
}

function open() {
  if (source || ended || !main) return;
  source = new EventSource(main.dataset.events ?? "");
  source.addEventListener("progress", (event) => {
    const batch = JSON.parse(event.data);
    if (stateOf(batch) !== state) {
      state = stateOf(batch);
      void all();
    } else show(batch);
  });
  for (const name of ["rows", "resync"]) {
    source.addEventListener(name, () => {
      changed = true;
    });
  }
  source.addEventListener("done", () => {
    ended = true;
    close();
    void all();
  });
  source.addEventListener("error", (event) => {
    // The server's own message has data; without any the connection broke, and the browser tries again by itself.
    if (event instanceof MessageEvent) close();
  });
}

if (main) {
  open();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else {
      changed = true;
      open();
    }
  });
  setInterval(() => {
    if (!changed || document.hidden || ended) return;
    changed = false;
    void refresh(SLOW);
  }, ROWS_MS);
}

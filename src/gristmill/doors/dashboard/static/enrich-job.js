// One job: the mapping before the start, counts while it runs, the leads by their titles. Counts only: neither this
// script nor the calls it makes show a contact's name, phone or e-mail.
import { Refused, api, badge, banner, keepToken, loggedIn, make, tokenOf } from "./enrich.js";
import { duration, money, percent, rate, rowMoney, whole } from "./format.js";
import { mappingTable } from "./enrich-mapping.js";

const POLL_MS = 1500;
const ROWS = 50;
const id = document.getElementById("job").dataset.id;
const here = `/batch/enrich/${id}`;
const place = (name) => document.getElementById(name);
let token = tokenOf(id);
let state = "";
let counted = "";
let paged = false;
/** Choices of the mapping that were not saved yet. */
let unsaved = null;
/** @type {EventSource | null} */
let watched = null;

const DATASETS = /\bdatasets\b/;
const call = (path = "", options = {}) => api(here + path, { token, ...options });

/** @param {string} text @param {string} kind @param {() => Promise<void>} work */
function button(text, kind, work) {
  return make(`button.btn${kind}`, {
    type: "button",
    click: async (event) => {
      event.target.disabled = true;
      try {
        await work();
      } catch (error) {
        refused(error);
      }
      event.target.disabled = false;
    },
  }, text);
}

function refused(error) {
  if (error instanceof Refused && error.status === 402) {
    place("banners").replaceChildren(
      banner("warn", error.message, make("p", {}, make("a.btn.btn--primary", { href: `/connect?action=topup&return=/batch/${id}` }, "Top up"))),
    );
  } else place("banners").replaceChildren(banner("bad", error.message));
}

/** An upload of this browser becomes the organization's as soon as somebody is logged in. */
async function link() {
  if (!token || !loggedIn) return;
  await api(`${here}/link`, { method: "POST", json: { upload_token: token } });
  keepToken(id, null);
  token = null;
}

async function start(verb) {
  await keepMapping();
  await call(`/${verb}`, { method: "POST", json: {} });
  place("banners").replaceChildren();
  await show();
}

/** What was chosen and not saved counts all the same. */
async function keepMapping() {
  if (!unsaved) return;
  await call("/mapping", { method: "PATCH", json: unsaved });
  unsaved = null;
}

const change = (verb) => async () => {
  await api(`/batch_executions/${id}/${verb}`, { method: "POST", json: {} });
  await show();
};

function actions(job) {
  const found = [];
  if (!loggedIn) found.push(make("a.btn.btn--primary", { href: `/login?return=/batch/${id}` }, "Log in to start"));
  else if (job.status === "uploaded") found.push(button("Start", ".btn--primary", () => start("start")));
  else if (job.status === "paused" || job.status === "failed") found.push(button("Resume", ".btn--primary", () => start("resume")));
  else if (job.status === "running" || job.status === "queued") found.push(button("Pause", "", change("pause")));
  if (loggedIn && job.status !== "uploaded") {
    found.push(make("a.btn", { href: `/api/v1${here}/download.csv`, download: true }, "CSV"));
    found.push(make("a.btn", { href: `/api/v1${here}/download.csv?layout=original`, download: true }, "As uploaded"));
  }
  place("actions").replaceChildren(...found);
}

function stat(name, value, small = "") {
  return make("div", {}, make("dt", {}, name), make("dd", {}, value, " ", small ? make("small", {}, small) : null));
}

const done = (job) => job.succeeded + job.empty + job.failed;

function progress(job, preview) {
  const bar = make("progress", { max: String(Math.max(job.row_count, 1)), value: String(done(job)), "aria-label": "Rows done" });
  const head = make("p.progress-line", {}, badge(job.status), make("strong", {}, `${whole(done(job))} of ${whole(job.row_count)} rows`), make("span.note", {}, percent(done(job), job.row_count)));
  const stats = make("dl.stats", {},
    stat("Matched", whole(preview.matched)), stat("People", whole(preview.people)), stat("Phones", whole(preview.phones)),
    stat("E-mails", whole(preview.emails)), stat("Spent", money(job.spent_micro_usd), job.price_micro_usd ? `at most ${rowMoney(job.price_micro_usd)} a match` : "free"),
    stat("Rate", rate(job.rate_per_s), job.eta_s === null ? "" : `${duration(job.eta_s)} left`));
  place("progress").replaceChildren(make("div.progress", {}, head, bar), stats);
  place("progress").hidden = job.status === "uploaded";
}

/** What a person should know, with a way to do something about it. */
function warning(job, text) {
  if (!DATASETS.test(text)) return banner("warn", text);
  return banner("warn", text, make("p", {}, make("a.btn", { href: `/dashboard/agents/${job.agent_id}?tab=datasets` }, "Add a dataset")));
}

function banners(job, quote) {
  const found = [];
  if (!loggedIn && job.expires_at) {
    found.push(banner("warn", "Log in to start this job", make("p", {}, `Nothing runs and nothing is charged before. An upload that nobody links is deleted ${new Date(job.expires_at).toLocaleString()}.`)));
  }
  if (job.status === "paused") {
    const topUp = job.reason === "balance" ? make("p", {}, make("a.btn.btn--primary", { href: `/connect?action=topup&return=/batch/${id}` }, "Top up")) : make("p", {}, "Finished rows are neither run nor billed again.");
    found.push(banner("warn", job.message || "Paused", topUp));
  } else if (job.status === "failed") found.push(banner("bad", job.message || "The job could not go on."));
  else if (job.status === "uploaded" && loggedIn && quote.missing_micro_usd > 0) {
    found.push(banner("warn", `The balance needs ${money(quote.min_balance_micro_usd)}; ${money(quote.missing_micro_usd)} are missing.`, make("p", {}, make("a.btn.btn--primary", { href: `/connect?action=topup&return=/batch/${id}` }, "Top up"))));
  }
  if (job.status === "uploaded" && loggedIn) {
    found.push(...quote.warnings.map((text) => warning(job, text)));
  } else if (job.status === "completed" && loggedIn && job.empty && !job.succeeded) {
    found.push(banner("warn", "No lead matched, and nothing was charged", make("p", {}, "A lead's steps below show who was asked and what was answered.")), ...quote.warnings.filter((text) => DATASETS.test(text)).map((text) => warning(job, text)));
  }
  place("banners").replaceChildren(...found);
}

async function review(job, quote) {
  const mapping = await call("/mapping");
  const save = async (body) => {
    unsaved = body;
    await keepMapping();
    place("said").textContent = "The mapping is saved.";
    state = ""; // draw the review anew, with what the saved mapping says
    await show();
  };
  const changed = (body) => { unsaved = body; };
  const covered = loggedIn ? `; the balance covers ${whole(quote.rows_covered)}` : "";
  const cost = make("p.note", {}, `${whole(quote.rows_to_run)} rows to run, at most ${money(quote.cost_micro_usd_max)}${covered}.`);
  const head = make("div.card-head", {}, make("h2", { id: "mapping-title" }, "Columns"), quote.rows_to_run ? cost : null);
  const locked = job.status !== "uploaded";
  place("mapping").replaceChildren(head, mappingTable(mapping, { locked, save, changed, refused }));
  place("mapping").hidden = false;
  if (locked) place("rows").after(place("mapping")); // what was settled goes below what happens
}

async function rows(cursor = "") {
  if (!loggedIn) return;
  paged = cursor !== "";
  const page = await call(`/rows?limit=${ROWS}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
  const line = (row) => make("tr", {},
    make("td.num.dim", {}, whole(row.row_number)),
    make("td.name.clip", {}, make("a", { href: `#row-${row.row_number}`, click: (event) => { event.preventDefault(); watch(row); } }, row.chat_title || `Lead ${row.row_number}`)),
    make("td", {}, badge(row.status)), make("td.num", {}, row.spent_micro_usd ? rowMoney(row.spent_micro_usd) : "–"), make("td.clip.dim", {}, row.error ?? (row.duplicate_of ? `same as row ${row.duplicate_of}` : "")));
  const heads = ["#", "Lead", "State", "Cost", "Note"].map((text) => make(text === "#" || text === "Cost" ? "th.num" : "th", { scope: "col" }, text));
  const table = make("table.table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...page.data.map(line)));
  const parts = [make("div.card-head", {}, make("h2", { id: "rows-title" }, "Leads")), make("div.scroll", { tabindex: "0", role: "group", "aria-label": "Leads" }, table)];
  if (cursor || page.meta.next_cursor) {
    parts.push(make("nav.pager", { "aria-label": "Pages of leads" }, cursor ? button("First", ".btn--small", () => rows()) : make("span"), page.meta.next_cursor ? button("Next", ".btn--small", () => rows(page.meta.next_cursor)) : make("span")));
  }
  place("rows").replaceChildren(...parts);
  place("rows").hidden = false;
}

const STEPS = {
  pass: (item) => (item.name === "primary" ? "First pass, by company and address" : `Pass with search variants, lacking ${(item.lacking ?? []).join(", ")}`),
  call: (item) => `Asking ${asked(item)}`,
  answered: (item) => `${asked(item)} answered`,
  cached: (item) => `${asked(item)}: remembered from before`,
  failed: (item) => `${asked(item)} failed`,
  refused: (item) => `${asked(item)} was not asked: it would cost more than is left for the lead`,
  done: (item) => (item.matched ? `Match, ${percent(item.confidence, 1)} sure` : "No match"),
};

/** The provider, and the column of the variant that it was asked with. */
function asked(item) {
  return item.variant ? `${item.provider} by ${item.variant}` : item.provider;
}

/** What a step did, without what it found. */
function step(item) {
  const facts = typeof item.facts === "number" ? `${whole(item.facts)} facts` : "";
  const took = typeof item.ms === "number" ? `${whole(item.ms)} ms` : "";
  return make("li", {}, (STEPS[item.step] ?? (() => item.step))(item), " ", make("span.note", {}, [facts, took].filter(Boolean).join(", ")));
}

/** Follow one lead's hunt; only one stream is open at a time. */
function watch(row) {
  watched?.close();
  const list = make("ol.hits", { role: "log", "aria-live": "off" });
  const note = make("span.note", {}, "");
  place("trace").replaceChildren(make("div.card-head", {}, make("h2", { id: "trace-title" }, row.chat_title || `Lead ${row.row_number}`), note), list);
  place("trace").hidden = false;
  place("trace").scrollIntoView({ block: "nearest" });
  watched = new EventSource(`/api/v1${here}/rows/${row.row_number}/events`);
  watched.addEventListener("state", (event) => { note.textContent = JSON.parse(event.data).status; });
  watched.addEventListener("step", (event) => list.append(step(JSON.parse(event.data))));
  watched.addEventListener("trace", (event) => {
    const found = JSON.parse(event.data);
    list.replaceChildren(...found.steps.map(step));
    note.textContent = `charged ${rowMoney(found.receipt.charged_micro_usd)}, ${whole(found.receipt.provider_calls)} calls, ${whole(found.receipt.cache_hits)} remembered`;
  });
  for (const name of ["done", "error"]) watched.addEventListener(name, () => watched?.close());
}

async function show() {
  const [job, preview, quote] = await Promise.all([call(), call("/preview"), call("/quote")]);
  for (const node of document.querySelectorAll("[data-name]")) node.textContent = job.file_name;
  place("facts").replaceChildren(make("span", {}, `${whole(job.file_row_count)} rows in the file`), make("span", {}, `${whole(job.row_count)} to run`), make("span", {}, `${whole(job.skipped)} skipped`), make("span", {}, `${whole(job.duplicate)} ${job.duplicate === 1 ? "duplicate" : "duplicates"}`));
  actions(job);
  progress(job, preview);
  if (state !== job.status) {
    if (state) place("said").textContent = `The job is now: ${job.status}`;
    state = job.status;
    banners(job, quote);
    await review(job, quote);
  }
  const counts = [job.status, job.running, done(job)].join();
  if (counts !== counted && !paged && !place("rows").contains(document.activeElement)) {
    counted = counts;
    await rows();
  }
  return job;
}

async function poll() {
  if (!document.hidden) {
    try {
      const job = await show();
      if (["completed", "cancelled"].includes(job.status)) return;
    } catch {
      // The next round tries again: a server that restarts is no reason to give up.
    }
  }
  setTimeout(() => void poll(), POLL_MS);
}

try {
  await link();
  await show();
  setTimeout(() => void poll(), POLL_MS);
} catch (error) {
  const gone = error instanceof Refused && (error.status === 404 || error.status === 401);
  place("facts").replaceChildren();
  place("banners").replaceChildren(
    gone && !loggedIn
      ? banner("warn", "Log in to see this job", make("p", {}, make("a.btn.btn--primary", { href: `/login?return=/batch/${id}` }, "Log in")))
      : banner("bad", gone ? "There is no such job here." : error.message),
  );
}

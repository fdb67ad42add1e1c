// Choosing a lead file: a first look at its lines in the browser, then the upload; and the files so far.
import { Refused, api, badge, banner, keepToken, loggedIn, make } from "./enrich.js";
import { ago, money, whole } from "./format.js";

const LOOK_BYTES = 65_536;
const LOOK_LINES = 10;
const DELIMITERS = { ",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe" };
const NEEDED = ["company", "street", "city", "zip"];
const NUMBERS = new Set(["Rows", "Matched", "Spent"]);
const CELL = { role: "cell" };
const PACKED = /\.(xlsx|xlsm|xlsb|xls|ods|zip|gz|zst|parquet)$/i;

const form = document.getElementById("upload-form");
const drop = document.getElementById("drop");
const input = document.getElementById("file");
const look = document.getElementById("first-look");
const problem = document.getElementById("problem");

/** Cells of each line, quotes respected within a line. @param {string[]} lines @param {string} delimiter */
function widths(lines, delimiter) {
  return lines.map((line) => {
    let cells = 1;
    let quoted = false;
    for (const letter of line) {
      if (letter === '"') quoted = !quoted;
      else if (letter === delimiter && !quoted) cells += 1;
    }
    return cells;
  });
}

/** @param {File} file */
async function firstLook(file) {
  if (PACKED.test(file.name)) return "Its columns are found out on the server.";
  const bytes = new Uint8Array(await file.slice(0, LOOK_BYTES).arrayBuffer());
  const text = new TextDecoder("utf-8").decode(bytes);
  const lines = text.split(/\r\n|\n|\r/).filter((line) => line.trim()).slice(0, LOOK_LINES);
  if (lines.length === 0) return "The file is empty.";
  const found = Object.keys(DELIMITERS)
    .map((delimiter) => ({ delimiter, cells: widths(lines, delimiter) }))
    .map((item) => ({ ...item, least: Math.min(...item.cells), most: Math.max(...item.cells) }))
    .sort((a, b) => b.least - a.least || a.most - a.least - (b.most - b.least))[0];
  if (found.most === 1) return "The first lines have one column only; the server looks closer.";
  const even = found.least === found.most ? "" : "; the first lines differ in width, which the server sorts out";
  return `${whole(found.most)} columns, separated by ${DELIMITERS[found.delimiter]}${even}.`;
}

async function chosen() {
  const file = input.files[0];
  problem.replaceChildren();
  look.textContent = file ? await firstLook(file) : "";
  if (file && file.size > Number(form.dataset.sizeMax)) {
    problem.replaceChildren(banner("bad", "The file is larger than is taken here."));
  }
}

async function upload(event) {
  event.preventDefault();
  const button = form.querySelector("button[type=submit]");
  const data = new FormData(form);
  for (const name of ["row_limit", "budget_usd"]) if (!data.get(name)) data.delete(name);
  if (form.dataset.auto === "true" && loggedIn) data.set("auto_start", "true");
  button.disabled = true;
  problem.replaceChildren();
  try {
    const made = await api("/batch/enrich/upload", { method: "POST", form: data });
    if (made.upload_token) keepToken(made.id, made.upload_token);
    location.assign(`/batch/${made.id}`);
  } catch (error) {
    const more = (error instanceof Refused ? (error.problem.errors ?? []) : []).filter((item) => !error.message.includes(item.message.replace(/\.$/, "")));
    problem.replaceChildren(banner("bad", error.message, ...more.slice(0, 5).map((item) => make("p", {}, item.message))));
    const unmapped = error instanceof Refused && (error.problem.errors ?? []).some((item) => item.field === "mapping");
    if (unmapped && loggedIn) await offerColumns(input.files[0]).catch(() => undefined);
    button.disabled = false;
  }
}

/** A person says which columns make a lead; that is remembered for these headers, and the file is sent again. @param {File} file */
async function offerColumns(file) {
  const data = new FormData();
  data.set("file", file);
  data.set("fields", "lead");
  const found = await api("/mappings/propose", { method: "POST", form: data });
  const field = (name) => {
    const id = `use-${name}`;
    const options = found.columns.map((text, at) => make("option", { value: String(at) }, text));
    return make("div.field", {}, make("label", { for: id }, name), make("select", { id }, make("option", { value: "" }, "Not mapped"), ...options));
  };
  const use = make("button.btn", { type: "button", click: () => void useColumns(found.fingerprint) }, "Use these columns");
  const note = make("p.note", {}, "A lead needs a company, or a street with its city or zip.");
  problem.append(make("div.row", {}, ...NEEDED.map(field)), note, make("div.actions", {}, use));
}

/** @param {string} fingerprint of the headers */
async function useColumns(fingerprint) {
  const chosen = NEEDED.map((name) => [name, document.getElementById(`use-${name}`).value]).filter(([, at]) => at !== "");
  try {
    await api(`/mappings/${fingerprint}`, { method: "PUT", json: { fields: Object.fromEntries(chosen.map(([name, at]) => [name, [Number(at)]])) } });
    form.requestSubmit();
  } catch (error) {
    problem.prepend(banner("bad", error.message));
  }
}

/** @param {any} job */
function line(job) {
  const done = job.succeeded + job.empty + job.failed;
  const made = new Date(job.created_at);
  const uploaded = make("time", { datetime: job.created_at, title: made.toLocaleString() }, ago((Date.now() - made.getTime()) / 1000) ?? made.toLocaleDateString());
  return make(
    "tr",
    { role: "row" },
    make("td.name.clip", CELL, make("a", { href: `/batch/${job.id}` }, job.file_name)),
    make("td", CELL, badge(job.status)),
    make("td.num", { ...CELL, "data-label": "rows" }, `${whole(done)} of ${whole(job.row_count)}`),
    make("td.num", { ...CELL, "data-label": "matched" }, whole(job.succeeded)),
    make("td.num", { ...CELL, "data-label": "spent" }, money(job.spent_micro_usd)),
    make("td.dim", CELL, uploaded),
  );
}

async function files() {
  const list = document.getElementById("job-list");
  if (!list) return;
  try {
    const { data } = await api("/batch/enrich?limit=50");
    if (data.length === 0) {
      list.replaceChildren(make("div.empty", {}, make("strong", {}, "No file yet"), make("p", {}, "The first upload is here for good.")));
      return;
    }
    const heads = ["File", "State", "Rows", "Matched", "Spent", "Uploaded"].map((text) => make(NUMBERS.has(text) ? "th.num" : "th", { scope: "col", role: "columnheader" }, text));
    const head = make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads));
    const table = make("table.table.table--stack.table--facts", { role: "table" }, head, make("tbody", { role: "rowgroup" }, ...data.map(line)));
    list.replaceChildren(make("div.scroll", { tabindex: "0", role: "group", "aria-label": "Files" }, table));
  } catch (error) {
    list.replaceChildren(make("p.card-body", {}, error.message));
  }
}

input.addEventListener("change", () => void chosen());
form.addEventListener("submit", (event) => void upload(event));
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("drop--over");
  });
}
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("drop--over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) {
    input.files = event.dataTransfer.files;
    void chosen();
  }
});
void files();

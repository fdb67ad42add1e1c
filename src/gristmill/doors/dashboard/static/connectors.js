// Connectors of an agent: where files come from and results go to; tests rung by rung, syncs with their manifests.
import { api, ask, banner, make, ticks } from "./enrich.js";
import { ago, whole } from "./format.js";

const root = document.getElementById("connectors");
const agent = root.dataset.agent;
const here = `/agents/${agent}/data-sources`;
const place = (name) => document.getElementById(name);
const POLL_MS = 2000;
const SHOWN_LINES = 200;
const PENDING_SHOWN = 5;
const SECRET = "secret.";
const CELL = { role: "cell" };
const NUMBERS = new Set(["New", "Unchanged", "Refused", "Moved", "Size", "Rows", "Rejected"]);
const LIVE = new Set(["QUEUED", "RUNNING"]);
const TONES = { ACTIVE: "ok", PAUSED: "warn", QUEUED: "mute", RUNNING: "info", HELD: "warn", COMPLETED: "ok", FAILED: "bad", DEAD: "bad", REJECTED: "mute" };

const word = (state) => make(`span.badge.badge--${TONES[state] ?? "mute"}`, {}, state[0] + state.slice(1).toLowerCase());
const when = (text) => (text ? make("time", { datetime: text, title: new Date(text).toLocaleString() }, ago((Date.now() - Date.parse(text)) / 1000) ?? new Date(text).toLocaleDateString()) : "never");
const size = (bytes) => (bytes >= 1e6 ? `${(bytes / 1048576).toFixed(1)} MB` : bytes >= 1000 ? `${(bytes / 1024).toFixed(1)} kB` : `${bytes} B`);

function told(error) {
  const more = (error.problem?.errors ?? []).map((item) => make("p", {}, `${item.field}: ${item.message}`));
  place("banners").replaceChildren(banner("bad", error.message, ...more));
  place("banners").scrollIntoView({ block: "nearest" });
}

function button(text, kind, label, work) {
  return make(`button.btn.btn--small${kind}`, {
    type: "button",
    "aria-label": label,
    click: async (event) => {
      const pressed = event.currentTarget;
      pressed.disabled = true;
      place("banners").replaceChildren();
      try {
        await work();
      } catch (error) {
        told(error);
      }
      pressed.disabled = false;
    },
  }, text);
}

function target(item) {
  const { bucket, prefix, url } = item.config;
  return url ?? `s3://${bucket}/${prefix ?? ""}`;
}

function line(item) {
  const name = item.name;
  const source = item.role === "INVENTORY_SOURCE";
  const secret = Object.entries(item.secret ?? {}).map(([key, value]) => `${key} ${value}`).join(", ");
  const acts = make("span.inline", {},
    button("Test", "", `Test ${name}`, () => tryOne(item, false)),
    source ? button("Sync now", "", `Pull ${name}`, async () => { await api(`${here}/${item.id}/pull`, { method: "POST", json: {} }); await history(item); })
      : button("Test by writing", "", `Test ${name} by writing something and deleting it`, () => tryOne(item, true)),
    button("History", "", `Syncs of ${name}`, () => history(item)),
    item.status === "ACTIVE" ? button("Pause", "", `Pause ${name}`, () => change(item, { status: "PAUSED" }))
      : button("Activate", "", `Activate ${name}`, () => change(item, { status: "ACTIVE" })),
    button("Delete", ".btn--bad", `Delete ${name}`, async () => {
      const sure = await ask(`Delete ${name}?`, "Its history goes with it. Inventory that it brought stays.", "Delete the connector");
      if (!sure) return;
      await api(`${here}/${item.id}`, { method: "DELETE" });
      await load();
    }));
  return make("tr", { role: "row" },
    make("td.name", CELL, name, make("p.note", {}, `${item.type} · ${target(item)}`), secret ? make("p.note", {}, secret) : null, item.statusReason ? make("p.field-error", {}, item.statusReason) : null),
    make("td", CELL, word(item.status)),
    make("td.wide.dim", CELL, item.scheduleCron ? make("code", {}, item.scheduleCron) : source ? "the agent's" : "–", item.nextRunAt ? make("p.note", {}, `next ${new Date(item.nextRunAt).toLocaleString()}`) : null),
    make("td.dim", CELL, when(item.lastSyncedAt)),
    make("td.num.acts", CELL, acts));
}

async function change(item, json) {
  await api(`${here}/${item.id}`, { method: "PATCH", json });
  await load();
}

/** A table whose rows take a few lines on a narrow screen, where numbers have their column's name beside them. */
function table(heads, lines, label) {
  const cells = heads.map((text) => make(NUMBERS.has(text) ? "th.num" : "th", { scope: "col", role: "columnheader" }, text || make("span.sr-only", {}, "Actions")));
  const head = make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...cells));
  for (const line of lines) {
    heads.forEach((text, at) => {
      if (NUMBERS.has(text)) line.cells[at].dataset.label = text.toLowerCase();
    });
  }
  const grid = make("table.table.table--stack.table--facts", { role: "table" }, head, make("tbody", { role: "rowgroup" }, ...lines));
  return make("div.scroll", { tabindex: "0", role: "group", "aria-label": label }, grid);
}

async function load() {
  const { data } = await api(`${here}?per_page=200`);
  for (const box of document.querySelectorAll("[data-role]")) {
    const mine = data.filter((item) => item.role === box.dataset.role);
    const empty = box.dataset.role === "INVENTORY_SOURCE" ? "Files dropped in S3 or offered over HTTPS are pulled on a schedule." : "Results go to a bucket or an endpoint of yours.";
    const head = table(["Connector", "State", "Schedule", "Last sync", ""], mine.map(line), box.dataset.role === "INVENTORY_SOURCE" ? "Inbound connectors" : "Outbound connectors");
    for (const cell of head.querySelectorAll("th:nth-child(3)")) cell.className = "wide";
    box.replaceChildren(mine.length ? head : make("div.empty", {}, make("strong", {}, "None yet"), make("p", {}, empty)));
  }
  const pending = await api(`/agents/${agent}/pending`);
  const open = pending.data.filter((item) => !item.resolvedAt).slice(0, PENDING_SHOWN);
  const done = (item) => button("Done", "", `Resolve: ${item.message}`, async () => {
    await api(`/agents/${agent}/pending/${item.id}/resolve`, { method: "POST", json: {} });
    await load();
  });
  place("pending").replaceChildren(...open.map((item) => banner("warn", item.message, make("p", {}, done(item)))));
}

function detail(title, ...parts) {
  place("detail").replaceChildren(make("div.card-head", {}, make("h2", {}, title)), ...parts);
  place("detail").hidden = false;
  place("detail").scrollIntoView({ block: "nearest" });
}

async function tryOne(item, writeProbe) {
  const found = await api(`${here}/${item.id}/test`, { method: "POST", json: { writeProbe } });
  const rungs = found.rungs.map((rung) => make("li", {},
    make("p", {}, make(`span.badge.badge--${rung.ok ? (rung.warning ? "warn" : "ok") : "bad"}`, {}, rung.ok ? (rung.warning ? "Look" : "Passed") : "Broke"), " ", make("strong", {}, rung.name), " ", make("span.note", {}, `${whole(rung.durationMs)} ms`)),
    make("p", {}, rung.detail), rung.remoteError ? make("pre.json", { tabindex: "0", "aria-label": "What the other side said" }, rung.remoteError) : null, rung.fix ? make("p.note", {}, ...ticks(rung.fix)) : null));
  const policy = found.policy ? [make("details.attempt", {}, make("summary", {}, "The least rights that it needs"), make("pre.json", { tabindex: "0", "aria-label": "Policy" }, JSON.stringify(found.policy, null, 2)))] : [];
  detail(`Test of ${item.name}: ${found.ok ? "passed" : "failed"}`, make("p.card-body.note", {}, writeProbe ? "A probe was written." : "No data was moved."), make("ol.hits", {}, ...rungs), ...policy);
  await load();
}

async function history(item) {
  const { data } = await api(`${here}/${item.id}/syncs?limit=20`);
  const lines = data.map((sync) => make("tr", { role: "row" },
    make("td", CELL, word(sync.status)), make("td.dim", CELL, when(sync.createdAt)), make("td.dim", CELL, sync.cause.toLowerCase()),
    make("td.num", CELL, whole(sync.receipt.uploaded)), make("td.num", CELL, whole(sync.receipt.unchanged)), make("td.num", CELL, whole(sync.receipt.rejected + sync.receipt.failed)), make("td.num", CELL, size(sync.bytes)),
    make("td.acts", CELL, button("Manifest", "", "Show the manifest", () => manifest(item, sync)),
      sync.status === "HELD" ? button("Approve", ".btn--primary", "Approve", () => decide(item, sync, "approve")) : null,
      sync.status === "HELD" ? button("Reject", "", "Reject", () => decide(item, sync, "reject")) : null,
      sync.status === "DEAD" ? button("Send again", "", "Send again", () => decide(item, sync, "replay")) : null,
      sync.error ? make("p.field-error", {}, sync.error) : null)));
  detail(`Syncs of ${item.name}`, data.length ? table(["State", "When", "Cause", "New", "Unchanged", "Refused", "Moved", ""], lines, "Syncs") : make("p.card-body.note", {}, "Nothing was synced yet."));
  if (data.some((sync) => LIVE.has(sync.status))) setTimeout(() => void history(item).catch(() => undefined), POLL_MS);
  else await load();
}

async function decide(item, sync, decision) {
  await api(`${here}/${item.id}/syncs/${sync.id}/${decision}`, { method: "POST", json: {} });
  await history(item);
}

async function manifest(item, sync) {
  const found = await api(`${here}/${item.id}/syncs/${sync.id}`);
  const files = found.manifest_json.slice(0, SHOWN_LINES).map((file) => make("tr", { role: "row" }, make("td.name.clip", { ...CELL, title: file.key }, file.key), make("td", CELL, file.status), make("td.num", CELL, size(file.size)), make("td.num", CELL, file.rows === null ? "–" : whole(file.rows)), make("td.num", CELL, file.rejected === null ? "–" : whole(file.rejected)), make("td", CELL, file.error ? make("p.field-error", {}, file.error) : null)));
  const more = found.manifest_json.length - files.length;
  detail(`Manifest of ${item.name}, ${new Date(sync.createdAt).toLocaleString()}`,
    table(["Object", "Fate", "Size", "Rows", "Rejected", "Note"], files, "Manifest"), more > 0 ? make("p.card-body.note", {}, `${whole(more)} more are in the API's answer.`) : "",
    make("details.attempt", {}, make("summary", {}, `Requests and answers (${found.exchanges.length})`), make("pre.json", { tabindex: "0", "aria-label": "Requests" }, JSON.stringify(found.exchanges, null, 2))));
}

function control(name, label, schema, required) {
  const id = `new-${name}`;
  const choices = (schema.anyOf ?? []).find((item) => item.enum)?.enum;
  let box;
  if (choices) box = make("select", { id, name }, make("option", { value: "" }, "none"), ...choices.map((value) => make("option", { value: String(value) }, String(value))));
  else if (schema.enum) box = make("select", { id, name }, ...schema.enum.map((value) => make("option", { value: String(value) }, String(value))));
  else if (schema.type === "boolean") box = make("select", { id, name }, make("option", { value: "" }, "no"), make("option", { value: "true" }, "yes"));
  else box = make("input", { id, name, type: name.startsWith(SECRET) ? "password" : "text", autocomplete: "off", required, placeholder: String(schema.default ?? schema.examples?.[0] ?? "") });
  return make("div.field", {}, make("label", { for: id }, label), box, schema.description ? make("p.note", {}, ...ticks(schema.description)) : null);
}

const simple = (schema) => schema.enum || ["string", "boolean", "integer"].includes(schema.type) || (schema.anyOf ?? []).some((item) => item.type === "string");

/** Of the secret's values only those are asked for that the chosen scheme uses. */
function fitSecrets(form, texts) {
  const scheme = form.elements.namedItem("config.authScheme");
  if (!scheme) return;
  const known = [...scheme.options].map((option) => option.value).filter(Boolean);
  const show = () => {
    for (const [name, text] of Object.entries(texts)) {
      const box = form.elements.namedItem(SECRET + name);
      const field = box.closest(".field");
      field.hidden = !known.some((item) => item === scheme.value && text.startsWith(`For ${item}`));
      if (field.hidden) box.value = "";
    }
  };
  scheme.addEventListener("change", show);
  show();
}

function drawForm(types, type, role) {
  const chosen = types.find((item) => item.type === type);
  const needed = new Set(chosen.configSchema.required ?? []);
  const config = Object.entries(chosen.configSchema.properties ?? {}).filter(([name, schema]) => simple(schema) && name !== "secretRef");
  const pick = (id, label, options, value, changed) => {
    const box = make("select", { id, name: id, change: changed }, ...options.map(([key, text]) => { const option = make("option", { value: key }, text); option.selected = key === value; return option; }));
    return make("div.field", {}, make("label", { for: id }, label), box);
  };
  const again = () => drawForm(types, place("add-type").value, place("add-role").value);
  place("add").replaceChildren(
    make("div.row", {},
      pick("add-role", "Direction", [["INVENTORY_SOURCE", "Inbound: files come from there"], ["RESULTS_SINK", "Outbound: results go there"]], role, again),
      pick("add-type", "Type", types.map((item) => [item.type, item.title]), type, again),
      control("name", "Name", {}, true)),
    make("div.row", {}, ...config.map(([name, schema]) => control(`config.${name}`, name, schema, needed.has(name)))),
    make("div.row", {}, ...Object.entries(chosen.secretValues).map(([name, text]) => control(SECRET + name, name, { description: text }, false))),
    role === "INVENTORY_SOURCE" ? make("div.row", {}, control("scheduleCron", "Schedule", { description: "Five cron fields, such as 0 6 * * *; the agent's unless set." }, false), control("timezone", "Time zone", { default: "UTC" }, false)) : "",
    make("div.actions", {}, make("button.btn.btn--primary", { type: "submit" }, "Save connector")));
  fitSecrets(place("add"), chosen.secretValues);
  place("add").onsubmit = (event) => {
    event.preventDefault();
    void add(new FormData(event.currentTarget));
  };
}

async function add(data) {
  const body = { role: data.get("add-role"), type: data.get("add-type"), name: data.get("name"), config: {} };
  const secret = {};
  for (const [key, value] of data) {
    if (value === "") continue;
    if (key.startsWith("config.")) body.config[key.slice(7)] = value === "true" ? true : value;
    else if (key.startsWith(SECRET)) secret[key.slice(SECRET.length)] = value;
    else if (key === "scheduleCron" || key === "timezone") body[key] = value;
  }
  if (Object.keys(secret).length) body.secret = secret;
  place("banners").replaceChildren();
  try {
    const made = await api(here, { method: "POST", json: body });
    place("said").textContent = `${made.name} is saved.`;
    place("add").reset();
    place("add").elements.namedItem("config.authScheme")?.dispatchEvent(new Event("change"));
    await load();
  } catch (error) {
    told(error);
  }
}

try {
  const { data } = await api("/data-source-types");
  drawForm(data, data[0].type, "INVENTORY_SOURCE");
  await load();
} catch (error) {
  told(error);
}

// The review of a mapping: each field with its columns, samples and why; a person's choice counts.
import { make } from "./enrich.js";

const SURE = 0.9;
const CHECK = 0.6;
const SAMPLE_LETTERS = 40;
const CELL = { role: "cell" };
/** What the fields whose names do not say it stand for. @type {Record<string, string>} */
const MEANING = { contact_id: "your own number", number1: "first phone", number2: "second phone", dm_name: "contact or owner" };
/** Fields that reach a person: their samples show the form only. */
const PERSONAL = new Set(["number1", "number2", "dm_name"]);

/** @param {number} confidence */
function meter(confidence) {
  const word = confidence >= SURE ? "sure" : confidence >= CHECK ? "check" : "unsure";
  const tone = confidence >= SURE ? "ok" : confidence >= CHECK ? "warn" : "mute";
  return make(`span.badge.badge--${tone}`, {}, `${Math.round(confidence * 100)} % ${word}`);
}

/** A sample value; of a person's name or number the first letter of each word. @param {string} field @param {string} text */
function sample(field, text) {
  const shown = PERSONAL.has(field) ? text.replace(/(?<=[\p{L}\p{N}])[\p{L}\p{N}]/gu, "\u2022") : text;
  return make("span.chip", {}, shown.slice(0, SAMPLE_LETTERS));
}

/** @param {string[]} columns @param {string} chosen @param {string} label */
function choice(columns, chosen, label) {
  const options = ["", ...columns].map((name) => {
    const option = make("option", { value: name }, name || "Not mapped");
    option.selected = name === chosen;
    return option;
  });
  return make("select", { "aria-label": label }, ...options);
}

/** A column that is in the set while it is pressed. @param {string} name @param {Set<string>} chosen @param {() => void} changed */
function toggle(name, chosen, changed) {
  const button = make("button.chip", {
    type: "button",
    "aria-pressed": String(chosen.has(name)),
    click: () => {
      if (!chosen.delete(name)) chosen.add(name);
      button.setAttribute("aria-pressed", String(chosen.has(name)));
      changed();
    },
  }, name);
  return button;
}

/**
 * @param {any} mapping answer of `/mapping`
 * @param {{ locked: boolean, save: (body: unknown) => Promise<void>, changed: (body: unknown) => void, refused: (error: Error) => void }} how
 */
export function mappingTable(mapping, { locked, save, changed, refused }) {
  const selects = new Map();
  const chips = (names) => names.flatMap((name) => [make("span.chip", {}, name), " "]);
  const body = Object.entries(mapping.fields).map(([field, use]) => {
    const chosen = use.columns.length ? [...use.columns, ""] : [""];
    const boxes = chosen.map((name, at) => choice(mapping.columns, name, at ? `${field}, joined with` : `Column of ${field}`));
    selects.set(field, boxes);
    const why = [...use.reasons.slice(0, 2), use.runner_up.length ? `next best: ${use.runner_up.join(" + ")}` : ""].filter(Boolean).join("; ");
    const cells = [
      make("th.name", { scope: "row", role: "rowheader" }, field, MEANING[field] ? make("p.note", {}, MEANING[field]) : null),
      locked ? make("td.wrap", CELL, ...chips(use.columns)) : make("td", CELL, make("div.field.joined", {}, ...boxes)),
      make("td", CELL, ...(use.columns.length ? [meter(use.confidence), " ", make("span.note", {}, use.stage)] : [make("span.note", {}, "\u2013")])),
      // Values are shown for the review only: the page of a job that runs has counts, not people.
      locked ? null : make("td.wrap", CELL, ...use.samples.flatMap((text) => [sample(field, text), " "])),
      make("td.dim.wide.wrap", CELL, why.replaceAll("`", "")),
    ];
    return make("tr", { role: "row" }, ...cells.filter(Boolean));
  });
  const heads = ["Field", "Columns", "How sure", ...(locked ? [] : ["Samples"]), "Why"].map((text) => make(text === "Why" ? "th.wide" : "th", { scope: "col", role: "columnheader" }, text));
  const table = make("table.table.table--form.table--stack.table--facts", { role: "table" }, make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads)), make("tbody", { role: "rowgroup" }, ...body));
  const parts = [make("div.scroll", { tabindex: "0", role: "group", "aria-label": "Columns and fields" }, table)];
  const list = (title, items, note = null) => make("div.card-body", {}, make("h3", {}, title), note, make("ul.chips.chips--flush", {}, ...items.map((item) => make("li", {}, item))));
  const variants = new Set(mapping.variants);
  const chosen = () => {
    const fields = Object.fromEntries([...selects].map(([field, boxes]) => [field, [...new Set(boxes.map((box) => box.value).filter(Boolean))]]));
    const used = new Set(Object.values(fields).flat());
    return { fields, variants: [...variants].filter((name) => !used.has(name)) };
  };
  const note = make("p.note", {}, "A saved mapping counts for every file with the same headers.");
  const tell = () => {
    note.textContent = "Not saved yet; the start saves it, too.";
    changed(chosen());
  };
  for (const boxes of selects.values()) for (const box of boxes) box.addEventListener("change", tell);
  const fed = new Set(Object.values(mapping.fields).flatMap((use) => use.columns));
  const rest = mapping.columns.filter((name) => !fed.has(name));
  if (locked) {
    if (variants.size) parts.push(list("Tried when little is found", mapping.variants.map((name) => make("span.chip", {}, name))));
  } else if (rest.length) {
    const hint = make("p.note", {}, "Chosen ones are tried when little is found, and what they say is no news: choose your own e-mails and websites, too.");
    parts.push(list("Other columns", rest.map((name) => toggle(name, variants, tell)), hint));
  }
  if (!locked) {
    const button = make("button.btn", {
      type: "button",
      click: async () => {
        button.disabled = true;
        try {
          await save(chosen());
        } catch (error) {
          refused(error);
        }
        button.disabled = false;
      },
    }, "Save mapping");
    parts.push(make("div.submit", {}, note, button));
  }
  return make("div", {}, ...parts);
}

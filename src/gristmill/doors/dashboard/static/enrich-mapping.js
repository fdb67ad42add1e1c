// The review of a mapping: each field with its columns, samples and why; a person's choice counts.
import { make } from "./enrich.js";

const SURE = 0.9;
const CHECK = 0.6;

/** @param {number} confidence */
function meter(confidence) {
  const word = confidence >= SURE ? "sure" : confidence >= CHECK ? "check" : "unsure";
  const tone = confidence >= SURE ? "ok" : confidence >= CHECK ? "warn" : "mute";
  return make(`span.badge.badge--${tone}`, {}, `${Math.round(confidence * 100)} % ${word}`);
}

/** @param {string[]} columns @param {string} chosen @param {string} label @param {boolean} locked */
function choice(columns, chosen, label, locked) {
  const options = ["", ...columns].map((name) => {
    const option = make("option", { value: name }, name || "Not mapped");
    option.selected = name === chosen;
    return option;
  });
  return make("select", { "aria-label": label, disabled: locked }, ...options);
}

/**
 * @param {any} mapping answer of `/mapping`
 * @param {{ locked: boolean, save: (body: unknown) => Promise<void>, refused: (error: Error) => void }} how
 */
export function mappingTable(mapping, { locked, save, refused }) {
  const selects = new Map();
  const body = Object.entries(mapping.fields).map(([field, use]) => {
    const chosen = use.columns.length ? [...use.columns, ""] : [""];
    const boxes = chosen.map((name, at) => choice(mapping.columns, name, at ? `${field}, joined with` : `Column of ${field}`, locked));
    selects.set(field, boxes);
    const why = [...use.reasons.slice(0, 2), use.runner_up.length ? `next best: ${use.runner_up.join(" + ")}` : ""].filter(Boolean).join("; ");
    return make("tr", {},
      make("th", { scope: "row" }, field),
      make("td", {}, make("div.field.joined", {}, ...(locked && use.columns.length ? boxes.slice(0, -1) : boxes))),
      make("td", {}, use.columns.length ? meter(use.confidence) : make("span.note", {}, "–"), " ", make("span.note", {}, use.stage)),
      // Values are shown for the review only: the page of a job that runs has counts, not people.
      make("td", {}, ...(locked ? [] : use.samples).map((text) => make("span.chip", {}, text.slice(0, 40)))),
      make("td.dim.wide", {}, why));
  });
  const heads = ["Field", "Columns", "How sure", "Samples", "Why"].map((text) => make(text === "Why" ? "th.wide" : "th", { scope: "col" }, text));
  const table = make("table.table.table--form", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...body));
  const parts = [make("div.scroll", { tabindex: "0", role: "group", "aria-label": "Columns and fields" }, table)];
  const used = new Set([...Object.values(mapping.fields).flatMap((use) => use.columns), ...mapping.variants]);
  const left = mapping.columns.filter((name) => !used.has(name));
  const chips = (title, names) => make("div.card-body", {}, make("h3", {}, title), make("ul.chips.chips--flush", {}, ...names.map((name) => make("li.chip", {}, name))));
  if (mapping.variants.length) parts.push(chips("Tried when little is found", mapping.variants));
  if (left.length) parts.push(chips("Not used", left));
  if (!locked) {
    const button = make("button.btn", {
      type: "button",
      click: async () => {
        button.disabled = true;
        const fields = Object.fromEntries([...selects].map(([field, boxes]) => [field, [...new Set(boxes.map((box) => box.value).filter(Boolean))]]));
        try {
          await save({ fields });
        } catch (error) {
          refused(error);
        }
        button.disabled = false;
      },
    }, "Save mapping");
    parts.push(make("div.submit", {}, make("p.note", {}, "A saved mapping counts for every file with the same headers."), button));
  }
  return make("div", {}, ...parts);
}

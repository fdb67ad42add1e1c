// On every page: copy buttons, times that stay true, and pages that ask to be refreshed.
import { ago } from "./format.js";
import { refresh } from "./regions.js";

const COPIED_MS = 1600;
const TICK_MS = 20_000;

/** @param {string} text @param {Node} node */
async function copy(text, node) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Plain http on another host than localhost has no clipboard API: select it, the old command copies it.
  const range = document.createRange();
  range.selectNodeContents(node);
  const selection = document.getSelection();
  selection?.removeAllRanges();
  selection?.addRange(range);
  if (!document.execCommand("copy")) throw new Error("copying is not allowed");
}

document.addEventListener("click", async (event) => {
  const button = event.target instanceof Element ? event.target.closest("[data-copy]") : null;
  if (!(button instanceof HTMLElement)) return;
  const source = document.getElementById(button.dataset.copy ?? "");
  const use = button.querySelector("use");
  if (!source || !use) return;
  const before = use.getAttribute("href") ?? "";
  const label = button.getAttribute("aria-label") ?? "Copy";
  try {
    await copy(source.textContent ?? "", source);
    use.setAttribute("href", before.replace(/#.*/, "#check"));
    button.setAttribute("aria-label", "Copied");
  } catch {
    button.setAttribute("aria-label", "Select the text and copy it");
  }
  setTimeout(() => {
    use.setAttribute("href", before.replace(/#.*/, "#copy"));
    button.setAttribute("aria-label", label);
  }, COPIED_MS);
});

function reveal() {
  for (const button of document.querySelectorAll("[data-copy][hidden]")) button.removeAttribute("hidden");
}

function tick() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const text = ago((Date.now() - Date.parse(time.dateTime)) / 1000);
    if (text !== null && time.textContent !== text) time.textContent = text;
  }
}

reveal();
document.addEventListener("regions", reveal);
setInterval(tick, TICK_MS);

const main = document.querySelector("main[data-refresh-s]");
if (main instanceof HTMLElement) {
  const names = (main.dataset.refresh ?? "").split(" ");
  const every = Number(main.dataset.refreshS) * 1000;
  const again = async () => {
    if (document.hidden || (await refresh(names))) setTimeout(again, every);
  };
  setTimeout(again, every);
}

// Parts of a page that are replaced by their present selves: the page is fetched again and its regions are taken over.

/** Whether a person is in the middle of something there. @param {Element} region */
function busy(region) {
  const selection = document.getSelection();
  const selecting = selection && !selection.isCollapsed && region.contains(selection.anchorNode);
  return selecting || region.contains(document.activeElement) || region.querySelector(":popover-open") !== null;
}

/** @param {Element} region @param {Element} fresh */
function replace(region, fresh) {
  const focused = region.contains(document.activeElement) ? document.activeElement : null;
  region.replaceWith(document.adoptNode(fresh));
  if (focused === null) return;
  const again = focused.id ? document.getElementById(focused.id) : null;
  const target = again ?? document.querySelector("main");
  target?.focus({ preventScroll: true });
}

/**
 * Load the page again and take over some of its regions.
 * @param {string[]} names
 * @param {{ force?: boolean }} options `force`: even where a person is at work; the focus is kept
 * @returns {Promise<boolean>} false when the page can't be loaded, for example after a logout
 */
export async function refresh(names, { force = false } = {}) {
  const page = document.querySelector("main")?.dataset.page ?? location.href;
  let text;
  try {
    const answer = await fetch(page, { credentials: "same-origin", headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) return false;
    text = await answer.text();
  } catch {
    return false;
  }
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const name of names) {
    const before = document.querySelector(`[data-region="${name}"]`);
    const after = fresh.querySelector(`[data-region="${name}"]`);
    if (before && after && (force || !busy(before))) replace(before, after);
  }
  document.dispatchEvent(new CustomEvent("regions"));
  return true;
}

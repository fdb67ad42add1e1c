// Runs before the page is painted: the chosen theme, if any, goes on <html>. Without a choice the system decides.
(() => {
  "use strict";
  const KEY = "gristmill-theme";
  const ORDER = ["system", "light", "dark"];
  const root = document.documentElement;

  const chosen = () => {
    try {
      const found = localStorage.getItem(KEY);
      return ORDER.includes(found) ? found : "system";
    } catch {
      return "system";
    }
  };

  const apply = (theme) => {
    if (theme === "system") root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", theme);
  };

  apply(chosen());

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("[data-theme-button]");
    if (!button) return;
    const use = button.querySelector("use");
    const sprite = use.getAttribute("href").split("#")[0];
    const show = () => {
      const now = chosen();
      const next = ORDER[(ORDER.indexOf(now) + 1) % ORDER.length];
      use.setAttribute("href", `${sprite}#${now}`);
      button.setAttribute("aria-label", `Theme: ${now}. Change to ${next}.`);
      button.title = `Theme: ${now}`;
    };
    button.addEventListener("click", () => {
      const next = ORDER[(ORDER.indexOf(chosen()) + 1) % ORDER.length];
      try {
        localStorage.setItem(KEY, next);
      } catch {
        // Without storage the choice lasts until the next page.
      }
      apply(next);
      show();
    });
    show();
    button.hidden = false;
  });
})();

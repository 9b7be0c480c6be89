"use strict";
// The theme: the system's, or the one chosen by the button. Scripts are notified by the event "theme".
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const print = matchMedia("print");
  const chosen = () => root.dataset.theme || (system.matches ? "dark" : "light");

  function tell() {
    const other = chosen() === "dark" ? "light" : "dark";
    button.textContent = other === "dark" ? "Dark" : "Light";
    button.setAttribute("aria-label", `Switch to the ${other} theme`);
    document.dispatchEvent(new CustomEvent("theme"));
  }

  window.report = { theme: () => (print.matches ? "light" : chosen()) };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = chosen() === "dark" ? "light" : "dark";
    tell();
  });
  system.addEventListener("change", tell);
  tell();
  requestAnimationFrame(() => performance.mark("report:verdict"));
})();

"use strict";
// Keep the page up to date. The server says what has changed; a hidden tab asks for nothing. What comes from a run
// reaches the page as HTML that the server has escaped, or by textContent.
(() => {
  const at = (id) => document.getElementById(id);
  const { events, version, news } = document.body.dataset;
  const link = at("link");
  const waiting = new Map();
  let seen = version;
  let source = null;
  let said = news || "";

  document.body.classList.add("scripted");

  function replace(node, html) {
    if (node.dataset.html === html) return;
    const chosen = [...node.querySelectorAll("input:checked")].map((box) => box.value);
    node.innerHTML = html;
    for (const box of node.querySelectorAll("input")) box.checked = chosen.includes(box.value);
    document.dispatchEvent(new CustomEvent("chosen"));
  }

  // A part that holds the focus is replaced once the focus has left it.
  function put(id, html) {
    const node = at(id);
    if (!node) return;
    if (node.contains(document.activeElement)) waiting.set(id, html);
    else replace(node, html);
  }

  document.addEventListener("focusout", () => {
    setTimeout(() => {
      for (const [id, html] of [...waiting]) {
        if (at(id).contains(document.activeElement)) continue;
        waiting.delete(id);
        replace(at(id), html);
      }
    });
  });

  function announce(text) {
    if (text && said && text !== said) at("news").textContent = text;
    said = text || said;
  }

  // Parts of the page that it asks for itself: not before the last answer came, and rarely if answers take long.
  const asked = new Map();

  async function refresh(node) {
    const state = asked.get(node) || { busy: false, next: 0 };
    asked.set(node, state);
    if (state.busy || performance.now() < state.next) {
      state.again = true;
      return;
    }
    const began = performance.now();
    state.busy = true;
    state.again = false;
    try {
      const answer = await fetch(node.dataset.refresh);
      if (answer.ok) put(node.id, await answer.text());
    } catch {
      // The stream says that the server is gone.
    }
    state.busy = false;
    const wait = Math.max(node.dataset.slow === undefined ? 1000 : 10000, 10 * (performance.now() - began));
    state.next = performance.now() + wait;
    setTimeout(() => state.again && refresh(node), wait);
  }

  let stale = 0;
  function changed() {
    for (const node of document.querySelectorAll("[data-refresh]")) refresh(node);
    document.dispatchEvent(new CustomEvent("changed"));
    stale ||= setTimeout(() => {
      stale = 0;
      document.dispatchEvent(new CustomEvent("stale"));
    }, 5000);
  }

  function tell(text, lost) {
    link.textContent = text;
    link.classList.toggle("lost", lost);
  }

  function listen() {
    if (!events || source || document.hidden) return;
    source = new EventSource(`${events}${events.includes("?") ? "&" : "?"}since=${seen}`);
    source.addEventListener("open", () => tell("live", false));
    source.addEventListener("message", (event) => {
      const message = JSON.parse(event.data);
      seen = message.version;
      for (const [id, html] of Object.entries(message.parts)) put(id, html);
      announce(message.news);
      changed();
    });
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) {
        tell("not followed any more: open the address that sweep open prints", true);
        source = null;
      } else {
        tell("connecting …", true);
      }
    });
  }

  function leave() {
    source?.close();
    source = null;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : listen()));
  addEventListener("pagehide", leave);
  addEventListener("pageshow", listen);
  listen();
  for (const node of document.querySelectorAll("[data-refresh]")) if (!node.firstChild) refresh(node);
})();

// The table of trials: its links and its form lead to other rows without a new page.
(() => {
  const box = document.getElementById("trial-rows");
  if (!box) return;
  const form = document.querySelector("#explorer form");
  let view = new URLSearchParams(location.search);
  let last = 0;
  let timer = 0;

  async function load(key) {
    const number = ++last;
    box.setAttribute("aria-busy", "true");
    const answer = await fetch(`${box.dataset.source}?${view}`).catch(() => null);
    if (number !== last) return;
    box.setAttribute("aria-busy", "false");
    if (!answer?.ok) return;
    const scrolled = box.querySelector("#table")?.scrollLeft || 0;
    const focused = key || (box.contains(document.activeElement) && document.activeElement.dataset.key);
    const kept = box.contains(document.activeElement) && document.activeElement.getAttribute("href");
    box.innerHTML = await answer.text();
    box.querySelector("#table").scrollLeft = scrolled;
    const again = focused ? `[data-key="${CSS.escape(focused)}"]` : kept ? `a[href="${CSS.escape(kept)}"]` : null;
    if (again) (box.querySelector(again) || box.querySelector("#table")).focus({ preventScroll: true });
  }

  function show(next, key) {
    view = next;
    history.replaceState(null, "", `${location.pathname}${String(view) && `?${view}`}${location.hash}`);
    load(key);
  }

  box.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-view]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    show(new URL(link.href).searchParams, link.dataset.key);
  });

  function filtered() {
    const next = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    for (const name of ["sort", "down"]) if (view.has(name)) next.set(name, view.get(name));
    show(next);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    filtered();
  });
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(filtered, 200);
  });

  // A change of the run: at most one request at a time, and rarely if answers take long.
  let busy = false;
  let again = false;
  async function update() {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    again = false;
    const began = performance.now();
    await load();
    setTimeout(() => {
      busy = false;
      if (again) update();
    }, Math.max(1000, 5 * (performance.now() - began)));
  }
  document.addEventListener("changed", update);
})();

// The log of a trial, as it grows.
(() => {
  const pane = document.getElementById("log-pane");
  if (!pane) return;
  const at = (id) => document.getElementById(id);
  const [of, follow, filter, frame, note] = ["log-of", "log-follow", "log-filter", "log-lines", "log-note"].map(at);
  const MOST = 5000;
  let lines = [];
  let next = null;
  let timer = 0;
  let generation = 0;

  function draw() {
    const word = filter.value.trim().toLowerCase();
    const shown = word ? lines.filter((line) => line.toLowerCase().includes(word)) : lines;
    frame.textContent = shown.join("\n");
    if (follow.checked) frame.scrollTop = frame.scrollHeight;
  }

  async function read() {
    clearTimeout(timer);
    const mine = generation;
    const [segment, rank] = of.value.split(".");
    const from = next === null ? "" : `&from=${next}`;
    const answer = await fetch(`${pane.dataset.source}?segment=${segment}&rank=${rank}${from}`).catch(() => null);
    if (mine !== generation) return;
    if (answer?.ok) {
      const log = await answer.json();
      if (mine !== generation) return;
      if (next === null && log.earlier) lines.push(`… ${log.earlier.toLocaleString("en")} earlier lines: sweep logs`);
      lines = lines.concat(log.lines).slice(-MOST);
      if (next === null || log.lines.length) draw();
      next = log.next;
      note.textContent = lines.length ? (log.more ? "Following." : "The log is complete.") : "Nothing was printed.";
      if (!log.more && !log.lines.length) return;
    }
    timer = setTimeout(() => (document.hidden || !follow.checked ? (timer = setTimeout(read, 2000)) : read()), 2000);
  }

  function restart() {
    generation += 1;
    lines = [];
    next = null;
    read();
  }

  of.addEventListener("change", restart);
  follow.addEventListener("change", () => follow.checked && read());
  filter.addEventListener("input", draw);
  read();
})();

// Two runs at least are compared, and twenty at most.
(() => {
  const button = document.getElementById("compare");
  if (!button) return;
  const check = () => {
    const chosen = document.querySelectorAll(".runs input:checked").length;
    button.disabled = chosen < 2 || chosen > 20;
  };
  document.addEventListener("change", check);
  document.addEventListener("chosen", check);
  check();
})();

"use strict";
// The table of all trials: sorted, filtered, and shown a page at a time. Texts reach the page by textContent alone.
(() => {
  const source = JSON.parse(document.getElementById("trials-data").textContent);
  const all = source.columns;
  const shown = all.filter((column) => column.group === "main" || column.group === "param");
  const at = (id) => document.getElementById(id);
  const [frame, filter, status, rows] = ["table", "filter", "status", "rows"].map(at);
  const named = (title) => all.find((column) => column.group === "main" && column.title === title);
  const trial = named("trial");
  const count = trial.values ? trial.values.length : 0;
  const objective = shown[3];
  const open = new Set();
  const view = { order: [...Array(count).keys()], column: shown[0], falls: false, page: 0 };
  let texts = null;

  const raw = (column, row) =>
    column.values ? column.values[row] : column.codes[row] < 0 ? null : column.words[column.codes[row]];

  function brief(value) {
    if (value === null) return "–";
    if (typeof value !== "number" || Number.isInteger(value)) return String(value);
    return String(Number(value.toPrecision(4)));
  }

  function element(name, text, attributes = {}) {
    const node = document.createElement(name);
    if (text !== null) node.textContent = text;
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  }

  // Rows without a value come last in either direction; words come after numbers.
  function compare(a, b) {
    if (a === null || b === null) return a === b ? 0 : a === null ? 2 : -2;
    if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
    return typeof a === "number" ? -1 : 1;
  }

  function arrange() {
    const words = filter.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length && !texts) {
      texts = view.order.map((_, row) => all.map((column) => brief(raw(column, row))).join("\n").toLowerCase());
    }
    const state = named("status");
    const kept = [];
    for (let row = 0; row < count; row += 1) {
      if (status.value && raw(state, row) !== status.value) continue;
      if (words.every((word) => texts[row].includes(word))) kept.push(row);
    }
    const way = view.falls ? -1 : 1;
    const ordered = (a, b) => {
      const order = compare(raw(view.column, a), raw(view.column, b));
      return (Math.abs(order) === 2 ? order : order * way) || a - b;
    };
    view.kept = kept.sort(ordered);
    view.page = 0;
    draw();
  }

  function head() {
    const line = element("tr", null);
    for (const column of shown) {
      const cell = element("th", null, { scope: "col" });
      if (column.values) cell.className = "n";
      const button = element("button", column.short || column.title, { type: "button", title: column.title });
      button.addEventListener("click", () => {
        view.falls = column === view.column ? !view.falls : false;
        view.column = column;
        arrange();
      });
      cell.append(button);
      line.append(cell);
      column.head = cell;
    }
    const node = element("thead", null);
    node.append(line);
    return node;
  }

  function cells(row) {
    return shown.map((column) => {
      const value = raw(column, row);
      if (column === trial) return opener(row);
      const cell = element("td", null);
      if (column.values) cell.className = column === objective ? "n value" : "n";
      if (column.group === "main" && column.title === "status") {
        cell.append(element("span", value, { class: `status status-${value.replace(" ", "-")}` }));
      } else {
        cell.textContent = brief(value);
        if (value === null) cell.classList.add("missing");
        else if (cell.textContent.length > 24) cell.title = cell.textContent;
      }
      return cell;
    });
  }

  function opener(row) {
    const cell = element("th", null, { scope: "row", class: "n" });
    const number = trial.values[row];
    const button = element("button", String(number), {
      type: "button", "aria-expanded": String(open.has(row)), "aria-label": `Trial ${number}, details`,
    });
    button.dataset.trial = number;
    if (open.has(row)) button.setAttribute("aria-controls", `details-${number}`);
    button.addEventListener("click", () => {
      if (!open.delete(row)) open.add(row);
      draw();
      frame.querySelector(`button[data-trial="${number}"]`).focus();
    });
    cell.append(button);
    return cell;
  }

  function details(row) {
    const number = trial.values[row];
    const line = element("tr", null, { class: "detail", id: `details-${number}` });
    const cell = element("td", null, { colspan: shown.length });
    const box = element("div", null, { class: "story" });
    const list = element("ul", null);
    const sentences = source.why[number] || [`To explain this trial: sweep why ${source.name} --trial ${number}`];
    for (const sentence of sentences) list.append(element("li", sentence));
    const listed = element("dl", null);
    for (const column of all) {
      const value = raw(column, row);
      if (column.group === "main" || value === null) continue;
      const pair = element("div", null, String(value).length > 40 ? { class: "wide" } : {});
      pair.append(element("dt", column.title), element("dd", brief(value)));
      listed.append(pair);
    }
    box.append(list, listed);
    cell.append(box);
    line.append(cell);
    return line;
  }

  const body = element("tbody", null);
  const table = element("table", null);
  table.append(element("caption", "Trials, one a row", { class: "unseen" }), head(), body);
  frame.append(table);

  function draw() {
    const size = Number(rows.value);
    const pages = Math.max(1, Math.ceil(view.kept.length / size));
    view.page = Math.min(view.page, pages - 1);
    const from = view.page * size;
    const listed = view.kept.slice(from, from + size);
    const lines = [];
    for (const row of listed) {
      const line = element("tr", null);
      line.append(...cells(row));
      lines.push(line);
      if (open.has(row)) lines.push(details(row));
    }
    body.replaceChildren(...lines);
    for (const column of shown) {
      if (column === view.column) column.head.setAttribute("aria-sort", view.falls ? "descending" : "ascending");
      else column.head.removeAttribute("aria-sort");
    }
    const upto = `${(from + listed.length).toLocaleString("en")} of ${view.kept.length.toLocaleString("en")} trials`;
    const total = view.kept.length < count ? ` (${count.toLocaleString("en")} in all)` : "";
    at("shown").textContent = listed.length ? `${(from + 1).toLocaleString("en")} to ${upto}${total}` : `No trial${total}`;
    at("previous").disabled = view.page === 0;
    at("next").disabled = view.page >= pages - 1;
  }

  // As orchestrator.safe_text.csv_cell: an apostrophe before what a spreadsheet would take for a formula.
  function csv(value) {
    if (value === null) return "";
    let text = String(value);
    const number = typeof value === "number" || (text.trim() === text && text !== "" && Number.isFinite(Number(text)));
    if (!number && /^ *[=+\-@\t\r\n＝＋－＠]/.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  function download() {
    const lines = [all.map((column) => csv(column.title)).join(",")];
    for (const row of view.kept) lines.push(all.map((column) => csv(raw(column, row))).join(","));
    const url = URL.createObjectURL(new Blob([lines.join("\r\n"), "\r\n"], { type: "text/csv;charset=utf-8" }));
    const link = element("a", null, { href: url, download: `${source.name}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  function turn(by) {
    view.page += by;
    draw();
    frame.scrollIntoView({ block: "nearest" });
  }

  let waiting = 0;
  filter.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(arrange, 120);
  });
  status.addEventListener("change", arrange);
  rows.addEventListener("change", () => { view.page = 0; draw(); });
  at("previous").addEventListener("click", () => turn(-1));
  at("next").addEventListener("click", () => turn(1));
  at("download").addEventListener("click", download);
  at("explorer").hidden = false;
  arrange();
  requestAnimationFrame(() => performance.mark("report:table"));
})();

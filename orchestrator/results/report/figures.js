"use strict";
// A figure is drawn when it is scrolled near. In the report its data and plotly are in the page, and all figures are
// drawn before printing; a live page fetches both from its own server, and fetches data again when they are out of date.
(() => {
  const boxes = [...document.querySelectorAll("[data-figure]")];
  const library = document.body.dataset.plotly;
  const drawn = new Map();
  const near = new Set();
  const stale = new Set();
  // plotly offers to upload a figure to its own cloud, unless it is told not to.
  const config = { responsive: true, displaylogo: false, showTips: false, scrollZoom: false, showSendToCloud: false };
  const coarse = matchMedia("(pointer: coarse)");
  const embedded = (id) => document.getElementById(id);
  const name = (box) => box.dataset.figure;
  let templates = null;
  let plotly = null;

  const fetched = async (url) => {
    const answer = await fetch(url);
    return answer.status === 200 ? answer.json() : null;
  };

  function loaded() {
    plotly ||= new Promise((resolve, reject) => {
      if (window.Plotly) return resolve();
      const script = document.createElement("script");
      script.src = library;
      script.addEventListener("load", resolve);
      script.addEventListener("error", reject);
      document.head.append(script);
    });
    return plotly;
  }

  async function load(box) {
    if (!drawn.has(name(box)) || stale.has(name(box))) {
      const data = embedded(`data-${name(box)}`);
      const content = data ? JSON.parse(data.textContent) : await fetched(box.dataset.source);
      stale.delete(name(box));
      if (content && box.dataset.source) describe(box, content);
      if (content) drawn.set(name(box), content);
      box.closest("figure").hidden = !drawn.has(name(box));
      if (box.dataset.source) tell();
    }
    if (!templates) {
      const data = embedded("templates");
      templates = data ? JSON.parse(data.textContent) : await fetched("/templates");
    }
    if (drawn.has(name(box))) await loaded();
  }

  function tell() {
    const missing = boxes.filter((box) => box.closest("figure").hidden && box.dataset.needs);
    const words = missing.map((box) => `${name(box).replace("_", " ")} needs ${box.dataset.needs}`).join("; ");
    const note = document.getElementById("missing");
    if (note) note.textContent = words && `Not drawn yet: ${words}.`;
  }

  function describe(box, content) {
    document.getElementById(`title-${name(box)}`).textContent = content.title;
    document.getElementById(`caption-${name(box)}`).textContent = content.caption;
    box.style.minHeight = `${content.height}px`;
    box.dataset.height = content.height;
  }

  function layout(figure) {
    const room = Object.assign({}, figure.layout.margin, { t: 20 }); // the title is a heading above
    const layout = Object.assign({}, figure.layout, { template: templates[window.report.theme()], margin: room });
    // A finger that scrolls the page must not draw a box in a figure.
    if (coarse.matches) layout.dragmode = false;
    return layout;
  }

  function paint(box) {
    const figure = drawn.get(name(box));
    if (!figure || !templates) return null;
    if (figure.data[0].type === "parcoords") {
      const colours = Object.assign({}, templates[window.report.theme()].layout.coloraxis, figure.layout.coloraxis);
      return window.report.parallel(box, figure.data[0], colours);
    }
    const bar = coarse.matches ? { displayModeBar: false } : {};
    return window.Plotly.react(box, figure.data, layout(figure), Object.assign({}, config, bar));
  }

  const draw = async (box) => {
    await load(box);
    await paint(box);
  };
  const again = () => boxes.filter((box) => drawn.has(name(box))).forEach(paint);
  // Before printing there is no time to fetch anything.
  const all = () => boxes.forEach((box) => (embedded(`data-${name(box)}`) ? draw(box) : paint(box)));
  const watch = new IntersectionObserver(
    (seen) => {
      for (const { target, isIntersecting } of seen) {
        near[isIntersecting ? "add" : "delete"](target);
        if (isIntersecting && (!drawn.has(name(target)) || stale.has(name(target)))) draw(target);
      }
    },
    { rootMargin: "500px 0px" },
  );

  let resized = 0;
  addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => boxes.filter((box) => box.querySelector(".parallel")).forEach(paint), 200);
  });
  for (const box of boxes) box.style.minHeight = `${box.dataset.height}px`;
  document.addEventListener("theme", again);
  document.addEventListener("stale", () => {
    for (const box of boxes) stale.add(name(box));
    for (const box of near) draw(box);
  });
  addEventListener("beforeprint", all);
  addEventListener("afterprint", again);
  matchMedia("print").addEventListener("change", (change) => (change.matches ? all() : again()));

  if (!library) draw(boxes[0]).then(() => requestAnimationFrame(() => performance.mark("report:figure")));
  for (const box of library ? boxes : boxes.slice(1)) watch.observe(box);
})();

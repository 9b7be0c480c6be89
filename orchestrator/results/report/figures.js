"use strict";
// A figure is drawn when it is scrolled near, and all are drawn before printing.
(() => {
  const parsed = (id) => JSON.parse(document.getElementById(id).textContent);
  const templates = parsed("templates");
  const boxes = [...document.querySelectorAll("[data-figure]")];
  const drawn = new Map();
  const config = { responsive: true, displaylogo: false, showTips: false, scrollZoom: false };
  const coarse = matchMedia("(pointer: coarse)");

  function layout(figure) {
    const room = Object.assign({}, figure.layout.margin, { t: 20 }); // the title is a heading above
    const layout = Object.assign({}, figure.layout, { template: templates[window.report.theme()], margin: room });
    // A finger that scrolls the page must not draw a box in a figure.
    if (coarse.matches) layout.dragmode = false;
    return layout;
  }

  function draw(box) {
    const name = box.dataset.figure;
    if (!drawn.has(name)) drawn.set(name, parsed(`data-${name}`));
    const figure = drawn.get(name);
    if (figure.data[0].type === "parcoords") {
      const colours = Object.assign({}, templates[window.report.theme()].layout.coloraxis, figure.layout.coloraxis);
      return Promise.resolve(window.report.parallel(box, figure.data[0], colours));
    }
    const bar = coarse.matches ? { displayModeBar: false } : {};
    return window.Plotly.react(box, figure.data, layout(figure), Object.assign({}, config, bar));
  }

  const again = () => boxes.filter((box) => drawn.has(box.dataset.figure)).forEach(draw);
  const watch = new IntersectionObserver(
    (seen) => {
      for (const { target } of seen.filter((entry) => entry.isIntersecting)) {
        watch.unobserve(target);
        draw(target);
      }
    },
    { rootMargin: "500px 0px" },
  );

  let resized = 0;
  addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => boxes.filter((box) => box.querySelector(".parallel")).forEach(draw), 200);
  });
  for (const box of boxes) box.style.minHeight = `${box.dataset.height}px`;
  document.addEventListener("theme", again);
  addEventListener("beforeprint", () => boxes.forEach(draw));
  addEventListener("afterprint", again);
  matchMedia("print").addEventListener("change", (change) => (change.matches ? boxes.forEach(draw) : again()));

  draw(boxes[0]).then(() => requestAnimationFrame(() => performance.mark("report:figure")));
  for (const box of boxes.slice(1)) watch.observe(box);
})();

"use strict";
// Parallel coordinates in SVG. Plotly's version needs WebGL and compiles code from text, which the page's policy forbids.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const KINDS = { f4: Float32Array, f8: Float64Array, i1: Int8Array, i2: Int16Array, i4: Int32Array, u1: Uint8Array,
    u2: Uint16Array, u4: Uint32Array };
  const ENTITIES = { "&lt;": "<", "&gt;": ">", "&#36;": "$", "&amp;": "&" };
  const TOP = 44, BOTTOM = 16, SIDE = 64, LEAST = 96;

  function numbers(array) {
    if (!array.bdata) return array;
    const bytes = Uint8Array.from(atob(array.bdata), (character) => character.charCodeAt(0));
    return new KINDS[array.dtype](bytes.buffer);
  }

  const plain = (text) => String(text).replace(/&(lt|gt|amp|#36);/g, (entity) => ENTITIES[entity]);

  function element(name, attributes, text) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function mixed(scale, share) {
    const next = Math.max(1, scale.findIndex(([stop]) => stop >= share));
    const [[from, one], [upto, other]] = [scale[next - 1], scale[next]];
    const part = Math.min(1, Math.max(0, (share - from) / (upto - from)));
    const parts = (colour) => [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
    const [low, high] = [parts(one), parts(other)];
    return `rgb(${low.map((value, index) => Math.round(value + part * (high[index] - value))).join(",")})`;
  }

  function axesOf(trace, width, height) {
    const step = (width - 2 * SIDE) / Math.max(1, trace.dimensions.length - 1);
    return trace.dimensions.map((dimension, index) => {
      const [low, high] = dimension.range;
      const y = (value) => height - BOTTOM - ((value - low) / (high - low)) * (height - TOP - BOTTOM);
      return { dimension, values: numbers(dimension.values), x: SIDE + index * step, y, low, high, chosen: null };
    });
  }

  function ticksOf(axis) {
    if (axis.dimension.tickvals) return axis.dimension.tickvals.map((at, index) => [at, plain(axis.dimension.ticktext[index])]);
    const ends = [0, 0.25, 0.5, 0.75, 1].map((share) => axis.low + share * (axis.high - axis.low));
    return ends.map((value) => [value, String(Number(value.toPrecision(3)))]);
  }

  function drawAxis(axis, height) {
    const node = element("g", { class: "axis" });
    const label = plain(axis.dimension.label);
    node.append(element("text", { x: axis.x, y: 16, class: "label" }, label));
    node.append(element("line", { x1: axis.x, x2: axis.x, y1: TOP, y2: height - BOTTOM }));
    for (const [value, text] of ticksOf(axis)) {
      node.append(element("text", { x: axis.x + 6, y: axis.y(value) + 4, class: "tick" }, text));
      node.append(element("line", { x1: axis.x - 4, x2: axis.x, y1: axis.y(value), y2: axis.y(value) }));
    }
    return node;
  }

  // Dragging along an axis selects a range; a click clears the selection.
  function selectable(axis, height, changed) {
    const bar = element("rect", { x: axis.x - 7, width: 14, y: 0, height: 0, class: "chosen" });
    const hit = element("rect", { x: axis.x - 14, width: 28, y: TOP, height: height - TOP - BOTTOM, class: "hit" });
    let start = null;
    const place = (event) => Math.min(height - BOTTOM, Math.max(TOP, event.clientY - hit.ownerSVGElement.getBoundingClientRect().top));
    hit.addEventListener("pointerdown", (event) => {
      start = place(event);
      hit.setPointerCapture(event.pointerId);
    });
    hit.addEventListener("pointermove", (event) => {
      if (start === null) return;
      const [top, bottom] = [start, place(event)].sort((a, b) => a - b);
      axis.chosen = bottom - top > 3 ? [top, bottom] : null;
      bar.setAttribute("y", top);
      bar.setAttribute("height", axis.chosen ? bottom - top : 0);
      changed();
    });
    hit.addEventListener("pointerup", () => {
      if (!axis.chosen || bar.dataset.was === `${axis.chosen}`) {
        axis.chosen = null;
        bar.setAttribute("height", 0);
      }
      bar.dataset.was = `${axis.chosen}`;
      start = null;
      changed();
    });
    return [bar, hit];
  }

  function draw(box, trace, { colorscale, cmin, cmax, reversescale }) {
    const height = Number(box.dataset.height) - 12;
    const width = Math.max(box.clientWidth, 2 * SIDE + LEAST * (trace.dimensions.length - 1));
    const axes = axesOf(trace, width, height);
    const picture = element("svg", { width, height, viewBox: `0 0 ${width} ${height}`, class: "parallel" });
    const lines = Array.from(numbers(trace.line.color), (value, row) => {
      const share = cmax > cmin ? (value - cmin) / (cmax - cmin) : 1;
      const points = axes.map((axis) => `${axis.x.toFixed(1)},${axis.y(axis.values[row]).toFixed(1)}`).join(" ");
      const stroke = mixed(colorscale, reversescale ? 1 - share : share);
      return element("polyline", { points, stroke, "stroke-opacity": axes[0].values.length > 200 ? 0.45 : 0.8 });
    });
    const changed = () => {
      const limits = axes.filter((axis) => axis.chosen);
      lines.forEach((line, row) => {
        const inside = limits.every(({ chosen: [top, bottom], y, values }) => y(values[row]) >= top && y(values[row]) <= bottom);
        line.classList.toggle("out", !inside);
      });
    };
    picture.append(...lines, ...axes.map((axis) => drawAxis(axis, height)));
    axes.forEach((axis) => picture.append(...selectable(axis, height, changed)));
    box.replaceChildren(picture);
  }

  window.report.parallel = draw;
})();

"use strict";
// What a reader may choose on the page. Every text is in it already, from report.json: nothing is worked out here.
{
  const found = JSON.parse(document.getElementById("explored").textContent);

  const put = (where, shown) => {
    where.querySelector("[data-said]").textContent = shown.said;
    where.querySelectorAll("[data-count]").forEach((cell, at) => { cell.textContent = shown.counts[at] ?? ""; });
  };

  const make = (name, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };

  const draw = (chart, cut, place) => {
    const values = cut.curves.flatMap(one => one.values), top = Math.max(...values), low = -0.15 * top;
    const across = at => 50 + at * 560 / (cut.thresholds.length - 1);
    const down = value => 200 - (Math.max(value, low) - low) / (top - low || 1) * 185;
    const ticks = cut.thresholds.map(
      (text, at) => make("text", {x: across(at), y: 222, class: "tick"}, at % 3 ? "" : text));
    const lines = cut.curves.map((one, at) => make("polyline", {
      class: `way way-${at % 6}`, points: one.values.map((value, at) => `${across(at)},${down(value)}`).join(" "),
    }));
    const marked = make("line", {class: "marked", x1: across(place), x2: across(place), y1: 10, y2: 205});
    const zero = make("line", {class: "zero", x1: 50, x2: 610, y1: down(0), y2: down(0)});
    const heights = [0, top].map(value => make("text", {x: 44, y: down(value) + 4, class: "height"}, value.toFixed(2)));
    chart.replaceChildren(zero, ...ticks, ...heights, ...lines, marked);
  };

  const rows = (body, shown) => body.replaceChildren(...shown.rows.map((texts, at) => {
    const row = document.createElement("tr");
    texts.forEach((text, column) => {
      const cell = document.createElement(column ? "td" : "th");
      if (!column) {
        cell.scope = "row";
        const key = make("svg", {viewBox: "0 0 30 10", class: "key-line", "aria-hidden": "true"});
        key.append(make("polyline", {class: `way way-${at % 6}`, points: "0,5 30,5"}));
        cell.append(key);
      }
      cell.append(text);
      row.append(cell);
    });
    return row;
  }));

  const decide = document.getElementById("decide");
  if (decide) {
    const [cut, threshold] = ["cut", "threshold"].map(name => decide.querySelector(`[data-choose=${name}]`));
    const show = () => {
      const chosen = found.decisions[cut.value], place = Number(threshold.value);
      threshold.setAttribute("aria-valuetext", chosen.thresholds[place]);
      put(decide, chosen.shown[place]);
      rows(decide.querySelector("[data-rows]"), chosen.shown[place]);
      draw(decide.querySelector("[data-chart]"), chosen, place);
    };
    cut.addEventListener("input", show);
    threshold.addEventListener("input", show);
    show();
    decide.hidden = false;
  }

  for (const split of document.querySelectorAll("[data-level]")) {
    const edge = split.querySelector("select"), edges = found.edges[split.dataset.level];
    const show = () => put(split, edges[edge.value].shown);
    edge.addEventListener("input", show);
    show();
    split.hidden = false;
  }

  // A patient's row leads to the patient, whose lesions it opens.
  const open = hash => document.querySelectorAll("article.patient").forEach(patient => {
    if (`#${patient.id}` === hash) patient.querySelectorAll("details").forEach(one => { one.open = true; });
  });
  open(location.hash);
  addEventListener("click", event => open(event.target.closest("a[href^='#patient-']")?.hash));

  // What is folded away is printed all the same.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach(one => { one.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach(one => { one.open = false; }));
}

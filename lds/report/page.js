"use strict";
(() => {
  // What each list holds is said in lds/report/neighbours.py.
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const n = data.label.length;
  const visited = [];
  let current = -1;
  let lastWrong = -1;
  let shownOnce = false; // the address names a row once the reader has chosen one

  const WIDTH = 620, HEIGHT = 560;
  const NEAR = 115, FAR = 235; // distance of a certain edge from the centre, and of one near 0

  // Everything is put in as text or attribute, never as markup: names of classes are the user's.
  function element(parent, name, attributes = {}, text = "") {
    const drawn = parent.namespaceURI.endsWith("svg") || name === "svg";
    const made = drawn
      ? document.createElementNS("http://www.w3.org/2000/svg", name)
      : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== "") made.textContent = text;
    parent.append(made);
    return made;
  }

  const className = (c) => (c < 0 ? "unknown" : data.classes[c]);
  const nodeName = (i) => (data.id ? `${i} (${data.id[i]})` : String(i));
  const isWrong = (i) => data.label[i] >= 0 && data.label[i] !== data.prediction[i];
  const shownClass = (i) => (data.label[i] >= 0 ? data.label[i] : data.prediction[i]);
  const helped = (i) => data.role[i] < 3; // train, validation or stopping

  function percent(parts) {
    const value = (100 * parts) / data.unit;
    return `${value < 10 ? value.toFixed(2) : value.toFixed(0)} %`;
  }

  // Its probability before and after learning.
  const change = (edge) =>
    `${edge.start > 0 ? percent(edge.start) : "0"} → ${percent(edge.parts)}`;

  function edgesOf(i) {
    const found = [];
    for (let e = data.first[i]; e < data.first[i + 1]; e++) {
      const p = data.probability[e];
      found.push({ to: data.to[e], parts: p, p: p / data.unit, start: data.start[e] });
    }
    return found;
  }

  function describe(i) {
    const label = data.label[i] < 0 ? "label unknown" : `label ${className(data.label[i])}`;
    const right = data.label[i] < 0 ? "" : isWrong(i) ? " (wrong)" : " (right)";
    return `Node ${nodeName(i)}, ${data.roles[data.role[i]]}: ${label}, predicted ` +
      `${className(data.prediction[i])}${right} with ${percent(data.confidence[i])}. ` +
      `Expected degree ${data.degree[i]}, from ${data.edges[i]} edges above ${data.cutoff}.`;
  }

  function node(parent, i, x, y, r, dy) {
    const group = element(parent, "g", { class: "node", transform: `translate(${x} ${y})` });
    const circle = { r, fill: data.colours[shownClass(i)], stroke: "none" };
    if (helped(i)) Object.assign(circle, { class: "known", style: `fill: ${circle.fill}` });
    element(group, "circle", circle);
    if (isWrong(i)) {
      const d = r * 0.5;
      element(group, "path", { class: "cross", d: `M${-d} ${-d}L${d} ${d}M${d} ${-d}L${-d} ${d}` });
    }
    element(group, "text", { y: dy }, String(i));
    return group;
  }

  // Ranks next to each other stand apart, so that near nodes are not all on one side.
  function stride(m) {
    const common = (a, b) => (b ? common(b, a % b) : a);
    let step = Math.max(1, Math.round(0.382 * m));
    while (common(step, m) > 1) step++;
    return step;
  }

  function draw(i, edges) {
    const picture = byId("picture");
    picture.replaceChildren();
    const lines = element(picture, "g", { "aria-hidden": "true" });
    const places = new Map();
    const m = Math.max(3, edges.length);
    edges.forEach((edge, k) => {
      const angle = (2 * Math.PI * ((k * stride(m)) % m)) / m - Math.PI / 2;
      const distance = FAR - (FAR - NEAR) * edge.p;
      places.set(edge.to, {
        x: WIDTH / 2 + 1.12 * distance * Math.cos(angle),
        y: HEIGHT / 2 + distance * Math.sin(angle),
      });
    });
    for (const [from, a] of places) {
      for (const edge of edgesOf(from)) {
        const b = places.get(edge.to);
        const once = b && (from < edge.to || !edgesOf(edge.to).some((other) => other.to === from));
        if (once) {
          element(lines, "path", {
            class: "between", d: `M${a.x} ${a.y}L${b.x} ${b.y}`, "stroke-width": 0.5 + 2 * edge.p,
          });
        }
      }
    }
    for (const edge of edges) {
      const { x, y } = places.get(edge.to);
      element(lines, "path", {
        class: edge.start > 0 ? "link" : "link new",
        d: `M${WIDTH / 2} ${HEIGHT / 2}L${x} ${y}`,
        "stroke-width": 1 + 5 * edge.p,
        "stroke-opacity": 0.35 + 0.65 * edge.p,
      });
    }
    for (const edge of edges) {
      const { x, y } = places.get(edge.to);
      const group = node(picture, edge.to, x, y, 13, -18);
      group.setAttribute("role", "button");
      group.setAttribute("tabindex", "0");
      const label = `Node ${nodeName(edge.to)}, ${className(shownClass(edge.to))}, edge ${change(edge)}`;
      group.setAttribute("aria-label", label);
      element(group, "title", {}, label);
      group.addEventListener("click", () => show(edge.to));
      group.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          show(edge.to);
          byId("node").focus();
        }
      });
    }
    node(picture, i, WIDTH / 2, HEIGHT / 2, 21, 40).classList.replace("node", "centre");
    if (!edges.length) {
      element(picture, "text", { x: WIDTH / 2, y: HEIGHT / 2 + 80 }, "no edge is likely enough");
    }
  }

  function classCell(row, c, bad) {
    const cell = element(row, "td", { class: bad ? "class bad" : "class", title: className(c) });
    if (c >= 0) {
      const dot = element(cell, "span", { class: "dot", "aria-hidden": "true" });
      dot.style.background = data.colours[c];
    }
    cell.append(className(c) + (bad ? " (wrong)" : ""));
  }

  function list(edges) {
    const body = byId("edges").tBodies[0];
    body.replaceChildren();
    for (const edge of edges) {
      const row = element(body, "tr");
      const first = element(row, "td");
      const button = element(first, "button", { type: "button" }, nodeName(edge.to));
      button.setAttribute("aria-label", `Move to node ${nodeName(edge.to)}`);
      button.addEventListener("click", () => show(edge.to));
      const cell = element(row, "td", { class: "short" });
      const bar = element(cell, "span", { class: "bar", "aria-hidden": "true" });
      bar.style.width = `${3 * edge.p}rem`;
      cell.append(change(edge));
      classCell(row, data.label[edge.to], false);
      classCell(row, data.prediction[edge.to], isWrong(edge.to));
    }
  }

  function show(i, back = false) {
    if (current >= 0 && !back && i !== current) visited.push(current);
    current = i;
    const edges = edgesOf(i);
    byId("problem").textContent = "";
    byId("node").value = String(i);
    byId("node").removeAttribute("aria-invalid");
    byId("back").disabled = visited.length === 0;
    byId("about").textContent = describe(i);
    byId("picture").dataset.node = String(i);
    const link = `#row=${encodeURIComponent(data.id ? data.id[i] : i)}`;
    if (shownOnce) history.replaceState(null, "", link);
    shownOnce = true;
    draw(i, edges);
    list(edges);
    explain(i);
  }

  // A table of the section "Why"; without lines it is hidden.
  function fill(id, lines) {
    const body = byId(id).tBodies[0];
    body.replaceChildren();
    byId(`${id}-box`).hidden = !lines.length;
    for (const [name, ...cells] of lines) {
      const row = element(body, "tr");
      element(row, "th", { scope: "row" }, name);
      for (const cell of cells) element(row, "td", {}, cell);
    }
  }

  function cellsOf(i) {
    const cells = data.why.cells;
    if (!cells) return [];
    if (cells.first) {
      const found = [];
      let column = 0;
      for (let e = cells.first[i]; e < cells.first[i + 1]; e++) {
        column += cells.gap[e];
        const name = cells.names ? cells.names[column] : String(column);
        found.push([name, String(cells.known[cells.codes[e]])]);
      }
      return found;
    }
    return cells.columns.map((column, k) => {
      const value = column.known ? column.known[column.codes[i]] : column.values[i];
      return [cells.names[k], value === null || value === undefined ? "missing" : String(value)];
    });
  }

  function differencesOf(i) {
    const all = data.why.differences;
    if (!all) return [];
    const found = [];
    const each = all.of.length / n;
    for (let k = i * each; k < (i + 1) * each; k += 3) {
      const [feature, value, mean] = all.of.slice(k, k + 3);
      if (feature < 0) continue;
      const gap = (value - mean) / all.spreads[feature];
      const sign = gap > 0 ? "+" : "";
      found.push([all.names[feature], String(value), String(mean), sign + gap.toFixed(1)]);
    }
    return found;
  }

  function explain(i) {
    const { votes, members } = data.why;
    const c = data.classes.length;
    byId("why-of").textContent = `Node ${nodeName(i)}: predicted ` +
      `${className(data.prediction[i])} with ${percent(data.confidence[i])}.`;
    fill("votes", votes ? data.classes
      .map((name, k) => [name, votes.start[i * c + k], votes.learned[i * c + k]])
      .filter(([, start, learned]) => start || learned)
      .map(([name, start, learned]) => [name, `${start} %`, `${learned} %`]) : []);
    fill("members", members ? members.names.map((name, m) => {
      const says = members.says[m][i];
      return [name, `${members.weights[m]} %`, className(Math.floor(says / 101)), `${says % 101} %`];
    }) : []);
    fill("differences", differencesOf(i));
    fill("cells", cellsOf(i));
  }

  // Node numbers go before identifiers; -1 where there is no such node.
  function find(asked) {
    const number = Number(asked);
    if (/^\d+$/.test(asked) && number < n) return number;
    return data.id ? data.id.indexOf(asked) : -1;
  }

  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    const asked = byId("node").value.trim();
    const i = find(asked);
    if (i >= 0) {
      show(i);
    } else {
      byId("problem").textContent = `There is no node “${asked}”; nodes are 0 to ${n - 1}.`;
      byId("node").setAttribute("aria-invalid", "true");
    }
  });
  for (const button of document.querySelectorAll("#changes [data-node]")) {
    button.addEventListener("click", () => {
      show(Number(button.dataset.node));
      byId("explorer").scrollIntoView();
    });
  }
  byId("back").addEventListener("click", () => show(visited.pop(), true));

  const wrong = data.label.map((_, i) => i).filter((i) => data.role[i] === 3 && isWrong(i));
  byId("wrong").hidden = wrong.length === 0;
  byId("wrong").addEventListener("click", () => {
    lastWrong = (lastWrong + 1) % wrong.length;
    show(wrong[lastWrong]);
  });

  data.classes.forEach((name, c) => {
    const item = element(byId("legend"), "li");
    element(item, "span", { class: "dot", "aria-hidden": "true" }).style.background = data.colours[c];
    item.append(name);
  });

  // Rows of least confidence, in the order of a column.
  const unsure = data.confidence.map((_, i) => i)
    .sort((a, b) => data.confidence[a] - data.confidence[b]).slice(0, data.unsure);
  let order = { key: "confidence", up: true };

  function listUnsure() {
    const value = (i) => (order.key === "row" ? i : data[order.key][i]);
    const sign = order.up ? 1 : -1;
    const body = byId("unsure-rows").tBodies[0];
    body.replaceChildren();
    for (const i of [...unsure].sort((a, b) => sign * (value(a) - value(b)) || a - b)) {
      const row = element(body, "tr");
      const button = element(element(row, "td"), "button", { type: "button" }, nodeName(i));
      button.addEventListener("click", () => {
        show(i);
        byId("explorer").scrollIntoView();
      });
      element(row, "td", { class: "short" }, percent(data.confidence[i]));
      classCell(row, data.prediction[i], isWrong(i));
      classCell(row, data.label[i], false);
      element(row, "td", {}, data.roles[data.role[i]]);
      element(row, "td", { class: "short" }, String(data.degree[i]));
    }
    for (const button of byId("unsure-rows").querySelectorAll("thead button")) {
      const mine = button.dataset.key === order.key;
      button.parentElement.setAttribute(
        "aria-sort", mine ? (order.up ? "ascending" : "descending") : "none",
      );
    }
  }

  for (const button of byId("unsure-rows").querySelectorAll("thead button")) {
    button.addEventListener("click", () => {
      const key = button.dataset.key;
      order = { key, up: key === order.key ? !order.up : true };
      listUnsure();
    });
  }
  listUnsure();

  // A link to a row ends in #row= and its identifier or number.
  function linked() {
    const asked = location.hash.startsWith("#row=") ? location.hash.slice(5) : "";
    try {
      return asked ? find(decodeURIComponent(asked)) : -1;
    } catch {
      return -1;
    }
  }
  addEventListener("hashchange", () => {
    if (linked() >= 0) show(linked());
  });

  // The linked node, else one with edges to start with.
  const degrees = data.first.slice(1).map((end, i) => end - data.first[i]);
  const first = Math.max(0, degrees.findIndex((degree) => degree > 2));
  const asked = linked();
  show(asked >= 0 ? asked : first);
  if (asked >= 0) byId("explorer").scrollIntoView();
})();

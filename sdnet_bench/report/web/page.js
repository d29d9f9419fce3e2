"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const find = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/** An element with attributes and children; names that begin with "svg:" are of SVG. */
function make(name, attributes = {}, ...children) {
  const element = name.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4))
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/* The theme */
const theme = find("#theme");
const dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
const press = () => theme.setAttribute("aria-pressed", isDark());
theme.onclick = () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  press();
};
dark.onchange = press;
press();

/* Evidence: a figure opens to where it comes from */
const dialog = find("#evidence");
document.addEventListener("click", (event) => {
  const figure = event.target.closest("button[data-at]");
  if (figure) show(data.ledger.entries[figure.dataset.at]);
  else if (event.target === dialog) dialog.close();
});
function show({ title, shown, of: [facts, commands], extra }) {
  find("#evidence-title").textContent = title;
  find("#evidence-shown").textContent = shown;
  const known = [...extra, ...data.ledger.facts[facts]];
  find("dl", dialog).replaceChildren(...known.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  find("pre", dialog).textContent = data.ledger.commands[commands].join("\n") || "not known";
  dialog.showModal();
  dialog.scrollTop = 0;
}

/* The leaderboard: sorted by a column, filtered by words, under one noise */
const board = find("#board");
const heads = all("thead tr:last-child th", board);
const valueOf = (row, column) => (find("[data-noise]:not([hidden])", row.cells[column]) ?? row.cells[column]).dataset.value;
function compare(one, other, isName, sign) {
  if (one === "" || other === "") return (one === "") - (other === "");
  return sign * (isName ? one.localeCompare(other) : one - other);
}
function sort(column, order) {
  const sign = order === "ascending" ? 1 : -1;
  const rows = all("tbody tr", board);
  rows.sort((one, other) => compare(valueOf(one, column), valueOf(other, column), column === 0, sign));
  board.tBodies[0].append(...rows);
  heads.forEach((head, at) => (at === column ? head.setAttribute("aria-sort", order) : head.removeAttribute("aria-sort")));
}
heads.forEach((head, column) => {
  find("button", head).onclick = () => {
    const first = column === 0 ? "ascending" : "descending";
    const other = column === 0 ? "descending" : "ascending";
    sort(column, head.getAttribute("aria-sort") === first ? other : first);
  };
});
find("#find").oninput = ({ target }) => {
  const words = target.value.toLowerCase().split(/\s+/);
  const rows = all("tbody tr", board);
  for (const row of rows) row.hidden = !words.every((word) => row.dataset.words.includes(word));
  find("#found").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} models`;
};
find("#noise").onchange = ({ target }) => {
  for (const part of all("div[data-noise]", board)) part.hidden = part.dataset.noise !== target.value;
  find("#noise-name").textContent = target.value;
  const head = heads.find((each) => each.hasAttribute("aria-sort"));
  sort(heads.indexOf(head), head.getAttribute("aria-sort"));
};
find("#board-controls").onsubmit = (event) => event.preventDefault();

/* lambda: charts and images that follow one slider */
const box = { left: 36, right: 406, top: 10, bottom: 264 };
const y = (accuracy) => box.bottom - (accuracy / 100) * (box.bottom - box.top);
const number = (value) => value.toFixed(1);
const slider = find("#lambda");
const state = { model: data.models[0], noises: { at: 0, line: 2 }, attacks: { at: 0, line: 1 } };
let grid = [];
const x = (lambda) => box.left + ((lambda - grid[0]) / (grid.at(-1) - grid[0] || 1)) * (box.right - box.left);
const curveOf = (kind) => state.model[kind][state[kind].at];
const shownLine = (kind) => curveOf(kind)?.lines[Math.min(state[kind].line, curveOf(kind).lines.length - 1)];
const lambda = () => grid[slider.value];
const valueAt = (line, at) => line.points.find((point) => point[0] === at);
const label = (kind, line) => (kind === "noises" ? `severity ${line.name}` : line.name);

function between(points, at) {
  const after = points.findIndex((point) => point[0] >= at);
  if (after < 0 || (after === 0 && points[0][0] > at)) return null;
  const [from, to] = [points[Math.max(after - 1, 0)], points[after]];
  return from[0] === to[0] ? to[1] : from[1] + ((to[1] - from[1]) * (at - from[0])) / (to[0] - from[0]);
}

function chooseModel(at) {
  state.model = data.models[at];
  const lines = ["noises", "attacks"].flatMap((kind) => state.model[kind].flatMap((curve) => curve.lines));
  grid = [...new Set(lines.flatMap((line) => line.points.map((point) => point[0])))].sort((one, other) => one - other);
  const before = slider.dataset.value;
  slider.max = grid.length - 1;
  slider.value = Math.max(0, grid.findIndex((each) => each >= (before ?? state.model.trained ?? grid[0])));
  for (const kind of ["noises", "attacks"]) {
    const curves = state.model[kind];
    state[kind].at = Math.min(state[kind].at, Math.max(curves.length - 1, 0));
    find(`#${kind}`).hidden = !curves.length;
    find(`#${kind} select`).replaceChildren(...curves.map((curve, place) => make("option", { value: place }, curve.name)));
    find(`#${kind} select`).value = state[kind].at;
    if (curves.length) draw(kind);
  }
  layPictures();
  move();
}

function draw(kind) {
  const curve = curveOf(kind);
  const svg = find(`#${kind} > svg`);
  const ends = curve.lines.map((line) => y(line.points.at(-1)[1]));
  const order = ends.map((_, at) => at).sort((one, other) => ends[one] - ends[other]);
  order.forEach((at, place) => place && (ends[at] = Math.max(ends[at], ends[order[place - 1]] + 15)));
  const before = curve.lines.map((line) => y(line.points.at(-1)[1]));
  const mean = (values) => values.reduce((sum, each) => sum + each, 0) / values.length;
  const excess = Math.max(mean(ends) - mean(before), Math.max(...ends) - box.bottom + 6);
  svg.setAttribute("aria-label", `Accuracy in percent against lambda, ${curve.name}; the values stand in the table below.`);
  svg.replaceChildren(
    ...axes(),
    ...(curve.tuned ? [make("svg:line", { class: "tuned", x1: x(curve.tuned), x2: x(curve.tuned), y1: box.top, y2: box.bottom })] : []),
    ...curve.lines.flatMap((line) => paths(line, line === shownLine(kind))),
    make("svg:line", { class: "marker", y1: box.top, y2: box.bottom }),
    ...curve.lines.map((line) => make("svg:circle", { class: `dot c-${line.name}`, r: 5 })),
    ...curve.lines.map((line, at) => make("svg:text", { x: box.right + 8, y: ends[at] + 4 - excess }, line.name)),
  );
  legend(kind, curve);
  const note = find(`#${kind} .note button`);
  note.textContent = `n = ${curve.n.toLocaleString("en")} test images`;
  note.dataset.at = curve.evidence;
}

function axes() {
  const levels = [0, 25, 50, 75, 100].flatMap((level) => [
    make("svg:line", { class: level ? "grid" : "axis", x1: box.left, x2: box.right, y1: y(level), y2: y(level) }),
    make("svg:text", { x: box.left - 7, y: y(level) + 4, "text-anchor": "end" }, `${level}`),
  ]);
  const every = Math.ceil(grid.length / 8);
  const ticks = grid.filter((_, at) => at % every === 0);
  const names = ticks.map((at) => make("svg:text", { x: x(at), y: box.bottom + 18, "text-anchor": "middle" }, `${+at.toFixed(2)}`));
  return [...levels, ...names, make("svg:text", { x: box.right + 24, y: box.bottom + 18 }, "λ")];
}

function paths(line, isShown) {
  const trace = (points) => points.map(([at, accuracy]) => `${x(at)},${y(accuracy)}`).join(" ");
  const best = line.points.reduce((one, other) => (other[1] > one[1] ? other : one));
  const parts = [make("svg:polyline", { class: `line c-${line.name}${isShown ? " shown" : ""}`, points: trace(line.points) })];
  if (line.points[0].length > 2) {
    const high = line.points.map(([at, , , top]) => [at, top]);
    const low = line.points.map(([at, , bottom]) => [at, bottom]).reverse();
    parts.unshift(make("svg:polygon", { class: `band c-${line.name}`, points: trace([...high, ...low]) }));
  } else parts.push(make("svg:path", { class: `best c-${line.name}`, d: `M${x(best[0])},${y(best[1])} m-6,0 l6,-6 l6,6 l-6,6 z` }));
  const height = line.chosen == null ? null : between(line.points, line.chosen);
  if (height != null) parts.push(make("svg:circle", { class: `ring c-${line.name}`, cx: x(line.chosen), cy: y(height), r: 5 }));
  return parts;
}

function legend(kind, curve) {
  const items = curve.lines.map((line, at) => {
    const swatch = make("svg:svg", { viewBox: "0 0 26 8", "aria-hidden": "true" }, make("svg:polyline", { class: `line shown c-${line.name}`, points: "0,4 26,4" }));
    const input = make("input", { type: "radio", name: kind, value: at });
    const isOfImages = kind === "noises" || ["transfer", "matched"].includes(line.name);
    input.checked = line === shownLine(kind);
    input.onchange = () => {
      state[kind].line = at;
      all(`#${kind} > svg .line`).forEach((path) => path.classList.toggle("shown", path.classList.contains(`c-${line.name}`)));
      move();
    };
    return make("label", {}, ...(isOfImages ? [input] : []), swatch, label(kind, line), make("b"));
  });
  find(`#${kind} .legend`).replaceChildren(find(`#${kind} .legend legend`), ...items);
}

function move() {
  slider.dataset.value = lambda();
  slider.setAttribute("aria-valuetext", `lambda ${+lambda().toFixed(3)}`);
  find("#lambda-value").textContent = `${+lambda().toFixed(2)}`;
  for (const kind of ["noises", "attacks"]) {
    const curve = curveOf(kind);
    if (!curve) continue;
    const svg = find(`#${kind} > svg`);
    for (const end of ["x1", "x2"]) find(".marker", svg).setAttribute(end, x(lambda()));
    curve.lines.forEach((line, at) => {
      const point = valueAt(line, lambda());
      const dot = all(".dot", svg)[at];
      dot.toggleAttribute("hidden", !point);
      dot.setAttribute("cx", point ? x(point[0]) : -9);
      dot.setAttribute("cy", point ? y(point[1]) : -9);
      all(`#${kind} .legend b`)[at].textContent = point ? number(point[1]) : "—";
    });
  }
  paintPictures();
}

/* Images: rows are conditions, columns are images */
const scenes = () => {
  const [noise, attack] = [curveOf("noises"), curveOf("attacks")];
  const names = ["clean", noise && `${noise.name} ${shownLine("noises").name}`, attack && `${attack.name} ${shownLine("attacks").name}`];
  return names.map((name) => state.model.examples?.scenes.find((scene) => scene.name === name));
};
function layPictures() {
  const examples = state.model.examples;
  find("#pictures").hidden = !examples;
  find("#pictureless").hidden = Boolean(examples);
  find("#pictureless code").textContent = `sdnet-bench visualize examples ${state.model.name}`;
  if (!examples) return find(".pictures").replaceChildren();
  const heads = examples.places.map((place, at) => make("th", { scope: "col" }, `image ${place}: ${className(examples.labels[at])}`));
  const rows = scenes().map(() => make("tr", {}, make("th", { scope: "row" }), ...examples.places.map(cell)));
  find(".pictures").replaceChildren(make("thead", {}, make("tr", {}, make("td"), ...heads)), make("tbody", {}, ...rows));
  for (const tile of all(".tile")) {
    tile.style.backgroundImage = `url(data:image/webp;base64,${examples.sprite})`;
    tile.style.backgroundSize = `${100 * examples.columns}% ${100 * examples.rows}%`;
  }
}
const tile = () => make("span", { class: "tile", role: "img" });
const cell = () =>
  make("td", {}, make("div", { class: "pair" }, tile(), tile()), make("div", { class: "said" }, make("span"), make("span")), make("div", { class: "sure" }, make("i")));
const className = (label) => state.model.examples.classes[label] ?? `class ${label}`;

function paintPictures() {
  const examples = state.model.examples;
  if (!examples) return;
  const gaps = examples.lambdas.map((each) => Math.abs(each - lambda()));
  const at = gaps.indexOf(Math.min(...gaps));
  scenes().forEach((scene, row) => {
    const line = all(".pictures tbody tr")[row];
    line.hidden = !scene;
    if (!scene) return;
    line.cells[0].textContent = scene.name.replace(/(\w+) (\d)$/, "$1 noise, severity $2");
    examples.places.forEach((_, image) => paintCell(line.cells[image + 1], scene, image, at));
  });
}
function paintCell(cell, scene, image, at) {
  const { columns, rows, labels } = state.model.examples;
  const named = className(scene.predictions[image][at]);
  const sure = Math.round(100 * scene.confidences[image][at]);
  const isRight = scene.predictions[image][at] === labels[image];
  const places = [scene.inputs[image][at] ?? scene.inputs[image][0], scene.rebuilt[image][at]];
  all(".tile", cell).forEach((tile, side) => {
    const [left, top] = [places[side] % columns, Math.floor(places[side] / columns)];
    tile.style.backgroundPosition = `${(100 * left) / (columns - 1)}% ${(100 * top) / (rows - 1 || 1)}%`;
    tile.setAttribute("aria-label", side ? `rebuilt by A z: named ${named}` : `input: ${className(labels[image])}, ${scene.name}`);
  });
  const [word, share] = all(".said span", cell);
  find(".said", cell).className = `said ${isRight ? "right" : "wrong"}`;
  word.textContent = `${isRight ? "✓" : "✗"} ${named}`;
  share.textContent = `${sure} %`;
  find(".sure i", cell).style.setProperty("--sure", `${sure}%`);
}

/* The curves as a table, for those who do not look at charts */
function tabulate() {
  const lines = ["noises", "attacks"].flatMap((kind) => state.model[kind].flatMap((curve) => curve.lines.map((line) => [curve.name, label(kind, line), line])));
  const row = ([name, part, line]) =>
    make("tr", {}, make("th", { scope: "row" }, `${name}, ${part}`), ...grid.map((at) => make("td", {}, valueAt(line, at) ? number(valueAt(line, at)[1]) : "—")));
  const head = make("tr", {}, make("td"), ...grid.map((at) => make("th", { scope: "col" }, `λ ${+at.toFixed(2)}`)));
  find("#values").replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines.map(row))));
}

if (data.models.length) {
  slider.oninput = move;
  find("#model").onchange = ({ target }) => (chooseModel(target.value), tabulate());
  for (const kind of ["noises", "attacks"]) {
    find(`#${kind} select`).onchange = ({ target }) => ((state[kind].at = +target.value), draw(kind), move());
    find(`#${kind} > svg`).onpointerdown = (event) => (event.currentTarget.setPointerCapture(event.pointerId), drag(event));
    find(`#${kind} > svg`).onpointermove = (event) => event.buttons && drag(event);
  }
  chooseModel(0);
  tabulate();
}
function drag({ currentTarget, clientX }) {
  const { left, width } = currentTarget.getBoundingClientRect();
  const gaps = grid.map((at) => Math.abs(x(at) - ((clientX - left) / width) * 480));
  slider.value = gaps.indexOf(Math.min(...gaps));
  move();
}

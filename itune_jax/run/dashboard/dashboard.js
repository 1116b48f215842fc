"use strict";
// Everything that a run said is put into the page as text, never as markup.
const at = (id) => document.getElementById(id);
const make = (tag, text, kind) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
};
const COLOURS = ["#1f77b4", "#d9541e", "#2a9d5c", "#9b5de5", "#c2a200", "#e0457b", "#008b8b", "#7f6a55"];
const EVERY = 5000;
const state = { runs: [], chosen: new Set(), curves: new Map(), first: true };

const read = async (path) => {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
};
const shown = (value, digits = 4) => (value === null || value === undefined ? "–" : Number(value).toLocaleString("en", { maximumSignificantDigits: digits }));
const colour = (name) => COLOURS[state.runs.findIndex((run) => run.name === name) % COLOURS.length];

function fill(select, options) {
  const before = select.value;
  select.replaceChildren(...options.map((text) => make("option", text)));
  if (options.includes(before)) select.value = before;
}

function row(run) {
  const line = make("tr");
  const box = make("input");
  box.type = "checkbox";
  box.checked = state.chosen.has(run.name);
  box.setAttribute("aria-label", `show ${run.name}`);
  box.addEventListener("change", () => {
    if (box.checked) state.chosen.add(run.name); else state.chosen.delete(run.name);
    update();
  });
  const first = make("td");
  first.append(box);
  const pages = make("td");
  for (const page of run.pages) {
    const link = make("a", page);
    link.href = `/page?run=${encodeURIComponent(run.name)}&page=${page}`;
    pages.append(link, " ");
  }
  const told = make("td");
  told.append(make("span", run.state, "state"));
  if (run.error) told.append(" ", make("span", run.error, "error"));
  const of = run.steps ? `${run.step} of ${run.steps}` : shown(run.step);
  line.append(first, make("td", run.name, "name"), told, make("td", of), make("td", shown(run.loss)), make("td", shown(run.tokens_per_s)), make("td", run.goodput === null || run.goodput === undefined ? "–" : `${(100 * run.goodput).toFixed(0)} %`), make("td", shown(run.memory_gib, 3)), make("td", shown(run.trained)), pages);
  return line;
}

function table() {
  const wanted = at("search").value.toLowerCase();
  const focus = document.activeElement?.getAttribute("aria-label");
  const body = at("runs").tBodies[0];
  body.replaceChildren(...state.runs.filter((run) => run.name.toLowerCase().includes(wanted)).map(row));
  if (focus) body.querySelector(`[aria-label="${CSS.escape(focus)}"]`)?.focus();
}

function svg(tag, given) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given)) element.setAttribute(name, value);
  return element;
}

function chart(lines, figure, log) {
  const W = 900, H = 320, L = 64, B = 30;
  const put = log ? Math.log10 : (x) => x;
  const points = lines.flatMap(([, line]) => line).filter(([, y]) => !log || y > 0);
  const picture = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${figure} over steps` });
  if (!points.length) return make("p", "none of the chosen runs has this figure", "muted");
  const xs = points.map(([x]) => x), ys = points.map(([, y]) => put(y));
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const X = (x) => L + ((x - x0) / (x1 - x0 || 1)) * (W - L - 12);
  const Y = (y) => H - B - ((put(y) - y0) / (y1 - y0 || 1)) * (H - B - 14);
  for (let k = 0; k <= 4; k++) {
    const value = log ? 10 ** (y0 + ((y1 - y0) * k) / 4) : y0 + ((y1 - y0) * k) / 4;
    picture.append(svg("line", { x1: L, x2: W - 12, y1: Y(value), y2: Y(value), class: "axis" }));
    const label = svg("text", { x: L - 6, y: Y(value) + 4, "text-anchor": "end" });
    label.textContent = shown(value, 3);
    const step = svg("text", { x: X(x0 + ((x1 - x0) * k) / 4), y: H - 8, "text-anchor": k === 4 ? "end" : "middle" });
    step.textContent = shown(Math.round(x0 + ((x1 - x0) * k) / 4), 6);
    picture.append(label, step);
  }
  for (const [name, line] of lines) {
    const d = line.filter(([, y]) => !log || y > 0).map(([x, y], k) => `${k ? "L" : "M"}${X(x).toFixed(1)} ${Y(y).toFixed(1)}`).join("");
    picture.append(svg("path", { d, stroke: colour(name) }));
  }
  return picture;
}

function draw() {
  const names = [...state.chosen].filter((name) => state.curves.has(name));
  const figures = [...new Set(names.flatMap((name) => Object.keys(state.curves.get(name))))].sort((a, b) => (b === "loss") - (a === "loss") || a.localeCompare(b));
  fill(at("figure"), figures);
  const figure = at("figure").value;
  const lines = names.map((name) => [name, state.curves.get(name)[figure] ?? []]).filter(([, line]) => line.length);
  at("chart").replaceChildren(figures.length ? chart(lines, figure, at("scale").value === "log") : make("p", "choose runs in the table", "muted"));
  at("legend").replaceChildren(...lines.map(([name]) => {
    const entry = make("span");
    const swatch = make("span", "", "swatch");
    swatch.style.borderColor = colour(name);
    entry.append(swatch, name);
    return entry;
  }));
  const head = make("tr");
  head.append(make("th", "run"), make("th", "first"), make("th", "lowest"), make("th", "last"), make("th", "at step"));
  at("values").replaceChildren(head, ...lines.map(([name, line]) => {
    const entry = make("tr");
    const values = line.map(([, y]) => y);
    entry.append(make("td", name), ...[values[0], Math.min(...values), values.at(-1), line.at(-1)[0]].map((x) => make("td", shown(x, 6))));
    return entry;
  }));
}

function evaluations() {
  const runs = state.runs.filter((run) => state.chosen.has(run.name));
  const figures = [...new Set(runs.flatMap((run) => Object.keys(run.evaluations)))].sort();
  const head = make("tr");
  head.append(make("th", "figure"), ...runs.map((run) => make("th", run.name)));
  const lines = figures.map((figure) => {
    const line = make("tr");
    line.append(make("td", figure), ...runs.map((run) => make("td", shown(run.evaluations[figure]))));
    return line;
  });
  at("evaluations").replaceChildren(...(figures.length ? [head, ...lines] : []));
}

async function answers() {
  const name = at("of").value;
  if (!name) return at("answers").replaceChildren();
  const items = await read(`/api/answers?run=${encodeURIComponent(name)}`);
  at("answers").replaceChildren(...(items.length ? items.map((item) => {
    const card = make("article");
    card.append(make("div", `${item.evaluator} · ${item.id}`, "muted"), make("pre", item.prompt));
    for (const one of item.answers) {
      const verdict = one.right === true ? " ✓ right" : one.right === false ? " ✗ wrong" : "";
      card.append(make("div", `${one.label}${verdict}`, "muted"), make("pre", one.text));
    }
    return card;
  }) : [make("p", "no evaluation of this run has answers", "muted")]));
}

async function update() {
  try {
    state.runs = await read("/api/runs");
    if (state.first) state.runs.slice(-4).forEach((run) => state.chosen.add(run.name));
    for (const name of state.chosen) state.curves.set(name, await read(`/api/curves?run=${encodeURIComponent(name)}`));
    const training = state.runs.filter((run) => run.state === "training").length;
    at("told").textContent = `${state.runs.length} runs, ${training} training`;
    table();
    draw();
    evaluations();
    fill(at("of"), state.runs.filter((run) => run.labels.length).map((run) => run.name));
    if (state.first) await answers();
    state.first = false;
  } catch (error) {
    at("told").textContent = `not read: ${error.message}`;
  }
}

at("search").addEventListener("input", table);
at("figure").addEventListener("change", draw);
at("scale").addEventListener("change", draw);
at("of").addEventListener("change", answers);
update();
setInterval(update, EVERY);

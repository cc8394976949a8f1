// The page: one state, and functions that draw what follows from it.

const DATA = JSON.parse(document.getElementById("data").textContent);
const L2 = DATA.l2;
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return element;
}

function html(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;

function decode(set) {
  const X = new Float32Array(bytes(set.X));
  const points = Array.from(set.y, (label, i) => ({
    x: [X[2 * i], X[2 * i + 1]],
    y: Number(label),
    isTraining: i < set.n_train,
  }));
  const orders = new Uint32Array(bytes(set.orders));
  return {
    ...set,
    points,
    training: points.slice(0, set.n_train),
    order: (k) => orders.subarray(k * set.n_train, (k + 1) * set.n_train),
    runs: set.runs.map((run) => ({
      params: new Float32Array(bytes(run.params)),
      checks: new Float64Array(bytes(run.checks)),
    })),
  };
}

const SETS = DATA.sets.map(decode);
const GRID = DATA.grid;
const CHOICES = [
  ["learning_rate", GRID.learning_rates],
  ["width", GRID.widths],
  ["batch_size", GRID.batch_sizes],
  ["init", GRID.inits],
];

const state = {
  set: 0,
  ...DATA.start,
  snapshot: 0,
  point: 0,
  size: "same",
  lines: true,
  playing: false,
};

// What follows from the state.

const set = () => SETS[state.set];
const nSnapshots = () => set().epochs.length;
const epoch = () => set().epochs[state.snapshot];
const batchSize = () => GRID.batch_sizes[state.batch_size] ?? set().n_train;

function run() {
  const { width, batch_size, init, learning_rate } = state;
  const place =
    ((width * GRID.batch_sizes.length + batch_size) * GRID.inits.length + init) *
      GRID.learning_rates.length +
    learning_rate;
  return set().runs[place];
}

function network(k = state.snapshot) {
  const q = GRID.widths[state.width];
  const size = 4 * q + 1;
  return unpack(run().params.subarray(k * size, (k + 1) * size), q);
}

const isLost = (net) => !Number.isFinite(net.b2);

function checks(k) {
  const names = DATA.checks;
  const values = run().checks.subarray(k * names.length, (k + 1) * names.length);
  return Object.fromEntries(names.map((name, i) => [name, values[i]]));
}

// The mini-batch that holds the chosen point in the epoch that comes next.
function batchOf(point) {
  const order = Array.from(set().order(state.snapshot));
  const place = order.indexOf(point);
  if (place < 0) return null;
  const first = Math.floor(place / batchSize()) * batchSize();
  return order.slice(first, first + batchSize()).map((i) => set().points[i]);
}

const meanLoss = (net, points) =>
  points.reduce((sum, { x, y }) => sum + lossOf(logit(net, ...x), y), 0) / points.length;

// This page's numbers beside JAX's: [name, here, JAX].
function comparisons() {
  const net = network();
  const { training, points, n_train } = set();
  const found = checks(state.snapshot);
  const i = (state.snapshot * 37) % n_train;
  const one = backward(net, points[i].x, points[i].y);
  return [
    ["mean loss, training", meanLoss(net, training), found.train_loss],
    ["mean loss, validation", meanLoss(net, points.slice(n_train)), found.val_loss],
    ["norm of the mean gradient", norm(meanGradients(net, training)), found.mean_gradient_norm],
    [`z of point ${i}`, one.z, found.logit],
    [`loss of point ${i}`, one.loss, found.loss],
    [`gradient norm of point ${i}`, norm(one), found.gradient_norm],
  ];
}

const difference = (here, jax) =>
  here === jax ? 0 : Math.abs(here - jax) / Math.max(1, Math.abs(jax));

// Numbers as text.

function shown(value, digits = 4) {
  if (!Number.isFinite(value)) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e5) {
    return String(value).replace("-", "−");
  }
  const size = Math.abs(value);
  const text =
    size < 1e-4 || size >= 1e5 ? value.toExponential(1) : value.toPrecision(digits);
  return text.replaceAll("-", "−");
}

// The plane.

const SIDE = 480; // of the plot, in units of its drawing
const CELLS = 96; // of the surface, in each direction

function view() {
  const axis = (k) => {
    const values = set().points.map((point) => point.x[k]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = 0.07 * (high - low);
    return [low - margin, high + margin];
  };
  return { x: axis(0), y: axis(1) };
}

const across = ({ x }, value) => ((value - x[0]) / (x[1] - x[0])) * SIDE;
const down = ({ y }, value) => ((y[1] - value) / (y[1] - y[0])) * SIDE;

function surface(net) {
  const { x, y } = view();
  const at = ([low, high], i) => low + ((high - low) * i) / CELLS;
  return Array.from({ length: CELLS + 1 }, (_, row) =>
    Array.from({ length: CELLS + 1 }, (_, column) =>
      logit(net, at(x, column), at([y[1], y[0]], row)),
    ),
  );
}

function drawSurface(grid) {
  const canvas = byId("surface");
  const context = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => channels(style.getPropertyValue(name).trim());
  const [low, middle, high] = ["--orange", "--paper", "--blue"].map(colour);
  const image = context.createImageData(CELLS + 1, CELLS + 1);
  grid.flat().forEach((z, i) => {
    const t = Number.isFinite(z) ? 2 * sigmoid(z) - 1 : 0;
    const end = t < 0 ? low : high;
    const share = 0.5 * Math.abs(t);
    for (let c = 0; c < 3; c++) {
      image.data[4 * i + c] = middle[c] + share * (end[c] - middle[c]);
    }
    image.data[4 * i + 3] = 255;
  });
  context.putImageData(image, 0, 0);
}

const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

// Where ŷ = 1/2, cell by cell (marching squares).
function boundary(grid) {
  const step = SIDE / CELLS;
  const cross = (u, v) => u / (u - v);
  const pieces = [];
  for (let r = 0; r < CELLS; r++) {
    for (let c = 0; c < CELLS; c++) {
      const [nw, ne, sw, se] = [
        grid[r][c], grid[r][c + 1], grid[r + 1][c], grid[r + 1][c + 1],
      ];
      const found = [];
      if (nw > 0 !== ne > 0) found.push([c + cross(nw, ne), r]);
      if (sw > 0 !== se > 0) found.push([c + cross(sw, se), r + 1]);
      if (nw > 0 !== sw > 0) found.push([c, r + cross(nw, sw)]);
      if (ne > 0 !== se > 0) found.push([c + 1, r + cross(ne, se)]);
      for (let i = 0; i + 1 < found.length; i += 2) {
        const [from, to] = [found[i], found[i + 1]].map(([u, v]) =>
          `${(u * step).toFixed(1)} ${(v * step).toFixed(1)}`);
        pieces.push(`M${from}L${to}`);
      }
    }
  }
  return pieces.join("");
}

// Ends of the line W1_j · x + b1_j = 0 within the plot, or null.
function unitLine(net, j) {
  const { x, y } = view();
  const [u, v] = net.W1[j];
  const b = net.b1[j];
  const ends = [];
  for (const x1 of v === 0 ? [] : x) ends.push([x1, -(u * x1 + b) / v]);
  for (const x2 of u === 0 ? [] : y) ends.push([-(v * x2 + b) / u, x2]);
  const slack = 1e-9;
  const inside = ends.filter(
    ([x1, x2]) =>
      x1 >= x[0] - slack && x1 <= x[1] + slack && x2 >= y[0] - slack && x2 <= y[1] + slack,
  );
  inside.sort((s, t) => s[0] - t[0] || s[1] - t[1]);
  return inside.length < 2 ? null : [inside[0], inside[inside.length - 1]];
}

function drawLines(net) {
  const layer = byId("lines");
  layer.replaceChildren();
  if (!state.lines || isLost(net)) return;
  const scale = view();
  const strongest = Math.max(...net.W2.map(Math.abs), 1e-12);
  net.W1.forEach((w, j) => {
    const ends = unitLine(net, j);
    if (!ends) return;
    const [[x1, y1], [x2, y2]] = ends.map(([u, v]) => [across(scale, u), down(scale, v)]);
    const kind = net.W2[j] >= 0 ? "up" : "down";
    const opacity = 0.25 + (0.75 * Math.abs(net.W2[j])) / strongest;
    layer.append(svg("line", { x1, y1, x2, y2, class: `unit ${kind}`, opacity }));
    // A short stroke on the side where the unit is active.
    const along = 0.2 + (0.6 * (j + 0.5)) / net.q; // so that names do not meet
    const [mx, my] = [x1 + (x2 - x1) * along, y1 + (y2 - y1) * along];
    let [nx, ny] = [w[0] * SIDE / (scale.x[1] - scale.x[0]), -w[1] * SIDE / (scale.y[1] - scale.y[0])];
    [nx, ny] = [y1 - y2, x2 - x1].map((t) => t * Math.sign((y1 - y2) * nx + (x2 - x1) * ny || 1));
    const length = Math.hypot(nx, ny) || 1;
    const tip = { x2: mx + (9 * nx) / length, y2: my + (9 * ny) / length };
    layer.append(svg("line", { x1: mx, y1: my, ...tip, class: `unit ${kind}`, opacity }));
    if (net.q <= 8) {
      const place = { x: mx + (17 * nx) / length, y: my + (17 * ny) / length + 4 };
      layer.append(svg("text", { ...place, class: "unit-name" }, String(j + 1)));
    }
  });
}

function sizes(net) {
  const { points, training } = set();
  if (state.size === "same" || isLost(net)) return points.map(() => null);
  const values =
    state.size === "norm"
      ? points.map(({ x, y }) => norm(backward(net, x, y)))
      : [
          ...pushes(net, training, points[state.point].x, L2),
          ...new Array(points.length - training.length).fill(null),
        ];
  return values;
}

function drawPoints(net) {
  const layer = byId("points");
  layer.replaceChildren();
  const scale = view();
  const values = sizes(net);
  const greatest = Math.max(...values.map((v) => Math.abs(v ?? 0)), 1e-300);
  set().points.forEach(({ x, y, isTraining }, i) => {
    const value = values[i];
    const r = value === null ? 4 : 2.2 + 9 * Math.sqrt(Math.abs(value) / greatest);
    const names = ["point", y ? "one" : "zero"];
    if (!isTraining) names.push("held-out");
    if (state.size === "influence" && value !== null) names.push(value > 0 ? "up" : "down");
    const [cx, cy] = [across(scale, x[0]), down(scale, x[1])];
    const shape = y
      ? svg("path", { d: triangle(cx, cy, 1.25 * r) })
      : svg("circle", { cx, cy, r });
    shape.setAttribute("class", names.join(" "));
    shape.dataset.point = i;
    if (value !== null) shape.dataset.value = value;
    layer.append(shape);
  });
  drawChosen();
}

function triangle(x, y, r) {
  const [dx, dy] = [0.866 * r, 0.5 * r];
  return `M${x} ${y - r}L${x + dx} ${y + dy}L${x - dx} ${y + dy}Z`;
}

function drawChosen() {
  const scale = view();
  const { x } = set().points[state.point];
  const place = { cx: across(scale, x[0]), cy: down(scale, x[1]) };
  byId("chosen").replaceChildren(
    svg("circle", { ...place, r: 12, class: "ring-back" }),
    svg("circle", { ...place, r: 12, class: "ring" }),
  );
}

function ticks([low, high], count = 5) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const first = Math.ceil(low / step);
  const last = Math.floor(high / step);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

function drawAxes() {
  const { mean, sd, axes } = set();
  const scale = view();
  const raw = (range, k) => range.map((value) => value * sd[k] + mean[k]);
  const layer = byId("axes");
  layer.replaceChildren();
  for (const value of ticks(raw(scale.x, 0))) {
    const x = across(scale, (value - mean[0]) / sd[0]);
    layer.append(svg("line", { x1: x, x2: x, y1: SIDE, y2: SIDE + 5, class: "axis" }));
    layer.append(svg("text", { x, y: SIDE + 18, class: "tick middle" }, tickText(value)));
  }
  for (const value of ticks(raw(scale.y, 1))) {
    const y = down(scale, (value - mean[1]) / sd[1]);
    layer.append(svg("line", { x1: -5, x2: 0, y1: y, y2: y, class: "axis" }));
    layer.append(svg("text", { x: -8, y: y + 4, class: "tick end" }, tickText(value)));
  }
  const side = SIDE / 2;
  layer.append(svg("text", { x: side, y: SIDE + 38, class: "label middle" }, cut(axes[0])));
  layer.append(
    svg(
      "text",
      { x: 0, y: 0, class: "label middle", transform: `translate(-44 ${side}) rotate(-90)` },
      cut(axes[1]),
    ),
  );
}

const tickText = (value) => String(Number(value.toPrecision(6))).replace("-", "−");
const cut = (text, most = 48) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

// Loss curves.

const CURVES = { width: 420, height: 150, left: 44, bottom: 30, top: 10, right: 10 };

function drawCurves() {
  const { width, height, left, bottom, top, right } = CURVES;
  const { epochs } = set();
  const last = nSnapshots() - 1;
  const losses = epochs.map((_, k) => checks(k));
  const finite = losses.flatMap((c) => [c.train_loss, c.val_loss]).filter(Number.isFinite);
  const highest = Math.min(Math.max(...finite, 0.1), 4 * losses[0].train_loss);
  // Epochs are close together at first; the axis gives each snapshot the same room.
  const x = (k) => left + ((width - left - right) * k) / last;
  const y = (v) => height - bottom - ((height - bottom - top) * Math.min(v, highest)) / highest;
  const layer = byId("curves");
  layer.replaceChildren();
  for (const value of ticks([0, highest], 4)) {
    layer.append(svg("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), class: "grid" }));
    layer.append(svg("text", { x: left - 6, y: y(value) + 4, class: "tick end" }, tickText(value)));
  }
  let free = -Infinity;
  epochs.forEach((value, k) => {
    if (x(k) < free || (k !== last && x(k) > x(last) - 26)) return;
    free = x(k) + 26;
    layer.append(svg("text", { x: x(k), y: height - 10, class: "tick middle" }, String(value)));
  });
  for (const [name, kind] of [["train_loss", "train"], ["val_loss", "val"]]) {
    const points = losses
      .map((c, k) => [x(k), c[name]])
      .filter(([, value]) => Number.isFinite(value))
      .map(([u, value]) => `${u.toFixed(1)},${y(value).toFixed(1)}`);
    layer.append(svg("polyline", { points: points.join(" "), class: kind }));
  }
  const now = x(state.snapshot);
  layer.append(svg("line", { x1: now, x2: now, y1: top, y2: height - bottom, class: "now" }));
}

// One example.

// A number and its bar, and below them those of a mean, if there is one.
function cell(value, mean, greatest) {
  const parts = [html("span", { class: "value", "data-value": value }, shown(value))];
  if (greatest !== undefined) parts.push(bar(value, greatest, "own"));
  if (mean !== undefined) {
    parts.push(html("span", { class: "mean", "data-value": mean }, shown(mean)));
    parts.push(bar(mean, greatest, "mean-bar"));
  }
  return html("td", {}, ...parts);
}

function bar(value, greatest, kind) {
  const inner = html("i", { class: value < 0 ? "negative-bar" : "positive-bar" });
  const share = greatest > 0 && Number.isFinite(value) ? Math.abs(value) / greatest : 0;
  inner.style.setProperty("width", `${(50 * Math.min(share, 1)).toFixed(2)}%`);
  return html("span", { class: `bar ${kind}`, "aria-hidden": "true" }, inner);
}

const greatestOf = (...lists) =>
  Math.max(...lists.flat(2).filter((v) => v !== undefined).map(Math.abs), 0);

function fill(table, headers, rows) {
  const head = html("tr", {}, ...headers.map((parts) => html("th", { scope: "col" }, ...parts)));
  table.replaceChildren(html("thead", {}, head), html("tbody", {}, ...rows));
}

const titled = (symbol, equation, number) => [
  html("b", {}, symbol),
  html("span", { class: "equation" }, equation),
  ...(number ? [html("span", { class: "number-of" }, `(${number})`)] : []),
];

function scalarRow(name, equation, number, value, mean, greatest) {
  const title = html("th", { scope: "row" }, ...titled(name, equation, number));
  const cells = [value, mean].map((v) => (v === undefined ? html("td") : cell(v, undefined, greatest)));
  return html("tr", { "data-name": name }, title, ...cells);
}

function drawExample(net) {
  const { points, mean, sd, axes, classes } = set();
  const chosen = points[state.point];
  const one = backward(net, chosen.x, chosen.y);
  const batch = batchOf(state.point);
  const batchMean = batch ? meanGradients(net, batch) : {};
  byId("point").value = state.point;
  byId("point").max = points.length - 1;
  byId("which").textContent =
    `${chosen.isTraining ? "training" : "validation"} point, label ${cut(classes[chosen.y], 24)}; ` +
    axes.map((axis, k) => `${cut(axis)} ${shown(chosen.x[k] * sd[k] + mean[k])}`).join(", ");
  byId("batch").textContent = batch
    ? `Mini-batch: the ${batch.length} training point${batch.length > 1 ? "s" : ""} that the ` +
      "coming epoch takes a step with when it comes to this one; means are over them, at the " +
      "parameters shown."
    : "A validation point: its gradient is shown, but no step is taken along it.";
  const greatest = greatestOf([one.dz, batchMean.dz]);
  fill(byId("scalars"), [[""], ["this point"], ["mini-batch mean"]], [
    scalarRow("x₁", cut(axes[0], 24), null, chosen.x[0]),
    scalarRow("x₂", cut(axes[1], 24), null, chosen.x[1]),
    scalarRow("z", "W2 h + b2", null, one.z),
    scalarRow("ŷ", "σ(z)", null, one.yhat),
    scalarRow("y", cut(classes[chosen.y], 24), null, chosen.y),
    scalarRow("𝓛", "−y log ŷ − (1 − y) log(1 − ŷ)", null, one.loss, batchMean.loss),
    scalarRow("d𝓛/dz", "ŷ − y", 1, one.dz, batchMean.dz, greatest),
    scalarRow("d𝓛/db2", "ŷ − y", 3, one.db2, batchMean.db2, greatest),
  ]);
  drawUnits(net, one, batchMean);
}

function drawUnits(net, one, mean) {
  const columns = [
    ["a", titled("a", "W1 x + b1")],
    ["h", titled("h", "ReLU(a)")],
    ["dW2", titled("∂𝓛/∂W2", "(ŷ − y) hᵀ", 2)],
    ["dh", titled("∂𝓛/∂h", "W2ᵀ (ŷ − y)", 4)],
    ["mask", titled("𝟏{a > 0}", "ReLU′(a)")],
    ["da", titled("∂𝓛/∂a", "∂𝓛/∂h ⊙ 𝟏{a > 0}", 5)],
    ["dW1", titled("∂𝓛/∂W1, x₁", "∂𝓛/∂a xᵀ", 6), 0],
    ["dW1", titled("∂𝓛/∂W1, x₂", "∂𝓛/∂a xᵀ", 6), 1],
    ["db1", titled("∂𝓛/∂b1", "∂𝓛/∂a", 7)],
  ];
  const pick = (values, j, k) => (k === undefined ? values?.[j] : values?.[j]?.[k]);
  const averaged = new Set(["dW2", "dh", "da", "dW1", "db1"]);
  const rows = net.W2.map((_, j) => {
    const cells = columns.map(([name, , k]) => {
      const means = averaged.has(name) ? mean[name] : undefined;
      const greatest = greatestOf(one[name], means ?? []);
      const found = cell(pick(one[name], j, k), pick(means, j, k), greatest);
      found.dataset.name = k === undefined ? name : `${name}${k}`;
      return found;
    });
    const title = html("th", { scope: "row" }, `unit ${j + 1}`);
    return html("tr", one.mask[j] ? {} : { class: "off" }, title, ...cells);
  });
  fill(byId("units"), [["hidden unit"], ...columns.map(([, title]) => title)], rows);
}

// Words.

function drawWords(net) {
  const { epochs, n_train } = set();
  const updates = Math.ceil(n_train / batchSize()) * epoch();
  const name = `epoch ${epoch()} of ${epochs[nSnapshots() - 1]}`;
  byId("epoch").textContent = name;
  byId("slider").setAttribute("aria-valuetext", name);
  byId("updates").textContent = `${updates.toLocaleString("en")} updates`;
  const found = checks(state.snapshot);
  byId("train-loss").textContent = shown(found.train_loss);
  byId("val-loss").textContent = shown(found.val_loss);
  byId("lost").hidden = !isLost(net);
  byId("note").textContent = set().note;
  drawComparisons(net);
}

function drawComparisons(net) {
  const rows = isLost(net) ? [] : comparisons();
  const worst = Math.max(...rows.map(([, here, jax]) => difference(here, jax)), 0);
  const agrees = worst < 1e-5;
  const box = byId("agreement");
  box.dataset.worst = worst;
  box.className = agrees ? "agrees" : "differs";
  byId("verdict").textContent = isLost(net)
    ? "nothing to compare"
    : `${agrees ? "agrees with JAX" : "differs from JAX"}: largest difference ${shown(worst, 2)}`;
  fill(byId("comparisons"), [["quantity"], ["this page"], ["JAX"]], rows.map(([name, here, jax]) =>
    html("tr", {}, html("th", { scope: "row" }, name),
      ...[here, jax].map((v) => html("td", {}, shown(v, 7))))));
}

// Changes.

function update(changes) {
  Object.assign(state, changes);
  state.snapshot = Math.max(0, Math.min(state.snapshot, nSnapshots() - 1));
  state.point = Math.max(0, Math.min(state.point, set().points.length - 1));
  const names = Object.keys(changes);
  const isOnlyPoint = names.length === 1 && names[0] === "point";
  const net = network();
  if (!isOnlyPoint) {
    const grid = surface(net);
    drawSurface(grid);
    byId("boundary").setAttribute("d", isLost(net) ? "" : boundary(grid));
    drawLines(net);
    drawCurves();
    drawWords(net);
    showControls();
  }
  if (names.includes("set")) drawAxes();
  if (isOnlyPoint && state.size !== "influence") drawChosen();
  else drawPoints(net);
  drawExample(net);
  keepInAddress();
}

// The address keeps what is shown, so that a link shows it too.
const KEPT = ["set", "learning_rate", "width", "batch_size", "init", "snapshot", "point"];

function keepInAddress() {
  const kept = KEPT.map((name) => `${name}=${state[name]}`);
  history.replaceState(null, "", `#${kept.join("&")}&size=${state.size}`);
}

function fromAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const places = { set: SETS.length, ...Object.fromEntries(CHOICES.map(([n, v]) => [n, v.length])) };
  const found = {};
  for (const name of KEPT) {
    const value = Number(given.get(name) ?? NaN);
    if (Number.isInteger(value) && value >= 0 && value < (places[name] ?? Infinity)) {
      found[name] = value;
    }
  }
  const sizes = Array.from(byId("size").options, (option) => option.value);
  if (sizes.includes(given.get("size"))) found.size = given.get("size");
  return found;
}

function play(on) {
  state.playing = on;
  byId("play").textContent = on ? "Pause" : "Play";
  byId("play").setAttribute("aria-pressed", String(on));
  if (!on) return;
  const isAtEnd = state.snapshot === nSnapshots() - 1;
  if (isAtEnd) update({ snapshot: 0 });
  setTimeout(tick, 300);
}

function tick() {
  if (!state.playing) return;
  if (state.snapshot === nSnapshots() - 1) return play(false);
  update({ snapshot: state.snapshot + 1 });
  setTimeout(tick, 300);
}

function nearest(x, y, isEligible = () => true) {
  const scale = view();
  let [best, found] = [Infinity, null];
  set().points.forEach((point, i) => {
    const dx = across(scale, point.x[0]) - x;
    const dy = down(scale, point.x[1]) - y;
    const distance = Math.hypot(dx, dy);
    if (distance < best && isEligible(dx, dy, i)) [best, found] = [distance, i];
  });
  return found;
}

// The nearest point to the left of the chosen one, above it, …
function neighbour(dx, dy) {
  const scale = view();
  const { x } = set().points[state.point];
  return nearest(across(scale, x[0]), down(scale, x[1]), (u, v, i) => {
    const along = u * dx + v * dy;
    return i !== state.point && along > 0.5 && along >= Math.abs(u * dy - v * dx);
  });
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function onPlotKey(event) {
  if (event.key === " ") {
    event.preventDefault();
    return play(!state.playing);
  }
  if (event.key === "," || event.key === ".") {
    return update({ snapshot: state.snapshot + (event.key === "." ? 1 : -1) });
  }
  if (!(event.key in ARROWS)) return undefined;
  event.preventDefault();
  const found = neighbour(...ARROWS[event.key]);
  return found === null ? undefined : update({ point: found });
}

function onPlotClick(event) {
  const plot = byId("plot");
  const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(
    byId("points").getScreenCTM().inverse(),
  );
  plot.focus();
  update({ point: nearest(place.x, place.y) });
}

// Controls.

const WORDS = {
  batch_size: (s) => (s === null ? "all (GD)" : String(s)),
  init: (name) => ({ he: "He", xavier: "Xavier", zero: "zero" })[name],
};

function buildControls() {
  byId("set").replaceChildren(
    ...SETS.map(({ name }, i) => html("option", { value: i }, cut(name))),
  );
  byId("set-control").hidden = SETS.length === 1;
  for (const [name, values] of CHOICES) {
    const group = byId(name);
    values.forEach((value, i) => {
      const box = html("input", { type: "radio", name, value: i, id: `${name}-${i}` });
      box.addEventListener("change", () => update({ [name]: i }));
      const text = (WORDS[name] ?? String)(value);
      group.append(html("label", {}, box, html("span", {}, text)));
    });
  }
}

function showControls() {
  byId("set").value = state.set;
  byId("size").value = state.size;
  byId("show-lines").checked = state.lines;
  byId("slider").max = nSnapshots() - 1; // before its value, which it bounds
  byId("slider").value = state.snapshot;
  for (const [name] of CHOICES) byId(`${name}-${state[name]}`).checked = true;
}

function listen() {
  byId("set").addEventListener("change", (e) => update({ set: Number(e.target.value), point: 0 }));
  byId("slider").addEventListener("input", (e) => update({ snapshot: Number(e.target.value) }));
  byId("play").addEventListener("click", () => play(!state.playing));
  byId("back").addEventListener("click", () => update({ snapshot: state.snapshot - 1 }));
  byId("on").addEventListener("click", () => update({ snapshot: state.snapshot + 1 }));
  byId("size").addEventListener("change", (e) => update({ size: e.target.value }));
  byId("show-lines").addEventListener("change", (e) => update({ lines: e.target.checked }));
  byId("point").addEventListener("change", (e) => update({ point: Number(e.target.value) || 0 }));
  byId("plot").addEventListener("click", onPlotClick);
  byId("plot").addEventListener("keydown", onPlotKey);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", () => update({}));
  addEventListener("hashchange", () => update({ set: state.set, ...fromAddress() }));
}

buildControls();
listen();
update({ set: 0, snapshot: SETS[0].epochs.length - 1, ...fromAddress() });
// For whoever wants to drive the page from the console, as the tests do.
window.playground = { state, update, comparisons, network, unitLine, sets: SETS };

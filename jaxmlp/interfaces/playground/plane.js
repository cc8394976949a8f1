
// The plane.

const SIDE = 480; // of the plot, in units of its drawing
const CELLS = 96; // of the surface, in each direction

const across = ({ x }, value) => ((value - x[0]) / (x[1] - x[0])) * SIDE;
const down = ({ y }, value) => ((y[1] - value) / (y[1] - y[0])) * SIDE;

function surface(net) {
  const { x, y } = set().view;
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
  const { x, y } = set().view;
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
  const strongest = Math.max(...net.W2.map(Math.abs), 1e-12);
  const isShown = state.lines && !isLost(net);
  const shapes = net.W1.flatMap((_, j) => (isShown ? lineShapes(net, j, strongest) : []));
  byId("lines").replaceChildren(...shapes);
}

function lineShapes(net, j, strongest) {
  const scale = set().view;
  const ends = unitLine(net, j);
  if (!ends) return [];
  const [[x1, y1], [x2, y2]] = ends.map(([u, v]) => [across(scale, u), down(scale, v)]);
  const look = {
    class: `unit ${net.W2[j] >= 0 ? "up" : "down"}`,
    opacity: 0.25 + (0.75 * Math.abs(net.W2[j])) / strongest,
  };
  // A short stroke to the side where the unit is active.
  const share = 0.2 + (0.6 * (j + 0.5)) / net.q; // so that names do not meet
  const [mx, my] = [x1 + (x2 - x1) * share, y1 + (y2 - y1) * share];
  const [nx, ny] = activeSide(net.W1[j], scale);
  const stroke = { x1: mx, y1: my, x2: mx + 9 * nx, y2: my + 9 * ny };
  const shapes = [svg("line", { x1, y1, x2, y2, ...look }), svg("line", { ...stroke, ...look })];
  if (net.q > 8) return shapes;
  const place = { x: mx + 17 * nx, y: my + 17 * ny + 4 };
  return [...shapes, svg("text", { ...place, class: "unit-name" }, String(j + 1))];
}

// Direction in the plot in which a = u x1 + v x2 + b rises fastest.
function activeSide([u, v], { x, y }) {
  const [nx, ny] = [u * (x[1] - x[0]), -v * (y[1] - y[0])];
  const length = Math.hypot(nx, ny) || 1;
  return [nx / length, ny / length];
}

// What the points are sized by, or null where there is nothing.
function sizes(net) {
  const { points, training } = set();
  if (state.size === "same" || isLost(net)) return points.map(() => null);
  const values =
    state.size === "norm"
      ? points.map(({ x, y }) => norm(backward(net, x, y)))
      : pushes(net, training, points[state.point].x, L2);
  return points.map((_, i) => (Number.isFinite(values[i]) ? values[i] : null));
}

function drawPoints(net) {
  const { points } = set();
  const values = sizes(net);
  const greatest = Math.max(...values.map((v) => Math.abs(v ?? 0)), 1e-300);
  const radius = (v) => (v === null ? 4 : 2.2 + 9 * Math.sqrt(Math.abs(v) / greatest));
  // Large ones below small ones, and points that teach above those that do not.
  const order = points.map((_, i) => i);
  order.sort(
    (i, j) =>
      points[i].isTraining - points[j].isTraining ||
      Math.abs(values[j] ?? 0) - Math.abs(values[i] ?? 0),
  );
  byId("points").replaceChildren(
    ...order.flatMap((i) => pointShapes(points[i], i, radius(values[i]), values[i])),
  );
  drawChosen();
}

function pointShapes({ x, y, isTraining }, i, r, value) {
  const scale = set().view;
  const [cx, cy] = [across(scale, x[0]), down(scale, x[1])];
  const shape = y
    ? svg("path", { d: triangle(cx, cy, 1.25 * r) })
    : svg("circle", { cx, cy, r });
  shape.setAttribute("class", `point ${y ? "one" : "zero"}${isTraining ? "" : " held-out"}`);
  shape.dataset.point = i;
  if (value === null) return [shape];
  shape.dataset.value = value;
  if (state.size !== "influence" || r < 3.5) return [shape];
  const push = `push ${value > 0 ? "up" : "down"}`;
  return [svg("circle", { cx, cy, r: 1.25 * r + 2.5, class: push }), shape];
}

function triangle(x, y, r) {
  const [dx, dy] = [0.866 * r, 0.5 * r];
  return `M${x} ${y - r}L${x + dx} ${y + dy}L${x - dx} ${y + dy}Z`;
}

function drawChosen() {
  const scale = set().view;
  const { x } = set().points[state.point];
  const place = { cx: across(scale, x[0]), cy: down(scale, x[1]) };
  byId("chosen").replaceChildren(
    svg("circle", { ...place, r: 12, class: "ring-back" }),
    svg("circle", { ...place, r: 12, class: "ring" }),
  );
}

// Round values within a range, each with its text.
function ticks([low, high], count = 5) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const first = Math.ceil(low / step);
  const last = Math.floor(high / step);
  return Array.from({ length: last - first + 1 }, (_, i) => {
    const value = (first + i) * step;
    return [value, tickText(value, step)];
  });
}

function tickText(value, step) {
  if (value === 0) return "0";
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const text = decimals <= 6 && Math.abs(value) < 1e9 ? value.toFixed(decimals) : null;
  if (text !== null && text.length <= 7) return minus(text);
  const digits = Math.floor(Math.log10(Math.abs(value) / step) + 1e-9);
  return minus(value.toExponential(Math.min(Math.max(digits, 0), 3)).replace("e+", "e"));
}

function drawAxes() {
  const { mean, sd, axes } = set();
  const scale = set().view;
  const raw = (range, k) => range.map((value) => value * sd[k] + mean[k]);
  const layer = byId("axes");
  layer.replaceChildren();
  for (const [value, text] of ticks(raw(scale.x, 0))) {
    const x = across(scale, (value - mean[0]) / sd[0]);
    layer.append(svg("line", { x1: x, x2: x, y1: SIDE, y2: SIDE + 5, class: "axis" }));
    layer.append(svg("text", { x, y: SIDE + 18, class: "tick middle" }, text));
  }
  for (const [value, text] of ticks(raw(scale.y, 1))) {
    const y = down(scale, (value - mean[1]) / sd[1]);
    layer.append(svg("line", { x1: -5, x2: 0, y1: y, y2: y, class: "axis" }));
    layer.append(svg("text", { x: -8, y: y + 4, class: "tick end" }, text));
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

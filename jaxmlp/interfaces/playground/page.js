
// The page: changes of the state, and what asks for them.

const OF_NETWORK = ["set", "learning_rate", "width", "batch_size", "init", "snapshot"];

function update(changes) {
  const isNew = (name) => name in changes && changes[name] !== state[name];
  const isFirst = !byId("axes").hasChildNodes();
  const isNewSet = isNew("set") || isFirst;
  const isNewNetwork = OF_NETWORK.some(isNew) || isFirst || changes.redraw;
  const isNewLook = isNewNetwork || isNew("size") || state.size === "influence";
  Object.assign(state, changes);
  state.snapshot = within(state.snapshot, nSnapshots());
  state.point = within(state.point, set().points.length);
  const net = network();
  if (isNewSet) drawAxes();
  if (isNewNetwork) drawNetwork(net);
  drawLines(net);
  if (isNewLook) drawPoints(net);
  else drawChosen();
  drawExample(net);
  showControls();
  keepInAddress();
}

const within = (place, length) =>
  Math.max(0, Math.min(Math.round(Number(place)) || 0, length - 1));

function drawNetwork(net) {
  const grid = surface(net);
  drawSurface(grid);
  byId("boundary").setAttribute("d", isLost(net) ? "" : boundary(grid));
  drawCurves();
  drawWords(net);
}

// The address keeps what is shown, so that a link shows it too.
const KEPT = ["set", "learning_rate", "width", "batch_size", "init", "snapshot", "point"];

let isToBeKept = false;

// Not at each step: browsers refuse many changes of the address in a short time.
function keepInAddress() {
  if (isToBeKept) return;
  isToBeKept = true;
  setTimeout(() => {
    isToBeKept = false;
    const kept = KEPT.map((name) => `${name}=${state[name]}`);
    history.replaceState(null, "", `#${kept.join("&")}&size=${state.size}`);
  }, 300);
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

let timer;

function play(on) {
  clearTimeout(timer);
  state.playing = on;
  byId("play").textContent = on ? "Pause" : "Play";
  if (!on) return;
  if (state.snapshot === nSnapshots() - 1) update({ snapshot: 0 });
  timer = setTimeout(tick, 300);
}

function tick() {
  if (state.snapshot === nSnapshots() - 1) return play(false);
  update({ snapshot: state.snapshot + 1 });
  timer = setTimeout(tick, 300);
}

function nearest(x, y, isEligible = () => true) {
  const scale = set().view;
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
  const scale = set().view;
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
  byId("point").addEventListener("change", (e) => update({ point: e.target.value }));
  byId("plot").addEventListener("click", onPlotClick);
  byId("plot").addEventListener("keydown", onPlotKey);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", () => update({ redraw: true }));
  addEventListener("hashchange", () => update(fromAddress()));
}

buildControls();
listen();
update({ snapshot: SETS[0].epochs.length - 1, ...fromAddress() });
// For whoever wants to drive the page from the console, as the tests do.
window.playground = { state, update, comparisons, network, unitLine, sets: SETS };

// What the page shows: data, one state, and what follows from it.

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
  const raw = new Float64Array(bytes(set.raw));
  const points = Array.from(set.y, (label, i) => ({
    x: [X[2 * i], X[2 * i + 1]],
    raw: [raw[2 * i], raw[2 * i + 1]],
    y: Number(label),
    isTraining: i < set.n_train,
  }));
  const orders = new Uint32Array(bytes(set.orders));
  return {
    ...set,
    points,
    view: { x: range(points, 0), y: range(points, 1) },
    training: points.slice(0, set.n_train),
    order: (k) => orders.subarray(k * set.n_train, (k + 1) * set.n_train),
    runs: set.runs.map((run) => ({
      params: new Float32Array(bytes(run.params)),
      checks: new Float64Array(bytes(run.checks)),
    })),
  };
}

// Of the plot along one axis, in standardised units.
function range(points, k) {
  const values = points.map((point) => point.x[k]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = 0.07 * (high - low);
  return [low - margin, high + margin];
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

const isLost = (net) => !Number.isFinite(net.b2); // then no number is

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
  const i = set().checked[state.snapshot];
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

const minus = (text) => text.replaceAll("-", "−");

function shown(value, digits = 4) {
  if (!Number.isFinite(value)) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e5) {
    return minus(String(value));
  }
  const size = Math.abs(value);
  const text =
    size < 1e-4 || size >= 1e5 ? value.toExponential(1) : value.toPrecision(digits);
  return minus(text);
}

// A value as the table has it.
const asGiven = (value) => minus(String(Number(value.toPrecision(8))));

const cut = (text, most = 48) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

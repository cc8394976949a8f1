
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
  for (const [value, text] of ticks([0, highest], 4)) {
    const ends = { x1: left, x2: width - right, y1: y(value), y2: y(value) };
    layer.append(svg("line", { ...ends, class: "grid" }));
    layer.append(svg("text", { x: left - 6, y: y(value) + 4, class: "tick end" }, text));
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
  html("bdi", { class: "equation" }, equation), // which may be a name of any script
  ...(number ? [html("span", { class: "number-of" }, `(${number})`)] : []),
];

function scalarRow(name, equation, number, value, mean, greatest) {
  const title = html("th", { scope: "row" }, ...titled(name, equation, number));
  const cells = [value, mean].map((v) => (v === undefined ? html("td") : cell(v, undefined, greatest)));
  return html("tr", { "data-name": name }, title, ...cells);
}

function drawExample(net) {
  const { points, axes, classes } = set();
  const chosen = points[state.point];
  const one = backward(net, chosen.x, chosen.y);
  const batch = batchOf(state.point);
  const batchMean = batch ? meanGradients(net, batch) : {};
  byId("point").value = state.point;
  byId("point").max = points.length - 1;
  const kind = chosen.isTraining ? "training" : "validation";
  byId("which").replaceChildren(
    `${kind} point, label `, html("bdi", {}, cut(classes[chosen.y], 24)), "; ",
    html("bdi", {}, cut(axes[0])), ` ${asGiven(chosen.raw[0])}, `,
    html("bdi", {}, cut(axes[1])), ` ${asGiven(chosen.raw[1])}`,
  );
  byId("batch").textContent = batch
    ? `Mini-batch: the ${batch.length} training point${batch.length > 1 ? "s" : ""} with ` +
      "which the epoch that follows would take a step when it comes to this one; means are " +
      "over them, at the parameters shown."
    : "A validation point: its gradient is shown, but no step is taken along it.";
  const greatest = greatestOf([one.dz, batchMean.dz]);
  fill(byId("scalars"), [[""], ["this point"], ["mini-batch mean"]], [
    scalarRow("x₁", `${cut(axes[0], 24)}, standardised`, null, chosen.x[0]),
    scalarRow("x₂", `${cut(axes[1], 24)}, standardised`, null, chosen.x[1]),
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
  set().classes.forEach((label, i) => {
    const name = label === String(i) ? "" : `: ${cut(label, 24)}`;
    byId(`name-${i}`).textContent = `y = ${i}${name}`;
  });
  drawComparisons(net);
}

function drawComparisons(net) {
  const rows = isLost(net) ? [] : comparisons();
  const worst = Math.max(...rows.map(([, here, jax]) => difference(here, jax)), 0);
  const agrees = worst < 1e-5;
  const box = byId("agreement");
  box.dataset.worst = worst;
  box.className = isLost(net) ? "" : agrees ? "agrees" : "differs";
  byId("verdict").textContent = isLost(net)
    ? "nothing to compare"
    : `${agrees ? "agrees with JAX" : "differs from JAX"}: largest difference ${shown(worst, 2)}`;
  fill(byId("comparisons"), [["quantity"], ["this page"], ["JAX"]], rows.map(([name, here, jax]) =>
    html("tr", {}, html("th", { scope: "row" }, name),
      ...[here, jax].map((v) => html("td", {}, shown(v, 7))))));
}

// The lecture's network on one point: forward pass, loss, and equations (1) to (7).
// Parameters come as JAX stored them, in 32 bits; everything is computed in 64.

function unpack(flat, q) {
  return {
    q,
    W1: Array.from({ length: q }, (_, j) => [flat[2 * j], flat[2 * j + 1]]),
    b1: Array.from(flat.subarray(2 * q, 3 * q)),
    W2: Array.from(flat.subarray(3 * q, 4 * q)),
    b2: flat[4 * q],
  };
}

const sigmoid = (z) => (z >= 0 ? 1 / (1 + Math.exp(-z)) : Math.exp(z) / (1 + Math.exp(z)));

function logit(net, x1, x2) {
  let z = net.b2;
  for (let j = 0; j < net.q; j++) {
    const a = net.W1[j][0] * x1 + net.W1[j][1] * x2 + net.b1[j];
    if (a > 0) z += net.W2[j] * a;
  }
  return z;
}

// From z, finite also where ŷ has rounded to 0 or 1.
const lossOf = (z, y) => Math.max(z, 0) - z * y + Math.log1p(Math.exp(-Math.abs(z)));

function backward(net, x, y) {
  const a = net.W1.map((w, j) => w[0] * x[0] + w[1] * x[1] + net.b1[j]);
  const h = a.map((t) => Math.max(0, t));
  const z = h.reduce((sum, hj, j) => sum + net.W2[j] * hj, net.b2);
  const yhat = sigmoid(z);
  const dz = yhat - y; // (1)
  const dh = net.W2.map((w) => w * dz); // (4)
  const mask = a.map((t) => (t > 0 ? 1 : 0));
  const da = dh.map((d, j) => d * mask[j]); // (5)
  return {
    x, y, a, h, z, yhat, mask, dz, dh, da,
    loss: lossOf(z, y),
    dW2: h.map((hj) => dz * hj), // (2)
    db2: dz, // (3)
    dW1: da.map((d) => [d * x[0], d * x[1]]), // (6)
    db1: da, // (7)
  };
}

// Mean of the parameters' gradients over some points, which SGD steps along.
function meanGradients(net, points) {
  const sums = { loss: 0, dz: 0, db2: 0 };
  for (const name of ["dW2", "db1", "dh", "da"]) sums[name] = new Array(net.q).fill(0);
  sums.dW1 = Array.from({ length: net.q }, () => [0, 0]);
  for (const { x, y } of points) {
    const one = backward(net, x, y);
    for (const name of ["loss", "dz", "db2"]) sums[name] += one[name] / points.length;
    for (let j = 0; j < net.q; j++) {
      for (const name of ["dW2", "db1", "dh", "da"]) {
        sums[name][j] += one[name][j] / points.length;
      }
      for (const k of [0, 1]) sums.dW1[j][k] += one.dW1[j][k] / points.length;
    }
  }
  return sums;
}

const squared = (values) => values.reduce((sum, v) => sum + v * v, 0);

const norm = (grads) =>
  Math.sqrt(
    squared(grads.dW1.flat()) + squared(grads.db1) + squared(grads.dW2) + grads.db2 ** 2,
  );

// Gradient of the logit, in the order of the stored parameters.
function logitGradient(net, x) {
  const { a, h } = backward(net, x, 0);
  const da = net.W2.map((w, j) => (a[j] > 0 ? w : 0));
  return [...da.flatMap((d) => [d * x[0], d * x[1]]), ...da, ...h, 1];
}

// How much each point pushes the logit of x: what its removal would undo, in the damped
// Gauss-Newton model (jaxmlp.analysis.influence, with the sign turned).
function pushes(net, points, x, l2) {
  const n = points.length;
  const gradients = points.map((point) => logitGradient(net, point.x));
  const probs = points.map((point) => sigmoid(logit(net, ...point.x)));
  const size = gradients[0].length;
  const H = Array.from({ length: size }, (_, i) =>
    Array.from({ length: size }, (_, j) => (i === j ? l2 : 0)),
  );
  gradients.forEach((g, i) => {
    const weight = (probs[i] * (1 - probs[i])) / n;
    for (let r = 0; r < size; r++) {
      if (g[r] === 0) continue;
      for (let c = 0; c <= r; c++) H[r][c] += weight * g[r] * g[c];
    }
  });
  const L = cholesky(H);
  // With u = L⁻¹ ∇z, products of these are products with H⁻¹ between.
  const whitened = gradients.map((g) => solveLower(L, g));
  const query = solveLower(L, logitGradient(net, x));
  return whitened.map((u, i) => {
    const leverage = ((probs[i] * (1 - probs[i])) / n) * squared(u);
    const along = u.reduce((sum, value, k) => sum + value * query[k], 0);
    return (-along * (probs[i] - points[i].y)) / n / (1 - leverage);
  });
}

function cholesky(H) {
  const L = H.map((row) => row.slice());
  for (let c = 0; c < L.length; c++) {
    for (let k = 0; k < c; k++) {
      for (let r = c; r < L.length; r++) L[r][c] -= L[r][k] * L[c][k];
    }
    const root = Math.sqrt(L[c][c]);
    for (let r = c; r < L.length; r++) L[r][c] /= root;
  }
  return L;
}

function solveLower(L, b) {
  const u = b.slice();
  for (let r = 0; r < u.length; r++) {
    for (let c = 0; c < r; c++) u[r] -= L[r][c] * u[c];
    u[r] /= L[r][r];
  }
  return u;
}

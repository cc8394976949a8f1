"""Mistakes that readers make, planted one by one, and what they are told."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmlp.lecture as lecture
from jaxmlp import backward, forward_with_cache, init_params
from tests.helpers import mean_loss


def student(params, X, y, *, mistake=None, np=jnp):
    """A reader's backward pass in the lecture's matrices, with one mistake."""
    (W1, b1), (W2, b2) = params
    s = 1 if mistake == "missing 1/s" else X.shape[0]
    A = X @ W1 + b1[None, :]
    H = np.maximum(A, 0)
    Z = H @ W2 + b2[None, :]
    Y_hat = 1 / (1 + np.exp(-Z))
    Y = y[:, None]
    delta2 = Y - Y_hat if mistake == "sign" else Y_hat - Y
    if mistake == "sigmoid derivative twice":
        delta2 = delta2 * Y_hat * (1 - Y_hat)
    if mistake == "dL/dyhat alone":
        delta2 = delta2 / (Y_hat * (1 - Y_hat))
    dW2 = (H if mistake == "missing transpose of H" else H.T) @ delta2 / s
    if mistake == "a in place of h":
        dW2 = A.T @ delta2 / s
    if mistake == "x in place of h":
        dW2 = X.T @ delta2 / s
    db2 = np.sum(delta2, axis=0) / s
    dH = delta2 @ (W2 if mistake == "missing transpose of W2" else W2.T)
    if mistake == "W2 missing":
        dH = np.tile(delta2, (1, A.shape[1]))
    mask = {
        "mask on dL/dh": dH > 0,
        "mask on delta": np.broadcast_to(delta2 > 0, A.shape),
        "mask on z": np.broadcast_to(Z > 0, A.shape),
        "mask missing": np.ones_like(A),
        "mask at 0": A >= 0,
        "h as mask": H,
    }.get(mistake, A > 0)
    delta1 = dH * mask.astype(A.dtype)
    if mistake == "mask on output":
        delta2 = delta2 * (Z > 0).astype(Z.dtype)
        dW2, db2 = H.T @ delta2 / s, np.sum(delta2, axis=0) / s
        delta1 = delta2 @ W2.T
    left = H if mistake == "h in place of x" else X
    dW1 = (left if mistake == "missing transpose of X" else left.T) @ delta1 / s
    if mistake == "mask on W1":
        dW1 = X.T @ dH / s * (W1 > 0).astype(W1.dtype)
    db1 = np.sum(delta1, axis=0) / s
    if mistake == "b1 not summed":
        db1 = delta1
    if mistake == "b2 not summed":
        db2 = delta2 / s
    if mistake == "b1 summed over units":
        db1 = np.sum(delta1, axis=1)
    if mistake == "1/s twice":
        db1 = db1 / s
    if mistake == "no mask in (7)":
        db1 = np.sum(dH, axis=0) / s
    if mistake == "W1 transposed":
        dW1 = dW1.T
    return (dW1, db1), (dW2, db2)


# The seven that the course sees most, then others.
TOLD = {
    "sign": r"equation \(1\), dL/dz = ŷ - y: the sign is turned",
    "missing transpose of H": r"equation \(2\), .*: a transpose is missing: .* Hᵀ",
    "missing transpose of W2": r"equation \(4\), .*: a transpose is missing: .* W2ᵀ",
    "missing transpose of X": r"equation \(6\), .*: a transpose is missing: .* Xᵀ",
    "missing 1/s": r"equations \(2\), \(3\), \(6\) and \(7\): the 1/s of .* missing",
    "mask on dL/dh": r"equation \(5\), .*: the mask is taken of ∂L/∂h; it is of a",
    "mask on delta": r"equation \(5\), .*: the mask is taken of ŷ - y; it is of a",
    "mask on z": r"equation \(5\), .*: the mask is taken of z; it is of a",
    "mask on output": r"equation \(5\), .*: the mask is on the output",
    "mask on W1": r"equation \(5\), .*: the mask is taken of W1; it is of a",
    "b1 not summed": r"equation \(7\), .* shape \(6, 4\), .*not summed",
    "b2 not summed": r"equation \(3\), .* shape \(6, 1\), .*not summed",
    "sigmoid derivative twice": r"equation \(1\), .*: the sigmoid's derivative .* twice",
    "h in place of x": r"equation \(6\), .*: h stands in place of x",
    "b1 summed over units": r"equation \(7\), .* shape \(6,\), b1 has \(4,\)",
    "dL/dyhat alone": r"equation \(1\), .*dŷ/dz = .* is missing",
    "a in place of h": r"equation \(2\), .*: a stands in place of h",
    "x in place of h": r"equation \(2\), .*: x stands in place of h",
    "W2 missing": r"equation \(4\), .*: W2 is missing",
    "mask missing": r"equation \(5\), .*: the mask 1_\{a>0\} is missing",
    "mask at 0": r"equation \(5\), .*: .* at a = 0 it must be 0",
    "h as mask": r"equation \(5\), .*: yours multiplies by h",
    "1/s twice": r"equation \(7\), .*: the 1/s of the mean .* taken twice",
    "no mask in (7)": r"equation \(7\), .*: ∂L/∂h stands in place of ∂L/∂a",
    "W1 transposed": r"equation \(6\), .*: .*; a transpose is missing",
}


@pytest.mark.parametrize("library", [jnp, np], ids=["jax", "numpy"])
@pytest.mark.parametrize("mistake", TOLD)
def test_a_mistake_is_told_by_its_equation_alone(mistake, library):
    def mine(params, X, y):
        if library is np:
            params, X, y = jax.tree.map(np.asarray, (params, X, y))
        return student(params, X, y, mistake=mistake, np=library)

    with pytest.raises(AssertionError, match=f"^{TOLD[mistake]}") as caught:
        lecture.check_backward(mine)
    assert "\n" not in str(caught.value)


def by_cache(params, X, y):
    return backward(params, forward_with_cache(params, X)[1], y)


@pytest.mark.parametrize(
    "right",
    [
        student,
        by_cache,
        jax.jit(jax.grad(mean_loss)),
        lambda *batch: lecture.minibatch_loop(*batch)[1],
        lambda *batch: lecture.minibatch_vmap(*batch)[1],
        lambda *batch: lecture.minibatch_matrix(*batch)[1],
    ],
)
def test_right_backward_passes_hold(right):
    assert lecture.check_backward(right).endswith("hold")


def test_two_mistakes_are_two_lines():
    def mine(params, X, y):
        (W1, _), _ = student(params, X, y, mistake="h in place of x")
        _, (W2, b2) = student(params, X, y, mistake="a in place of h")
        return (W1, student(params, X, y)[0][1]), (W2, 7 * b2)

    with pytest.raises(AssertionError) as caught:
        lecture.check_backward(mine)
    lines = str(caught.value).split("\n")
    assert [line[:12] for line in lines] == ["equation (2)", "equation (6)", "equation (3)"]
    assert lines[2].endswith("another value stands there")


def test_mistakes_add_up():
    def mine(params, X, y):
        grads = student(params, X, y, mistake="mask missing")
        return jax.tree.map(lambda g: X.shape[0] * g, grads)

    with pytest.raises(AssertionError) as caught:
        lecture.check_backward(mine)
    assert "(2) and (3): the 1/s" in str(caught.value)
    assert "(5)" in str(caught.value)
    assert "another value" not in str(caught.value)


def test_an_unknown_mistake_is_placed():
    def noise(params, X, y):
        (W1, b1), output = student(params, X, y)
        return (W1 + 1, b1 + 1), output

    with pytest.raises(AssertionError, match=r"^equation \(4\), .*, or equation \(5\)"):
        lecture.check_backward(noise)
    with pytest.raises(AssertionError, match=r"^equation \(1\), .*, or the forward pass"):
        lecture.check_backward(lambda *b: jax.tree.map(jnp.ones_like, student(*b)))
    with pytest.raises(AssertionError, match=r"^equation \(1\), .*, or the forward pass"):
        lecture.check_backward(lambda params, X, y: student(params, X, 1 - y))


def test_gradients_that_are_scaled_as_a_whole():
    with pytest.raises(AssertionError, match=r"^all four are 2 times what they should be$"):
        lecture.check_backward(lambda *b: jax.tree.map(lambda g: 2 * g, student(*b)))


def test_numbers_that_are_none():
    def nan(params, X, y):
        (W1, b1), output = student(params, X, y)
        return (W1 * jnp.nan, b1), output

    with pytest.raises(AssertionError, match=r"^equation \(6\), .*: .* not finite$"):
        lecture.check_backward(nan)
    with pytest.raises(AssertionError, match="complex numbers"):
        lecture.check_backward(
            lambda *b: jax.tree.map(lambda g: jax.lax.complex(g, g), student(*b))
        )


def test_layers_or_arrays_in_the_wrong_order():
    with pytest.raises(AssertionError, match=r"^the layers are in the wrong order"):
        lecture.check_backward(lambda *b: student(*b)[::-1])
    with pytest.raises(AssertionError, match=r"^w and b of each layer are in the wrong"):
        lecture.check_backward(lambda *b: tuple((b, w) for w, b in student(*b)))


def test_labels_that_are_no_column_are_told():
    def raises(params, X, y):
        (W1, b1), (W2, b2) = params
        H = jnp.maximum(X @ W1 + b1[None, :], 0)
        with jax.numpy_rank_promotion("allow"):
            delta2 = jax.nn.sigmoid(H @ W2 + b2[None, :]) - y
        delta1 = (delta2 @ W2.T) * (H > 0).astype(H.dtype)
        return (X.T @ delta1, delta1.sum(axis=0)), (H.T @ delta2, delta2.sum(axis=0))

    def goes_through(params, X, y):
        (W1, b1), (W2, b2) = params
        H = jnp.maximum(X @ W1 + b1[None, :], 0)
        with jax.numpy_rank_promotion("allow"):
            delta2 = jax.nn.sigmoid(H @ W2 + b2[None, :]) - y
        return student(params, X, y)[0], (H.T @ delta2, delta2.sum(axis=0))

    for mine in (raises, goes_through):
        with pytest.raises(AssertionError, match=r"^equation \(1\), .* take y\[:, None\]"):
            lecture.check_backward(mine)


def test_a_transpose_is_missed_only_where_the_first_sizes_fail():
    def not_for_one(params, X, y):
        if len(y) == 1:
            raise IndexError("one example")
        return student(params, X, y)

    with pytest.raises(AssertionError, match=r"^with p, q, s = \(2, 3, 1\): .*one example"):
        lecture.check_backward(not_for_one)

    def too_many(params, X, y):
        (W1, b1), (W2, b2) = params
        H = jnp.maximum(X @ W1 + b1[None, :], 0)
        return H @ W2.T + b2[None, :]

    with pytest.raises(AssertionError, match=r"one is too many in z = H W2 \+ b2"):
        lecture.check_backward(lambda *b: (too_many(*b), student(*b))[1])


def test_nothing_or_another_thing_returned():
    for check in (lecture.check_backward, lecture.check_forward_one):
        with pytest.raises(AssertionError, match="returns None; it is still to be written"):
            check(lambda *arguments: None)
    with pytest.raises(AssertionError, match=r"must return \(\(W1, b1\), \(W2, b2\)\)"):
        lecture.check_backward(lambda params, X, y: X)
    with pytest.raises(AssertionError, match=r"stops at `.*`: KeyError"):
        lecture.check_backward(lambda params, X, y: {}["W1"])


def forward_one(W1, b1, W2, b2, x, mistake=None):
    a = W1 @ x + (0 if mistake == "a" else b1)
    h = jax.nn.sigmoid(a) if mistake == "h" else jnp.maximum(a, 0)
    z = W2 @ h - b2 if mistake == "z" else W2 @ h + b2
    return a, h, z, jnp.exp(z) if mistake == "ŷ" else jax.nn.sigmoid(z)


def test_forward_pass_of_one_example():
    assert lecture.check_forward_one(forward_one) == "the forward pass holds"
    for line in ("a", "h", "z", "ŷ"):
        with pytest.raises(AssertionError, match=f"^{line} = "):
            lecture.check_forward_one(
                lambda *arguments, line=line: forward_one(*arguments, mistake=line)
            )


def backward_one(W1, b1, W2, b2, x, y, mistake=None):
    a, h, _, y_hat = forward_one(W1, b1, W2, b2, x)
    dL_dz = y - y_hat if mistake == "(1)" else y_hat - y
    dL_dW2 = dL_dz * (h if mistake == "(2)" else h.T)
    dL_db2 = 2 * dL_dz if mistake == "(3)" else dL_dz
    dL_dh = (jnp.abs(W2.T) if mistake == "(4)" else W2.T) * dL_dz
    dL_da = dL_dh * ((a >= 0 if mistake == "(5)" else a > 0).astype(a.dtype))
    dL_dW1 = dL_da @ x.T + (1 if mistake == "(6)" else 0)
    dL_db1 = dL_dh if mistake == "(7)" else dL_da
    return dL_dz, dL_dW2, dL_db2, dL_dh, dL_da, dL_dW1, dL_db1


@pytest.mark.parametrize("number", range(1, 8))
def test_each_equation_of_one_example(number):
    def mine(*arguments):
        return backward_one(*arguments, mistake=f"({number})")

    with pytest.raises(AssertionError, match=rf"^equation \({number}\), "):
        lecture.check_backward_one(mine)


def test_backward_pass_of_one_example_by_place_or_by_name():
    assert lecture.check_backward_one(backward_one) == "equations (1) to (7) hold"

    def by_name(W1, b1, W2, b2, x, y):
        params = lecture.Theta(W1, b1, W2, b2).to_params()
        return lecture.backward_one(params, x, y)._asdict()

    assert lecture.check_backward_one(by_name) == "equations (1) to (7) hold"
    with pytest.raises(AssertionError, match="returns no dL_dh, dL_da"):
        lecture.check_backward_one(
            lambda *args: dict.fromkeys(("dL_dz", "dL_dW2", "dL_db2"), 0)
        )
    with pytest.raises(AssertionError, match=r"stops at `.*`: TypeError: .*shape"):
        lecture.check_backward_one(lambda W1, b1, W2, b2, x, y: W2 @ x)
    with pytest.raises(AssertionError, match=r"equation \(1\), .*: the shape is \(\), not"):
        lecture.check_backward_one(lambda *args: jnp.zeros(7))
    with pytest.raises(AssertionError, match="must return the 7 arrays"):
        lecture.check_backward_one(lambda *args: backward_one(*args)[:6])


def test_update():
    def step(factor):
        return lambda params, grads, eta: jax.tree.map(
            lambda p, g: p - factor(eta) * g, params, grads
        )

    assert lecture.check_sgd_update(lecture.sgd_update).endswith("holds")
    assert lecture.check_sgd_update(step(lambda eta: eta)).endswith("holds")
    for factor, told in (
        (lambda eta: -eta, "minus is missing"),
        (lambda eta: 1, "step size η is missing"),
        (lambda eta: 0, "not changed"),
        (lambda eta: 2 * eta, "yours is"),
    ):
        with pytest.raises(AssertionError, match=told):
            lecture.check_sgd_update(step(factor))
    for returned, told in ((None, "returns None"), (0.0, "the structure of params")):
        with pytest.raises(AssertionError, match=told):
            lecture.check_sgd_update(lambda params, grads, eta, r=returned: r)
    with pytest.raises(AssertionError, match="the structure of params"):
        lecture.check_sgd_update(
            lambda p, g, eta: jax.tree.leaves(step(lambda e: e)(p, g, eta))
        )

    def forgets_b2(params, grads, eta):
        (W1, b1), (W2, _) = lecture.sgd_update(params, grads, eta)
        return (W1, b1), (W2, params[1].b)

    with pytest.raises(AssertionError, match=r"^θ - η ∇θ of b2: yours is"):
        lecture.check_sgd_update(forgets_b2)


def draw(scale, *, normal=True, bias=0.0):
    def init(key, sizes):
        layers = []
        for d_in, d_out in itertools.pairwise(sizes):
            key, one = jax.random.split(key)
            draws = (
                jax.random.normal(one, (d_in, d_out))
                if normal
                else jax.random.uniform(one, (d_in, d_out), minval=-1, maxval=1)
            )
            layers.append((draws * scale(d_in, d_out), jnp.full(d_out, bias)))
        return tuple(layers)

    return init


def test_initialisation():
    for method in ("he", "xavier"):
        told = lecture.check_init(
            lambda k, s, m=method: init_params(k, s, method=m), method
        )
        assert told.endswith("holds")
    he = lambda d_in, d_out: (2 / d_in) ** 0.5
    xavier = lambda d_in, d_out: (6 / (d_in + d_out)) ** 0.5

    def shifted(key, sizes):
        return jax.tree.map(
            lambda w: w + (0.01 if w.ndim == 2 else 0), draw(he)(key, sizes)
        )

    def equal_units(key, sizes):
        return tuple((w[:, :1] * jnp.ones_like(w), b) for w, b in draw(he)(key, sizes))

    def one_key(key, sizes):
        return tuple(
            (jax.random.normal(key, d) * he(*d), jnp.zeros(d[1]))
            for d in itertools.pairwise(sizes)
        )

    generator = np.random.default_rng(0)

    def with_numpy(key, sizes):
        return tuple(
            (generator.normal(size=d) * he(*d), np.zeros(d[1]))
            for d in itertools.pairwise(sizes)
        )

    for mine, method, told in (
        (draw(he, bias=0.1), "he", "biases must start at 0"),
        (draw(lambda d_in, d_out: (2 / d_out) ** 0.5), "he", r"that is 2 / d_out"),
        (
            draw(lambda d_in, d_out: 2 / d_in),
            "he",
            "the variance for the standard deviation",
        ),
        (draw(xavier), "xavier", "the variance is"),
        (draw(lambda i, o: xavier(i, o) / 3**0.5), "xavier", "normal, not uniform"),
        (draw(lambda i, o: he(i, o) * 3**0.5, normal=False), "he", "uniform, not normal"),
        (draw(lambda d_in, d_out: 0.0), "he", "two keys give the same weights"),
        (draw(lambda d_in, d_out: jnp.nan), "xavier", "not finite"),
        (shifted, "he", "the mean is"),
        (equal_units, "he", "all units have the same weights"),
        (one_key, "he", "both layers are drawn with the same key"),
        (with_numpy, "he", "the same key must give the same weights"),
        (lambda key, sizes: draw(he)(key, (*sizes, 1)), "he", "makes 2 layers, not 3"),
        (lambda key, sizes: (), "he", "makes 2 layers, not 0"),
        (draw(lambda d_in, d_out: 1.0), "he", "the numbers are not scaled"),
        (lambda key, sizes: None, "he", "returns None"),
        (lambda key, sizes: 3, "he", "must return a tuple"),
        (lambda key, sizes: draw(he)(key, sizes[::-1]), "he", r"shape \(1, 60\)"),
    ):
        with pytest.raises(AssertionError, match=told):
            lecture.check_init(mine, method)
    with pytest.raises(ValueError, match="method must be 'he' or 'xavier'"):
        lecture.check_init(draw(he), "HE")

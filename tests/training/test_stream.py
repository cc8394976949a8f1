import jax
import numpy as np
import optax
import pytest

from jaxmlp import fit, fit_stream, init_params, search
from jaxmlp.training import search_stream
from jaxmlp.training.orders import Plan, draw_block, seed_of
from jaxmlp.training.windows import Layout, cut_windows

SGD = optax.sgd(0.1)
ADAM = optax.adam(0.01)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(1000, 3)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int32)
WEIGHT = RNG.uniform(0.1, 2, 1000).astype(np.float32)


def in_blocks(*arrays, sizes=(300, 1, 499, 200)):
    ends = np.cumsum(sizes)
    return [tuple(a[e - n : e] for a in arrays) for n, e in zip(sizes, ends, strict=True)]


def start(sizes=(3, 8, 1), dtype="float32"):
    return init_params(jax.random.key(1), sizes, dtype=dtype)


def assert_same(a, b):
    assert a.best_epoch == b.best_epoch
    for x, y in zip(jax.tree.leaves(a[:3]), jax.tree.leaves(b[:3]), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("sizes", [(3, 1), (3, 8, 1), (3, 8, 4, 1)])
@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 32},
        {"batch_size": 50},
        {"batch_size": 5000},
        {"batch_size": 32, "drop_last": True},
        {"batch_size": 32, "l2": 0.01, "dropout": 0.2},
        {"batch_size": 32, "X_val": X[:100], "y_val": Y[:100], "patience": 2},
    ],
)
@jax.numpy_dtype_promotion("standard")  # optax's Adam mixes types
def test_one_window_gives_the_bits_of_fit(sizes, options):
    key, common = jax.random.key(2), {"optimizer": ADAM, "n_epochs": 5, **options}
    whole = fit(key, start(sizes), X, Y, **common)
    streamed = fit_stream(key, start(sizes), in_blocks(X, Y), **common)
    assert_same(whole, streamed)


def test_one_window_with_weights_gives_the_bits_of_fit():
    key = jax.random.key(2)
    common = {"optimizer": SGD, "n_epochs": 3, "batch_size": 32}
    common["class_weight"] = {0: 1, 1: 3}
    whole = fit(key, start(), X, Y, sample_weight=WEIGHT, **common)
    streamed = fit_stream(key, start(), in_blocks(X, Y, WEIGHT), **common)
    assert_same(whole, streamed)


def by_hand(params, epochs, batch_size, n_window, learning_rate, key):
    """SGD on windows, by a loop and `jax.grad`."""

    def loss(params, X, y):
        h = X
        for layer in params[:-1]:
            h = jax.nn.relu(h @ layer.w + layer.b[None, :])
        z = (h @ params[-1].w)[:, 0] + params[-1].b[0]
        return (jax.nn.softplus(z) - y * z).mean()

    seed, losses = seed_of(jax.random.key_data(key)), []
    for epoch in range(epochs):
        of_epoch = []
        for i, first in enumerate(range(0, len(X), n_window)):
            rows = np.arange(first, min(first + n_window, len(X)))
            plan = Plan(len(rows), batch_size, 1, drop_last=False, of_subset=True)
            order = draw_block((*seed, epoch, i), plan, 0)[0]
            for start in range(0, len(rows), batch_size):
                batch = rows[order[start : start + batch_size]][: len(rows) - start]
                value, grads = jax.value_and_grad(loss)(
                    params, X[batch].astype(params[0].w.dtype), Y[batch].astype(float)
                )
                of_epoch.append((len(batch), value))
                params = jax.tree.map(lambda w, g: w - learning_rate * g, params, grads)
        losses.append(
            np.average([v for _, v in of_epoch], weights=[n for n, _ in of_epoch])
        )
    return params, losses


@pytest.mark.parametrize("n_rows", [300, 320, 1000])
def test_each_row_is_visited_once_an_epoch_in_another_order(n_rows):
    layout = Layout(
        n_rows=n_rows,
        batch_size=20,
        n_epochs=3,
        drop_last=False,
        n_features=3,
        augmented=True,
        dtype=np.dtype("float32"),
        compute_dtype=np.dtype("float32"),
        class_weight=None,
    )
    visits = []
    for epoch in range(3):
        windows = list(cut_windows(in_blocks(X, Y), layout, (7,), epoch))
        assert [w.is_last for w in windows] == [False] * (len(windows) - 1) + [True]
        visits.append([w.X[w.order[w.order >= 0], :3] for w in windows])
    for visit in visits:
        rows = np.concatenate(visit)
        np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(X, axis=0))
    first = [part for visit in visits for part in visit if len(part) == n_rows]
    assert len({part[:20].tobytes() for part in first}) == len(first)
    starts = {tuple(np.argsort(part[:, 0])[:5]) for part in first}
    assert len(starts) == len(first)


@pytest.mark.parametrize("sizes", [(3, 1), (3, 8, 1), (3, 8, 4, 1)])
@pytest.mark.parametrize(
    ("window_size", "batch_size"), [(300, 20), (320, 24), (333, 20), (999, 24)]
)
def test_windows_against_a_loop(x64, sizes, window_size, batch_size):
    key, n_window = jax.random.key(3), window_size - window_size % batch_size
    result = fit_stream(
        key,
        start(sizes, "float64"),
        in_blocks(X, Y),
        optimizer=SGD,
        n_epochs=2,
        batch_size=batch_size,
        window_size=window_size,
    )
    first = start(sizes, "float64")
    params, losses = by_hand(first, 2, batch_size, n_window, 0.1, key)
    for a, b in zip(jax.tree.leaves(result.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)  # 100 float64 steps
    np.testing.assert_allclose(result.history["train_loss"], losses, rtol=1e-12)


@pytest.mark.parametrize("sizes", [(1000,), (1,) * 1000, (999, 1), (0, 500, 0, 500)])
def test_sizes_of_blocks_change_no_bit(sizes):
    def run(sizes):
        blocks = in_blocks(X, Y, WEIGHT, sizes=sizes)
        return fit_stream(
            jax.random.key(3),
            start(),
            blocks,
            optimizer=SGD,
            n_epochs=2,
            batch_size=16,
            window_size=160,
        )

    assert_same(run(sizes), run((300, 700)))


def test_a_function_of_the_epoch():
    asked = []

    def blocks(epoch):
        asked.append(epoch)
        return iter(in_blocks(X[:: epoch + 1], Y[:: epoch + 1], sizes=(100, 100)))

    progress = []
    result = fit_stream(
        jax.random.key(0),
        start(),
        blocks,
        optimizer=SGD,
        n_epochs=3,
        batch_size=8,
        window_size=64,
        callback=lambda now: progress.append((now.n_done, now.result().history)),
    )
    assert asked == [0, 1, 2]
    assert [n for n, _ in progress] == [1, 2, 3]
    np.testing.assert_array_equal(
        progress[1][1]["train_loss"], result.history["train_loss"][:2]
    )


def test_more_than_32768_rows_in_windows(x64):
    many = RNG.normal(size=(40_000, 3))
    labels = (many.sum(axis=1) > 0).astype(int)
    common = {"optimizer": SGD, "n_epochs": 2, "batch_size": 1000}
    whole, streamed = (
        fit(jax.random.key(0), start(dtype="float64"), many, labels, **common),
        fit_stream(jax.random.key(0), start(dtype="float64"), [(many, labels)], **common),
    )
    assert_same(whole, streamed)


def test_a_loss_that_is_not_finite_ends_the_run():
    seen = []
    result = fit_stream(
        jax.random.key(0),
        start(),
        in_blocks(X * 1e18, Y),
        optimizer=optax.sgd(1e30),
        n_epochs=10,
        batch_size=20,
        window_size=100,
        callback=lambda now: seen.append(now.n_done),
    )
    assert seen == [1]
    assert len(result.history["train_loss"]) == 1
    assert not np.isfinite(result.history["train_loss"][0])


def test_patience_and_the_best_epoch():
    result = fit_stream(
        jax.random.key(0),
        start(),
        in_blocks(X[:200], Y[:200], sizes=(200,)),
        optimizer=optax.sgd(2.0),
        n_epochs=200,
        batch_size=8,
        window_size=64,
        X_val=X[200:],
        y_val=Y[200:],
        patience=3,
    )
    losses = result.history["val_loss"]
    assert result.best_epoch == np.argmin(losses) + 1 == len(losses) - 3


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (
            [(X, Y), (X[:, :2], Y)],
            r"the block from row 1000 on: X must have shape \(1000, 3\)",
        ),
        (
            [(X, Y + 1)],
            "epoch 1, the block from row 0 on: y must hold labels 0 and 1; row 2",
        ),
        ([(np.where(X > 2, np.nan, X), Y)], "X must be finite in float32; row"),
        ([(X, Y, -WEIGHT)], "sample_weight is negative at row"),
        ([(X, Y, WEIGHT[:5])], r"sample_weight must have shape \(1000,\), not \(5,\)"),
        ([X], r"stream must give blocks \(X, y\)"),
        ([], "stream gives no rows in epoch 1"),
        (iter([(X, Y)]), "stream gives no rows in epoch 2"),
    ],
)
def test_bad_blocks(blocks, message):
    with pytest.raises(ValueError, match=message):
        fit_stream(
            jax.random.key(0), start(), blocks, optimizer=SGD, n_epochs=2, batch_size=8
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_size": 7}, "window_size of 7 rows holds no mini-batch of 8"),
        ({"window_size": 0}, "window_size"),
        ({"class_weight": "balanced"}, "class_weight must hold a non-negative weight"),
        ({"patience": 3}, "patience needs a validation part"),
        ({"X_val": X}, "X_val and y_val must be given together"),
        ({"optimizer": optax.sgd}, "optimizer must be an optax optimiser"),
    ],
)
def test_bad_arguments(options, message):
    common = {"optimizer": SGD, "n_epochs": 2, "batch_size": 8, **options}
    with pytest.raises(ValueError, match=message):
        fit_stream(jax.random.key(0), start(), [(X, Y)], **common)


def test_what_the_stream_raises_comes_through():
    def blocks(epoch):
        yield X, Y
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        fit_stream(
            jax.random.key(0), start(), blocks, optimizer=SGD, n_epochs=1, batch_size=8
        )


def search_options(**options):
    return {
        "learning_rates": [0.03, 0.3],
        "hidden_sizes": [(), 8, (8, 4)],
        "n_epochs": 4,
        "batch_size": 25,
        **options,
    }


def test_search_on_one_window_agrees_with_search():
    parts, key = (X[:600], Y[:600], X[600:], Y[600:]), jax.random.key(5)
    options = search_options(l2=[0, 0.01], n_seeds=2, patience=2)
    whole = search(key, *parts, **options)
    streamed = search_stream(key, [parts[:2]], *parts[2:], **options)
    for a, b in zip(whole.table, streamed.table, strict=True):
        assert a[:4] == b[:4]
        np.testing.assert_allclose(a[5:7], b[5:7], rtol=1e-5)  # padded sums, float32
    assert whole.best.configuration[:5] == streamed.best.configuration[:5]


def test_each_run_of_a_search_is_that_of_fit_stream():
    key, blocks = jax.random.key(5), in_blocks(X, Y)
    options = search_options(window_size=200)
    found = search_stream(key, blocks, X[:99], Y[:99], n_best=6, **options)
    init_key, shuffle_key = jax.random.split(key)
    for network in found.networks:
        choice = network.configuration
        first = jax.random.fold_in(init_key, choice.seed)
        alone = fit_stream(
            shuffle_key,
            init_params(first, (3, *choice.hidden_sizes, 1)),
            blocks,
            optimizer=optax.sgd(choice.learning_rate),
            n_epochs=4,
            batch_size=25,
            window_size=200,
            X_val=X[:99],
            y_val=Y[:99],
        )
        np.testing.assert_allclose(
            network.history["val_loss"], alone.history["val_loss"], rtol=1e-5
        )


def test_a_search_goes_on_without_what_diverges():
    seen = []
    found = search_stream(
        jax.random.key(0),
        in_blocks(X * 1e15, Y),
        X[:99],
        Y[:99],
        **search_options(learning_rates=[1e-40, 1e30], hidden_sizes=[8], window_size=50),
        callback=lambda now: seen.append((now.n_done, len(now.table))),
    )
    assert [row.diverged for row in found.table] == [None, 1]
    assert found.best.configuration.learning_rate == 1e-40
    assert seen == [(5, 1), (6, 1), (7, 1), (8, 2)]  # what has ended counts as done


def test_a_search_without_a_finite_loss():
    with pytest.raises(FloatingPointError, match="no configuration had a finite"):
        search_stream(
            jax.random.key(0),
            in_blocks(X * 1e18, Y),
            X * 1e18,
            Y,
            **search_options(learning_rates=[1e30], hidden_sizes=[8], window_size=50),
        )

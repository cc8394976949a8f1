"""What is trained and computed with and without a mesh; for the programs beside it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from jaxmlp import Diagnostics, fit, fit_stream, search
from jaxmlp.gradients import (
    clipped_sum,
    inner_products,
    loss_factors,
    map_blocks,
    noise_scale,
    norms,
    second_moment,
    squared_norms,
    weighted_sum,
)
from jaxmlp.privacy import dp_fit
from jaxmlp.training.windows import Elsewhere
from tests.helpers import DEPTHS, make_data, make_params, relative_error

SEED = 5  # no key, which would start JAX before processes have found each other
MOMENTUM, ADAM = optax.sgd(0.1, momentum=0.5), optax.adam(0.01)
N = 203  # no multiple of any number of devices

# Epochs of ⌈203 / 40⌉ steps, 102 in all, the last of each with 3 examples.
MINI = {"optimizer": MOMENTUM, "n_epochs": 17, "batch_size": 40}
FULL = {"optimizer": MOMENTUM, "n_epochs": 100, "batch_size": 1_000}
WEIGHTED = {"weighted": True, "class_weight": "balanced", "l2": 0.01}
FITS = {
    "depth 0": (0, N, MINI),
    "depth 1": (1, N, MINI),
    "depth 2": (2, N, MINI),
    "weights": (1, N, MINI | WEIGHTED | {"validates": True, "patience": 99}),
    "dropout": (2, N, MINI | {"optimizer": ADAM, "dropout": 0.3, "input_dropout": 0.1}),
    "diagnostics": (1, N, MINI | {"weighted": True, "diagnostics": Diagnostics()}),
    "all rows": (1, N, FULL | {"weighted": True, "drop_last": True}),
    "all rows, dropout": (1, N, FULL | {"dropout": 0.3}),
    "all rows, even": (0, 200, FULL),
    "many rows": (1, 40_000, MINI | {"n_epochs": 10, "batch_size": 4_096}),
}
PRIVATE = {"noise_multiplier": 1.0, "max_grad_norm": 0.5, "delta": 1e-5}
PRIVATE |= {"accountant": "rdp"}  # the fastest
DP_FITS = {
    "private": (1, MINI | PRIVATE | {"batch_size": 37.5, "norm_quantiles": (0.5,)}),
    "private, all rows": (2, FULL | PRIVATE | {"batch_size": N}),
}
# Windows of 120 and 83 rows, 6 steps an epoch.
STREAM = MINI | {"window_size": 130}
STREAMS = {
    "stream, depth 0": (0, STREAM),
    "stream, depth 1": (1, STREAM),
    "stream, depth 2": (2, STREAM | {"weighted": True, "class_weight": {0: 1, 1: 3}}),
    "stream, dropout": (1, STREAM | {"optimizer": ADAM, "dropout": 0.3}),
    "stream, one window": (1, MINI | {"validates": True, "patience": 99}),
    "stream, all rows": (1, FULL),
}
SEARCHES = {"search": {}, "search with patience": {"patience": 3, "n_parallel": 5}}


def run_fit(name, mesh=None, **more):
    depth, n, options = FITS[name]
    options = options | more
    X, y, weight = make_data(n, dtype=np.float64, weighted=options.pop("weighted", False))
    if options.pop("validates", False):
        # Labels that the features do not tell, so that there is a best epoch.
        options |= {"X_val": X[:37] + 0.5, "y_val": y[1:38]}
        options |= {"metrics": {"mean": mean_logit}}
    params = make_params(DEPTHS[depth], np.float64)
    return fit(
        jax.random.key(SEED), params, X, y, sample_weight=weight, mesh=mesh, **options
    )


class SharedOut:
    """Blocks of rows, dealt out to the processes in turn."""

    def __init__(self, *arrays):
        self.arrays, self.sizes = arrays, (60, 1, 50, 40, 30, 22)

    def blocks(self, epoch, skip):
        ends = np.cumsum(self.sizes)
        for i in np.random.default_rng(epoch).permutation(len(ends)):
            first, n = ends[i] - self.sizes[i], self.sizes[i]
            n_skipped, skip = min(skip, n), max(0, skip - n)
            if i % jax.process_count() != jax.process_index():
                yield Elsewhere(n - n_skipped, i % jax.process_count())
            else:
                rows = slice(first + n_skipped, ends[i])
                yield tuple(array[rows] for array in self.arrays)


def run_stream(name, mesh=None, **more):
    depth, options = STREAMS[name]
    options = options | more
    X, y, weight = make_data(N, dtype=np.float64, weighted=options.pop("weighted", False))
    if options.pop("validates", False):
        options |= {"X_val": X[:37] + 0.5, "y_val": y[1:38]}
    rows = (X, y) if weight is None else (X, y, weight)
    params = make_params(DEPTHS[depth], np.float64)
    # One device has all rows itself: of what processes share out it sees the same.
    stream = SharedOut(*rows)
    if mesh is None:
        stream = lambda epoch: AsOne(*rows).blocks(epoch, 0)
    return fit_stream(jax.random.key(SEED), params, stream, mesh=mesh, **options)


class AsOne(SharedOut):
    """The same blocks in one process."""

    def blocks(self, epoch, skip):
        ends = np.cumsum(self.sizes)
        for i in np.random.default_rng(epoch).permutation(len(ends)):
            yield tuple(array[ends[i] - self.sizes[i] : ends[i]] for array in self.arrays)


def mean_logit(logits, y):
    return jnp.mean(logits)


def run_dp_fit(name, mesh=None, **more):
    depth, options = DP_FITS[name]
    X, y, _ = make_data(N, dtype=np.float64)
    params = make_params(DEPTHS[depth], np.float64)
    return dp_fit(jax.random.key(SEED), params, X, y, mesh=mesh, **(options | more))


def run_search(name, mesh=None, **more):
    X, y, _ = make_data(160, dtype=np.float64)
    options = {
        "learning_rates": (0.01, 0.1, 0.3),
        "hidden_sizes": (0, 3, 7),
        "n_epochs": 15,
        "batch_size": 15,
        "n_best": 2,
    }
    rows = (X[:100], y[:100], X[100:], y[100:])
    options |= SEARCHES[name] | more
    return search(jax.random.key(SEED), *rows, mesh=mesh, **options)


def numbers_of(result):
    """All that a training gives, on the host: optimiser states, and all else."""
    if hasattr(result, "table"):
        best = [(network.params, network.history) for network in result.networks]
        return jax.device_get(((), (best, [tuple(row[4:]) for row in result.table])))
    # The curve of what may be infinite or NaN is compared by what it is made of.
    history = {k: v for k, v in result.history.items() if k != "noise_scale"}
    found = (result.params, history, result.best_epoch)
    return jax.device_get((result.opt_state, found))


def error_of(found, expected):
    """Largest difference of what `run` returned, in units of each array's largest entry.

    That of optimiser states is absolute: a momentum is a sum of examples' gradients, of
    order 1, that may cancel to next to nothing.
    """
    (state, rest), (expected_state, expected_rest) = found, expected
    pairs = zip(jax.tree.leaves(state), jax.tree.leaves(expected_state), strict=True)
    absolute = [np.abs(a - b).max() for a, b in pairs]
    return float(max([relative_error(rest, expected_rest), *absolute]))


def run(name, mesh=None, **more):
    """Runs a case by its name."""
    for names, function in (
        (FITS, run_fit),
        (DP_FITS, run_dp_fit),
        (SEARCHES, run_search),
        (STREAMS, run_stream),
    ):
        if name in names:
            with jax.numpy_dtype_promotion("standard"):  # optax's Adam mixes types
                return numbers_of(function(name, mesh, **more))
    raise KeyError(name)


@jax.jit
def per_example(params, X, y, c):
    """Every function of per-example gradients that is promised to work in parts."""
    factors = loss_factors(params, X, y)
    clipped = clipped_sum(factors, 0.5)
    return {
        "norms": norms(factors),
        "squared_norms": squared_norms(factors),
        "clipped_sum": (clipped.sum, clipped.norms),
        "weighted_sum": weighted_sum(factors, c),
        "second_moment": second_moment(factors),
        "noise_scale": noise_scale(factors),
        "inner_products": inner_products(factors, factors),
    }


def gradient_errors(mesh, n):
    """Differences of `per_example` on rows in parts, by function and depth."""
    X, y, _ = make_data(n, dtype=np.float64)
    rows = (X, y.astype(np.float64), np.linspace(-1, 1, n))
    in_parts = jax.device_put(rows, NamedSharding(mesh, PartitionSpec(mesh.axis_names[0])))
    errors = {}
    for depth, sizes in DEPTHS.items():
        params = make_params(sizes, np.float64)
        expected = per_example(params, *rows)
        found = per_example(params, *in_parts)
        for name, value in expected.items():
            errors[f"{name}, depth {depth}"] = relative_error(found[name], value)

    def lengths(params, X, y):
        X, y = jax.lax.with_sharding_constraint((X, y), in_parts[0].sharding)
        return norms(loss_factors(params, X, y))

    found = map_blocks(lengths, params, X, y, block_size=n * 2 // 5)
    errors["map_blocks"] = relative_error(found, expected["norms"])
    return errors


def message_of(call):
    """What the ValueError says that a call raises, or None."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return None

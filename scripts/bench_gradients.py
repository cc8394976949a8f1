"""Time of a clipped and of a private step beside a plain one and beside other libraries.

For each shape (features p, hidden units q, batch size s), microseconds a step with SGD, in
turn for several rounds, medians, compiling apart:

- plain, clipped: the library's own gradient, and its clipped mean (`ClippedMean`), each
  with gathering and update in one compiled loop over the same mini-batches;
- algebra: `clipped_sum(loss_factors(...))`, as a user writes it, beside `loss_and_grads`;
- vmap(grad): the same loop with per-example gradients by `jax.vmap(jax.grad)`;
- optax: the loop with `optax.contrib.differentially_private_aggregate`, noise included;
- jax-privacy: the loop with its `clipped_grad`, if it is installed;
- products, noise: what each step cannot do without: two bare matrix products; and, if it
  is private, a normal number for every parameter;
- fit, dp_fit: whole runs of the public functions, the latter with Poisson samples of s rows
  expected, clipping and noise;
- Opacus, ordinary and ghost mode, with noise, and PyTorch's own plain step, if a second
  environment has it.

And per-example norms of 1,000,000 × 100 rows through a (100, 256, 1) network, in a
process of its own whose peak memory counts.

    python3.11 -m venv .venv-opacus && .venv-opacus/bin/pip install opacus numpy
    python scripts/bench_gradients.py --opacus-python .venv-opacus/bin/python
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from arguments import add_json, add_quick, add_rounds, existing_file, make_parser
from products import bare_products
from worker import Worker

from jaxmlp import bce_with_logits, fit, forward, init_params, loss_and_grads
from jaxmlp.core import augment, loss_and_grads_augmented
from jaxmlp.gradients import clipped_sum, loss_factors, map_blocks, norms
from jaxmlp.privacy import dp_fit
from jaxmlp.privacy.mechanism import ClippedMean

RATE = 0.01
SGD = optax.sgd(RATE)
KEY = jax.random.key(1)
"""Of orders and samples."""
WORKER = Path(__file__).with_name("opacus_worker.py")


class Sizes(NamedTuple):
    """How much is measured.

    Attributes:
      shapes: Features, hidden units and batch size of each table row.
      n_rows: Rows that mini-batches are taken from.
      n_operations: Of the products in a measurement of a slow contestant; at least 2 steps.
      n_norms: Rows whose norms are taken.
    """

    shapes: tuple[tuple[int, int, int], ...]
    n_rows: int
    n_operations: float
    n_norms: int


FULL = Sizes(((30, 64, 256), (28, 300, 1024), (500, 512, 1024)), 20_000, 5e8, 1_000_000)
QUICK = Sizes(((5, 4, 8),), 200, 0, 1000)

Run = Callable[[], float]
"""Runs once and returns microseconds a step."""


def loop(step, params, opt_state, X, y, shape, n_steps: int) -> Run:
    """A compiled loop of `step(params, opt_state, X, y)` over shuffled mini-batches."""
    _, _, size = shape
    rng = np.random.default_rng(0)
    orders = rng.integers(0, len(X), (n_steps, size)).astype(np.int32)

    @jax.jit
    def run_steps(params, opt_state, X, y, orders):
        def one(carry, rows):
            return step(*carry, X[rows], y[rows]), None

        return jax.lax.scan(one, (params, opt_state), orders)[0]

    arguments = jax.device_put((params, opt_state, X, y, orders))
    jax.block_until_ready(run_steps(*arguments))

    def run() -> float:
        began = time.perf_counter()
        jax.block_until_ready(run_steps(*arguments))
        return (time.perf_counter() - began) / n_steps * 1e6

    return run


def sgd_step(gradient):
    """A step of SGD with `gradient(params, X, y)`."""

    def step(params, opt_state, X, y):
        grads = gradient(params, X, y)
        return jax.tree.map(lambda p, g: p - RATE * g, params, grads), opt_state

    return step


def loss_of_one(params, x, y_i):
    return bce_with_logits(forward(params, x[None, :]), y_i[None])[0]


PER_EXAMPLE = jax.vmap(jax.grad(loss_of_one), (None, 0, 0))


def clipped_by_vmap(params, X, y):
    grads = PER_EXAMPLE(params, X, y)
    leaves = jax.tree.leaves(grads)
    squares = sum(jnp.sum(leaf**2, axis=tuple(range(1, leaf.ndim))) for leaf in leaves)
    shares = jnp.minimum(1, 1 / jnp.sqrt(squares)) / len(y)
    return jax.tree.map(lambda g: jnp.tensordot(shares, g, 1), grads)


def once(function, params, X, y, size: int, n_steps: int) -> Run:
    """Calls of a compiled function of one mini-batch, waiting for each."""
    compiled = jax.jit(function)
    batch = jax.device_put((params, X[:size], y[:size]))
    jax.block_until_ready(compiled(*batch))

    def run() -> float:
        began = time.perf_counter()
        for _ in range(n_steps):
            jax.block_until_ready(compiled(*batch))
        return (time.perf_counter() - began) / n_steps * 1e6

    return run


def whole_run(train, X, y, params, size: int, n_steps: int, **kwargs) -> Run:
    """A call of `fit` or `dp_fit`, checks of the data and drawing of orders included."""
    n_epochs = max(1, n_steps * size // len(X))
    steps = n_epochs * -(-len(X) // size)

    def call() -> None:
        result = train(
            KEY, params, X, y, optimizer=SGD, n_epochs=n_epochs, batch_size=size, **kwargs
        )
        jax.block_until_ready(result.params)

    call()

    def run() -> float:
        began = time.perf_counter()
        call()
        return (time.perf_counter() - began) / steps * 1e6

    return run


def jax_privacy_step(params):
    from jax_privacy import clipping

    def mean_loss(params, X, y):
        return jnp.mean(bce_with_logits(forward(params, X), y))

    clipped = clipping.clipped_grad(mean_loss, l2_clip_norm=1.0, batch_argnums=(1, 2))
    return sgd_step(
        lambda params, X, y: jax.tree.map(lambda g: g / len(y), clipped(params, X, y))
    )


def optax_step(aggregate):
    def step(params, opt_state, X, y):
        grads, opt_state = aggregate.update(PER_EXAMPLE(params, X, y), opt_state)
        return jax.tree.map(lambda p, g: p - RATE * g, params, grads), opt_state

    return step


def noise_step(params):
    """Normal numbers for every parameter, as a private step draws them."""
    leaves, structure = jax.tree.flatten(params)

    def step(_, key, X, y):
        key, *keys = jax.random.split(key, 1 + len(leaves))
        noise = [
            jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, noise), key

    return step


def measure(
    shape, sizes: Sizes, n_rounds: int, opacus: Worker | None, folder: Path, *, alone: bool
) -> dict:
    p, q, size = shape
    rng = np.random.default_rng(0)
    X = rng.normal(size=(sizes.n_rows, p)).astype(np.float32)
    y = rng.integers(0, 2, sizes.n_rows).astype(np.float32)
    params = init_params(jax.random.key(0), (p, q, 1))
    with_ones = np.asarray(augment(jnp.asarray(X)))
    few = max(2, int(sizes.n_operations / (4 * p * q * size)))  # of the slow ones
    many = 10 * few
    clipped = ClippedMean(1.0, size)
    private = {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "delta": 1e-5}
    aggregate = optax.contrib.differentially_private_aggregate(1.0, 1.0, KEY)
    ours = (params, (), with_ones, y, shape, many)
    theirs = (params, (), X, y, shape, few)
    contestants: dict[str, Run] = {
        "plain": loop(sgd_step(lambda *a: loss_and_grads_augmented(*a)[1]), *ours),
        "clipped": loop(sgd_step(lambda *a: clipped(*a, None)[1]), *ours),
        "products": bare_products(shape, many),
        "noise": loop(noise_step(params), params, KEY, X, y, (p, q, 0), many),
        "loss_and_grads": once(loss_and_grads, params, X, y, size, many),
        "algebra": once(
            lambda *a: clipped_sum(loss_factors(*a), 1.0), params, X, y, size, many
        ),
        "fit": whole_run(fit, X, y, params, size, many),
        "dp_fit": whole_run(dp_fit, X, y, params, size, many, **private),
    }
    if not alone:
        contestants["vmap(grad)"] = loop(sgd_step(clipped_by_vmap), *theirs)
        state = aggregate.init(params)
        contestants["optax"] = loop(optax_step(aggregate), params, state, *theirs[2:])
    if has("jax-privacy") and not alone:
        contestants["jax-privacy"] = loop(jax_privacy_step(params), *theirs)
    if opacus is not None:
        np.savez(folder / "data.npz", X=X, y=y)
        for form in ("plain", "ordinary", "ghost"):
            request = {
                "form": form,
                "data": str(folder / "data.npz"),
                "p": p,
                "q": q,
                "batch_size": size,
                "n_steps": few,
            }
            name = "PyTorch" if form == "plain" else f"Opacus {form}"
            contestants[name] = lambda r=request: opacus.ask(**r)["microseconds"]
            opacus.ask(**request)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(n_rounds):
        for name, run in contestants.items():
            times[name].append(run())
    medians = {name: statistics.median(t) for name, t in times.items()}
    ratios = {
        "clipped / plain": ("clipped", "plain"),
        "algebra / loss_and_grads": ("algebra", "loss_and_grads"),
        "dp_fit / fit": ("dp_fit", "fit"),
        "vmap(grad) / clipped": ("vmap(grad)", "clipped"),
        "optax / dp_fit": ("optax", "dp_fit"),
        "jax-privacy / clipped": ("jax-privacy", "clipped"),
        "Opacus ghost / dp_fit": ("Opacus ghost", "dp_fit"),
        "Opacus ghost / clipped": ("Opacus ghost", "clipped"),
        "Opacus ordinary / dp_fit": ("Opacus ordinary", "dp_fit"),
        "vmap(grad) / products": ("vmap(grad)", "products"),
        "Opacus ghost / products": ("Opacus ghost", "products"),
        "noise / fit": ("noise", "fit"),
    }
    return {
        "shape": shape,
        "microseconds": medians,
        # Of the same round, because the machine's speed drifts.
        "ratios": {
            name: statistics.median(
                a / b for a, b in zip(times[top], times[bottom], strict=True)
            )
            for name, (top, bottom) in ratios.items()
            if top in times and bottom in times
        },
    }


def norms_of(params, X, y):
    return norms(loss_factors(params, X, y))


def measure_norms(n_rows: int) -> dict:
    """Norms of all rows in this process, and what it took of memory at most."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, 100), dtype=np.float32)
    y = rng.integers(0, 2, n_rows).astype(np.float32)
    params = init_params(jax.random.key(0), (100, 256, 1))
    map_blocks(norms_of, params, X[:20_000], y[:20_000])  # compiles
    began = time.perf_counter()
    found = map_blocks(norms_of, params, X, y)
    seconds = time.perf_counter() - began
    assert found.shape == (n_rows,)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows": n_rows,
        "rows_per_second": n_rows / seconds,
        "seconds": seconds,
        "peak_gigabytes": peak * 1024 / 1e9,
        "of_that_features": X.nbytes / 1e9,
    }


def has(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def main() -> None:
    parser = make_parser(__doc__)
    add_rounds(parser, 7)
    parser.add_argument(
        "--opacus-python",
        type=existing_file,
        metavar="PYTHON",
        help="interpreter that has Opacus (default: without it)",
    )
    parser.add_argument(
        "--alone", action="store_true", help="without vmap(grad), optax and jax-privacy"
    )
    add_quick(parser)
    add_json(parser)
    parser.add_argument("--norms", type=int, metavar="ROWS", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.norms:
        print(json.dumps(measure_norms(args.norms)))
        return
    sizes = QUICK if args.quick else FULL
    opacus = None
    if args.opacus_python is not None:
        opacus = Worker(args.opacus_python, WORKER, os.cpu_count() or 1)
        print(opacus.version)
    names = ("jax", "optax", "numpy", "jax-privacy", "dp-accounting")
    print(", ".join(f"{name} {version(name)}" for name in names if has(name)))
    # First, while this process is small: Linux lets a child inherit its parent's peak.
    command = [sys.executable, __file__, "--norms", str(sizes.n_norms)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    print(
        f"norms of {found['rows']} rows: {found['rows_per_second']:.0f} rows/s, peak "
        f"{found['peak_gigabytes']:.2f} GB ({found['of_that_features']:.2f} the features)"
    )
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for shape in sizes.shapes:
            measured = measure(
                shape, sizes, args.rounds, opacus, Path(folder), alone=args.alone
            )
            results.append(measured)
            print(shape)
            for name, us in results[-1]["microseconds"].items():
                print(f"  {name:16}{us:12.1f} µs")
            for name, ratio in results[-1]["ratios"].items():
                print(f"  {name:28}{ratio:8.2f}", flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps({"steps": results, "norms": found}, indent=1))


if __name__ == "__main__":
    main()

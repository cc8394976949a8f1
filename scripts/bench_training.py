"""Time of one training step beside scikit-learn's and PyTorch's, in one run.

For each shape (features p, hidden units q, batch size s): `fit` with SGD, with Adam and
with the textbook gradient; scikit-learn's MLPClassifier; PyTorch eager and compiled, with
SGD. All train on the same rows, on all processors, in turn for several rounds, and the
medians count. Compile time stands apart. Beside them, in the same process, the step's two
matrix products run bare, then with more and more of the rest of the step (gathering the
rows and updating W, ReLU and the output, the mask), and what a shuffled order costs. Last,
50 steps in float64 from the same weights on the same mini-batches: how far the three drift
apart.

PyTorch may live in an environment of its own, which a second process serves:

    python3.11 -m venv .venv-torch && .venv-torch/bin/pip install torch==2.13.0 numpy
    python scripts/bench_training.py --torch-python .venv-torch/bin/python
"""

import json
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from arguments import add_json, add_quick, add_rounds, existing_file, make_parser
from products import bare_products
from sklearn.neural_network import MLPClassifier
from worker import Worker

from jaxmlp import backward, bce_with_logits, fit, forward_with_cache, init_params
from jaxmlp.interfaces.recipes.timing import Stopwatch
from jaxmlp.training import epoch_order
from jaxmlp.training.orders import Plan, draw_block

SHAPES = [(30, 64, 32), (28, 64, 128), (28, 300, 1024), (500, 512, 1024)]
ORDERS = (1_000, 10_000, 100_000)
QUICK_SHAPES = [(5, 4, 8)]
QUICK_ORDERS = (100,)
STEPS_AN_EPOCH = 20
RATE = 0.01
PEERS = ("scikit-learn", "torch eager", "torch compiled")
WORKER = Path(__file__).with_name("torch_worker.py")
KEY = jax.random.key(1)

Contestants = dict[str, Callable[[], float]]
"""Each runs once and returns microseconds a step."""


def textbook(params, X, y, sample_weight):
    logits, cache = forward_with_cache(params, X)
    loss = bce_with_logits(logits, y).mean()
    return loss, backward(params, cache, y, sample_weight)


def ours(X, y, shape, n_epochs: int, optimizer, gradient_fn=None) -> Callable[[], float]:
    p, q, batch_size = shape
    params = init_params(jax.random.key(0), (p, q, 1))

    def run() -> float:
        began = time.perf_counter()
        result = fit(
            KEY,
            params,
            X,
            y,
            optimizer=optimizer,
            n_epochs=n_epochs,
            batch_size=batch_size,
            gradient_fn=gradient_fn,
        )
        jax.block_until_ready(result.params)
        return (time.perf_counter() - began) / (n_epochs * STEPS_AN_EPOCH) * 1e6

    return run


def scikit_learn(X, y, shape, n_epochs: int) -> Callable[[], float]:
    _, q, batch_size = shape
    model = MLPClassifier(
        (q,),
        solver="sgd",
        momentum=0.0,
        alpha=0.0,
        learning_rate_init=RATE,
        batch_size=batch_size,
        max_iter=n_epochs,
        tol=0.0,
        n_iter_no_change=n_epochs,
    )

    def run() -> float:
        began = time.perf_counter()
        model.fit(X, y)
        return (time.perf_counter() - began) / (n_epochs * STEPS_AN_EPOCH) * 1e6

    return run


def growing_step(shape, n_steps: int, parts: int) -> Callable[[], float]:
    """The products with 1: gathering and update, 2: ReLU and output too, 3: mask too."""
    p, q, batch_size = shape
    rng = np.random.default_rng(0)
    X = jnp.asarray(rng.normal(size=(STEPS_AN_EPOCH * batch_size, p + 1)), jnp.float32)
    W = jnp.asarray(rng.normal(size=(p + 1, q)), jnp.float32)
    v = jnp.ones((q, 1), jnp.float32)
    order = rng.permutation(len(X)).astype(np.int32).reshape(-1, batch_size)

    @jax.jit
    def loop(X, W, v, order):
        def step(k, W):
            rows = X[order[k % STEPS_AN_EPOCH]]
            a = D = rows @ W
            if parts >= 2:
                z = jax.nn.relu(a) @ v
                D = a + z if parts == 2 else jnp.where(a > 0, z, 0)
            return W - 1e-12 * (rows.T @ D)

        return jax.lax.fori_loop(0, n_steps, step, W)

    arguments = (X, W, v, jnp.asarray(order))
    jax.block_until_ready(loop(*arguments))

    def run() -> float:
        began = time.perf_counter()
        jax.block_until_ready(loop(*arguments))
        return (time.perf_counter() - began) / n_steps * 1e6

    return run


def measure(
    shape, n_rounds: int, torch: Worker | None, folder: Path, *, quick: bool
) -> dict:
    p, q, batch_size = shape
    rng = np.random.default_rng(0)
    X = rng.normal(size=(STEPS_AN_EPOCH * batch_size, p)).astype(np.float32)
    y = rng.integers(0, 2, len(X))
    # About 40 GFLOP a measurement; what `fit` does once then weighs little.
    n_epochs = int(4e10 / (4 * p * q * batch_size * STEPS_AN_EPOCH))
    n_epochs = 2 if quick else min(max(20, n_epochs), 2_000)
    sgd = optax.sgd(RATE)
    contestants: Contestants = {
        "ours": ours(X, y, shape, n_epochs, sgd),
        "ours adam": ours(X, y, shape, n_epochs, optax.adam(RATE)),
        "ours textbook": ours(X, y, shape, n_epochs, sgd, textbook),
        "bare products": bare_products(shape, n_epochs * STEPS_AN_EPOCH),
        **{
            f"products {name}": growing_step(shape, n_epochs * STEPS_AN_EPOCH, parts)
            for parts, name in enumerate(("+ gather", "+ relu", "+ mask"), start=1)
        },
        "scikit-learn": scikit_learn(X, y, shape, max(2, n_epochs // 10)),
    }
    compile_seconds = {}
    for name in ("ours", "ours adam", "ours textbook"):
        with Stopwatch() as first:
            contestants[name]()
        compile_seconds[name] = first.compile
    if torch is not None:
        np.savez(folder / "data.npz", X=X, y=y)
        for form in ("eager", "compiled"):
            request = {
                "do": "measure",
                "form": form,
                "data": str(folder / "data.npz"),
                "q": q,
                "batch_size": batch_size,
                "rate": RATE,
                "n_epochs": max(2, n_epochs // 10),
            }
            contestants[f"torch {form}"] = lambda r=request, t=torch: t.ask(**r)["us"]
            compile_seconds[f"torch {form}"] = torch.ask(**request)["first_seconds"]

    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(n_rounds):
        for name, run in contestants.items():
            times[name].append(run())
    medians = {name: statistics.median(t) for name, t in times.items()}
    best_peer = min(medians[name] for name in PEERS if name in medians)
    bare = medians["bare products"]
    return {
        "shape": shape,
        "microseconds": medians,
        "rounds": times,
        "compile_seconds": compile_seconds,
        "best_peer_over_ours": best_peer / medians["ours"],
        "best_peer_over_bare_products": best_peer / bare,
        "bare_products_share": bare / medians["ours"],
        "bare_products_gflops": 4e-3 * (p + 1) * q * batch_size / bare,
        "adam_over_sgd": medians["ours adam"] / medians["ours"],
    }


def measure_shuffling(n_samples: int) -> dict:
    """Microseconds to draw one epoch's order, in a compiled program and on the host."""
    n_epochs = max(2, 200_000 // n_samples)

    @jax.jit
    def sort(key):
        def one(k, total):
            order = jax.random.permutation(jax.random.fold_in(key, k), n_samples)
            return total + order

        return jax.lax.fori_loop(0, n_epochs, one, jnp.zeros(n_samples, jnp.int32))

    with Stopwatch() as watch:
        jax.block_until_ready(sort(KEY))
    plan = Plan(n_samples, 1, n_epochs, drop_last=False)

    def draw(seed):
        for block in range(-(-n_epochs // plan.block)):
            draw_block((seed,), plan, block)

    times = {}
    for name, run in {"compiled": lambda i: sort(KEY), "host": draw}.items():
        rounds = []
        for i in range(5):
            began = time.perf_counter()
            jax.block_until_ready(run(i))
            rounds.append((time.perf_counter() - began) / n_epochs * 1e6)
        times[name] = statistics.median(rounds)
    return {"n_samples": n_samples, "compile_seconds": watch.compile, **times}


def compare_parameters(torch: Worker | None, folder: Path) -> dict:
    """Largest difference of any weight after 50 steps in float64, for each optimiser."""
    rng = np.random.default_rng(0)
    n, p, q, batch_size, n_epochs = 320, 10, 16, 32, 5
    X, y = rng.normal(size=(n, p)), rng.integers(0, 2, n)
    orders = np.stack([epoch_order(KEY, k, n) for k in range(n_epochs)])
    batches = orders.reshape(-1, batch_size)
    params = init_params(jax.random.key(0), (p, q, 1), dtype=np.float64)
    tiny = 1e-20  # scikit-learn adds Adam's epsilon before the correction of the bias
    differences = {}
    for name, optimizer in {
        "sgd": optax.sgd(0.1),
        "momentum": optax.sgd(0.1, momentum=0.9),
        "adam": optax.adam(0.01, eps=tiny),
    }.items():
        fitted = fit(
            KEY, params, X, y, optimizer=optimizer, n_epochs=n_epochs, batch_size=batch_size
        ).params
        arrays = [np.asarray(a) for layer in fitted for a in layer]
        theirs = {"scikit-learn": follow_scikit_learn(params, X, y, batches, name)}
        if torch is not None:
            start = {f"a{i}": a for i, a in enumerate(jax.tree.leaves(params))}
            np.savez(folder / "parity.npz", X=X, y=y, batches=batches, **start)
            request = {
                "do": "follow",
                "optimizer": name,
                "data": str(folder / "parity.npz"),
            }
            answer = torch.ask(**request, eps=tiny)
            theirs["torch"] = [np.asarray(a) for a in answer["arrays"]]
        differences[name] = {
            peer: max(
                float(np.abs(a - b).max()) for a, b in zip(arrays, other, strict=True)
            )
            for peer, other in theirs.items()
        }
    return differences


def follow_scikit_learn(params, X, y, batches, name: str) -> list[np.ndarray]:
    """MLPClassifier from the same weights, fed the same mini-batches one by one."""
    options = {
        "sgd": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1},
        "momentum": {
            "solver": "sgd",
            "nesterovs_momentum": False,
            "learning_rate_init": 0.1,
        },
        "adam": {"solver": "adam", "learning_rate_init": 0.01, "epsilon": 1e-20},
    }[name]
    q = params[0].b.shape[0]
    model = MLPClassifier((q,), alpha=0.0, batch_size=len(batches[0]), **options)
    model.partial_fit(X[batches[0]], y[batches[0]], classes=[0, 1])
    model.coefs_ = [np.array(layer.w) for layer in params]
    model.intercepts_ = [np.array(layer.b) for layer in params]
    del model._optimizer  # made anew, for these arrays, by the next call
    for rows in batches:
        model.partial_fit(X[rows], y[rows])
    pairs = zip(model.coefs_, model.intercepts_, strict=True)
    return [array for pair in pairs for array in pair]


def show(row: dict) -> None:
    times = row["microseconds"]
    print(f"{row['shape']}")
    for name, us in times.items():
        seconds = row["compile_seconds"].get(name)
        compiled = "" if seconds is None else f"   first run {seconds:5.1f} s to compile"
        print(f"  {name:17} {us:9.1f} µs   {us / times['ours']:6.2f} of ours{compiled}")
    print(
        f"  best peer / ours {row['best_peer_over_ours']:.2f}; "
        f"best peer / bare products {row['best_peer_over_bare_products']:.2f}; "
        f"bare products {row['bare_products_share']:.2f} of our step "
        f"({row['bare_products_gflops']:.0f} GFLOP/s); "
        f"Adam {row['adam_over_sgd']:.2f} of SGD",
        flush=True,
    )


def main() -> None:
    parser = make_parser(__doc__)
    add_rounds(parser, 9)
    parser.add_argument(
        "--torch-python",
        type=existing_file,
        metavar="PYTHON",
        help="interpreter that has PyTorch (default: scikit-learn is the only peer)",
    )
    add_quick(parser)
    add_json(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # scikit-learn's note that it has not converged
    n_threads = len(os.sched_getaffinity(0))
    python = options.torch_python
    torch = Worker(python, WORKER, n_threads) if python else None
    versions = {name: version(name) for name in ("jax", "jaxlib", "numpy", "scikit-learn")}
    versions["python"] = platform.python_version()
    versions["torch"] = torch and torch.version
    print(f"{versions}, {n_threads} threads, {jax.devices()[0].device_kind}")
    if torch is None:
        print("scikit-learn is the only peer: PyTorch's Python is not given")
    print(f"medians of {options.rounds} rounds, µs a step", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for shape in QUICK_SHAPES if options.quick else SHAPES:
            row = measure(shape, options.rounds, torch, Path(folder), quick=options.quick)
            rows.append(row)
            show(row)
        orders = QUICK_ORDERS if options.quick else ORDERS
        shuffling = [measure_shuffling(n) for n in orders]
        for row in shuffling:
            print(
                f"order of {row['n_samples']} rows: sorted in a compiled program "
                f"{row['compiled']:.0f} µs, and {row['compile_seconds']:.2f} s to compile; "
                f"on the host {row['host']:.0f} µs"
            )
        with jax.enable_x64(True):
            parity = compare_parameters(torch, Path(folder))
        print(f"float64, largest difference of a weight after 50 steps: {parity}")
    if options.json:
        report = {
            "date": time.strftime("%Y-%m-%d"),
            "versions": versions,
            "threads": n_threads,
            "training": rows,
            "shuffling": shuffling,
            "parity": parity,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

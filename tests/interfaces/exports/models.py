"""Models for the tests of exports, made without training."""

import datetime

import jax
import numpy as np
import pyarrow as pa

from jaxmlp import init_params, stack_params
from jaxmlp.core import Layer
from jaxmlp.data.columns import decode, infer_kinds
from jaxmlp.data.labels import Classes
from jaxmlp.data.preprocess import fit_preprocessor
from jaxmlp.interfaces.model import Model

HUGE = float(np.finfo(np.float64).max)


def with_nan(rng, values):
    return np.where(rng.random(len(values)) < 0.2, np.nan, values)


def number_table(n=300, seed=0):
    """Numbers of all kinds: missing, huge, constant, large and close, dates, booleans."""
    rng = np.random.default_rng(seed)
    huge = rng.normal(size=n) * 1e30
    huge[:2] = HUGE, -HUGE
    days = rng.integers(0, 20_000, n)
    start = datetime.datetime(1990, 1, 1, 7, 30)
    return pa.table(
        {
            "x": pa.array(with_nan(rng, rng.normal(size=n)), from_pandas=True),
            "heavy": rng.standard_cauchy(n) ** 3,
            "huge": huge,
            "constant": pa.array(with_nan(rng, np.full(n, 7.0)), from_pandas=True),
            "close": 1.7e9 + rng.integers(0, 100, n),
            "day": [start + datetime.timedelta(days=int(day)) for day in days],
            "flag": rng.random(n) < 0.5,
            "mostly_zero": np.where(rng.random(n) < 0.9, 0, rng.exponential(size=n)),
        }
    )


def mixed_table(n=300, seed=0):
    """The numbers, and categories with rare and missing values; some names are awkward."""
    rng = np.random.default_rng(seed)
    job = rng.choice(["cook", "clerk", "pilot", "π"], n)
    job[:3] = ["rare", "rarer", "rarest"]
    texts = {
        "job": pa.array([None if rng.random() < 0.1 else str(j) for j in job]),
        "label": pa.array([str(c) for c in rng.choice(["a", "b"], n)]),
        "": pa.array([None if rng.random() < 0.5 else str(c) for c in rng.choice(3, n)]),
        "column label": pa.array([str(c) for c in rng.choice(["a", "b"], n)]),
    }
    numbers = number_table(n, seed)
    names = ["job", "x", "label", "", "day", "column label", "flag", "heavy"]
    columns = {name: numbers[name] for name in numbers.column_names} | texts
    return pa.table({name: columns[name] for name in names})


def make_model(
    table,
    hidden=((16,),),
    classes=("no", "yes"),
    *,
    n_knots=9,
    dtype=np.float32,
    scale=2.0,
    threshold=0.5,
):
    """A model with the preprocessing of the table's first half, and random weights."""
    kinds = infer_kinds(table, "y").used
    train = np.arange(len(table) // 2)
    preprocessor, dropped = fit_preprocessor(
        decode(table, kinds), train, kinds, n_knots=n_knots
    )
    assert not dropped
    sizes = [(len(preprocessor.input_names), *widths, 1) for widths in hidden]
    networks = [
        _large(init_params(jax.random.key(i), layer_sizes, dtype=dtype), scale, i)
        for i, layer_sizes in enumerate(sizes)
    ]
    stacked = stack_params(networks)
    return Model(stacked, preprocessor, "y", Classes(*classes), threshold, None)


def _large(params, scale, seed):
    rng = np.random.default_rng(seed)
    return tuple(
        Layer(layer.w * scale, rng.normal(size=layer.b.shape).astype(layer.b.dtype))
        for layer in params
    )

"""Strict settings, and what many tests share."""

import os

# Tests see the CPU, and no cache of programs compiled by an earlier run.
os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")

import gc
from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# On a GPU, float32 products may run in TF32; the tolerances are float32's.
jax.config.update("jax_default_matmul_precision", "highest")

hypothesis.settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, max_examples=30
)
hypothesis.settings.load_profile("repeatable")


_MAPS = Path("/proc/self/maps")  # Linux
_MOST_MAPS = 50_000
_n_tests = 0


def pytest_runtest_teardown():
    """Forgets compiled programs before the system refuses to map more of them.

    Each takes some regions of memory. Linux gives a process 65,530; one more, and XLA's
    compiler ends it with a segmentation fault.
    """
    global _n_tests
    _n_tests += 1
    if _n_tests % 20 == 0 and _MAPS.exists():
        with _MAPS.open("rb") as lines:
            n_maps = sum(1 for _ in lines)
        if n_maps > _MOST_MAPS:
            jax.clear_caches()
            gc.collect()


_TESTS = Path(__file__).parent
# Here XLA's code matters: results have the bits of others, memory and products are counted.
_OPTIMISED = tuple(
    _TESTS / name
    for name in (
        "core",
        "gradients",
        "training",
        "privacy",
        "interfaces/test_model.py",
        "interfaces/test_train_stream.py",
    )
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Lets XLA compile without most optimisations, which is faster, where none matter."""
    is_fast = not any(item.path.is_relative_to(place) for place in _OPTIMISED)
    if is_fast != jax.config.read("jax_disable_most_optimizations"):
        jax.clear_caches()  # which do not tell programs apart by it
        jax.config.update("jax_disable_most_optimizations", is_fast)
    with pytest.MonkeyPatch.context() as patch:
        if is_fast:  # also in processes that the test starts
            patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        return (yield)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Floating-point type to compute in; JAX has 64 bits switched on where needed."""
    with jax.enable_x64(request.param == "float64"):
        yield np.dtype(request.param)


@pytest.fixture
def x64():
    """JAX with 64 bits switched on."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=["plain", "jit"])
def variant(request):
    """Function transformation to test under."""
    return jax.jit if request.param == "jit" else lambda function: function

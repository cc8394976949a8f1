"""Compiled programs kept between runs of the command."""

import os
import warnings
from pathlib import Path

import jax


def keep_compiled_programs() -> None:
    """Switches on JAX's persistent compilation cache, in the user's cache folder.

    Only the command does this: a library leaves JAX's configuration to its user. A folder
    named in the environment variable JAX_COMPILATION_CACHE_DIR is used instead.
    """
    # Before, each program taken from the cache of some CPUs prints a page of warnings
    # (github.com/openxla/xla/issues/44565).
    if jax.__version_info__ < (0, 12):
        return
    # A cache that cannot be written costs time, not results.
    warnings.filterwarnings("ignore", message=".*persistent compilation cache")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(Path(root) / "jaxmlp"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)

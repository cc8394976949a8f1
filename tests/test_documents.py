"""Every block of code in the README and in the docs, run as a reader would."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections import defaultdict
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pyarrow as pa
import pytest
import yaml

from jaxmlp.data.tables import write_table

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "CONTRIBUTING.md"] + [
    path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))
]
# Blocks of these pages need nothing of each other, but for the model that a command trains.
STAND_ALONE = {"README.md", "docs/streaming.md"}
# Blocks that are only checked for their syntax, by page and how they begin, and why.
NOT_RUN = {
    ("README.md", "make demo"): "installs packages, and runs these tests",
    ("docs/start.md", "make demo"): "installs packages",
    ("docs/distributed.md", "import jax\n\njax.distributed"): (
        "waits for other processes; tests/distributed starts such"
    ),
    ("docs/distributed.md", "#!/bin/bash\n#SBATCH"): "needs SLURM",
    ("docs/distributed.md", "gcloud compute"): "needs a Cloud TPU",
}


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"

    def begins(self, page, start):
        return self.page == page and self.text.startswith(start)


FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks_of(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, m.start()) + 1, m[2], textwrap.dedent(m[3]))
        for m in FENCE.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
# What runs in one folder, one after the other.
RUNS = defaultdict(list)
for block in BLOCKS:
    RUNS[str(block) if block.page in STAND_ALONE else block.page].append(block)


def make_table(n, seed, start=0):
    """Customers, of whom those that are young and pay much leave."""
    rng = np.random.default_rng(seed)
    age, spend = rng.uniform(18, 80, n).round(), rng.exponential(50, n).round(2)
    logits = 0.1 * (45 - age) + 0.04 * (spend - 40) + rng.normal(size=n)
    return pa.table(
        {
            "age": age,
            "spend": spend,
            "plan": rng.choice(["basic", "plus", "pro"], n),
            "zip": rng.choice([10115, 20095, 50667, 80331], n),
            "churned": np.where(logits > 0, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The files that the pages name."""
    folder = tmp_path_factory.mktemp("tables")
    write_table(make_table(300, 0), folder / "churn.csv")
    write_table(make_table(100, 1), folder / "holdout.csv")
    write_table(make_table(100, 2).drop_columns("churned"), folder / "new.csv")
    (folder / "logs").mkdir()
    for i in range(3):
        write_table(make_table(200, 3 + i), folder / f"part-{i}.parquet")
        write_table(make_table(200, 6 + i), folder / "logs" / f"day-{i}.csv")
    return folder


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Runs lines of a shell in a folder, with the programs of this environment."""
    bin_folder = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",  # commands train more than they compile
    }

    def run(text, folder):
        finished = subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n{text}"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    return run


@pytest.fixture(scope="module")
def model(tables, shell):
    """A small one in the place of what the README's first command trains."""
    flags = "--recipe lecture --hidden 8 --learning-rate 0.1 --epochs 5 --out churn-model"
    shell(f"jaxmlp train churn.csv --target churned --quiet {flags}", tables)
    return tables / "churn-model"


def check_fit(printed):
    assert float(printed[0]) > 0.9


def check_gradients(printed):
    shape, noise_scale = printed[0].rsplit(" ", 1)
    fraction, loss = map(float, printed[1].split())
    assert shape == "(569,)"
    assert float(noise_scale) > 1
    assert 0 < fraction < 1
    assert 0.3 < loss < 3


def check_checkpoints(printed):
    said, is_same, has_learned = printed
    assert said.startswith("going on from checkpoints/000000005000, epoch 6, window 1")
    assert (is_same, has_learned) == ("True", "True")


def check_stream_search(printed):
    assert printed == ["0.3 None", "1e+30 1", "True"]


def check_same_as_scikit_learn(printed):
    assert printed == ["True", "True"]


def check_cross_validated(printed):
    assert printed == [
        "['alpha', 'hidden_layer_sizes', 'learning_rate_init']",
        "True",
        "(12,)",
    ]


# What the blocks of a page that print something print, in their order.
CHECKS = {
    "README.md": [check_fit, check_fit, check_gradients],
    "docs/estimator.md": [check_fit, check_same_as_scikit_learn, check_cross_validated],
    "docs/streaming.md": [check_checkpoints, check_stream_search],
}
PRINTING = [b for b in BLOCKS if b.language == "python" and "print(" in b.text]
CHECK_OF = {
    block: check
    for page, checks in CHECKS.items()
    for block, check in zip([b for b in PRINTING if b.page == page], checks, strict=True)
}


def run_python(block, names):
    """Runs a block and looks at the lines that it prints."""
    code = compile(block.text, str(block), "exec")
    with (
        redirect_stdout(io.StringIO()) as printed,
        jax.numpy_dtype_promotion("standard"),  # as readers have it
        jax.numpy_rank_promotion("allow"),
    ):
        exec(code, names)
    if block in PRINTING:
        CHECK_OF[block](printed.getvalue().splitlines())


@pytest.fixture
def own_process():
    """What a block switches on ends with it, as a reader's process does."""
    yield
    jax.config.update("jax_enable_x64", False)


# As readers have it, who see a warning and no error.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("run", RUNS)
def test_blocks_run(run, tables, shell, tmp_path, monkeypatch, request, own_process):
    shutil.copytree(tables, tmp_path, dirs_exist_ok=True, ignore=lambda *_: ["churn-model"])
    blocks = RUNS[run]
    if any("churn-model" in block.text for block in blocks):
        shutil.copytree(request.getfixturevalue("model"), tmp_path / "churn-model")
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:
        if any(block.begins(*place) for place in NOT_RUN):
            continue
        if block.language == "python":
            run_python(block, names)
        elif block.language in ("sh", "bash"):
            shell(block.text, tmp_path)
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "yaml":
            yaml.safe_load(block.text)
        else:
            assert block.language == "text", f"{block}: what is it?"


@pytest.mark.parametrize(("page", "start"), NOT_RUN)
def test_blocks_that_are_not_run_are_there_and_well_formed(page, start):
    (block,) = [block for block in BLOCKS if block.begins(page, start)]
    if block.language == "python":
        compile(block.text, page, "exec")
    else:
        subprocess.run(["bash", "-n", "-c", block.text], check=True)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^):#]+)[^):]*\)", FENCE.sub("", text)):
        here = ((ROOT / page).parent / target).resolve()
        assert here.exists(), target

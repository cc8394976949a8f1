"""Every script that a person runs: its help, its arguments, its parts in a small setting.

Times are never looked at, only that there is one for everything that is measured.
"""

import argparse
import json
import math
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.browser import chromium

SCRIPTS = Path(__file__).parent.parent / "scripts"
RUNNABLE = sorted(
    path.stem
    for path in SCRIPTS.glob("*.py")
    if "__main__" in path.read_text() and not path.stem.endswith("_worker")
)
TESTED_ELSEWHERE = {"fault_drill", "run_notebooks"}
TABLE = "breast_cancer"  # the first that bench_analysis reads
NUMBER = r"(-?\d+\.?\d*(?:e[-+]\d+)?)"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """For the scripts' processes: what one has compiled, the others find."""
    return {
        **os.environ,
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of 300 rows, of numbers in float32 and a category."""
    path = tmp_path_factory.mktemp("tables") / f"{TABLE}.parquet"
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)).astype(np.float32)
    columns = {f"x{i}": X[:, i] for i in range(3)}
    columns["kind"] = np.where(X[:, 3] > 0, "a", "b")
    columns["target"] = (X[:, 0] + rng.normal(size=300) > 0).astype(np.int8)
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def run(environment, tmp_path):
    """Runs a script in a process and folder of its own and returns what it prints."""

    def run(script, *arguments):
        done = subprocess.run(
            [sys.executable, SCRIPTS / f"{script}.py", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=environment,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


@pytest.fixture
def call(monkeypatch, capsys):
    """Calls a script here, which must end by itself, and returns its code and output."""

    def call(script, *arguments):
        path = SCRIPTS / f"{script}.py"
        monkeypatch.syspath_prepend(SCRIPTS)
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
        return ended.value.code, capsys.readouterr()

    return call


def are_times(values):
    return all(math.isfinite(value) and value > 0 for value in map(float, values))


def test_each_script_is_run_by_a_test():
    tested = set(re.findall(r'run\(\s*"(\w+)"', Path(__file__).read_text()))
    assert tested | TESTED_ELSEWHERE == set(RUNNABLE)


@pytest.mark.parametrize("script", RUNNABLE)
def test_help_is_the_docstring_and_explains_each_option(script, call, monkeypatch):
    parsers = []
    parse_args = argparse.ArgumentParser.parse_args

    def parse_and_tell(parser):
        parsers.append(parser)
        return parse_args(parser)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_tell)
    code, (out, err) = call(script, "--help")
    assert (code, err) == (0, "")
    description = parsers[0].description.strip()
    assert description in out
    assert f'"""{description}\n"""' in (SCRIPTS / f"{script}.py").read_text()
    assert f"python scripts/{script}.py" in description
    for action in parsers[0]._actions:
        assert action.help, action
        if action.help != argparse.SUPPRESS:
            assert all(option in out for option in action.option_strings), action
            if action.default not in (None, False, argparse.SUPPRESS):
                assert "(default: " in action.help, action


@pytest.mark.parametrize("script", RUNNABLE)
def test_an_unknown_option_is_told_on_one_line(script, call):
    code, (out, err) = call(script, "--no-such-option")
    assert (code, out) == (2, "")
    assert re.search(rf"^{script}.py: error: .+\n\Z", err, re.M)


NOT_THERE = "not/there"


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("audit_privacy", ["--runs", "0"], "0 is less than 1"),
        ("audit_privacy", ["--sabotage", "nan"], "nan is no positive number"),
        ("audit_privacy", ["--seed", "4294967296"], "is more than 4294967295"),
        ("bench_analysis", ["speed"], "invalid choice: 'speed'"),
        ("bench_analysis", ["labels"], "--data is missing"),
        ("bench_analysis", ["size", "--data", NOT_THERE], "there is no folder"),
        ("bench_analysis", ["laplace", "--data", "."], ". lacks breast_cancer.parquet, "),
        ("bench_cold", ["--rounds", "0"], "0 is less than 1"),
        ("bench_cold", ["--json", "."], ". is a folder"),
        ("bench_estimator", ["--rounds", "x"], "invalid number value: 'x'"),
        ("bench_gradients", ["--opacus-python", NOT_THERE], "there is no file"),
        ("bench_gradients", ["--json", f"{NOT_THERE}/file"], "there is no folder"),
        ("bench_privacy", [NOT_THERE, "--target", "y"], "there is no file"),
        ("bench_privacy", ["TABLE", "--target", "no"], "no target column 'no'"),
        ("bench_quality", [NOT_THERE], "there is no file"),
        ("bench_quality", ["TABLE", "--target", "no"], "no target column 'no'"),
        ("bench_stream", ["--readers", "-1"], "-1 is less than 1"),
        ("bench_training", ["--torch-python", NOT_THERE], "there is no file"),
        ("check_export", [NOT_THERE], "there is no file"),
        ("check_export", ["TABLE", "--target", "no"], "no target column 'no'"),
        ("communication", ["--devices", "1"], "1 is less than 2"),
        ("draw_pictures", [NOT_THERE], "there is no folder"),
        ("fault_drill", ["--during-saves", "1.5"], "1.5 is not from 0 to 1"),
        ("run_notebooks", [NOT_THERE], "there is no file"),
    ],
)
def test_a_bad_argument_is_told_on_one_line(
    script, arguments, message, call, table, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, (_, err) = call(
        script, *(table if argument == "TABLE" else argument for argument in arguments)
    )
    assert code == 2
    *_, last = err.splitlines()
    assert last.startswith(f"{script}.py: error: ")
    assert message in last
    assert "Traceback" not in err


def test_audit_privacy(run):
    lines = run("audit_privacy", "--runs", 5).splitlines()
    assert len(lines) == 4
    for line in lines:
        pattern = rf"shown {NUMBER} <= claimed {NUMBER} \(true alarms {NUMBER}, false"
        shown, claimed, alarms = map(float, re.search(pattern, line).groups())
        assert 0 <= shown <= claimed < 10
        assert 0 <= alarms <= 1


def test_bench_analysis(run, table):
    flags = ("--quick", "--data", table.parent, "--n", 200, "--l2", 0.03, "--rows", 3,
             "--seeds", 1)  # fmt: skip
    out = run(
        "bench_analysis", "agreement", "size", "retraining", "laplace", "labels", *flags
    )
    errors = re.findall(
        rf"^(\w+), float64, (\w+) +influence {NUMBER}, leave-one-out {NUMBER}, "
        rf"Laplace variance {NUMBER}$",
        out,
        re.M,
    )
    assert len(errors) == 2 * 3
    assert all(float(error) < 1e-10 for _, _, *row in errors for error in row)
    sizes = rf"^200 x 1000 in float64, .*: {NUMBER} s, peak memory {NUMBER} GiB$"
    assert len(re.findall(sizes, out, re.M)) == 2
    for name in (TABLE, "median,"):
        pattern = rf"^{name} .*own {NUMBER}, others {NUMBER}, LDS {NUMBER}"
        (correlations,) = re.findall(pattern, out, re.M)
        assert all(0.5 < float(value) <= 1 for value in correlations)
    pattern = (
        rf"^{TABLE} .*: plain {NUMBER}; trained {NUMBER} .*, left-out rows {NUMBER} .*, "
        rf"evidence {NUMBER} "
    )
    assert all(0 < float(loss) < 1 for loss in re.search(pattern, out, re.M).groups())
    assert out.count("no worse on ") == 3
    precision = re.search(rf"^{TABLE} +n +300: jaxmlp {NUMBER}$", out, re.M)[1]
    assert 0.1 < float(precision) <= 1
    counts = re.findall(r"^probability_wrong from .*: (\d+) labels", out, re.M)
    assert sum(map(int, counts)) == 300


def test_bench_cold(run, tmp_path):
    printed = json.loads(
        run("bench_cold", "--quick", "--rounds", 1, "--json", "found.json")
    )
    assert printed == json.loads((tmp_path / "found.json").read_text())
    assert list(printed["seconds"]) == [
        "scikit-learn", "ours, first", "ours, cached", "command, cached", "predict, cached",
    ]  # fmt: skip
    assert are_times(printed["seconds"].values())
    assert are_times(printed["of_scikit_learn"].values())


def test_bench_estimator(run):
    title, *lines = run("bench_estimator", "--quick", "--rounds", 1).splitlines()
    assert title.split() == [
        "rows",
        "columns",
        "type",
        "sklearn",
        "first",
        "again",
        "ratio",
    ]
    rows = [line.split() for line in lines]
    assert [row[:3] for row in rows] == [["200", "12", "float64"], ["200", "12", "float32"]]
    assert all(are_times(row[3:]) for row in rows)


def test_bench_gradients(run, tmp_path):
    out = run("bench_gradients", "--quick", "--rounds", 1, "--json", "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    (step,) = found["steps"]
    assert set(step["microseconds"]) >= {
        "plain", "clipped", "products", "noise", "loss_and_grads", "algebra", "fit",
        "dp_fit", "vmap(grad)", "optax",
    }  # fmt: skip
    assert set(step["ratios"]) >= {
        "clipped / plain", "algebra / loss_and_grads", "dp_fit / fit",
        "vmap(grad) / clipped", "optax / dp_fit", "vmap(grad) / products", "noise / fit",
    }  # fmt: skip
    for kind in ("microseconds", "ratios"):
        assert are_times(step[kind].values())
        assert all(f"  {name} " in out for name in step[kind])
    assert found["norms"]["rows"] == 1000
    assert are_times(found["norms"].values())


def test_bench_privacy(run, table):
    out = run("bench_privacy", table, "--target", "target", "--epsilon", 3, "--seeds", 1)
    rows = re.findall(rf"^(.*?) +test accuracy {NUMBER}, points lost {NUMBER} .*"
                      rf"AUC {NUMBER}$", out, re.M)  # fmt: skip
    assert [row[0] for row in rows] == ["not private", "epsilon 3"]
    for _, accuracy, _, auc in rows:
        assert 0 < float(accuracy) <= 1
        assert 0 < float(auc) <= 1
    (_, plain, zero, _), (_, private, lost, _) = rows
    assert float(zero) == 0
    assert float(lost) == pytest.approx(100 * (float(plain) - float(private)), abs=0.02)


def test_bench_quality(run, table, tmp_path):
    flags = (
        "--seeds",
        1,
        "--most-rows",
        200,
        "--recipe",
        "lecture",
        "--json",
        "found.json",
    )
    title, *lines = run("bench_quality", table, *flags).splitlines()
    peers = ["logistic", "mlp", "mlp_early", "boosting"]
    assert title.split()[:6] == ["table", "ours", *peers]
    found = json.loads((tmp_path / "found.json").read_text())
    (row,) = found.values()
    assert lines[0].split()[0] == TABLE
    assert row["n"] == 200
    assert are_times([row["seconds"], row["mlp_seconds"], row["boosting_seconds"]])
    assert 0 < row["ours"] < 1
    for text, peer in zip(lines[0].split()[2:6], peers, strict=True):
        assert float(text[:-1]) == pytest.approx(row[peer], abs=1e-4)
        assert text[-1] == ("+" if row["ours"] < row[peer] else "-")
    assert [line.split()[:2] for line in lines[1:5]] == [["below", peer] for peer in peers]


def test_bench_search(run, tmp_path):
    printed = json.loads(
        run("bench_search", "--quick", "--rounds", 1, "--json", "found.json")
    )
    assert printed == json.loads((tmp_path / "found.json").read_text())
    assert printed["networks"] == 2 * 2
    assert set(printed["seconds"]) == {"ours", "ours, first", "GridSearchCV"}
    assert are_times(printed["seconds"].values())
    assert are_times([printed["ratio"], printed["ratio_with_compilation"]])
    assert printed["largest_difference_to_each_alone"] < 1e-4
    assert printed["same_best"] is True


def test_bench_stream(run, tmp_path):
    out = run("bench_stream", "--rows", 5000, "--rounds", 1, "--folder", "rows")
    assert pq.read_table(tmp_path / "rows").shape == (5000, 29)
    rates = re.findall(rf"^ +{NUMBER} +{NUMBER} ", out, re.M)
    for name in ("in memory", "nothing kept", "first epoch, keeps rows", "later epochs"):
        rows = re.findall(rf"^ +{NUMBER} +(?:{NUMBER} )?{name}$", out, re.M)
        assert len(rows) == 2, name
        assert are_times(value for row in rows for value in row if value)
    assert re.search(rf"^ +{NUMBER} read where prepared rows are kept$", out, re.M)
    assert are_times(value for row in rates for value in row)
    memory = re.findall(r"^ +5,000 +(\d+)$", out, re.M)
    assert len(memory) == 2
    assert all(50 < int(megabytes) < 5000 for megabytes in memory)


def test_bench_training(run, tmp_path):
    out = run("bench_training", "--quick", "--rounds", 1, "--json", "found.json")
    assert "scikit-learn is the only peer" in out
    found = json.loads((tmp_path / "found.json").read_text())
    (row,) = found["training"]
    names = [
        "ours", "ours adam", "ours textbook", "bare products", "products + gather",
        "products + relu", "products + mask", "scikit-learn",
    ]  # fmt: skip
    assert list(row["microseconds"]) == names
    assert are_times(row["microseconds"].values())
    assert all(re.search(rf"^  {re.escape(name)} +\d", out, re.M) for name in names)
    assert are_times([row["best_peer_over_ours"], row["bare_products_share"]])
    (order,) = found["shuffling"]
    assert are_times([order["compiled"], order["host"]])
    assert list(found["parity"]) == ["sgd", "momentum", "adam"]
    for by_peer in found["parity"].values():
        assert list(by_peer) == ["scikit-learn"]
        assert by_peer["scikit-learn"] < 1e-12


def test_check_export(run, table):
    title, line = run("check_export", table).splitlines()
    assert title.split()[:4] == ["table", "inputs", "onnx", "stablehlo"]
    name, _, off_onnx, off_stablehlo, *rest = line.split()
    assert name == TABLE
    assert float(off_onnx) < 1e-5
    assert float(off_stablehlo) < 1e-5
    assert "within" in rest


def test_communication(run):
    sent, times = run("communication", "--devices", 2).split("\n\n")
    rows = [line.split(" | ") for line in sent.splitlines()[2:]]
    assert [row[0] for row in rows] == [
        "| (28, 64, 1)",
        "| (28, 300, 1)",
        "| (500, 512, 1)",
    ]
    for row in rows:
        # Two devices: each sends as many bytes as there are.
        _, _, numbers, n_bytes, sent_by_each = (cell.strip(" |") for cell in row)
        assert n_bytes == sent_by_each
        assert int(n_bytes.replace(",", "")) == 4 * int(numbers.replace(",", ""))
    for line in times.splitlines()[2:]:
        cells = line.strip("| ").split(" | ")
        assert len(cells) == 1 + len(rows)
        for cell in cells[1:]:
            assert are_times(value.replace(",", "") for value in cell.split(", "))


@pytest.mark.skipif(chromium.find() is None, reason="Chromium is not installed")
def test_draw_pictures(run, tmp_path):
    printed = run("draw_pictures", ".", "--quick").split()
    assert printed == ["report.png", "playground.png"]
    for name in printed:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG\r\n")


def test_smoke(run):
    loss = re.search(rf"xor learned to a loss of {NUMBER}", run("smoke", "--quick"))[1]
    assert 0 < float(loss) < 0.1

import json

import numpy as np
import pyarrow as pa
import pytest

from jaxmlp.data.tables import write_table

SMALL = (
    "--hidden", "2", "--learning-rate", "0.3", "--batch-size", "all", "--init", "he",
    "--epochs", "3",
)  # fmt: skip


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    n = 80
    columns = {
        "age": rng.integers(18, 90, n),
        "job": rng.choice(["clerk", "cook"], n),
        "charge": np.where(rng.random(n) < 0.1, np.nan, rng.normal(50, 20, n)),
        "churned": rng.choice(["no", "yes"], n),
    }
    write_table(pa.table(columns), tmp_path / "churn.csv")
    return tmp_path / "churn.csv"


def test_own_table(cli, table, tmp_path):
    out = tmp_path / "page.html"
    flags = ("--target", "churned", "--x", "age", "--y", "charge", "--out", out, *SMALL)
    finished = cli("playground", table, *flags)
    assert finished.code == 0, finished.err
    assert f"page in {out}: open it in a browser" in finished.out
    assert "rows without a value left out" in finished.err
    page = out.read_text()
    assert page.startswith("<!doctype html>")
    assert f"jaxmlp playground {table} --target churned --x age" in page
    again = tmp_path / "again.html"
    cli("playground", table, *flags[:6], "--out", again, *SMALL, "--quiet")
    assert (
        again.read_text().replace("again.html", "page.html").replace(" --quiet", "") == page
    )


def test_built_in_points_as_json(cli, tmp_path):
    out = tmp_path / "page.html"
    finished = cli("playground", "--out", out, "--rows", "40", "--json", *SMALL)
    assert finished.code == 0, finished.err
    assert finished.err == ""
    told = json.loads(finished.out)
    assert told["bytes"] == out.stat().st_size
    assert [name.split()[0] for name in told["sets"]][:3] == ["circle", "xor", "spiral"]
    assert len(told["sets"]) == 5


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--x", "age", "--y", "charge"), "give the target column"),
        (("--target", "churned", "--x", "age"), "--x and --y go together"),
        (("--target", "churned", "--x", "age", "--y", "age"), "three columns"),
        (("--target", "churned"), "--x and --y which two columns"),
        (("--target", "churnd", "--x", "age", "--y", "charge"), "did you mean 'churned'"),
        (("--target", "churned", "--x", "agee", "--y", "charge"), "did you mean 'age'"),
        (("--target", "churned", "--x", "job", "--y", "charge"), "column 'job'"),
        (("--target", "churned", "--hidden", "4x4"), "widths of one hidden layer"),
        (("--target", "churned", "--hidden", "65"), "at most 64"),
        (("--target", "churned", "--hidden", "1,2,3,4,5,6,7"), "at most 6"),
        (("--target", "churned", "--batch-size", "0"), "sizes such as 1,16,all"),
        (("--target", "churned", "--batch-size", "9" * 30), "sizes such as 1,16,all"),
        (("--target", "churned", "--hidden", "none"), "widths of one hidden layer"),
        (("--target", "churned", "--batch-size", "few"), "sizes such as 1,16,all"),
        (("--target", "churned", "--init", "zeros"), "some of he,xavier,zero"),
        (("--target", "churned", "--learning-rate", "-1"), "positive numbers"),
        (("--target", "churned", "--out", "page.txt"), "must end in .html"),
        (("--target", "churned", "--out", "no/page.html"), "folder no does not exist"),
    ],
)
def test_bad_arguments_are_told_in_one_line_and_nothing_is_written(
    cli, table, tmp_path, monkeypatch, flags, told
):
    monkeypatch.chdir(tmp_path)
    finished = cli("playground", table, *flags)
    assert finished.code == 2
    assert told in finished.err
    assert finished.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["churn.csv"]


def test_what_goes_with_a_table_only(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished = cli("playground", "--x", "age")
    assert finished.code == 2
    assert "it goes with DATA" in finished.err

"""The commands and readers of docs/export.md, run in their order."""

import datetime
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jaxmlp.data.tables import read_table, write_table
from jaxmlp.interfaces.exports.export import to_json
from jaxmlp.interfaces.model import load_model, save_model
from tests.interfaces.exports.models import make_model, with_nan

PAGE = Path(__file__).parents[3] / "docs" / "export.md"
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)


def churn_table(seed):
    rng = np.random.default_rng(seed)
    n = 300
    plan = rng.choice(["basic", "plus", "pro"], n)
    plan[::60] = "rare"
    days = rng.integers(0, 3000, n)
    gone = rng.random(n) < 0.2
    first = datetime.date(2018, 1, 1)
    dates = [first + datetime.timedelta(days=int(day)) for day in days]
    return pa.table(
        {
            "usage": pa.array(with_nan(rng, rng.exponential(size=n)), from_pandas=True),
            "plan": pa.array(plan, mask=gone),
            "zone": pa.array([str(zone) for zone in rng.integers(1, 4, n)]),
            "joined": pa.array(dates, mask=gone[::-1].copy()),
            "active": pa.array(rng.random(n) < 0.5, mask=rng.random(n) < 0.1),
            "at": pa.array(rng.integers(0, 86_400, n), pa.int32(), mask=gone).cast(
                pa.time32("s")
            ),
        }
    )


def run_page(cli):
    """Runs all blocks; returns their names and each reader's positive probabilities."""
    names, found = {}, []
    for language, block in BLOCKS:
        if language == "sh":
            for line in block.splitlines():
                assert cli(*shlex.split(line)[1:], "--quiet")[:] == (0, "", "")
        else:
            exec(compile(block, str(PAGE), "exec"), names)
        if "probabilities" in names:
            found.append(names.pop("probabilities")[:, 1])
        if "probability" in names:
            found.append(names.pop("probability"))
    return names, found


@pytest.mark.parametrize("hidden", [((8,),), ((), (16,), (8, 4))])
@pytest.mark.parametrize("columns", [["usage", "joined", "active", "at"], None])
def test_every_reader_agrees_with_the_model(cli, tmp_path, monkeypatch, columns, hidden):
    monkeypatch.chdir(tmp_path)
    old, new = (churn_table(seed).select(columns or range(6)) for seed in (0, 1))
    save_model(make_model(old, hidden), {}, "churn-model")
    write_table(new, Path("new.csv"))
    model = load_model("churn-model")
    expected, labels = model.predict(read_table("new.csv"))
    names, found = run_page(cli)
    assert len(found) == 5  # ONNX, JSON, safetensors, StableHLO, scikit-learn
    for probabilities in found:
        np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)
    assert names["label"].tolist() == labels
    assert np.where(names["positive"], "yes", "no").tolist() == labels
    np.testing.assert_allclose(names["X"], model.features(new), atol=1e-6)


def test_the_page_says_what_the_json_holds():
    described = json.loads(to_json(make_model(churn_table(0)))).keys()
    table = PAGE.read_text("utf-8").split("## JSON")[1].split("## safetensors")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == described

import re
from pathlib import Path

import jax
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def printed(block, capsys):
    with jax.numpy_dtype_promotion("standard"):  # as readers have it
        exec(compile(block, "README", "exec"), {})
    return capsys.readouterr().out.split("\n")[:-1]


def test_fit_block(capsys):
    assert float(printed(BLOCKS[0], capsys)[0]) > 0.9


def test_search_block(capsys):
    configuration, accuracy = printed(BLOCKS[1], capsys)
    assert configuration.startswith("Configuration(learning_rate=0.")
    assert float(accuracy) > 0.95


def test_estimator_block(capsys):
    assert float(printed(BLOCKS[2], capsys)[0]) > 0.9


def test_gradients_block(capsys):
    shapes, numbers, names = printed(BLOCKS[3], capsys)
    assert shapes == "(569,) (569, 569)"
    fraction, noise_scale = map(float, numbers.split())
    assert 0 < fraction < 1 < noise_scale
    for name in ("train_loss", "norm_q50", "norm_q95", "clipped_fraction", "noise_scale"):
        assert name in names


def test_analysis_block(capsys):
    shapes, suspects = printed(BLOCKS[4], capsys)
    assert shapes.startswith("(169, 400) 0.9")
    assert suspects.count("[") == 2


def test_private_block(capsys):
    guarantee, accuracy = printed(BLOCKS[5], capsys)
    assert guarantee.startswith("epsilon 3.00; choices made by looking at other runs")
    assert float(accuracy) > 0.85


def test_step_block(capsys):
    loss, lecture_s_loss = map(float, printed(BLOCKS[6], capsys)[0].split())
    assert loss == pytest.approx(lecture_s_loss, rel=1e-4)
    assert loss < 0.05


def test_every_block_is_tested():
    assert len(BLOCKS) == 7


def test_links_lead_somewhere():
    root = Path(__file__).parent.parent
    for target in re.findall(r"\]\(([^):]+)\)", README):
        assert (root / target.split("#")[0]).exists(), target

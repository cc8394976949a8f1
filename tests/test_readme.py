import re
from pathlib import Path

import jax
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_python_blocks_run(index, capsys):
    with jax.numpy_dtype_promotion("standard"):  # as readers have it
        exec(compile(BLOCKS[index], f"README block {index}", "exec"), {})
    values = [float(number) for number in capsys.readouterr().out.split()]
    if index == 0:
        assert values[0] > 0.9
    else:
        assert values[0] == pytest.approx(values[1], rel=1e-4)
        assert values[0] < 0.05


def test_there_are_blocks():
    assert len(BLOCKS) == 2


def test_links_lead_somewhere():
    root = Path(__file__).parent.parent
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (root / target).exists(), target

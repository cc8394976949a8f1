import re
from pathlib import Path

import jax
import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "streaming.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def printed(tmp_path, monkeypatch, capsys):
    def run(block):
        monkeypatch.chdir(tmp_path)
        with jax.numpy_dtype_promotion("standard"):  # as readers have it
            exec(compile(block, "streaming.md", "exec"), {})
        return capsys.readouterr().out.split("\n")[:-1]

    return run


def test_checkpoints_block(printed):
    said, is_same, has_learned = printed(BLOCKS[0])
    assert said.startswith("going on from checkpoints/000000005000, epoch 6, window 1")
    assert (is_same, has_learned) == ("True", "True")


def test_search_block(printed):
    assert printed(BLOCKS[1]) == ["0.3 None", "1e+30 1", "True"]


def test_every_block_is_tested():
    assert len(BLOCKS) == 2

import importlib.util
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))

spec = importlib.util.spec_from_file_location(
    "runner", ROOT / "scripts" / "run_notebooks.py"
)
runner = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runner)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell):
    return "".join(
        output["text"]
        for output in cell.get("outputs", [])
        if output["output_type"] == "stream" and output["name"] == "stdout"
    )


def error(cell):
    found = [output for output in cell.outputs if output["output_type"] == "error"]
    return f"{found[0]['ename']}: {found[0]['evalue']}" if found else None


def test_there_are_notebooks():
    assert [path.name[:3] for path in PATHS] == [f"0{i}_" for i in range(1, len(PATHS) + 1)]


# The kernel's own libraries warn about things that are not the notebooks'.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_notebook_runs_from_a_clean_kernel_and_exercises_are_solved(path):
    notebook = runner.execute(path, solve=True)
    cells = code_cells(notebook)
    assert any(map(printed, cells))
    checks = [i for i, cell in enumerate(cells) if "check" in runner.tags(cell)]
    assert checks, "no exercise"
    for i in checks:
        assert error(cells[i]).startswith("AssertionError: "), "the check takes anything"
        assert error(cells[i + 2]) is None, "the solution is wrong"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_stored_outputs_are_of_a_whole_run_in_order(path):
    notebook = nbformat.read(path, as_version=4)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any(map(printed, cells))
    for cell in cells:
        is_check = "check" in runner.tags(cell)
        assert is_check == ("raises-exception" in runner.tags(cell))
        assert (error(cell) is not None) == is_check, cell.source
        stderr = [o for o in cell.outputs if o.get("name") == "stderr"]
        assert not stderr, stderr
    text = path.read_text()
    for place in ("/work", "/home", "/tmp", "/root", ".venv"):
        assert place not in text, place

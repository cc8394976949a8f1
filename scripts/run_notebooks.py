"""Executes the notebooks from a clean kernel and stores their outputs.

python scripts/run_notebooks.py
python scripts/run_notebooks.py notebooks/03_sgd.ipynb

A cell with the tag `exercise` is for the reader to write. Where it is executed with its
solution, the solution is the Python block that the next Markdown cell folds away, and the
cell after it is the check, which has the tag `raises-exception` as long as the exercise is
not solved.
"""

import argparse
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
_SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)


def execute(path: Path, *, solve: bool = False) -> nbformat.NotebookNode:
    """Runs a notebook; an error in a cell that is not tagged for it is raised.

    Args:
      path: The notebook.
      solve: Whether to run each exercise's check a second time, with the solution.

    Returns:
      The notebook with its outputs, and no trace of time or machine.
    """
    notebook = nbformat.read(path, as_version=4)
    if solve:
        add_solutions(notebook)
    NotebookClient(
        notebook,
        timeout=120,
        record_timing=False,
        coalesce_streams=True,  # which come in pieces, as the hour has it
        kernel_name="python3",
    ).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":  # frames name files of this machine
                output["traceback"] = [f"{output['ename']}: {output['evalue']}"]
    return notebook


def add_solutions(notebook: nbformat.NotebookNode) -> None:
    """Puts, after each exercise's check, its solution and the check once more."""
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if "check" in tags(cell):
            solution = solution_of(notebook, cell)
            cells.append(nbformat.v4.new_code_cell(solution))
            cells.append(nbformat.v4.new_code_cell(cell.source))
    notebook.cells = cells


def solution_of(notebook: nbformat.NotebookNode, check: nbformat.NotebookNode) -> str:
    """The code that is folded away in the Markdown cell before a check."""
    place = notebook.cells.index(check)
    exercise, fold = notebook.cells[place - 2 : place]
    found = _SOLUTION.search(fold.source)
    if "exercise" not in tags(exercise) or found is None:
        raise ValueError(f"no exercise with a solution before the check {check.source!r}")
    return found[1]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    """Tags of a cell."""
    return cell.metadata.get("tags", [])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "notebook", nargs="*", type=Path, help="files to execute anew (default: all)"
    )
    paths = parser.parse_args().notebook
    for path in paths:
        if not path.is_file():
            parser.error(f"there is no file {path}")
    for path in paths or sorted(NOTEBOOKS.glob("*.ipynb")):
        nbformat.write(execute(path), path)
        print(path.name)


if __name__ == "__main__":
    main()

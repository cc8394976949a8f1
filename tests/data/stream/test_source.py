from pathlib import Path

import pytest

from jaxmlp.data.errors import DataError
from jaxmlp.data.stream.source import find_files, is_pattern

NAMES = [
    "part-10.csv",
    "part-2.csv",
    "Part-3.CSV",
    "a[1].csv",
    "a1.csv",
    "notes.md",
    ".hidden.csv",
    "deep/part-1.csv.gz",
    "deep/er/part-1.tsv",
]


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("part-*.csv", ["part-2.csv", "part-10.csv"]),
        ("a[1].csv", ["a[1].csv"]),
        ("a[12].csv", ["a1.csv"]),
        ("", ["Part-3.CSV", "a1.csv", "a[1].csv", "part-2.csv", "part-10.csv"]),
        ("**/part-1.*", ["deep/er/part-1.tsv", "deep/part-1.csv.gz"]),
        ("notes.md", ["notes.md"]),
        (".hidden.csv", [".hidden.csv"]),
        ("?art-3*", ["Part-3.CSV"]),
    ],
)
def test_files_that_are_meant(folder, pattern, names):
    assert find_files(folder / pattern) == [folder / name for name in names]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("absent.csv", "no such file"),
        ("*.parquet", "no file matches"),
        ("d*p", "only folders match"),
        ("empty", "no Parquet or CSV file in this folder"),
    ],
)
def test_none(folder, pattern, message):
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=message) as raised:
        find_files(folder / pattern)
    assert str(raised.value).startswith(f"{folder / pattern}: ")


def test_what_means_several_files(folder):
    for name, several in {"": True, "a[1].csv": False, "a*": True, "absent": False}.items():
        assert is_pattern(Path(folder / name)) is several

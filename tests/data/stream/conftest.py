import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxmlp.data.stream import source
from jaxmlp.data.stream.source import find_files, open_source
from jaxmlp.data.stream.survey import survey


@pytest.fixture(autouse=True)
def small_slices(monkeypatch):
    """Slices that many of the tests' row groups are larger than, and no multiples of."""
    monkeypatch.setattr(source, "SLICE_ROWS", 64)


def make_rows(n=1000, seed=0):
    """Columns of many types with missing values; `a` is another number in each row."""
    rng = np.random.default_rng(seed)
    a, words = rng.normal(size=n), np.array(["clerk", "cook", "pilot", "é"])
    days = [
        datetime.date(2020, 1, 1) + datetime.timedelta(int(d))
        for d in rng.integers(99, size=n)
    ]
    return pa.table(
        {
            "a": a,
            "k": rng.integers(0, 5, n),
            "word": pa.array(words[rng.integers(4, size=n)], mask=rng.random(n) < 0.2),
            "flag": rng.random(n) < 0.5,
            "day": pa.array(days),
            "gap": pa.array(rng.normal(size=n), mask=rng.random(n) < 0.3),
            "y": np.where(a + rng.normal(size=n) > 0, "yes", "no"),
        }
    )


def write_parts(folder, table, ends, group_rows=150):
    """Writes rows up to each of `ends` as a Parquet file; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        part = table.slice(start, end - start)
        pq.write_table(part, folder / f"part-{i}.parquet", row_group_size=group_rows)
    return folder


def look(path, target="y", **options):
    """A survey of files."""
    return survey(open_source(find_files(path)), target, **options)

"""Writes the corpus anew: small files from which every target's mutations begin.

    python -m tests.fuzz.make_corpus

What was once found to break something stands beside them, as `found-…`; it stays.
"""

import bz2
import datetime
import gzip
import io
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tests.fuzz.targets import CORPUS, train_from


def main() -> None:
    """Writes all of it."""
    table = _table()
    text = io.BytesIO()
    pyarrow.csv.write_csv(table, text)
    csv = text.getvalue()
    _write("csv/mixed.csv", csv)
    _write("csv/semicolons.csv", b'"a b";"c"\r\n1;"x;y"\r\n;"say ""no"""\r\n-1e5;?\r\n')
    _write("csv/times.csv", b"t\td\ty\n01:02:03\t2024-02-29\ttrue\n\t1066-10-14\tfalse\n")
    _write("csv/identifiers.csv", b"id,n,y\n7,0,a\n9,1,b\n8,2,a\n")
    _write("compressed/plain", b"\x03\x00" + csv[:300])
    _write("compressed/bomb", b"\x05\x13" + csv[:100])
    for i, compress in enumerate((lambda b: gzip.compress(b, mtime=0), bz2.compress)):
        _write(f"compressed/stream{i}", bytes([i, 0]) + compress(csv[:300]))
    _write("compressed/stream2", b"\x02\0" + pa.compress(csv, codec="zstd", asbytes=True))
    _write("stream/mixed.csv", csv)
    _write("stream/widens.csv", _widens())
    _write("stream/plain.parquet", _parquet(table, use_dictionary=False))
    _write("parquet/mixed.parquet", _parquet(table, compression="zstd"))
    _write("parquet/plain.parquet", _parquet(table.slice(0, 9), use_dictionary=False))
    _write("parquet/types.parquet", _parquet(_types(), store_schema=True))
    _write("bounds/mixed.json", b'{"x": [-3, 3.5], "job": ["clerk", "cook"]}\n')
    _write("model_json/deep.json", b"[" * 5000)
    _write("report/deep.json", b'{"evaluation":' + b"[" * 5000)
    _write("bounds/deep.json", b'{"x":' + b"[" * 5000)
    for i, line in enumerate(_COMMANDS):
        _write(f"command/{i:02}", "\n".join(line.split()).encode())
    _train()
    _write_checkpoints()


_COMMANDS = [
    "train ../inputs/data.csv --target bought --out m --column job=drop --seed 1",
    "train ../inputs/data.csv --target bought --recipe lecture --l2 0,1 --hidden 3x2",
    "train ../inputs/hostile.csv --target x --dp-epsilon 3 --dp-bounds ../inputs/b.json",
    "predict ../inputs/model ../inputs/data.csv --out p.csv --json",
    "predict ../inputs/hostile ../inputs/data.csv",
    "predict ../inputs/model ../inputs/data.csv --std --train ../inputs/data.csv --l2 1",
    "evaluate ../inputs/model ../inputs/data.csv",
    "gradients ../inputs/hostile ../inputs/hostile.csv --out p.parquet",
    "audit ../inputs/data.csv --target bought --all",
    "audit ../inputs/data.csv --model ../inputs/model --out p.csv",
    "explain ../inputs/model --train ../inputs/data.csv --row 3 --top 2",
    "export ../inputs/model --format json --out p.json",
    "export ../inputs/hostile --out p.onnx --input raw",
    "report ../inputs/model --out p.html",
    "train ../inputs/data.csv --target bought --stream --readers 2 --checkpoint c --resume",
    "predict ../inputs/model ../inputs/*.csv --stream --out p.csv",
    "evaluate ../inputs/model ../inputs/data.csv --stream",
    "--help",
]


def _table() -> pa.Table:
    rng = np.random.default_rng(0)
    n = 40
    x = rng.normal(size=n).round(3)
    day = [
        datetime.date(2024, 1, 1) + datetime.timedelta(int(d))
        for d in rng.integers(0, 99, n)
    ]
    job = rng.choice(["clerk", "cook", "pilot"], n).tolist()
    return pa.table(
        {
            "x": pa.array([None if i % 9 == 0 else v for i, v in enumerate(x.tolist())]),
            "job": pa.array([None if i % 7 == 0 else j for i, j in enumerate(job)]),
            "day": day,
            "flag": rng.random(n) < 0.5,
            "bought": np.where(np.abs(x) > 0.6, "yes", "no"),  # which knots tell
        }
    )


def _widens() -> bytes:
    """Columns whose later values are of another type than the first."""
    others = ["", "1.5", "2024-02-29", "true", "12:05", "x", "2024-02-29T13:05:00.5"]
    rows = [["a", "b", "y"]]
    for i in range(70):
        rows.append([str(i), others[i // 10], "yn"[i % 2]])
    return "".join(",".join(row) + "\n" for row in rows).encode()


def _types() -> pa.Table:
    """A column of each of Arrow's types that Parquet can hold."""
    moment = datetime.datetime(2024, 2, 29, 13, 5)
    values = [
        *((kind, [0, 1, None]) for kind in (pa.int8(), pa.uint64(), pa.float16())),
        *((kind, [0, 1, None]) for kind in (pa.decimal128(5, 2), pa.decimal256(50, 2))),
        *(
            (kind, ["a", "b", None])
            for kind in (pa.string(), pa.large_string(), pa.string_view())
        ),
        *(
            (kind, [b"a", b"b", None])
            for kind in (pa.binary(), pa.binary(1), pa.large_binary())
        ),
        *((pa.timestamp(unit), [moment, None, moment]) for unit in ("s", "ms", "us", "ns")),
        (pa.timestamp("us", "Europe/Rome"), [moment, None, moment]),
        (pa.date64(), [moment.date(), None, moment.date()]),
        (pa.time32("s"), [moment.time(), None, moment.time()]),
        (pa.time64("ns"), [moment.time(), None, moment.time()]),
        (pa.duration("ms"), [1, 2, None]),
        (pa.dictionary(pa.int32(), pa.string()), ["a", "b", None]),
        (pa.list_(pa.int32()), [[1, 2], [], None]),
        (pa.struct({"f": pa.int32()}), [{"f": 1}, {"f": None}, None]),
        (pa.map_(pa.string(), pa.int32()), [[("a", 1)], [], None]),
        (pa.null(), [None, None, None]),
    ]
    return pa.table({f"{kind}": pa.array(given, kind) for kind, given in values})


def _parquet(table: pa.Table, **given: object) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content, **given)
    return content.getvalue()


def _train() -> None:
    """The reports of both recipes, and the model of one."""
    small = "--hidden 3 --ensemble 2"
    lecture = _run(f"--recipe lecture --learning-rate 0.1,0.2 --epochs 3 {small}")
    _write("report/lecture.json", lecture["report.json"])
    ensemble = _run(f"--epochs 30 {small}")
    _write("report/ensemble.json", ensemble["report.json"])
    _write("model_json/ensemble.json", ensemble["model.json"])
    _write("safetensors/ensemble.safetensors", ensemble["model.safetensors"])


def _write_checkpoints() -> None:
    """The last two checkpoints of a run, each in one file."""
    with tempfile.TemporaryDirectory() as folder:
        train_from(Path(folder))
        for path in Path(folder).iterdir():
            manifest = json.loads((path / "checkpoint.json").read_text())
            header = json.dumps(manifest | {"sha256": "right"}).encode()
            numbers = (path / "arrays.bin").read_bytes()
            length = len(header).to_bytes(8, "little")
            _write(f"checkpoint/{path.name}", length + header + numbers)


def _run(flags: str) -> dict[str, bytes]:
    """Trains, and returns the files of the model."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(CORPUS / "csv" / "mixed.csv", Path(folder) / "data.csv")
        command = f"-m jaxmlp train data.csv --target bought --out m --quiet {flags}"
        subprocess.run([sys.executable, *command.split()], check=True, cwd=folder)
        return {path.name: path.read_bytes() for path in (Path(folder) / "m").iterdir()}


def _write(name: str, content: bytes) -> None:
    path = CORPUS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    main()

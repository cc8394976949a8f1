"""The fuzz targets: functions that take bytes and hold the program to its contract.

Whatever the bytes, a file is read, or refused by a DataError of one printable line; the
command ends with code 0, or with code 2 and such a line. Anything else is a finding:
another exception, a warning, a program run, a file written outside the folder for output.
"""

import atexit
import bz2
import functools
import gzip
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from typing import NamedTuple, get_args
from unittest import mock

import jax
import numpy as np
import optax
import pyarrow as pa

from jaxmlp.core import init_params
from jaxmlp.data import files
from jaxmlp.data.bounds import read_bounds
from jaxmlp.data.columns import Wish, decode, explain_texts, infer_kinds, python_values
from jaxmlp.data.errors import DataError
from jaxmlp.data.fingerprint import fingerprint
from jaxmlp.data.labels import encode_labels, find_classes
from jaxmlp.data.preprocess import Preprocessor, fit_preprocessor
from jaxmlp.data.stream import blocks, source
from jaxmlp.data.stream.rows import PartRows
from jaxmlp.data.stream.source import Source, read_slices
from jaxmlp.data.stream.spool import opened
from jaxmlp.data.stream.survey import survey
from jaxmlp.data.tables import read_table
from jaxmlp.interfaces import cli
from jaxmlp.interfaces.commands import analysis, playground, processes, train
from jaxmlp.interfaces.commands.report import report
from jaxmlp.interfaces.exports.export import to_json
from jaxmlp.interfaces.exports.onnx import to_onnx
from jaxmlp.interfaces.inspection.origin import find_training_part
from jaxmlp.interfaces.metrics import evaluate_logits
from jaxmlp.interfaces.model import load_model
from jaxmlp.interfaces.recipes.prepare import prepare
from jaxmlp.interfaces.recipes.recipe import LectureRecipe
from jaxmlp.training import CheckpointError, Checkpoints, fit_stream
from tests.fuzz.guard import contents, writes_only_in
from tests.fuzz.mutators import (
    mutate_bytes,
    mutate_json,
    mutate_lines,
    mutate_parquet,
    mutate_safetensors,
)
from tests.interfaces.report.page import Page

CORPUS = Path(__file__).parent / "corpus"


class Target(NamedTuple):
    """What is fuzzed.

    Attributes:
      run: Takes the bytes; raises DataError or nothing.
      mutate: Makes other bytes of them that have their form.
    """

    run: Callable[[bytes], None]
    mutate: Callable[[bytes, Random], bytes]


def seeds(name: str) -> list[Path]:
    """The files that a target's mutations begin with."""
    return sorted((CORPUS / name).iterdir())


def check(name: str, data: bytes) -> None:
    """Runs a target on bytes, and fails if it breaks the contract."""
    # In a small machine bombs need not be large, nor take long.
    with (
        mock.patch.object(files, "available_memory", return_value=2**27),
        mock.patch.object(files, "_ALWAYS_EXPANDED", 2**20),
        may_refuse(),
    ):
        TARGETS[name].run(data)


@contextmanager
def may_refuse() -> Iterator[None]:
    """Lets a DataError pass whose text is one printable line."""
    try:
        yield
    except DataError as error:
        text = str(error)
        if not is_shown_as_one_line(text):
            raise AssertionError(text) from error


def is_shown_as_one_line(text: str) -> bool:
    """Whether a terminal shows the text as it is: no escape sequence, no end."""
    return text.isprintable() and 0 < len(text) < 2000


@functools.cache
def sandbox() -> Path:
    """A folder with a model and a table in `inputs`, and an empty `out`."""
    root = Path(tempfile.mkdtemp(prefix="jaxmlp-fuzz-")).resolve()
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    (root / "out").mkdir()
    inputs = root / "inputs"
    for name in ("model", "hostile"):
        (inputs / name).mkdir(parents=True)
        for part in ("model_json", "safetensors", "report"):
            (seed,) = (CORPUS / part).glob("ensemble.*")
            stem = "report" if part == "report" else "model"
            shutil.copy(seed, inputs / name / f"{stem}{seed.suffix}")
    shutil.copy(CORPUS / "csv" / "mixed.csv", inputs / "data.csv")
    shutil.copy(CORPUS / "bounds" / "mixed.json", inputs / "b.json")
    evil = "\x1b]0;owned\x07<b>[red]\u202e"
    description = json.loads((inputs / "model" / "model.json").read_text())
    description["target"] = f"bought{evil}"
    description["classes"] = {"negative": f"no{evil}", "positive": f"yes{evil}"}
    (inputs / "hostile" / "model.json").write_text(json.dumps(description))
    text = (inputs / "data.csv").read_text()
    text = re.sub('(bought|yes|no)"', rf'\1{evil}"', text)
    (inputs / "hostile.csv").write_text(text)
    return root


def _csv(data: bytes) -> None:
    _read("t.csv", data)


def _parquet(data: bytes) -> None:
    _read("t.parquet", data)


def _compressed(data: bytes) -> None:
    """The first byte says what of, the second how often the rest is repeated."""
    kind, power, text = *data[:2].ljust(2, b"\0"), data[2:]
    ending, compress = _CODECS[kind % len(_CODECS)]
    times = min(2 ** (power % 20), 2**22 // max(1, len(text)))
    _read(f"t.csv.{ending}", compress(text * max(1, times)))


_CODECS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gz", bytes),
    ("bz2", bytes),
    ("zst", bytes),
    ("gz", functools.partial(gzip.compress, mtime=0)),
    ("bz2", bz2.compress),
    ("zst", lambda text: pa.compress(text, codec="zstd", asbytes=True)),
]


def _read(name: str, data: bytes) -> None:
    path = sandbox() / "inputs" / name
    path.write_bytes(data)
    with writes_only_in(sandbox() / "out"):
        _use(read_table(path))


def _use(table: pa.Table) -> None:
    """All that is done with a table on the way to the network."""
    names = table.column_names
    for target in {names[0], names[-1]}:
        with may_refuse():
            classes = find_classes(table[target], target, None)
            encode_labels(table[target], target, classes)
    for wish in get_args(Wish):
        with may_refuse():
            decode(table, infer_kinds(table, names[-1], {names[0]: wish}).used)
    kinds = infer_kinds(table, names[-1])
    columns = decode(table, kinds.used)
    explain_texts(columns)
    y = np.zeros(table.num_rows, np.int32)
    assert fingerprint(columns, y)
    rows = np.arange(table.num_rows)
    preprocessor, _ = fit_preprocessor(columns, rows, kinds.used, n_knots=8)
    if preprocessor.rules:
        assert np.isfinite(preprocessor.encode(columns)).all()


def _stream(data: bytes) -> None:
    """What can be read whole is read in small pieces too, with the same values."""
    path, out = sandbox() / "inputs" / "t.csv", sandbox() / "out" / "spool"
    path.write_bytes(data)
    out.mkdir(exist_ok=True)
    with (
        mock.patch.object(blocks, "BLOCK_BYTES", 256),
        mock.patch.object(source, "SLICE_ROWS", 16),
        writes_only_in(out),
    ):
        try:
            with opened(path, out) as found:
                _compare(found, path)
                _survey(found)
        finally:
            assert not contents(out), list(contents(out))


def _compare(found: Source, path: Path) -> None:
    names = found.schema.names
    pieces = [piece for group in found.groups for piece in read_slices(found, group, names)]
    try:
        whole = read_table(path)
    except DataError:
        return
    assert whole.schema.remove_metadata() == found.schema
    table = pa.concat_tables(pieces)
    for name in names:
        values, wanted = (repr(python_values(each[name])) for each in (table, whole))
        assert values == wanted, name


def _survey(found: Source) -> None:
    surveyed = survey(found, found.schema.names[-1], n_threads=1)
    for part, n_rows in enumerate(surveyed.sizes):
        rows = PartRows(surveyed, surveyed.preprocessor, part, n_threads=1)
        for X, y in rows.in_order():
            assert np.isfinite(X).all()
            assert np.isin(y, (0, 1)).all()
            n_rows -= len(y)
        assert n_rows == 0


def _checkpoint(data: bytes) -> None:
    """A header with `"sha256": "right"` has the right one: the rest is believed then."""
    size = int.from_bytes(data[:8], "little")
    header, numbers = data[8 : 8 + size], data[8 + size :]
    digest = hashlib.sha256(numbers).hexdigest().encode()
    folder = sandbox() / "out" / "checkpoints"
    place = folder / "000000000004"
    shutil.rmtree(folder, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "checkpoint.json").write_bytes(
        header.replace(b'"sha256": "right"', b'"sha256": "%b"' % digest)
    )
    (place / "arrays.bin").write_bytes(numbers)
    with writes_only_in(sandbox() / "out"):
        try:
            train_from(folder)
        except CheckpointError as error:
            raise DataError(str(error)) from error
        finally:
            shutil.rmtree(folder)


def train_from(folder: Path) -> None:
    """Trains for three epochs of three windows, from a checkpoint if there is one."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24, 2)).astype(np.float32)
    fit_stream(
        jax.random.key(0),
        init_params(jax.random.key(1), (2, 3, 1)),
        [(X, X[:, 0] > 0)],
        optimizer=_SGD,
        n_epochs=3,
        batch_size=4,
        window_size=8,
        X_val=X,
        y_val=X[:, 0] > 0,
        checkpoints=Checkpoints(folder, every=0, tell=lambda _: None),
    )


_SGD = optax.sgd(0.1, momentum=0.9)


def _model_json(data: bytes) -> None:
    _load("model.json", data)


def _safetensors(data: bytes) -> None:
    _load("model.safetensors", data)


def _load(name: str, data: bytes) -> None:
    folder = sandbox() / "inputs" / "fuzzed"
    shutil.copytree(sandbox() / "inputs" / "model", folder, dirs_exist_ok=True)
    (folder / name).write_bytes(data)
    table = _table()
    with writes_only_in(sandbox() / "out"):
        model = load_model(folder)
        json.loads(to_json(model))
        to_onnx(model, is_raw=True)
        logits, labels = model.logits(table), model.labels(table)
        evaluate_logits(logits, labels, model.threshold_logit)
        pa.table({"predicted": model.predict(table)[1]})
        find_training_part(model, table)


@functools.cache
def _table() -> pa.Table:
    return read_table(sandbox() / "inputs" / "data.csv")


def _report(data: bytes) -> None:
    folder, out = sandbox() / "inputs" / "fuzzed", sandbox() / "out" / "page.html"
    folder.mkdir(exist_ok=True)
    (folder / "report.json").write_bytes(data)
    with writes_only_in(sandbox() / "out"):
        report(folder, out=out, quiet=True)
    page = Page(out.read_text(encoding="utf-8"))
    out.unlink()
    assert not page.named("script", "img", "iframe", "object", "embed", "form", "base")
    for element in page.elements:
        assert not any(n.startswith("on") or "src" in n for n in element.attributes)


def _bounds(data: bytes) -> None:
    path = sandbox() / "inputs" / "t.json"
    path.write_bytes(data)
    with writes_only_in(sandbox() / "out"):
        rules = read_bounds(path).rules
    for rule in rules:
        texts = (
            pa.array(["a", None]) if rule.kind == "categorical" else np.array([1, np.nan])
        )
        X = Preprocessor((rule,)).encode({rule.name: texts})
        assert np.isfinite(X).all()


def _command(data: bytes) -> None:
    """A line an argument; what writes can write nothing but the folder it runs in."""
    out, inputs = sandbox() / "out", sandbox() / "inputs"
    shutil.rmtree(out)
    out.mkdir()
    arguments = _arguments(data)
    before = contents(inputs)
    with chdir(out), writes_only_in(out, inputs / "model", inputs / "hostile"):
        code, shown, errors = _run(arguments)
    lines = errors.splitlines()
    assert all(map(is_shown_as_one_line, lines)), errors
    assert all(char.isprintable() or char == "\n" for char in shown), shown
    if code == 0:
        assert all(line.startswith("jaxmlp: note: ") for line in lines), errors
    else:
        assert (code, shown, len(lines)) == (2, "", 1), (code, shown, errors)
        assert errors.startswith("jaxmlp: error: "), errors
        assert not contents(out), list(contents(out))
    after = contents(inputs)
    for folder in ("model", "hostile"):  # where `report` writes unless told otherwise
        after.pop(f"{folder}/report.html", None)
        (inputs / folder / "report.html").unlink(missing_ok=True)
    assert after == before


def _arguments(data: bytes) -> list[str]:
    """Arguments as a shell can give them, which name nothing outside the sandbox."""
    lines = os.fsdecode(data.replace(b"\0", b"")).split("\n")
    arguments = []
    for before, line in itertools.pairwise(["", *lines]):
        is_written = line.startswith(_WRITING) or before in _WRITING
        inputs = "" if is_written else "../inputs/"
        arguments.append(inputs.join(p.replace("/", "") for p in line.split("../inputs/")))
    return arguments


_WRITING = ("--out", "--plot", "--checkpoint")


def _run(arguments: list[str]) -> tuple[int | str | None, str, str]:
    shown, errors = (
        _Terminal(io.BytesIO(), "utf-8"),
        io.TextIOWrapper(io.BytesIO(), "utf-8"),
    )
    with (
        mock.patch.dict(os.environ, {"TERM": "dumb"}),  # which has no colours
        mock.patch.object(cli, "keep_compiled_programs"),
        mock.patch.object(train, "train_on_table", _stop),
        mock.patch.object(train, "train_on_stream", _stop_stream),
        mock.patch.object(tempfile, "tempdir", str(sandbox() / "out")),
        mock.patch.object(processes, "_keep_output_clean"),  # of this process, for good
        mock.patch.object(jax.distributed, "initialize", side_effect=RuntimeError("alone")),
        mock.patch.object(analysis, "audit_table", _stop),
        mock.patch.object(playground, "train_all", _stop_playing),
        mock.patch.object(sys, "argv", ["jaxmlp", *arguments]),
        redirect_stdout(shown),
        redirect_stderr(errors),
    ):
        try:
            cli.run()
        except SystemExit as finished:
            code = finished.code
    jax.config.update("jax_enable_x64", False)  # some commands switch it on
    texts = []
    for stream in (shown, errors):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8"))
    return code or 0, *texts


class _Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def _stop_stream(found: Source, asked: LectureRecipe, *_: object, **given: object) -> None:
    survey(found, asked.target, fractions=asked.fractions, wishes=asked.columns)
    raise DataError("nothing is trained here")


def _stop_playing(*_: object) -> None:
    raise DataError("nothing is trained here")


def _stop(table: pa.Table, asked: object, *_: object) -> None:
    """Prepares the table, and trains no network, which would take too long."""
    if not isinstance(asked, str):
        prepare(jax.random.key(0), table, asked)
    raise DataError("nothing is trained here")


_WORDS = [
    "train", "predict", "evaluate", "gradients", "audit", "explain", "export", "report",
    "playground", "--x", "--y", "--rows", "x", "flag", "1,16,all", "he,zero",
    "--help", "--version", "--json", "--quiet", "--all", "--std", "--", "-",
    "../inputs/data.csv", "../inputs/hostile.csv", "../inputs/model", "../inputs/hostile",
    "../inputs/b.json", "../inputs/absent", "../inputs/", ".", "..", "",
    "--target", "bought", "--out", "p.csv", "p.parquet", "p.html", "p.onnx", "p.json", "m",
    "--train", "--row", "--query", "--top", "--model", "--format", "json", "safetensors",
    "--input", "raw", "--plot", "p.svg", "--positive", "yes", "--split", "70/15/15",
    "--recipe", "lecture", "--column", "x=categorical", "job=drop", "--threshold", "f1",
    "--cost-fp", "--cost-fn", "--budget", "--learning-rate", "0.1,0.2", "--hidden", "4x2",
    "--epochs", "--patience", "--batch-size", "--optimizer", "lbfgs", "--schedule",
    "cosine", "--clip-norm", "--l2", "--class-weight", "--seeds", "--ensemble", "--init",
    "--seed", "--device", "cpu", "--dtype", "bfloat16", "float64", "--dp-epsilon",
    "--dp-delta", "--dp-clip", "--dp-bounds", "--stream", "--readers", "--devices",
    "--distributed", "--coordinator", "localhost:1", "--num-processes", "--process-id",
    "--checkpoint", "--checkpoint-every", "--resume", "../inputs/*.csv",
    "0", "1", "3", "-1", "1e999", "nan", "9" * 50, "\x1b]0;x\x07",
]  # fmt: skip


TARGETS = {
    "csv": Target(_csv, mutate_bytes),
    "compressed": Target(_compressed, mutate_bytes),
    "parquet": Target(_parquet, mutate_parquet),
    "stream": Target(_stream, mutate_bytes),
    "checkpoint": Target(_checkpoint, mutate_safetensors),
    "model_json": Target(_model_json, mutate_json),
    "safetensors": Target(_safetensors, mutate_safetensors),
    "report": Target(_report, mutate_json),
    "bounds": Target(_bounds, mutate_json),
    "command": Target(_command, functools.partial(mutate_lines, _WORDS)),
}

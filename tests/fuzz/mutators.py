"""Changes of an input that keep its outer form, so that what lies behind it is reached too.

Each takes bytes and a generator, and returns other bytes; of what has not the form, any.
"""

import json
from random import Random
from typing import Any

_TOKENS = [
    b'"', b"\n", b"\r", b",", b";", b"\0", b"\xff", b"\xc3", b"0", b"-", b"1e999", b"nan",
    b"true", b"2024-02-29", b"9" * 400, b"\x1b]0;x\x07", b"<script>", b"\xe2\x80\xae",
    b"\x7f\xff\xff\xff", b"\x80\x80\x80\x80\x08",
]  # fmt: skip

_VALUES: list[Any] = [
    None, True, 0, -1, 3, 2**63, 10**400, 0.5, 5e-324, -1e308, float("inf"), float("nan"),
    "", "x" * 5000, "\ud800", "\0", "\x1b]0;x\x07", "<script>", "../../x", "no", "date",
    "numeric", "categorical", "balanced", "lecture", [], {}, [[]], [0.0, 5e-324],
    ["a", "a"],
]  # fmt: skip


def mutate_bytes(data: bytes, rng: Random) -> bytes:
    """Flips, inserts, removes or repeats some bytes."""
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice((1, 1, 2, 4, 8, 64, 1024)))
    before, part, after = data[:start], data[start:end], data[end:]
    changed = rng.choice(
        (
            bytes(byte ^ 1 << rng.randrange(8) for byte in part),
            b"",
            part * rng.choice((2, 3, 50)),
            rng.choice(_TOKENS),
            rng.choice(_TOKENS) + part,
        )
    )
    return before + changed + after


def mutate_json(data: bytes, rng: Random) -> bytes:
    """Replaces, removes or adds a value somewhere in a document."""
    try:
        root = [json.loads(data)]
    except (ValueError, RecursionError):
        return mutate_bytes(data, rng)
    places = list(_places(root))
    holder, key = rng.choice(places)
    other_holder, other_key = rng.choice(places)
    new = rng.choice((rng.choice(_VALUES), other_holder[other_key]))
    kind = rng.randrange(4)
    if kind == 0 and holder is not root:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(key, new)
    elif kind == 1:
        holder[rng.choice(("", "name", "kind", "mean", str(key) + "x"))] = new
    else:
        holder[key] = new
    try:
        return json.dumps(root[0]).encode()
    except ValueError:  # a value holds itself now
        return mutate_bytes(data, rng)


def mutate_parquet(data: bytes, rng: Random) -> bytes:
    """Changes the pages or the footer, and keeps the marks and the footer's length true."""
    size = int.from_bytes(data[-8:-4], "little")
    pages, footer = data[4 : len(data) - 8 - size], data[len(data) - 8 - size : -8]
    if rng.randrange(3):
        footer = mutate_bytes(footer, rng)
    else:
        pages = mutate_bytes(pages, rng)
    return b"PAR1" + pages + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def mutate_safetensors(data: bytes, rng: Random) -> bytes:
    """Changes a value of the header, the numbers, or the header's length."""
    size = int.from_bytes(data[:8], "little")
    header, numbers = data[8 : 8 + size], data[8 + size :]
    kind = rng.randrange(8)
    if kind > 1:
        header = mutate_json(header, rng)
    elif kind == 1:
        numbers = mutate_bytes(numbers, rng)
    declared = len(header) if kind else rng.choice((0, 2**24, 2**31, 2**63, 2**64 - 1))
    return declared.to_bytes(8, "little") + header + numbers


def mutate_lines(words: list[str], data: bytes, rng: Random) -> bytes:
    """Replaces, removes, adds or changes a line, most often by one of `words`."""
    lines = data.split(b"\n")
    i = rng.randrange(len(lines))
    changed = rng.choice(
        (
            [rng.choice(words).encode()],
            [],
            [lines[i], rng.choice(words).encode(), rng.choice(words).encode()],
            [mutate_bytes(lines[i], rng)],
        )
    )
    return b"\n".join([*lines[:i], *changed, *lines[i + 1 :]])


def _places(holder: Any) -> Any:
    """All pairs of a list or object and an index or key of it."""
    for key, value in list(
        holder.items() if isinstance(holder, dict) else enumerate(holder)
    ):
        yield holder, key
        if isinstance(value, dict | list):
            yield from _places(value)
